package main

import (
	"context"
	"errors"
	"regexp"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// TestTable: every row has a name of its own, clients, and one way to say what they do.
func TestTable(t *testing.T) {
	seen := map[string]bool{}
	for _, wl := range workloads(10, 256) {
		if seen[wl.name] || wl.name == "" {
			t.Errorf("row %q is there twice, or has no name", wl.name)
		}
		seen[wl.name] = true
		if wl.clients < 1 || (wl.do == nil) == (wl.prepare == nil) {
			t.Errorf("row %q: %d clients, or not one of do and prepare", wl.name, wl.clients)
		}
	}
	// What --only has always been given, and scripts say.
	for _, old := range []string{"put, 1 client", "put, 256 clients", "get, hot key", "get, random keys"} {
		if !seen[old] {
			t.Errorf("row %q is gone", old)
		}
	}
	if n := names(10, 64); len(n) != len(seen) || !slices.Contains(n, "load, 10 keys") {
		t.Errorf("with 64 clients twice, and the load, the rows are %q", n)
	}
}

func TestFilter(t *testing.T) {
	some := filter{rows: regexp.MustCompile("put|watch")}
	for name, want := range map[string]bool{"put, 1 client": true, "watch, fan-out": true, "get, hot key": false} {
		if got := some.takes(name); got != want {
			t.Errorf("--rows takes %q: %v", name, got)
		}
	}
	one := filter{only: "put, 1 client"}
	if !one.takes("put, 1 client") || one.takes("put, 1 clients") || !(filter{}).takes("any") {
		t.Error("--only takes what it is not given, or nothing takes less than all")
	}
}

// TestTallySeveral: an operation counts as what it says it was.
func TestTallySeveral(t *testing.T) {
	var x tally
	x.add(9, nil)
	x.add(9, nil, 2, 1)
	if sum := merge([]tally{x}, 3*time.Second); !slices.Equal(sum.latencies, []time.Duration{1, 2, 9}) || sum.perSecond() != 1 {
		t.Errorf("%+v", sum)
	}
	x.counted = 7
	if x.succeeded() != 7 {
		t.Errorf("%d operations, not the 7 that were counted", x.succeeded())
	}
}

// TestRun: only what ends while it is measured counts, and begin and end stand around that.
func TestRun(t *testing.T) {
	var said []string
	mark := func(what string) func() error {
		return func() error { said = append(said, what); return nil }
	}
	var calls atomic.Int64
	wl := workload{name: "x", clients: 3, size: 5, do: func(ctx context.Context, _ *clientv3.Client, w *worker) error {
		if calls.Add(1)%10 == 0 {
			return errors.New("tenth")
		}
		if len(w.value) != 5 {
			t.Errorf("a value of %d bytes", len(w.value))
		}
		pause(ctx, 100*time.Microsecond)
		w.several = []time.Duration{time.Duration(w.i), 7}
		return nil
	}}
	got, err := run(t.Context(), wl, []*clientv3.Client{nil}, 1, 5*time.Millisecond, 50*time.Millisecond, mark("begin"), mark("end"))
	if err != nil || !slices.Equal(said, []string{"begin", "end"}) {
		t.Fatalf("%v, %q", err, said)
	}
	if n := len(got.latencies); n == 0 || n%2 != 0 || n/2+got.errors >= int(calls.Load()) || got.latencies[n-1] != 7 || got.lastError == nil {
		t.Errorf("%d latencies and %d errors of %d calls", n, got.errors, calls.Load())
	}
}
