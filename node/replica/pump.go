package replica

import (
	"errors"

	"raftsman.dev/node/raft"
)

// ErrNotEmpty: a member that has a log cannot found a cluster.
var ErrNotEmpty = errors.New("not an empty member")

// ErrSnapshotStale: the received snapshot was not wanted any more.
var ErrSnapshotStale = errors.New("snapshot is stale")

// ErrNotDurable: the store has not made durable yet what is to be cut off the log.
var ErrNotDurable = errors.New("store not durable that far")

// Pump starts what the core wants done, in this order, until it is idle. Nothing here waits.
func (r *Replica) Pump() {
	for {
		if ref, ok := r.reads.begin(r.now); ok {
			r.step(raft.Read{Ref: ref})
		}
		out := r.core.Take()
		r.send(out.Early)
		r.install(out.Install)
		r.write(out.Persist, out.Late)
		r.apply(out.Commit)
		r.grant(out.Reads)
		r.wakeApplier()
		r.answer(out.Accepted, out.Refused)
		r.serve(out.Fetches, out.Snapshots)
		r.report(out)
		if !r.again(out) {
			return
		}
	}
}

func (r *Replica) send(msgs []raft.Message) {
	if len(msgs) > 0 {
		r.env.Send(msgs)
	}
}

// install queues the switch to a received snapshot; the log follows once the store has switched.
func (r *Replica) install(in *raft.Install) {
	if in == nil {
		r.discardStale()
		return
	}
	r.switching, r.keepLog = true, in.KeepLog
	r.applier.queue(applyWork{install: r.incoming.image})
	r.env.ApplierReady()
}

// discardStale drops a received snapshot that the core did not ask to install at once.
func (r *Replica) discardStale() {
	if r.incoming != nil && !r.switching {
		r.incoming.image.Discard()
		r.incoming.done <- ErrSnapshotStale
		r.incoming = nil
	}
}

// installed lets the log follow the store.
func (r *Replica) installed() {
	r.switching = false
	base := r.incoming.base
	r.incoming.done <- nil
	r.incoming = nil
	for _, h := range r.held {
		r.queue(h.batch, h.late)
	}
	r.held = nil
	if r.keepLog {
		r.cutAt(base)
	}
}

func (r *Replica) write(b raft.Batch, late []raft.Message) {
	if b.Empty() && len(late) == 0 {
		return
	}
	if r.switching {
		r.held = append(r.held, heldBatch{b, late})
		return
	}
	r.queue(b, late)
}

func (r *Replica) queue(b raft.Batch, late []raft.Message) {
	if !b.Empty() {
		r.given = b.Seq
	}
	if len(b.Fills) > 0 {
		r.filled = b.Seq
	}
	r.writer.queue(b, late)
	r.env.WriterReady()
}

func (r *Replica) grant(grants []raft.ReadGrant) {
	for _, g := range grants {
		r.reads.grant(g, r.applied)
	}
}

// The refs of proposals are their sequences; reads and changes have ranges of their own above them, so that
// an answer tells what it answers.
const (
	firstReadRef   = 1 << 62
	firstChangeRef = 1 << 63
)

// answer matches the core's answers to what asked.
func (r *Replica) answer(accepted []raft.Accepted, refused []raft.Refused) {
	for _, a := range accepted {
		r.decide(a.Ref, ChangeOutcome{At: a.At})
	}
	for _, f := range refused {
		switch {
		case f.Ref >= firstChangeRef:
			r.decide(f.Ref, ChangeOutcome{Err: &RefusedError{Reason: f.Reason}})
		case f.Ref >= firstReadRef:
			r.reads.refuse(f.Ref)
		default:
			r.refuse(f)
		}
	}
}

func (r *Replica) refuse(f raft.Refused) {
	if f.Forwarded {
		r.waiters.returned(f.Ref, f.Reason, r.now)
		return
	}
	r.waiters.refused(f.Ref, f.Reason, r.now)
}

func (r *Replica) decide(ref uint64, o ChangeOutcome) {
	if done, ok := r.changes[ref]; ok {
		delete(r.changes, ref)
		done <- o
	}
}

func (r *Replica) serve(fetches []raft.Fetch, snapshots []raft.MemberID) {
	for _, f := range fetches {
		r.env.Fetch(f)
	}
	for _, to := range snapshots {
		r.expect(to)
		r.env.SendSnapshot(to)
	}
}

func (r *Replica) report(out raft.Output) {
	if len(out.Events) > 0 {
		r.env.Events(out.Events)
	}
	if out.Removed {
		r.env.Removed()
	}
	r.observe()
}

// observe notices a new membership, term or leader. Whatever waits is tried again with a new leader:
// what was on its way to the old one may be lost.
func (r *Replica) observe() {
	s := r.core.Brief()
	if now := r.room.now.Load(); now == nil || *now != s.Space {
		r.room.now.Store(&s.Space)
	}
	if s.Config != r.config {
		r.config = s.Config
		r.env.MembershipChanged(r.core.Membership())
	}
	if s.Leader != r.leader || s.Term != r.term {
		r.leader, r.term = s.Leader, s.Term
		if s.Leader != 0 {
			r.Propose(r.waiters.due(r.now, true))
		}
	}
}

// again reports whether the core may have more to do at once.
func (r *Replica) again(out raft.Output) bool {
	return !out.Persist.Empty() || len(out.Early) > 0 || len(out.Commit) > 0 || len(out.Reads) > 0 || len(out.Refused) > 0
}
