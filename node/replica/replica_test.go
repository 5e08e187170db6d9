package replica

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"raftsman.dev/node/kv"
	"raftsman.dev/node/raft"
	"raftsman.dev/node/vfs"
	"raftsman.dev/node/wal"
)

// outcome takes an outcome that must be there by now.
func (w *world) outcome(p *Proposal) Outcome {
	w.t.Helper()
	var got *Outcome
	w.until("an outcome", func() bool {
		select {
		case o := <-p.Done():
			got = &o
		default:
		}
		return got != nil
	})
	return *got
}

// A write proposed at any member is answered there, and a barrier asked for after that sees it there.
func TestWriteAndReadEverywhere(t *testing.T) {
	w := group(t, 1, 3, Tuning{})
	for i, id := range w.ids {
		h := w.hosts[id]
		p, err := h.put("k", fmt.Sprint(id))
		h.must(err)
		if o := w.outcome(p); o.Err != nil || o.Result.Revision != kv.Revision(i+2) {
			t.Fatalf("member %d: %+v", id, o)
		}
		reader := w.hosts[w.ids[(i+1)%len(w.ids)]]
		b := NewBarrier()
		reader.replica.Barrier([]*Barrier{b})
		reader.replica.Pump()
		var answer error
		w.until("a barrier", func() bool {
			select {
			case answer = <-b.Done():
				return true
			default:
				return false
			}
		})
		if got, _ := reader.value("k"); answer != nil || got != fmt.Sprint(id) {
			t.Fatalf("member %d reads %q after a barrier (%v), %d was written", reader.id, got, answer, id)
		}
	}
	w.equal()
}

// Without a quorum nothing is acknowledged and nothing is left hanging: what may still happen is unknown, what was
// never taken is refused, and a barrier is never passed.
func TestWithoutQuorum(t *testing.T) {
	w := group(t, 2, 3, Tuning{})
	l := w.leader()
	for _, id := range w.ids {
		if id != l.id {
			w.apart[id] = true
		}
	}
	early, err := l.put("k", "early")
	l.must(err)
	b := NewBarrier()
	l.replica.Barrier([]*Barrier{b})
	l.replica.Pump()
	if o := w.outcome(early); !errors.Is(o.Err, ErrUnknown) {
		t.Errorf("a write in the log of a leader without a quorum: %+v", o)
	}
	var answer error
	w.until("the barrier", func() bool {
		select {
		case answer = <-b.Done():
			return true
		default:
			return false
		}
	})
	if !errors.Is(answer, ErrNoLeader) {
		t.Errorf("a barrier without a quorum: %v", answer)
	}
	late, err := l.put("k", "late")
	l.must(err)
	if o := w.outcome(late); !errors.Is(o.Err, ErrNoLeader) {
		t.Errorf("a write while no leader is known: %+v", o)
	}
	if got, _ := l.value("k"); got != "" {
		t.Errorf("%q was applied without a quorum", got)
	}
}

// What has run out of time between its registration and the turn in which it is proposed was not done, as its client
// was told, and is not done any more.
func TestProposedTooLate(t *testing.T) {
	w := group(t, 4, 3, Tuning{})
	l := w.leader()
	p, err := l.replica.Register(put(), l.replica.Now())
	l.must(err)
	if o := w.outcome(p); !errors.Is(o.Err, ErrNoLeader) {
		t.Fatalf("out of time: %+v", o)
	}
	l.replica.Propose([]*Proposal{p})
	l.replica.Pump()
	in, err := l.put("after", "v")
	l.must(err)
	if o := w.outcome(in); o.Err != nil {
		t.Fatal(o.Err)
	}
	w.equal()
	if got, _ := l.value("k"); got != "" {
		t.Errorf("%q was written, and its client was told that nothing was done", got)
	}
}

// Too much at once is refused and costs nothing; what was accepted is answered.
func TestBusy(t *testing.T) {
	w := group(t, 3, 3, Tuning{MaxProposals: 4})
	l := w.leader()
	var accepted []*Proposal
	refused := 0
	for i := range 10 {
		p, err := l.put("k", fmt.Sprint(i))
		switch {
		case err == nil:
			accepted = append(accepted, p)
		case errors.Is(err, ErrBusy):
			refused++
		default:
			t.Fatal(err)
		}
	}
	if len(accepted) != 4 || refused != 6 {
		t.Fatalf("%d accepted, %d refused of 10 at a bound of 4", len(accepted), refused)
	}
	for _, p := range accepted {
		if o := w.outcome(p); o.Err != nil {
			t.Error(o.Err)
		}
	}
}

