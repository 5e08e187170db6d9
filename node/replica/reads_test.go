package replica

import (
	"errors"
	"testing"

	"raftsman.dev/node/raft"
)

// heard is what a barrier was told: whether anything, and what.
func heard(b *Barrier) (bool, error) {
	select {
	case err := <-b.Done():
		return true, err
	default:
		return false, nil
	}
}

func wantHeard(t *testing.T, what string, b *Barrier, want bool, is error) {
	t.Helper()
	if got, err := heard(b); got != want || !errors.Is(err, is) {
		t.Fatalf("%s: told %v (%v), want %v (%v)", what, got, err, want, is)
	}
}

// freshBarrier asks for a read point with a deadline.
func freshBarrier(r *readRounds, deadline uint64) *Barrier {
	b := NewBarrier()
	b.deadline = deadline
	r.fresh = append(r.fresh, b)
	return b
}

// TestRoundsOfReads: what comes together shares a round, a bounded number of them is out, and no ref comes twice.
func TestRoundsOfReads(t *testing.T) {
	r := newReadRounds()
	if _, ok := r.begin(1); ok {
		t.Fatal("a round begins for nobody")
	}
	a, b := freshBarrier(&r, 100), freshBarrier(&r, 100)
	first, ok := r.begin(1)
	if !ok || first < firstReadRef || first >= firstChangeRef {
		t.Fatalf("round %d, %v", first, ok)
	}
	seen := map[uint64]bool{first: true}
	for range maxRounds - 1 {
		freshBarrier(&r, 100)
		ref, ok := r.begin(1)
		if !ok || seen[ref] {
			t.Fatalf("round %d, %v", ref, ok)
		}
		seen[ref] = true
	}
	late := freshBarrier(&r, 100)
	if _, ok := r.begin(1); ok {
		t.Fatalf("more than %d rounds are out", maxRounds)
	}
	r.grant(raft.ReadGrant{Ref: first, Index: 5}, 4)
	wantHeard(t, "the store is one short", a, false, nil)
	r.serve(4)
	wantHeard(t, "the store is one short still", b, false, nil)
	r.serve(5)
	wantHeard(t, "the store is there", a, true, nil)
	wantHeard(t, "the store is there for the other", b, true, nil)
	if ref, ok := r.begin(1); !ok || seen[ref] {
		t.Fatalf("round %d, %v after one has ended", ref, ok)
	} else {
		r.grant(raft.ReadGrant{Ref: ref, Index: 5}, 5)
	}
	wantHeard(t, "granted at what the store holds", late, true, nil)
	r.grant(raft.ReadGrant{Ref: first, Index: 1}, 5) // again: nobody waits for it
	if len(r.granted) != 0 || len(r.rounds) != maxRounds-1 || len(r.started) != maxRounds-1 {
		t.Fatalf("%d granted, %d rounds begun at %v; want none and %d", len(r.granted), len(r.rounds), r.started, maxRounds-1)
	}
}

// TestReadsAreAskedAgain: a refused round, and one without an answer, is asked anew with the next tick, under another
// ref; past its deadline a barrier is told.
func TestReadsAreAskedAgain(t *testing.T) {
	r := newReadRounds()
	refused, silent := freshBarrier(&r, 50), (*Barrier)(nil)
	first, _ := r.begin(10)
	silent = freshBarrier(&r, 60)
	second, _ := r.begin(10)
	r.refuse(first)
	if _, ok := r.begin(10); ok || len(r.rounds) != 1 {
		t.Fatal("a refused round is asked again at once")
	}
	r.tick(11, 20)
	again, ok := r.begin(11)
	if !ok || again == first || again == second {
		t.Fatalf("asked again as %d (%v), the rounds before were %d and %d", again, ok, first, second)
	}
	r.tick(29, 20)
	if len(r.rounds) != 2 {
		t.Fatal("a round is given up before its time")
	}
	r.tick(30, 20)
	if _, still := r.rounds[second]; still || len(r.fresh) != 1 {
		t.Fatalf("round %d of 10 is still out at 30, %d barriers are fresh", second, len(r.fresh))
	}
	r.grant(raft.ReadGrant{Ref: second, Index: 1}, 1) // its answer comes all the same: too late
	wantHeard(t, "an answer to a round that was given up", silent, false, nil)
	r.grant(raft.ReadGrant{Ref: again, Index: 9}, 1)
	r.tick(49, 20)
	wantHeard(t, "before the deadline", refused, false, nil)
	r.tick(50, 20)
	wantHeard(t, "granted, but the store is not there at the deadline", refused, true, ErrNoLeader)
	r.tick(59, 20)
	wantHeard(t, "before its deadline", silent, false, nil)
	r.tick(60, 20)
	wantHeard(t, "at its deadline", silent, true, ErrNoLeader)
	r.serve(100)
	if ok, _ := heard(refused); ok {
		t.Fatal("told twice")
	}
}

// TestStoppedReads: everybody is told, in whatever state.
func TestStoppedReads(t *testing.T) {
	r := newReadRounds()
	out, refused, granted := freshBarrier(&r, 50), (*Barrier)(nil), (*Barrier)(nil)
	r.begin(1)
	refused = freshBarrier(&r, 50)
	ref, _ := r.begin(1)
	r.refuse(ref)
	granted = freshBarrier(&r, 50)
	ref, _ = r.begin(1)
	r.grant(raft.ReadGrant{Ref: ref, Index: 9}, 1)
	fresh := freshBarrier(&r, 50)
	r.stop()
	for name, b := range map[string]*Barrier{"out": out, "refused": refused, "granted": granted, "fresh": fresh} {
		wantHeard(t, name, b, true, ErrStopped)
	}
}

// TestAnAnsweredRoundMakesRoom: what waits because all rounds are out is asked for in the same turn in which one of
// them is answered.
func TestAnAnsweredRoundMakesRoom(t *testing.T) {
	w := group(t, 1, 3, Tuning{})
	w.until("settled", w.settled)
	lead := w.leader()
	f := w.hosts[w.ids[0]]
	if f == lead {
		f = w.hosts[w.ids[1]]
	}
	w.bag = nil
	asked := func() (refs []uint64) {
		for _, m := range w.bag {
			if r, ok := m.Body.(raft.ReadRequest); ok && m.From == f.id {
				refs = append(refs, r.Ref)
			}
		}
		return refs
	}
	for range maxRounds + 1 {
		f.replica.Barrier([]*Barrier{NewBarrier()})
		f.replica.Pump()
	}
	out := asked()
	if len(out) != maxRounds {
		t.Fatalf("rounds %v are out, want %d", out, maxRounds)
	}
	s := f.replica.Brief()
	reply := raft.Message{From: lead.id, To: f.id, FromBoot: lead.boot, ToBoot: f.boot, Term: s.Term, Body: raft.ReadReply{Ref: out[0], Index: s.Commit}}
	f.replica.Receive([]raft.Message{reply})
	f.replica.Pump()
	if now := asked(); len(now) != maxRounds+1 {
		t.Errorf("rounds %v after the answer to one, want another", now)
	}
}
