package api

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestRequests(t *testing.T) {
	var got string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got = r.Method + " " + r.URL.String() + " " + r.Header.Get("Content-Type") + " " + string(body)
		switch r.URL.Path {
		case "/none":
			w.WriteHeader(http.StatusNotFound)
			_, _ = w.Write([]byte(`{"message":"there is no such thing"}`))
		case "/refused":
			w.WriteHeader(http.StatusForbidden)
			_, _ = w.Write([]byte("go away"))
		default:
			_, _ = w.Write([]byte(`{"name":"x"}`))
		}
	}))
	defer server.Close()
	c := &Client{server: server.URL, http: server.Client()}
	ctx := t.Context()

	var out struct{ Name string }
	if err := c.Get(ctx, "/thing", &out); err != nil || out.Name != "x" {
		t.Errorf("get gives %+v, %v", out, err)
	}
	if err := c.Apply(ctx, "/thing", "a: b"); err != nil || got != "PATCH /thing?fieldManager=devcluster&force=true application/apply-patch+yaml a: b" {
		t.Errorf("apply asks %q, %v", got, err)
	}
	if err := c.Delete(ctx, "/none"); err != nil {
		t.Errorf("delete of what is not there gives %v", err)
	}
	if err := c.Get(ctx, "/none", nil); !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), "no such thing") {
		t.Errorf("get of what is not there gives %v", err)
	}
	err := c.Get(ctx, "/refused", nil)
	if err == nil || errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), "403") || !strings.Contains(err.Error(), "go away") {
		t.Errorf("a refusal gives %v", err)
	}
}
