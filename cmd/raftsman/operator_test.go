package main

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// TestOperatorRefusesWithTheRemedy: one clear error names what is wrong and what mends it.
func TestOperatorRefusesWithTheRemedy(t *testing.T) {
	for _, name := range []string{"KUBECONFIG", "POD_NAMESPACE", "RAFTSMAN_MEMBER_IMAGE", "KUBERNETES_SERVICE_HOST"} {
		t.Setenv(name, "")
	}
	t.Setenv("HOME", t.TempDir())
	for args, says := range map[string]string{
		"":                                        "set --member-image or RAFTSMAN_MEMBER_IMAGE",
		"--log-level=loud":                        "it must be debug, info or error",
		"--member-image=i --leader-elect":         "set --namespace or POD_NAMESPACE",
		"--member-image=i --concurrency=0":        "--concurrency is 0: it must be at least 1",
		"--member-image=i --poll-interval=1ms":    "it must be at least 1s",
		"--member-image=i":                        "set KUBECONFIG",
		"--member-image=i and-something-that-not": "unknown command",
	} {
		cmd := newOperatorCommand()
		cmd.SetArgs(strings.Fields(args))
		cmd.SetOut(&bytes.Buffer{})
		cmd.SetErr(&bytes.Buffer{})
		if err := cmd.ExecuteContext(t.Context()); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("operator %s: %v, want %q", args, err, says)
		}
	}
}

// TestProbe asks until it is answered well, or until its time is up.
func TestProbe(t *testing.T) {
	var asked atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if asked.Add(1) < 2 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer server.Close()
	if err := probe(t.Context(), server.URL); err != nil || asked.Load() < 2 {
		t.Errorf("after %d questions: %v", asked.Load(), err)
	}
	server.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := probe(ctx, server.URL); err == nil {
		t.Error("a server that is gone answers")
	}
}
