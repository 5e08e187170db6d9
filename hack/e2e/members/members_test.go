package members

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestReserve: ports that are reserved are given to nobody else, also while no member listens, and again once released.
func TestReserve(t *testing.T) {
	p, err := Reserve()
	if err != nil {
		t.Fatal(err)
	}
	if again, err := reserve(p.base); err == nil {
		t.Errorf("%v are reserved twice", again)
	}
	if err := p.Release(); err != nil {
		t.Fatal(err)
	}
	again, err := reserve(p.base)
	if err != nil {
		t.Fatalf("released ports are not free: %v", err)
	}
	if err := again.Release(); err != nil {
		t.Error(err)
	}
}

// TestPlaces: no two members share an address, and all are within what was reserved.
func TestPlaces(t *testing.T) {
	seen := map[string]bool{}
	p := &Ports{base: firstPort}
	for _, place := range p.Places("dir") {
		for _, address := range []string{place.Client, place.Peer, place.Metrics, place.Admin} {
			if seen[address] || address < p.at(0, 0) || address >= p.at(Size-1, portsEach-1) {
				t.Errorf("%s of %s: used twice or not reserved", address, place.Name)
			}
			seen[address] = true
		}
	}
}

// TestPoll: it asks until the answer is nil, and gives the last answer when time is up.
func TestPoll(t *testing.T) {
	asked := 0
	err := Poll(t.Context(), time.Minute, func(context.Context) error {
		if asked++; asked < 3 {
			return errors.New("not yet")
		}
		return nil
	})
	if err != nil || asked != 3 {
		t.Errorf("after %d questions: %v", asked, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	never := errors.New("never")
	if err := Poll(ctx, 0, func(context.Context) error { cancel(); return never }); !errors.Is(err, never) {
		t.Errorf("%v is not the last answer", err)
	}
	once := func(ctx context.Context) error { <-ctx.Done(); return nil }
	if err := Poll(t.Context(), time.Millisecond, once); err != nil {
		t.Errorf("a question is not bounded: %v", err)
	}
}

// TestProcess: it runs until it is killed, what it writes stands in its log, and it tells how it ended.
func TestProcess(t *testing.T) {
	dir := t.TempDir()
	place := Place{Name: "m0", Log: filepath.Join(dir, "m0.log")}
	p, err := place.Start("/bin/sh", "-c", "echo begun; exec sleep 1000")
	if err != nil {
		t.Fatal(err)
	}
	err = Poll(t.Context(), 0, func(context.Context) error {
		if text, err := os.ReadFile(place.Log); err != nil || string(text) != "begun\n" {
			return errors.New("nothing is written")
		}
		return nil
	})
	if state, done := p.State(); err != nil || done {
		t.Errorf("it has ended: %s (%v)", state, err)
	}
	for range 2 {
		if err := p.Signal(syscall.SIGKILL); err != nil {
			t.Error(err)
		}
		<-p.Ended()
	}
	if state, done := p.State(); !done || !strings.Contains(state, "killed") {
		t.Errorf("it ended with %q, done=%v", state, done)
	}
	if words := place.LastWords(3); words != "un\n" {
		t.Errorf("its last words are %q", words)
	}
}
