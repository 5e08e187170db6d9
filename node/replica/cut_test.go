package replica

import (
	"errors"
	"fmt"
	"testing"

	"raftsman.dev/node/raft"
)

// alone is a cluster of one.
func alone(t *testing.T, seed uint64, tuning Tuning) (*world, *host) {
	t.Helper()
	w := newWorld(t, seed, tuning)
	h := w.add(1)
	h.must(h.replica.Form(raft.Member{ID: 1, Name: "m1"}))
	h.replica.Pump()
	w.until("a founder that leads", func() bool { return w.leader() != nil })
	return w, h
}

// timeless puts one value at a member and lets messages and disks work, but no time pass, until it is answered.
func (w *world) timeless(h *host, key string) {
	w.t.Helper()
	p, err := h.put(key, "v")
	h.must(err)
	for range 10_000 {
		select {
		case o := <-p.Done():
			if o.Err != nil {
				w.t.Fatalf("%s: %v", key, o.Err)
			}
			return
		default:
		}
		for len(w.bag) > 0 {
			w.deliver(0)
		}
		for _, id := range w.ids {
			w.hosts[id].step()
		}
	}
	w.t.Fatalf("%s is never answered", key)
}

// TestLogKeepsItsMeasure: a log is cut once twice the entries to keep have been applied, and keeps them.
func TestLogKeepsItsMeasure(t *testing.T) {
	const keep = 8
	w, l := alone(t, 21, Tuning{KeepEntries: keep})
	cuts, first := 0, l.replica.Brief().First
	for i := range 100 {
		w.timeless(l, fmt.Sprint("k", i))
		b := l.replica.Brief()
		if b.First != first {
			cuts, first = cuts+1, b.First
		}
		if kept := int(l.replica.Applied()) - int(b.First) + 1; kept > 2*keep+keep/2 || cuts > 0 && kept < keep {
			t.Fatalf("%d applied entries are kept after write %d, want %d to %d and a little", kept, i, keep, 2*keep)
		}
	}
	if cuts < 100/(keep+keep/2)-2 {
		t.Errorf("%d cuts in 100 writes", cuts)
	}
}

// TestLogSparesAFollowerThatLags: what a reachable follower lacks stays in the log, up to a bound.
func TestLogSparesAFollowerThatLags(t *testing.T) {
	const keep = 8
	w := group(t, 22, 3, Tuning{KeepEntries: keep})
	l := w.leader()
	var lags *host
	for _, id := range w.ids {
		if id != l.id {
			lags = w.hosts[id]
		}
	}
	w.apart[lags.id] = true
	last := lags.replica.Brief().Last
	l.replica.tuning.KeepSegments = 3
	for i := 0; l.wal.Stats().Segments <= 3; i++ {
		if first := l.replica.Brief().First; first > last+1 {
			t.Fatalf("the log begins at %d after write %d, and a follower that is heard from ends at %d", first, i, last)
		}
		w.timeless(l, fmt.Sprint("k", i%50))
	}
	for i := range 3 * keep {
		w.timeless(l, fmt.Sprint("more", i))
	}
	if first := l.replica.Brief().First; first <= last+1 {
		t.Fatalf("the log still begins at %d, for a follower %d entries behind", first, l.replica.Applied()-last)
	}
}

// TestCutsThatFail: a store that is not durable that far is no failure, and the cut is asked for again; another error
// is one.
func TestCutsThatFail(t *testing.T) {
	_, l := alone(t, 23, Tuning{KeepEntries: 8})
	base := raft.Base{Position: raft.Position{Index: 1, Term: 1}}
	l.replica.cutting = true
	if err := l.replica.LogCut(base, fmt.Errorf("later: %w", ErrNotDurable)); err != nil || l.replica.cutting {
		t.Fatalf("%v, cutting %v; want to go on", err, l.replica.cutting)
	}
	if first := l.replica.Brief().First; first != 1 {
		t.Fatalf("the core takes the log to begin at %d, and nothing was cut", first)
	}
	broken := errors.New("broken")
	if err := l.replica.LogCut(base, broken); !errors.Is(err, broken) {
		t.Fatalf("error %v, want %v", err, broken)
	}
}

