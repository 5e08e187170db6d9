package admin

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
)

// scripted answers every request with err, and remembers what it was asked.
type scripted struct {
	err   error
	asked any
}

func (s *scripted) Status(_ context.Context, o StatusOptions) (Status, error) {
	s.asked = o
	return Status{MemberID: "00000000000000aa", Name: "m-0", State: StateUnjoined}, s.err
}
func (s *scripted) Form(_ context.Context, r FormRequest) error { s.asked = r; return s.err }
func (s *scripted) Change(_ context.Context, r ChangeRequest) error {
	s.asked = r
	return s.err
}
func (s *scripted) Transfer(_ context.Context, r TransferRequest) error { s.asked = r; return s.err }
func (s *scripted) Open(_ context.Context, r OpenRequest) error         { s.asked = r; return s.err }

func serve(t *testing.T, m Node) string {
	t.Helper()
	server := httptest.NewServer(NewHandler(m))
	t.Cleanup(server.Close)
	return server.URL
}

func TestRequestsArriveAsTheyWereMade(t *testing.T) {
	m := &scripted{}
	base, c, ctx := serve(t, m), Client{}, t.Context()
	status, err := c.Status(ctx, base, StatusOptions{Hash: true, Quorum: true})
	if err != nil || status.Name != "m-0" || m.asked != (StatusOptions{Hash: true, Quorum: true}) {
		t.Fatalf("status %+v, asked %+v, error %v", status, m.asked, err)
	}
	change := ChangeRequest{ClusterID: "c", Index: 7, AddLearners: []Member{{ID: "b", Name: "m-1", PeerAddress: "p", Seat: SeatLearner}}, Promote: []string{"x"}, Remove: []string{"y"}}
	for _, call := range []struct {
		want any
		do   func() error
	}{
		{FormRequest{ClusterID: "c", Founder: "f"}, func() error { return c.Form(ctx, base, FormRequest{ClusterID: "c", Founder: "f"}) }},
		{change, func() error { return c.Change(ctx, base, change) }},
		{TransferRequest{ClusterID: "c", To: "x"}, func() error { return c.Transfer(ctx, base, TransferRequest{ClusterID: "c", To: "x"}) }},
		{OpenRequest{ClusterID: "c"}, func() error { return c.Open(ctx, base, OpenRequest{ClusterID: "c"}) }},
	} {
		if err := call.do(); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(m.asked, call.want) {
			t.Errorf("asked %+v, want %+v", m.asked, call.want)
		}
	}
}

func TestRefusalsKeepTheirReason(t *testing.T) {
	for _, reason := range []Reason{ReasonNotLeader, ReasonNotJoined, ReasonOtherCluster, ReasonOtherFounder, ReasonStaleIndex, ReasonInFlight, ReasonUnknownMember, ReasonExists, ReasonLagging, ReasonInvalid, ReasonUnavailable} {
		m := &scripted{err: &Error{Reason: reason, Message: "why", Leader: "00000000000000bb"}}
		err := Client{}.Open(t.Context(), serve(t, m), OpenRequest{})
		var refusal *Error
		if !errors.As(err, &refusal) || refusal.Reason != reason || refusal.Leader != "00000000000000bb" {
			t.Errorf("%s came back as %v", reason, err)
		}
	}
}

func TestAnUnexpectedErrorIsAnUnknownOutcome(t *testing.T) {
	var refusal *Error
	err := Client{}.Open(t.Context(), serve(t, &scripted{err: io.ErrClosedPipe}), OpenRequest{})
	if !errors.As(err, &refusal) || refusal.Reason != ReasonUnavailable {
		t.Errorf("got %v", err)
	}
}

func TestBadRequestsAreRefusedWithAReason(t *testing.T) {
	m := &scripted{}
	base := serve(t, m)
	for name, body := range map[string]string{
		"not JSON":        "{",
		"unknown field":   `{"clusterID":"c","bogus":1}`,
		"two values":      `{"clusterID":"c"} {}`,
		"over the bounds": `{"clusterID":"` + strings.Repeat("x", maxBody) + `"}`,
	} {
		response, err := http.Post(base+"/v1/open", "application/json", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil || response.StatusCode != http.StatusBadRequest || !bytes.Contains(text, []byte(`"reason":"Invalid"`)) {
			t.Errorf("%s: %s %s %v", name, response.Status, text, err)
		}
	}
	if m.asked != nil {
		t.Errorf("the member was asked %+v", m.asked)
	}
	response, err := http.Get(base + "/v1/form")
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode/100 == 2 {
		t.Errorf("GET of a verb was answered %s", response.Status)
	}
}

func TestAnAnswerThatIsNoAnswer(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/open" {
			http.Error(w, "a proxy's page", http.StatusBadGateway)
			return
		}
		_, _ = w.Write(bytes.Repeat([]byte(" "), maxBody+2))
	}))
	t.Cleanup(server.Close)
	if err := (Client{}).Open(t.Context(), server.URL, OpenRequest{}); err == nil {
		t.Error("a proxy's page passed for a success")
	}
	if _, err := (Client{}).Status(t.Context(), server.URL, StatusOptions{}); err == nil {
		t.Error("an answer without bounds was read")
	}
}
