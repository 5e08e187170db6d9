package node

import (
	"sync/atomic"

	"raftsman.dev/node/raft"
	"raftsman.dev/node/replica"
)

// facts is what the owner tells everybody else: single values, each current, together not a consistent whole.
type facts struct {
	tick                 atomic.Uint64
	glance               atomic.Uint64 // one more than the tick of the last look at this member's state as it is, 0 before any
	abreast              atomic.Bool   // who looks finds what was committed before, as the leader has been asked
	beat                 atomic.Int64  // of the owner's last tick, in nanoseconds of the wall clock
	role                 atomic.Uint32
	term, leader         atomic.Uint64
	reign                atomic.Uint64 // the term in which this member leads, 0 while it does not
	commit, applied      atomic.Uint64
	first                atomic.Uint64 // of the log
	config               atomic.Uint64
	forwarded, snapshots atomic.Uint64
	turns                atomic.Uint64
	lost, repaired       atomic.Uint64
	rebuilding           atomic.Bool
	diskHangs            atomic.Bool
	membership           atomic.Pointer[raft.Membership]
	removed, draining    atomic.Bool
	noSpace              atomic.Bool                     // commands that let the data grow are refused
	diverged             atomic.Pointer[raft.Divergence] // this member's state differs from the majority's
	others               atomic.Int64                    // members that this leader found to differ
	agreed, suspected    atomic.Uint64                   // indexes of the newest attestations, on a leader
}

// observe is called by the owner after every turn.
func (f *facts) observe(r *replica.Replica) {
	b := r.Brief()
	reign := uint64(0)
	if b.Role == raft.RoleLeader {
		reign = uint64(b.Term)
	}
	f.reign.Store(reign)
	f.role.Store(uint32(b.Role))
	f.term.Store(uint64(b.Term))
	f.leader.Store(uint64(b.Leader))
	f.commit.Store(uint64(b.Commit))
	f.first.Store(uint64(b.First))
	f.config.Store(uint64(b.Config))
	f.applied.Store(uint64(r.Applied()))
	f.lost.Store(uint64(b.Lost))
	f.repaired.Store(b.Repaired)
	f.rebuilding.Store(b.Rebuilding)
	f.diskHangs.Store(b.DiskHangs)
	f.noSpace.Store(b.Space.Low)
	f.agreed.Store(uint64(b.Agreed))
	f.suspected.Store(uint64(b.Suspected))
	f.others.Store(int64(b.Differing))
	f.turns.Add(1)
}

func (f *facts) leads() bool { return raft.Role(f.role.Load()) == raft.RoleLeader }

// seat is this member's place in the membership in force, 0 for none.
func (f *facts) seat(id raft.MemberID) raft.Seat {
	if m := f.membership.Load(); m != nil {
		if x, ok := m.Find(id); ok {
			return x.Seat
		}
	}
	return 0
}