// TestTuningDefaults pins what is filled in, and that what is given stays.
func TestTuningDefaults(t *testing.T) {
	var got Tuning
	got.Default()
	want := Tuning{RequestTicks: 70, RetryTicks: 20, MaxProposals: 8192, MaxProposalBytes: 64 << 20, MaxApplyBacklogBytes: 64 << 20, KeepEntries: 10_000, KeepSegments: 32, SnapshotTicks: 3000}
	if got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	given := Tuning{RequestTicks: 1, RetryTicks: 2, MaxProposals: 3, MaxProposalBytes: 4, MaxApplyBacklogBytes: 5, KeepEntries: 6, KeepSegments: 7, SnapshotTicks: 8}
	kept := given
	if kept.Default(); kept != given {
		t.Errorf("%+v became %+v", given, kept)
	}
}

// TestBusyLeader: a leader is busy while its writer owes an answer, and for fewer proposals than are on their way to be
// committed; a follower never is.
func TestBusyLeader(t *testing.T) {
	w := group(t, 24, 3, Tuning{})
	l := w.leader()
	w.timeless(l, "a")
	for l.writing {
		l.write()
	}
	l.wantBusy(1, false, "with nothing to do")
	for _, key := range []string{"b", "c"} {
		if _, err := l.put(key, "v"); err != nil {
			t.Fatal(err)
		}
	}
	l.wantBusy(9, true, "with a batch at its writer")
	for _, id := range w.ids {
		if h := w.hosts[id]; h != l {
			h.replica.given, h.replica.written = 9, 1
			h.wantBusy(1, false, "as a follower")
		}
	}
	l.write()
	l.wantBusy(1, true, "for one while two are to be committed")
	l.wantBusy(2, false, "for two while two are to be committed")
}

func (h *host) wantBusy(waiting int, want bool, when string) {
	h.w.t.Helper()
	if h.replica.Busy(waiting) != want {
		h.w.t.Errorf("busy %v %s", !want, when)
	}
}

// TestBacklogRefuses: while too much is committed and not applied, proposals are refused as busy and nothing is done.
func TestBacklogRefuses(t *testing.T) {
	_, l := alone(t, 25, Tuning{MaxApplyBacklogBytes: 10})
	l.replica.applier.queue(payloads(100, 10))
	atBound, err := l.put("k", "v")
	l.must(err)
	l.replica.applier.queue(payloads(101, 1))
	last := l.replica.Brief().Last
	over, err := l.put("k", "w")
	l.must(err)
	if o := told(over); o == nil || !errors.Is(o.Err, ErrBusy) || l.replica.Brief().Last != last {
		t.Fatalf("told %+v with 11 bytes to apply of 10, log up to %d", o, l.replica.Brief().Last)
	}
	if o := told(atBound); o != nil {
		t.Fatalf("told %+v with 10 bytes to apply of 10", o)
	}
}

// TestCutsWait: while a cut, or the switch to a snapshot, is under way no other begins, and not every entry that is
// applied is a reason to look again.
func TestCutsWait(t *testing.T) {
	const keep = 8
	for name, c := range map[string]struct {
		hold func(r *Replica)
		cuts int
	}{
		"nothing in the way": {func(*Replica) {}, 1},
		"a cut under way":    {func(r *Replica) { r.cutting = true }, 0},
		"a switch under way": {func(r *Replica) { r.switching = true }, 0},
		"looked just now":    {func(r *Replica) { r.looked = r.applied - keep/4 + 1 }, 0},
		"looked before that": {func(r *Replica) { r.looked = r.applied - keep/4 }, 1},
		"one entry short":    {func(r *Replica) { r.applied = r.core.Brief().First + 2*keep - 1 }, 0},
		"just enough":        {func(r *Replica) { r.applied = r.core.Brief().First + 2*keep }, 1},
		"a snapshot is sent": {func(r *Replica) { r.awaited[7] = &awaited{streams: 1} }, 0},
	} {
		w, l := alone(t, 26, Tuning{KeepEntries: 1000})
		for i := range 3 * keep {
			w.timeless(l, fmt.Sprint("k", i))
		}
		r := l.replica
		r.tuning.KeepEntries = keep
		c.hold(r)
		r.maybeCut()
		if len(l.cuts) != c.cuts {
			t.Errorf("%s: %d cuts, want %d", name, len(l.cuts), c.cuts)
		}
		if c.cuts == 1 && (l.cuts[0].Position.Index != r.applied-keep || !r.cutting || r.looked != r.applied) {
			t.Errorf("%s: cut at %v of %d applied, cutting %v", name, l.cuts[0].Position, r.applied, r.cutting)
		}
	}
}

