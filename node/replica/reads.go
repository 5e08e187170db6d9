package replica

import (
	"maps"
	"slices"

	"raftsman.dev/node/raft"
)

// Barrier is one request for a linearizable read: Done delivers nil once this member's store holds
// everything that was committed when the barrier was asked for.
type Barrier struct {
	done     chan error
	deadline uint64
	index    raft.Index // granted, waiting for the store
}

// NewBarrier makes a barrier for Replica.Barrier.
func NewBarrier() *Barrier { return &Barrier{done: make(chan error, 1)} }

// Done delivers the outcome, once: nil, ErrNoLeader or ErrStopped.
func (b *Barrier) Done() <-chan error { return b.done }

// maxRounds bounds the read rounds in flight; what arrives meanwhile shares the next one.
const maxRounds = 4

// readRounds batches barriers: all that have come since the last round was started share the next one.
// A round's ref is never used twice in one boot.
type readRounds struct {
	fresh   []*Barrier // no round yet
	rounds  map[uint64][]*Barrier
	started map[uint64]uint64 // tick at which the round began
	refused []*Barrier        // tried again with the next tick
	granted []*Barrier        // index known, store not there yet
	next    uint64
}

func newReadRounds() readRounds {
	return readRounds{rounds: map[uint64][]*Barrier{}, started: map[uint64]uint64{}, next: firstReadRef}
}

// begin starts a round for everything fresh, if there is room; ok is false when there is nothing to ask.
func (r *readRounds) begin(now uint64) (ref uint64, ok bool) {
	if len(r.fresh) == 0 || len(r.rounds) >= maxRounds {
		return 0, false
	}
	ref = r.next
	r.next++
	r.rounds[ref], r.started[ref] = r.fresh, now
	r.fresh = nil
	return ref, true
}

// grant moves a round's barriers on to wait for the store, or answers them.
func (r *readRounds) grant(g raft.ReadGrant, applied raft.Index) {
	for _, b := range r.rounds[g.Ref] {
		b.index = g.Index
		r.granted = append(r.granted, b)
	}
	r.drop(g.Ref)
	r.serve(applied)
}

// refuse lets a refused round's barriers wait for the next tick: nobody would take them sooner.
func (r *readRounds) refuse(ref uint64) {
	r.refused = append(r.refused, r.rounds[ref]...)
	r.drop(ref)
}

func (r *readRounds) drop(ref uint64) {
	delete(r.rounds, ref)
	delete(r.started, ref)
}

// serve answers every barrier whose index the store holds.
func (r *readRounds) serve(applied raft.Index) {
	keep := r.granted[:0]
	for _, b := range r.granted {
		if b.index <= applied {
			b.done <- nil
		} else {
			keep = append(keep, b)
		}
	}
	clear(r.granted[len(keep):])
	r.granted = keep
}

// tick asks again for rounds without an answer and gives up on barriers past their deadline.
func (r *readRounds) tick(now, retryTicks uint64) {
	for _, ref := range slices.Sorted(maps.Keys(r.started)) {
		if now >= r.started[ref]+retryTicks {
			r.refuse(ref)
		}
	}
	r.fresh = append(r.fresh, r.refused...)
	r.refused = nil
	r.fresh = expire(r.fresh, now)
	r.granted = expire(r.granted, now)
}

func expire(bs []*Barrier, now uint64) []*Barrier {
	keep := bs[:0]
	for _, b := range bs {
		if now >= b.deadline {
			b.done <- ErrNoLeader
		} else {
			keep = append(keep, b)
		}
	}
	clear(bs[len(keep):])
	return keep
}

func (r *readRounds) stop() {
	for _, bs := range r.rounds {
		r.fresh = append(r.fresh, bs...)
	}
	for _, bs := range [][]*Barrier{r.fresh, r.refused, r.granted} {
		for _, b := range bs {
			b.done <- ErrStopped
		}
	}
	*r = newReadRounds()
}
