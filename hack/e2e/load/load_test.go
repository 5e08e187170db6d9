package load

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"

	"raftsman.dev/hack/e2e/history"
	"raftsman.dev/node"
)

// member starts a cluster of one real member on loopback.
func member(t *testing.T) (endpoint string, stop func()) {
	t.Helper()
	m, err := node.Start(node.Config{
		Name: "m", DataDir: t.TempDir(), Form: true, Log: logr.Discard(),
		ListenClient: "127.0.0.1:0", ListenPeer: "127.0.0.1:0", ListenMetrics: "127.0.0.1:0", ListenAdmin: "127.0.0.1:0",
	})
	if err != nil {
		t.Fatal(err)
	}
	stopped := false
	stop = func() {
		if !stopped {
			stopped = true
			if err := m.Stop(context.Background()); err != nil {
				t.Error(err)
			}
		}
	}
	t.Cleanup(stop)
	return "http://" + m.ClientAddress(), stop
}

func plan(endpoint string) Plan {
	return Plan{Endpoints: []string{endpoint}, Prefix: "run", Writers: 4, Readers: 2, WritesPerSecond: 400, Timeout: time.Second, Registers: 3, Seed: 1}
}

// until waits for a condition, with a deadline.
func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !is() {
		select {
		case <-deadline:
			t.Fatalf("not so after 20s: %s", what)
		case <-tick.C:
		}
	}
}

func TestLoadOnARealMember(t *testing.T) {
	endpoint, _ := member(t)
	r, err := Start(plan(endpoint))
	if err != nil {
		t.Fatal(err)
	}
	until(t, "200 writes are acknowledged", func() bool { return r.Stats().Acks >= 200 })
	result, err := r.Stop(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := result.History.CheckLinearizable(20 * time.Second); err != nil {
		t.Error(err)
	}
	if err := result.History.CheckKept(result.Final); err != nil {
		t.Error(err)
	}
	f := result.History.Figures(result.Length)
	t.Log(f)
	if f.Writes < 200 || f.Reads == 0 || f.PerSecond > 500 {
		t.Errorf("figures: %v", f)
	}
	// The recorder must be able to find something: forget one write that was acknowledged.
	for key := range result.Final {
		if strings.Contains(key, "/own/") {
			result.Final[key] = ""
			break
		}
	}
	if err := result.History.CheckKept(result.Final); err == nil {
		t.Error("a write that is gone is not missed")
	}
}

func TestOutcomesWhenTheMemberStops(t *testing.T) {
	endpoint, stop := member(t)
	p := plan(endpoint)
	p.Timeout = 200 * time.Millisecond
	r, err := Start(p)
	if err != nil {
		t.Fatal(err)
	}
	until(t, "50 writes are acknowledged", func() bool { return r.Stats().Acks >= 50 })
	stop()
	until(t, "the writers notice", func() bool { return r.Stats().Unknown >= 8 })
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	result, err := r.Stop(ctx)
	if err == nil {
		t.Error("a store that is gone was read back")
	}
	for _, o := range result.History {
		if o.Outcome == history.Failed {
			t.Errorf("counted as certainly refused: %+v", o)
		}
	}
}

// TestRegistersMoveOn: with a life, registers give way to new ones in the run.
func TestRegistersMoveOn(t *testing.T) {
	endpoint, _ := member(t)
	p := plan(endpoint)
	p.RegisterLife, p.Redial = 50*time.Millisecond, 100*time.Millisecond
	r, err := Start(p)
	if err != nil {
		t.Fatal(err)
	}
	until(t, "200 writes are acknowledged", func() bool { return r.Stats().Acks >= 200 })
	result, err := r.Stop(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	registers := map[string]bool{}
	for _, o := range result.History {
		if strings.Contains(o.Key, "/register/") {
			registers[o.Key] = true
		}
	}
	if len(registers) <= p.Registers {
		t.Errorf("%d registers were used in %v, with new ones every %v", len(registers), result.Length, p.RegisterLife)
	}
	if err := result.History.CheckLinearizable(20 * time.Second); err != nil {
		t.Error(err)
	}
}

func TestServer(t *testing.T) {
	endpoint, _ := member(t)
	s := httptest.NewServer((&Server{}).Handler())
	defer s.Close()
	post := func(path string, body any) (int, []byte) {
		text, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := http.Post(s.URL+path, "application/json", bytes.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		got, err := io.ReadAll(answer.Body)
		if err != nil {
			t.Fatal(err)
		}
		return answer.StatusCode, got
	}
	if code, text := post("/stop", nil); code != http.StatusConflict {
		t.Errorf("stopping nothing: %d %s", code, text)
	}
	if code, text := post("/fill", Job{Endpoints: []string{endpoint}, Prefix: "fill", Keys: 500}); code != http.StatusNoContent {
		t.Errorf("fill: %d %s", code, text)
	}
	var answer Answer
	if _, text := post("/one", One{Endpoints: []string{endpoint}, Key: "fill/00000499", Timeout: 5 * time.Second}); json.Unmarshal(text, &answer) != nil || answer.Value != "fill/00000499" {
		t.Errorf("the last key filled in: %s", text)
	}
	if code, text := post("/start", plan(endpoint)); code != http.StatusNoContent {
		t.Fatalf("start: %d %s", code, text)
	}
	if code, _ := post("/start", plan(endpoint)); code != http.StatusConflict {
		t.Errorf("two loads at once: %d", code)
	}
	until(t, "the stats count", func() bool {
		answer, err := http.Get(s.URL + "/stats")
		if err != nil {
			return false
		}
		defer answer.Body.Close()
		var stats Stats
		return json.NewDecoder(answer.Body).Decode(&stats) == nil && stats.Acks > 20
	})
	code, packed := post("/stop", nil)
	result, err := Unpack(bytes.NewReader(packed))
	if code != http.StatusOK || err != nil {
		t.Fatalf("stop: %d %v", code, err)
	}
	if err := result.History.CheckKept(result.Final); err != nil {
		t.Error(err)
	}
}

func TestPlanIsRefused(t *testing.T) {
	for what, spoil := range map[string]func(*Plan){
		"endpoints": func(p *Plan) { p.Endpoints = nil },
		"prefix":    func(p *Plan) { p.Prefix = "" },
		"writers":   func(p *Plan) { p.Writers = 0 },
		"writes":    func(p *Plan) { p.WritesPerSecond = 0 },
		"timeout":   func(p *Plan) { p.Timeout = 0 },
		"negative":  func(p *Plan) { p.RegisterLife = -time.Second },
	} {
		p := plan("http://127.0.0.1:1")
		spoil(&p)
		if _, err := Start(p); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: %v", what, err)
		}
	}
}
