package replica

import (
	"raftsman.dev/node/kv"
	"raftsman.dev/node/raft"
)

// A follower has what is committed in its log already; that its store has it, too, matters to those who look at the store.
// Where nobody does, committed entries gather and are applied together, which costs far less than one at a time.
// Staleness is bounded as it is for the commit index (package raft, notices): by one tick.
const (
	gatherMost  = 32        // entries
	gatherBytes = 256 << 10 // of payload
)

// apply queues committed entries for the Applier.
func (r *Replica) apply(entries []raft.Entry) {
	if len(entries) > 0 {
		r.applier.queue(applyWork{entries: entries})
		r.gathered += len(entries)
		r.hurry = r.hurry || r.awaits(entries)
	}
}

// awaits reports whether clients of this member may wait for one of the entries.
func (r *Replica) awaits(entries []raft.Entry) bool {
	if r.waiters.count() == 0 {
		return false
	}
	for i := range entries {
		if entries[i].Kind == raft.EntryCommand && r.waiters.own(kv.IDOf(entries[i].Payload)) {
			return true
		}
	}
	return false
}

// wakeApplier ends the gathering where it may not go on.
func (r *Replica) wakeApplier() {
	if r.gathered > 0 && !r.mayGather() {
		r.applyNow()
	}
}

// applyNow wakes the Applier for all that has gathered, if anything has.
func (r *Replica) applyNow() {
	if r.gathered > 0 {
		r.gathered, r.hurry = 0, false
		r.env.ApplierReady()
	}
}

// mayGather reports whether nobody waits for the store: neither clients nor readers of this member, nor a leader's duties.
func (r *Replica) mayGather() bool {
	return r.unwatched && !r.hurry && len(r.reads.granted) == 0 && r.core.Brief().Role == raft.RoleFollower &&
		r.gathered < gatherMost && r.applier.backlog() < gatherBytes
}

// Curious reports whether anything follows at once from what the Writer and the Applier tell next. Where nothing does the
// owner need not be woken for it: it is told with whatever comes next, a tick at the latest.
func (r *Replica) Curious() (written, applied bool) {
	b := r.core.Brief()
	written = b.Role != raft.RoleFollower || b.Commit > b.Durable || b.Rebuilding || b.Lost > 0 || r.kept != nil || r.switching
	applied = len(r.reads.granted) > 0 || r.switching
	return written, applied
}
