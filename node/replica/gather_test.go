package replica

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"raftsman.dev/node/kv"
	"raftsman.dev/node/raft"
)

// still is a group in which no time passes but where a test lets it: what happens there waits for no tick.
type still struct {
	*world
	leader, follower *host
}

func newStill(t *testing.T) still {
	w := group(t, 5, 3, Tuning{})
	s := still{world: w, leader: w.leader()}
	s.follower = w.hosts[w.ids[slices.IndexFunc(w.ids, func(id raft.MemberID) bool { return id != s.leader.id })]]
	w.until("the follower is told", func() bool { return s.follower.replica.Brief().Leader == s.leader.id && w.settled() })
	s.unwatch()
	return s
}

// unwatch lets nobody look at the follower, and the leader know of it.
func (s still) unwatch() {
	s.follower.replica.Watched(false)
	s.follower.replica.Pump()
	s.level()
}

// level lets the follower know of all that is committed, and have it.
func (s still) level() {
	s.t.Helper()
	for range 4 {
		s.leader.replica.Tick()
		s.leader.replica.Pump()
		s.rest()
	}
	s.tick()
	if c := s.leader.replica.Brief().Commit; s.follower.replica.Brief().Commit != c {
		s.t.Fatalf("seed %d: the follower has not heard that %d is committed", s.seed, c)
	}
	s.lacks("after a tick", 0)
}

// rest lets everything happen that is under way, and what a leader has kept back as well.
func (s still) rest() {
	s.t.Helper()
	for range 10_000 {
		moved := len(s.bag) > 0
		s.deliver(0)
		for _, id := range s.ids {
			h := s.hosts[id]
			moved = moved || h.writing || h.applying || h.replica.Brief().KeptBack != 0
			h.replica.Hurry()
			h.replica.Pump()
			h.step()
		}
		if !moved {
			return
		}
	}
	s.t.Fatalf("seed %d: no rest", s.seed)
}

// puts writes so many keys at a host, one after the other.
func (s still) puts(h *host, n int, value string) {
	s.t.Helper()
	for i := range n {
		p, err := h.put(fmt.Sprint("k", i), value)
		h.must(err)
		s.rest()
		select {
		case o := <-p.Done():
			h.must(o.Err)
		default:
			s.t.Fatalf("put %d of %d at member %d is not answered", i, n, h.id)
		}
	}
}

func (s still) tick() {
	s.follower.replica.Tick()
	s.follower.replica.Pump()
	s.rest()
}

// lacks demands that the follower's store lacks so many of the entries that the follower knows to be committed.
func (s still) lacks(when string, want int) {
	s.t.Helper()
	if got := int(uint64(s.follower.replica.Brief().Commit) - s.follower.store.Applied().Index); got != want {
		s.t.Fatalf("seed %d: %s: the store lacks %d committed entries, want %d", s.seed, when, got, want)
	}
}

// TestFollowersGather: where nobody looks at a follower its store takes what is committed in one go, but never later than
// with the next tick, and at once where somebody waits for it.
func TestFollowersGather(t *testing.T) {
	s := newStill(t)
	gathered := func() {
		t.Helper()
		s.level()
		s.puts(s.leader, 4, "v")
		s.lacks("after four puts elsewhere, of which the last is not known to be committed", 3)
	}
	gathered()
	s.tick()
	s.lacks("after a tick", 0)

	gathered()
	s.puts(s.leader, gatherMost-3, "v")
	s.lacks("after as many as may gather", 0)

	gathered()
	s.puts(s.follower, 1, "v")
	s.lacks("after a put by a client of the follower", 0)

	gathered()
	b := NewBarrier()
	s.follower.replica.Barrier([]*Barrier{b})
	s.follower.replica.Pump()
	s.rest()
	wantHeard(t, "a barrier", b, true, nil)
	s.lacks("after a barrier", 0)

	s.level()
	s.puts(s.leader, 1, "v")
	s.puts(s.leader, 1, strings.Repeat("v", gatherBytes))
	s.puts(s.leader, 1, "v")
	s.lacks("after a large put", 0)

	gathered()
	s.follower.replica.Watched(true)
	s.follower.replica.Pump()
	s.rest()
	s.lacks("once somebody looks", 0)
	s.puts(s.leader, 4, "v")
	s.lacks("while somebody looks", 0)
	s.equal()
}

