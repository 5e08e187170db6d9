package replica

import (
	"errors"
	"fmt"

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

func (r *Replica) apply(entries []raft.Entry) {
	if len(entries) > 0 {
		r.applier.queue(applyWork{entries: entries})
		r.env.ApplierReady()
	}
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
		r.waiters.returned(f.Ref, r.now)
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
		r.sending++
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

// maybeCut cuts the log once twice KeepEntries have been applied behind the last cut. A leader spares what
// its reachable followers, and those that a snapshot is on its way to, still need, up to keepAtMost times
// KeepEntries: past that a follower would hold up the disk, and gets a snapshot.
func (r *Replica) maybeCut() {
	keep := raft.Index(r.tuning.KeepEntries)
	first := r.core.Brief().First
	if r.cutting || r.switching || r.kept != nil || r.written < r.filled || r.applied < first+2*keep || r.applied < r.looked+keep/4 {
		return
	}
	r.looked = r.applied
	at := r.applied - keep
	if floor := r.needed(); r.applied < first+keepAtMost*keep && floor < at {
		at = floor
	}
	if at < first {
		return
	}
	base, ok := r.core.BaseAt(at)
	if !ok {
		return
	}
	r.cutting = true
	r.env.CutLog(base)
}

const keepAtMost = 20

// needed is the highest index up to which the log may be cut for the sake of its followers.
func (r *Replica) needed() raft.Index {
	if r.sending > 0 {
		return 0 // the receiver goes on from where its snapshot ends
	}
	s := r.core.Status()
	lowest := r.applied
	for _, p := range s.Progress {
		if p.Active && p.Mode != raft.ModeSnapshot {
			lowest = min(lowest, p.Match)
		}
	}
	return lowest
}

// SnapshotSent answers Env.SendSnapshot: the peer now holds the state at that position, or did not take it.
func (r *Replica) SnapshotSent(to raft.MemberID, at raft.Position, ok bool) {
	r.sending--
	r.step(raft.SnapshotSent{To: to, At: at, OK: ok})
}

// LogCut answers Env.CutLog: the log now begins behind base, or err says why it could not be cut. ErrNotDurable
// is no failure: the cut is asked for again once some more has been applied.
func (r *Replica) LogCut(base raft.Base, err error) error {
	r.cutting = false
	defer r.cutKept()
	switch {
	case errors.Is(err, ErrNotDurable):
		return nil
	case err != nil:
		return fmt.Errorf("cut the log behind %v: %w", base.Position, err)
	}
	r.step(raft.Compacted{Base: base})
	return nil
}
