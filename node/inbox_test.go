package node

import (
	"testing"

	"raftsman.dev/node/raft"
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