// TestOnlyWhatIsAwaitedHere: that a client of the follower waits for one entry hurries no other, and one that does hurries
// all that has gathered.
func TestOnlyWhatIsAwaitedHere(t *testing.T) {
	s := newStill(t)
	entry := func(h *host, kind raft.EntryKind) []raft.Entry {
		p, err := h.replica.Register(kv.Command{Open: true}, h.replica.Now())
		h.must(err)
		return []raft.Entry{{Kind: kind, Payload: p.payload}}
	}
	other := entry(s.leader, raft.EntryCommand)
	r := s.follower.replica
	if r.awaits(other) {
		t.Error("another member's entry is awaited, and nobody waits")
	}
	own := entry(s.follower, raft.EntryCommand)
	for _, c := range []struct {
		name    string
		entries []raft.Entry
		want    bool
	}{
		{"another member's entry", other, false},
		{"its own", own, true},
		{"its own among others", slices.Concat(other, own, other), true},
		{"a membership", entry(s.follower, raft.EntryMembership), false},
	} {
		if got := r.awaits(c.entries); got != c.want {
			t.Errorf("%s: awaited %v, want %v", c.name, got, c.want)
		}
	}
	r.apply(other)
	if !r.mayGather() {
		t.Error("another member's entry hurries")
	}
	r.apply(own)
	r.apply(other)
	if r.mayGather() {
		t.Error("what its client waits for does not hurry")
	}
}

// TestNewLeadersGatherNothing: whoever comes to lead has its store follow at once.
func TestNewLeadersGatherNothing(t *testing.T) {
	s := newStill(t)
	s.puts(s.leader, 4, "v")
	s.lacks("before it leads", 3)
	done := make(chan ChangeOutcome, 1)
	s.leader.replica.Transfer(s.follower.id, done)
	s.leader.replica.Pump()
	s.rest()
	if b := s.follower.replica.Brief(); b.Role != raft.RoleLeader {
		t.Fatalf("seed %d: %+v", s.seed, b)
	}
	s.lacks("as the leader", 0)
}

// TestCurious: an owner wants to be woken for what its Writer has done while it leads, and for a committed entry that is
// not durable at its own member; for what its Applier has done while a reader waits.
func TestCurious(t *testing.T) {
	s := newStill(t)
	want := func(when string, h *host, written, applied bool) {
		t.Helper()
		if w, a := h.replica.Curious(); w != written || a != applied {
			t.Fatalf("seed %d: %s: curious of its writer %v and of its applier %v, want %v and %v", s.seed, when, w, a, written, applied)
		}
	}
	want("a leader", s.leader, true, false)
	want("a follower", s.follower, false, false)
	p, err := s.leader.put("k", "v")
	s.leader.must(err)
	for range 10_000 { // the follower's disk hangs
		s.deliver(0)
		for _, id := range s.ids {
			if h := s.hosts[id]; h != s.follower {
				h.step()
			}
		}
	}
	wantAnswered(t, p)
	want("a follower that has not written", s.follower, false, false)
	s.leader.replica.Tick()
	s.leader.replica.Tick()
	s.leader.replica.Pump()
	for len(s.bag) > 0 {
		s.deliver(0)
	}
	want("a follower that knows of a committed entry and has not written it", s.follower, true, false)
	s.follower.write()
	want("once it has", s.follower, false, false)

	b := NewBarrier()
	s.follower.replica.Barrier([]*Barrier{b})
	s.follower.replica.Pump()
	for len(s.bag) > 0 {
		s.deliver(0)
	}
	want("with a reader", s.follower, false, true)
	s.rest()
	wantHeard(t, "the reader", b, true, nil)
	want("with a reader that is answered", s.follower, false, false)
	s.follower.replica.switching = true
	want("while its store switches to a snapshot", s.follower, true, true)
	s.follower.replica.switching, s.follower.replica.kept = false, &keptLog{}
	want("while it keeps a log that is to be cut", s.follower, true, false)
}

func wantAnswered(t *testing.T, p *Proposal) {
	t.Helper()
	select {
	case o := <-p.Done():
		if o.Err != nil {
			t.Fatal(o.Err)
		}
	default:
		t.Fatal("not answered")
	}
}
