package replica

import (
	"errors"
	"slices"
	"testing"

	"raftsman.dev/node/kv"
	"raftsman.dev/node/raft"
)

// put is a small command.
func put() kv.Command {
	return kv.Command{Txn: kv.Txn{Success: []kv.Op{{Put: &kv.PutRequest{Key: []byte("k"), Value: []byte("v")}}}}}
}

// told is a proposal's outcome so far; nil when there is none.
func told(p *Proposal) *Outcome {
	select {
	case o := <-p.Done():
		return &o
	default:
		return nil
	}
}

func mustRegister(t *testing.T, w *waiters, deadline uint64) *Proposal {
	t.Helper()
	p, err := w.register(put(), deadline)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// due lists the sequences that are to be tried again.
func due(w *waiters, now uint64, all bool) []uint64 {
	var seqs []uint64
	for _, p := range w.due(now, all) {
		seqs = append(seqs, p.seq)
	}
	return seqs
}

// TestSequencesAndFloors: sequences grow by one, and each command carries the lowest that was unanswered when it was
// made.
func TestSequencesAndFloors(t *testing.T) {
	w := newWaiters(7, 3, 10, 1<<20)
	var ps []*Proposal
	floor := func(p *Proposal) uint64 {
		t.Helper()
		c, err := kv.DecodeCommand(p.payload)
		if err != nil || c.ID != (kv.CommandID{Origin: 7, Boot: 3, Seq: p.seq}) {
			t.Fatalf("command %+v: %v", c.ID, err)
		}
		return c.Floor
	}
	for i := range 3 {
		ps = append(ps, mustRegister(t, w, 100))
		if got := floor(ps[i]); ps[i].seq != uint64(i+1) || got != 1 {
			t.Fatalf("command %d has sequence %d and floor %d", i, ps[i].seq, got)
		}
	}
	answer := func(seq uint64) {
		w.applied(kv.CommandID{Origin: 7, Boot: 3, Seq: seq}, kv.Result{Revision: kv.Revision(seq)})
	}
	answer(2)
	if p := mustRegister(t, w, 100); floor(p) != 1 {
		t.Fatalf("floor %d while 1 waits", floor(p))
	}
	answer(1)
	if p := mustRegister(t, w, 100); floor(p) != 3 {
		t.Fatalf("floor %d after 1 and 2, want 3", floor(p))
	}
	answer(2) // again
	for _, p := range ps[:2] {
		if o := told(p); o == nil || o.Err != nil || o.Result.Revision != kv.Revision(p.seq) {
			t.Fatalf("sequence %d is told %+v", p.seq, o)
		}
	}
	if w.count() != 3 || told(ps[2]) != nil {
		t.Fatalf("%d wait, want 3", w.count())
	}
}

// TestOnlyOwnResultsCount: another origin's, another boot's and a duplicate's result tell a proposal nothing.
func TestOnlyOwnResultsCount(t *testing.T) {
	w := newWaiters(7, 3, 10, 1<<20)
	p := mustRegister(t, w, 100)
	w.applied(kv.CommandID{Origin: 8, Boot: 3, Seq: 1}, kv.Result{})
	w.applied(kv.CommandID{Origin: 7, Boot: 2, Seq: 1}, kv.Result{})
	w.applied(kv.CommandID{Origin: 7, Boot: 3, Seq: 1}, kv.Result{Duplicate: true})
	w.applied(kv.CommandID{Origin: 7, Boot: 3, Seq: 2}, kv.Result{})
	if o := told(p); o != nil {
		t.Fatalf("told %+v", o)
	}
}

// TestRoomForProposals: neither the number nor the bytes of what waits go past their bounds, and room comes back.
func TestRoomForProposals(t *testing.T) {
	w := newWaiters(7, 3, 2, 1<<20)
	first := mustRegister(t, w, 100)
	mustRegister(t, w, 100)
	if _, err := w.register(put(), 100); !errors.Is(err, ErrBusy) {
		t.Fatalf("a third of two: %v", err)
	}
	// Sequence 2 being answered makes no room: the window is counted from the lowest that waits.
	w.applied(kv.CommandID{Origin: 7, Boot: 3, Seq: 2}, kv.Result{})
	if _, err := w.register(put(), 100); !errors.Is(err, ErrBusy) {
		t.Fatalf("a third of two behind a hole: %v", err)
	}
	w.applied(kv.CommandID{Origin: 7, Boot: 3, Seq: 1}, kv.Result{})
	mustRegister(t, w, 100)

	size := len(first.payload)
	w = newWaiters(7, 3, 100, 2*size)
	mustRegister(t, w, 100)
	mustRegister(t, w, 100) // reaches the bound
	if _, err := w.register(put(), 100); !errors.Is(err, ErrBusy) {
		t.Fatalf("bytes over the bound: %v", err)
	}
	w.applied(kv.CommandID{Origin: 7, Boot: 3, Seq: 1}, kv.Result{})
	mustRegister(t, w, 100)
	if w.mu.bytes != 2*size {
		t.Fatalf("%d bytes are counted, want %d", w.mu.bytes, 2*size)
	}
	if _, err := w.register(kv.Command{Txn: kv.Txn{Success: []kv.Op{{}}}}, 100); !errors.Is(err, kv.ErrMalformed) {
		t.Fatalf("a command that is none: %v", err)
	}
}

// TestTriesAndOutcomes: what becomes of a proposal depends on whether any try of it may still succeed.
func TestTriesAndOutcomes(t *testing.T) {
	w := newWaiters(7, 3, 100, 1<<20)
	var ps []*Proposal
	for range 6 {
		ps = append(ps, mustRegister(t, w, 50))
	}
	w.tried(ps[1:], 20)
	w.tried(ps[5:], 20) // twice
	if got := due(w, 19, false); len(got) != 0 {
		t.Fatalf("%v are tried again before their time", got)
	}
	if got := due(w, 20, false); !slices.Equal(got, []uint64{2, 3, 4, 5, 6}) {
		t.Fatalf("%v are tried again at 20", got)
	}
	if got := due(w, 5, true); !slices.Equal(got, []uint64{2, 3, 4, 5, 6}) {
		t.Fatalf("%v are tried again with a new leader; 1 was never tried", got)
	}
	w.refused(3, raft.RefusedNoLeader, 30) // by this member itself: that try is over
	w.refused(4, raft.RefusedBusy, 30)
	w.refused(6, raft.RefusedBusy, 30) // one of two
	w.refused(1, raft.RefusedBusy, 30) // never tried: nothing to take back
	w.refused(9, raft.RefusedBusy, 30) // nobody
	w.returned(5, raft.RefusedNoLeader, 40)
	w.returned(9, raft.RefusedNoLeader, 40)
	if o := told(ps[3]); o == nil || !errors.Is(o.Err, ErrBusy) {
		t.Fatalf("busy and never taken: %+v", o)
	}
	if got := due(w, 31, false); !slices.Equal(got, []uint64{2, 3, 6}) {
		t.Fatalf("%v are tried again at 31", got)
	}
	if got := due(w, 41, false); !slices.Equal(got, []uint64{2, 3, 5, 6}) {
		t.Fatalf("%v are tried again at 41", got)
	}
	if got := due(w, 49, false); len(got) != 4 || w.count() != 5 {
		t.Fatalf("%v tried again, %d wait just before the deadline", got, w.count())
	}
	if got := due(w, 50, false); len(got) != 0 || w.count() != 0 {
		t.Fatalf("%v tried again, %d wait at the deadline", got, w.count())
	}
	for i, want := range []error{ErrNoLeader, ErrUnknown, ErrNoLeader, nil, ErrUnknown, ErrUnknown} {
		if o := told(ps[i]); want != nil && (o == nil || !errors.Is(o.Err, want)) {
			t.Errorf("proposal %d is told %+v, want %v", i+1, o, want)
		}
	}
}

// TestStopTellsEverybody, once, and takes nothing more.
func TestStopTellsEverybody(t *testing.T) {
	w := newWaiters(7, 3, 100, 1<<20)
	a, b, c := mustRegister(t, w, 50), mustRegister(t, w, 50), mustRegister(t, w, 50)
	w.applied(kv.CommandID{Origin: 7, Boot: 3, Seq: 2}, kv.Result{})
	w.stop()
	for _, p := range []*Proposal{a, c} {
		if o := told(p); o == nil || !errors.Is(o.Err, ErrStopped) {
			t.Errorf("proposal %d is told %+v", p.seq, o)
		}
	}
	if o := told(b); o == nil || o.Err != nil {
		t.Errorf("the answered one is told %+v", o)
	}
	if _, err := w.register(put(), 50); !errors.Is(err, ErrStopped) || w.count() != 0 {
		t.Errorf("registered after the stop: %v, %d wait", err, w.count())
	}
}
