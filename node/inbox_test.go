package node

import (
	"testing"

	"raftsman.dev/node/raft"
	"raftsman.dev/node/replica"
)

func TestSiftTakesForwardsOutInOrder(t *testing.T) {
	forward := func(refs ...uint64) raft.Message {
		f := raft.Forward{}
		for _, ref := range refs {
			f.Proposals = append(f.Proposals, raft.Proposal{Ref: ref})
		}
		return raft.Message{From: 2, Body: f}
	}
	var g gate
	in := []raft.Message{{From: 1, Body: raft.Heartbeat{}}, forward(7, 8), {From: 1, Body: raft.AppendReply{Match: 3}}, forward(9)}
	rest := g.sift(in)
	if len(rest) != 2 || rest[0].Body != (raft.Heartbeat{}) || rest[1].Body != (raft.AppendReply{Match: 3}) {
		t.Errorf("what is no proposal came out as %+v", rest)
	}
	var refs []uint64
	for _, m := range g.forwards {
		for _, p := range m.Body.(raft.Forward).Proposals {
			refs = append(refs, p.Ref)
		}
	}
	if len(refs) != 3 || refs[0] != 7 || refs[1] != 8 || refs[2] != 9 || g.count != 3 {
		t.Errorf("kept back %v, counted %d; want 7 8 9", refs, g.count)
	}
}

// TestTheOwnerIsWokenForWhatItWantsToKnow: what the disk and the store say wakes an owner that is curious, and one that
// becomes it; for one that is not, it waits for whatever comes next.
func TestTheOwnerIsWokenForWhatItWantsToKnow(t *testing.T) {
	wrote := func(i *inbox) { i.written(replica.Written{Seq: 1}) }
	applied := func(i *inbox) { i.applied(replica.AppliedTurn{Index: 1}) }
	for _, c := range []struct {
		name             string
		written, applied bool // what it wants to know
		tell             func(*inbox)
		wakes, later     bool // at once, or once it wants to know both
	}{
		{name: "written, wanted", written: true, tell: wrote, wakes: true},
		{name: "applied, wanted", applied: true, tell: applied, wakes: true},
		{name: "written, not wanted", applied: true, tell: wrote, later: true},
		{name: "applied, not wanted", written: true, tell: applied, later: true},
		{name: "nothing", tell: func(*inbox) {}},
	} {
		i := newInbox()
		woken := func() bool {
			select {
			case <-i.wake:
				return true
			default:
				return false
			}
		}
		i.settle(c.written, c.applied)
		if woken() {
			t.Errorf("%s: woken before anything was told", c.name)
		}
		c.tell(i)
		if got := woken(); got != c.wakes {
			t.Errorf("%s: woken: %v, want %v", c.name, got, c.wakes)
		}
		if c.wakes {
			i.take(arrivals{})
		}
		i.settle(true, true)
		if got := woken(); got != c.later {
			t.Errorf("%s: woken once it wants to know: %v, want %v", c.name, got, c.later)
		}
		if a := i.take(arrivals{}); len(a.written)+len(a.applied) != map[bool]int{true: 1}[c.later] {
			t.Errorf("%s: left %+v", c.name, a)
		}
	}
}