// A member that stops answers everybody.
func TestStopAnswers(t *testing.T) {
	w := group(t, 4, 3, Tuning{})
	l := w.leader()
	p, err := l.put("k", "v")
	l.must(err)
	b, done := NewBarrier(), make(chan ChangeOutcome, 1)
	l.replica.Barrier([]*Barrier{b})
	l.replica.Stop()
	if o := <-p.Done(); !errors.Is(o.Err, ErrStopped) {
		t.Errorf("proposal: %+v", o)
	}
	if err := <-b.Done(); !errors.Is(err, ErrStopped) {
		t.Errorf("barrier: %v", err)
	}
	if _, err := l.put("k", "v"); !errors.Is(err, ErrStopped) {
		t.Errorf("a proposal after the stop: %v", err)
	}
	l.replica.Change(raft.Change{}, done)
	l.replica.Pump()
	if o := <-done; o.Err == nil {
		t.Errorf("an empty change: %+v", o)
	}
}

// The process died between the store's switch to a snapshot and the log's restart there, before even the snapshot's
// term was durable: the log follows the store.
func TestStoreAheadOfLog(t *testing.T) {
	w := group(t, 5, 3, Tuning{})
	l := w.leader()
	for i := range 30 {
		p, err := l.put(fmt.Sprint("k", i), "v")
		l.must(err)
		w.outcome(p)
	}
	w.equal()
	empty := w.add(9)
	view := l.store.View()
	image, err := empty.store.BeginImport()
	empty.must(err)
	empty.must(view.Export(image.Add))
	_, err = image.Finish()
	empty.must(err)
	empty.must(view.Close())
	empty.must(empty.store.Switch(image))
	at := empty.store.Applied()
	empty.crash()
	empty.start()
	s := empty.replica.Status()
	if s.First != raft.Index(at.Index)+1 || s.Last != raft.Index(at.Index) || uint64(s.Term) < at.Term || s.Vote != 0 {
		t.Fatalf("log from %d to %d of term %d after a store at %d@%d", s.First, s.Last, s.Term, at.Index, at.Term)
	}
	w.change(raft.Change{AddLearners: []raft.Member{{ID: 9, Name: "m9"}}})
	p, err := l.put("more", "v")
	l.must(err)
	w.outcome(p)
	w.equal()
}

// A log that begins behind the end of a store that holds something is damage: it is refused, not papered over.
func TestStoreBehindLog(t *testing.T) {
	disk := vfs.NewMem()
	log, _, err := wal.Open(disk, "log", wal.Options{Create: true, SegmentBytes: 16 << 10})
	if err != nil {
		t.Fatal(err)
	}
	base := raft.Base{Position: raft.Position{Index: 10, Term: 2}, Config: 1, Membership: raft.Membership{Members: []raft.Member{{ID: 1, Seat: raft.SeatVoter}}}}
	if err := log.Append([]raft.Batch{{Seq: 1, Base: &base, Hard: &raft.HardState{Term: 2}}}); err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, 6, Tuning{})
	h := w.add(1)
	h.must(h.replica.Form(raft.Member{ID: 1, Name: "m1"}))
	w.until("a founder that has applied something", func() bool { return h.store.Applied().Index > 0 })
	_, err = New(Config{
		Core: raft.Config{ID: 1, Boot: 2, Rand: rand.New(rand.NewPCG(1, 1))}, Log: log, Store: h.store, Env: h,
		Restored: raft.Restored{Base: base, Hard: raft.HardState{Term: 2}},
	})
	if !errors.Is(err, kv.ErrCorrupt) {
		t.Fatalf("accepted: %v", err)
	}
}

// seeds is how many worlds TestChaos turns; more in the background of a machine with time.
func seeds() *int { return flag.CommandLine.Int("replica.seeds", 40, "seeds of TestChaos") }

var chaosSeeds = seeds()

// write is one client's operation and what it was told.
type write struct {
	key, value string
	p          *Proposal
	outcome    *Outcome
}

