package raft

import (
	"slices"
	"testing"
)

// TestProgressWindow walks one peer through its states by hand.
func TestProgressWindow(t *testing.T) {
	cfg := Config{MaxInflightMessages: 3, MaxInflightBytes: 10}
	run := func(from Index, sizes ...int) []Entry {
		var entries []Entry
		for i, n := range sizes {
			entries = append(entries, Entry{Index: from + Index(i), Payload: make([]byte, n)})
		}
		return entries
	}
	p := &progress{id: 2}
	p.probe(5)
	if p.mode != ModeProbe || p.next != 5 || p.full(&cfg) {
		t.Fatalf("a probe at 5 begins as %+v", p)
	}
	p.sent(run(5, 1))
	if !p.full(&cfg) || p.next != 5 || len(p.inflight) != 0 {
		t.Fatalf("after one probe %+v, want no second one before an answer", p)
	}
	if !p.acked(4) || p.match != 4 || p.next != 5 || p.acked(4) || p.acked(3) || p.match != 4 {
		t.Fatalf("acks of 4, 4 and 3 make %+v", p)
	}
	p.stream()
	if p.mode != ModeStream || p.next != 5 || p.waiting || p.full(&cfg) {
		t.Fatalf("a stream behind 4 begins as %+v", p)
	}
	p.sent(nil)
	if len(p.inflight) != 0 || p.next != 5 {
		t.Fatalf("an empty append counts as in flight: %+v", p)
	}
	p.sent(run(5, 2, 3))
	p.sent(run(7, 4))
	if p.next != 8 || p.flightBytes != 9 || !slices.Equal(p.inflight, []flight{{6, 5}, {7, 4}}) || p.full(&cfg) {
		t.Fatalf("two appends in flight: %+v", p)
	}
	p.sent(run(8, 1)) // both bounds are reached
	if !p.full(&cfg) || p.flightBytes != 10 {
		t.Fatalf("three appends of 10 bytes: %+v", p)
	}
	p.acked(5) // in the middle of the first
	if len(p.inflight) != 3 || p.match != 5 || p.next != 9 {
		t.Fatalf("an ack of 5: %+v", p)
	}
	p.acked(6)
	if !slices.Equal(p.inflight, []flight{{7, 4}, {8, 1}}) || p.flightBytes != 5 || p.full(&cfg) {
		t.Fatalf("an ack of 6: %+v", p)
	}
	p.sent(run(9, 5))
	if len(p.inflight) != 3 || !p.full(&cfg) {
		t.Fatalf("full again: %+v", p)
	}
	p.acked(20) // the peer had more than was sent
	if p.match != 20 || p.next != 21 || len(p.inflight) != 0 || p.flightBytes != 0 {
		t.Fatalf("an ack of 20: %+v", p)
	}
	p.sent(run(21, 10))
	if !p.full(&cfg) {
		t.Fatalf("10 bytes in flight of 10: %+v", p)
	}
	p.probe(3) // never behind what is known to match
	if p.next != 21 || p.waiting || p.fetching || len(p.inflight) != 0 || p.flightBytes != 0 {
		t.Fatalf("a probe behind the match: %+v", p)
	}
	p.mode = ModeSnapshot
	if !p.full(&cfg) {
		t.Fatal("something is sent beside a snapshot")
	}
}

// TestAlive: a peer counts as alive in the period in which it answered and in the one after.
func TestAlive(t *testing.T) {
	for _, c := range []struct{ active, recent, want bool }{{false, false, false}, {true, false, true}, {false, true, true}, {true, true, true}} {
		if got := (&progress{active: c.active, recent: c.recent}).alive(); got != c.want {
			t.Errorf("active %v, recent %v: alive %v", c.active, c.recent, got)
		}
	}
}
