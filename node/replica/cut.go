package replica

import (
	"errors"
	"fmt"

	"raftsman.dev/node/raft"
)

// maybeCut cuts the log once twice KeepEntries have been applied behind the last cut. It spares what reachable
// followers, and those that a snapshot is on its way to, still need, up to KeepSegments: past that a follower would
// hold up the disk, and gets a snapshot.
func (r *Replica) maybeCut() {
	keep := r.keep()
	first := r.core.Brief().First
	if r.cutting || r.switching || r.kept != nil || r.written < r.filled || r.applied < first+2*keep || r.applied < r.looked+keep/4 {
		return
	}
	r.looked = r.applied
	at := r.applied - keep
	if floor := r.needed(); floor < at && r.log.Stats().Segments <= r.tuning.KeepSegments {
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

// awaited is a peer that gets a snapshot, and how much of the log it will need to go on from there.
type awaited struct {
	from    raft.Index // the snapshot's state goes at least so far
	streams int        // on their way
	until   uint64     // the tick at which it is given up when none is
}

// expect notes that a snapshot is about to be sent. A second one may be the rest of the first, of the same old state.
func (r *Replica) expect(to raft.MemberID) {
	a := r.awaited[to]
	if a == nil {
		a = &awaited{from: r.applied}
		r.awaited[to] = a
	}
	a.streams++
}

// SnapshotSent answers Env.SendSnapshot: the peer now holds the state at that position, or did not take it.
func (r *Replica) SnapshotSent(to raft.MemberID, at raft.Position, ok bool) {
	if a := r.awaited[to]; a != nil {
		a.streams, a.until = a.streams-1, r.now+r.tuning.SnapshotTicks
		if ok {
			a.from = at.Index
		}
	}
	r.step(raft.SnapshotSent{To: to, At: at, OK: ok})
}

// needed is the highest index up to which the log may be cut for the sake of its followers. One that gets a snapshot
// needs what follows it: while it is on its way, while it may go on after a cut, and until the follower has told that
// it holds it.
func (r *Replica) needed() raft.Index {
	lowest := r.applied
	for _, p := range r.core.Status().Progress {
		a := r.awaited[p.ID]
		if a != nil && a.streams == 0 && p.Match >= a.from {
			delete(r.awaited, p.ID)
			a = nil
		}
		if a == nil && p.Active && p.Mode != raft.ModeSnapshot {
			lowest = min(lowest, p.Match)
		}
	}
	for to, a := range r.awaited {
		if a.streams == 0 && r.now >= a.until {
			delete(r.awaited, to)
			continue
		}
		lowest = min(lowest, a.from)
	}
	return lowest
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