// TestAnswersFindWhoAsked: refs tell proposals, reads and changes apart, at the edges of their ranges too.
func TestAnswersFindWhoAsked(t *testing.T) {
	_, l := alone(t, 27, Tuning{})
	r := l.replica
	p, err := r.Register(put(), r.Now())
	l.must(err)
	r.waiters.tried([]*Proposal{p}, 99)
	b := freshBarrier(&r.reads, 1000)
	r.reads.next = firstReadRef
	ref, _ := r.reads.begin(r.now)
	done := make(chan ChangeOutcome, 1)
	change := r.await(done)
	if ref != firstReadRef || change != firstChangeRef {
		t.Fatalf("refs %d and %d", ref, change)
	}
	r.answer(nil, []raft.Refused{{Ref: ref, Reason: raft.RefusedBusy}})
	if len(r.reads.refused) != 1 || r.reads.refused[0] != b {
		t.Fatal("the first read does not hear that it was refused")
	}
	r.answer(nil, []raft.Refused{{Ref: change, Reason: raft.RefusedExists}})
	var refused *RefusedError
	if o := <-done; !errors.As(o.Err, &refused) || refused.Reason != raft.RefusedExists {
		t.Fatalf("the first change hears %+v", o)
	}
	r.answer(nil, []raft.Refused{{Ref: change, Reason: raft.RefusedExists}}) // again: nobody asks any more
	r.answer(nil, []raft.Refused{{Ref: p.seq, Reason: raft.RefusedBusy}})
	if o := told(p); o == nil || !errors.Is(o.Err, ErrBusy) {
		t.Fatalf("the proposal hears %+v", o)
	}
	again := r.await(done)
	r.answer([]raft.Accepted{{Ref: again, At: raft.Position{Index: 9, Term: 2}}}, nil)
	if o := <-done; o.Err != nil || o.At.Index != 9 {
		t.Fatalf("the second change hears %+v", o)
	}
}

// TestNewReignTriesAgain: what waits is proposed again when there is another leader, and when the same one leads
// another term.
func TestNewReignTriesAgain(t *testing.T) {
	w := group(t, 28, 3, Tuning{})
	for _, id := range w.ids {
		h := w.hosts[id]
		if h == w.leader() {
			continue
		}
		_, err := h.put("k", "v")
		h.must(err)
		forwards := func() int {
			n := 0
			for _, m := range w.bag {
				if _, ok := m.Body.(raft.Forward); ok && m.From == id {
					n++
				}
			}
			return n
		}
		notice := func() int {
			h.replica.Pump() // notices
			h.replica.Pump() // sends
			return forwards()
		}
		before := forwards()
		if notice() != before {
			t.Fatal("proposed again without need")
		}
		h.replica.term--
		if notice() != before+1 {
			t.Fatal("not proposed again in another term of the leader")
		}
		h.replica.leader++
		if notice() != before+2 {
			t.Fatal("not proposed again to another leader")
		}
	}
}

// TestEventsAreTold: the last change of role that was told is the role that the member has.
func TestEventsAreTold(t *testing.T) {
	w := group(t, 29, 3, Tuning{})
	w.hosts[w.leader().id].crash()
	w.until("another leader", func() bool { return w.leader() != nil })
	for _, id := range w.ids {
		h := w.hosts[id]
		if !h.up() {
			continue
		}
		var last raft.RoleChanged
		for _, e := range h.events {
			if x, ok := e.(raft.RoleChanged); ok {
				last = x
			}
		}
		if b := h.replica.Brief(); last.Role != b.Role || last.Term != b.Term || last.Member != id {
			t.Errorf("member %d is %v in term %d, the last event says %v", id, b.Role, b.Term, last)
		}
	}
}