// Under loss, duplication, reordering, partitions and loss of power: what was acknowledged is there at the end, each
// command was applied at most once, and all members are equal. Logs are short, so that snapshots happen.
func TestChaos(t *testing.T) {
	snapshots := 0
	var harm harm
	for seed := range uint64(*chaosSeeds) {
		snapshots += chaos(t, seed, &harm)
	}
	if snapshots == 0 && *chaosSeeds >= 40 {
		t.Error("no seed ever installed a snapshot: the worlds are too kind")
	}
	t.Logf("%+v", harm)
	if *chaosSeeds >= 40 && (harm.repaired < 40 || harm.rebuilt < 10) {
		t.Errorf("%+v: the worlds are too kind", harm)
	}
}

func chaos(t *testing.T, seed uint64, harm *harm) (snapshots int) {
	w := group(t, seed, 3, Tuning{KeepEntries: 8})
	defer func() { harm.add(w.harm) }()
	var writes []*write
	for i := range 1500 {
		w.turn(10)
		w.disturb()
		if i%4 == 0 {
			if h := w.hosts[w.ids[w.rng.IntN(3)]]; h.up() {
				x := &write{key: fmt.Sprint("k", len(writes)), value: fmt.Sprint("v", len(writes))}
				if p, err := h.put(x.key, x.value); err == nil {
					x.p = p
					writes = append(writes, x)
				}
			}
		}
		for _, x := range writes {
			x.look()
		}
	}
	clear(w.apart)
	for _, id := range w.ids {
		if h := w.hosts[id]; !h.up() {
			h.start()
		}
	}
	w.equal()
	acked := 0
	for _, x := range writes {
		x.look()
		for _, id := range w.ids {
			value, version := w.hosts[id].value(x.key)
			if x.outcome != nil && x.outcome.Err == nil && value != x.value {
				t.Fatalf("seed %d: member %d has %q at %s, %q was acknowledged", seed, id, value, x.key, x.value)
			}
			if version > 1 {
				t.Fatalf("seed %d: the one write to %s was applied %d times", seed, x.key, version)
			}
			if version > 0 && x.outcome != nil && (errors.Is(x.outcome.Err, ErrNoLeader) || errors.Is(x.outcome.Err, ErrBusy)) {
				t.Fatalf("seed %d: %s was refused (%v) and applied all the same", seed, x.key, x.outcome.Err)
			}
		}
		if x.outcome != nil && x.outcome.Err == nil {
			acked++
		}
	}
	if acked == 0 {
		t.Fatalf("seed %d: not one of %d writes was acknowledged", seed, len(writes))
	}
	for _, id := range w.ids {
		snapshots += w.hosts[id].installed
		w.harm.repaired += int(w.hosts[id].replica.Brief().Repaired)
	}
	return snapshots
}

func (x *write) look() {
	select {
	case o := <-x.p.Done():
		x.outcome = &o
	default:
	}
}

// disturb takes members away and brings them back, never all of them for long.
func (w *world) disturb() {
	h := w.hosts[w.ids[w.rng.IntN(len(w.ids))]]
	switch n := w.rng.IntN(1000); {
	case n < 8 && h.up():
		h.crash()
		w.damage(h)
	case n < 60 && !h.up():
		h.start()
	case n < 70:
		w.apart[h.id] = true
	case n < 110:
		delete(w.apart, h.id)
	}
}

// TestWatchedIsNews: the leader hears at once of somebody who begins to look at a follower's state, once, and of
// nothing that can wait.
func TestWatchedIsNews(t *testing.T) {
	w := group(t, 3, 3, Tuning{})
	l := w.leader()
	i := slices.IndexFunc(w.ids, func(id raft.MemberID) bool { return id != l.id })
	f := w.hosts[w.ids[i]]
	w.until("the follower knows its leader", func() bool { return f.replica.Brief().Leader == l.id })
	said := func(on bool) int {
		before := len(w.bag)
		f.replica.Watched(on)
		f.replica.Pump()
		return len(w.bag) - before
	}
	for i, step := range []struct {
		on   bool
		said int
	}{{true, 0}, {false, 0}, {false, 0}, {true, 1}, {true, 0}, {false, 0}, {true, 1}} {
		if n := said(step.on); n != step.said {
			t.Errorf("step %d, watched %v: %d messages, want %d", i, step.on, n, step.said)
		}
	}
}
