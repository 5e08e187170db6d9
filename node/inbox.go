package node

import (
	"sync"

	"raftsman.dev/node/raft"
	"raftsman.dev/node/replica"
)

// inbox is where everything for the owner of the replica meets. Its size is bounded by what fills it: the
// waiters' bound on proposals, the peers' on messages in flight.
type inbox struct {
	wake chan struct{}
	mu   struct {
		sync.Mutex
		arrivals
		curious struct{ written, applied bool } // the owner is woken for these
	}
}

// arrivals is what has come since the owner's last turn.
type arrivals struct {
	written   []replica.Written
	applied   []replica.AppliedTurn
	bodies    []raft.Body
	messages  []raft.Message
	proposals []*replica.Proposal
	barriers  []*replica.Barrier
	calls     []func(*replica.Replica)
}

func newInbox() *inbox { return &inbox{wake: make(chan struct{}, 1)} }

// put adds to the arrivals and wakes the owner. add runs under the lock.
func (i *inbox) put(add func(*arrivals)) {
	i.mu.Lock()
	add(&i.mu.arrivals)
	i.mu.Unlock()
	signal(i.wake)
}

// call lets the owner run f with the replica, after everything else of that turn.
func (i *inbox) call(f func(*replica.Replica)) {
	i.put(func(a *arrivals) { a.calls = append(a.calls, f) })
}

// propose and barrier are put without a closure: they run once for every request.
func (i *inbox) propose(p *replica.Proposal) {
	i.mu.Lock()
	i.mu.proposals = append(i.mu.proposals, p)
	i.mu.Unlock()
	signal(i.wake)
}

func (i *inbox) barrier(b *replica.Barrier) {
	i.mu.Lock()
	i.mu.barriers = append(i.mu.barriers, b)
	i.mu.Unlock()
	signal(i.wake)
}

// written and applied tell the owner, and wake it if it wants to know at once.
func (i *inbox) written(w replica.Written) {
	i.tell(func() { i.mu.arrivals.written = append(i.mu.arrivals.written, w) })
}

func (i *inbox) applied(t replica.AppliedTurn) {
	i.tell(func() { i.mu.arrivals.applied = append(i.mu.arrivals.applied, t) })
}

// settle is what the owner wants to be woken for from now on; what has come before that counts as well.
func (i *inbox) settle(written, applied bool) {
	i.tell(func() { i.mu.curious.written, i.mu.curious.applied = written, applied })
}

// tell makes a change under the lock, and wakes the owner if something is there then that it wants to know.
func (i *inbox) tell(change func()) {
	i.mu.Lock()
	change()
	c, a := i.mu.curious, &i.mu.arrivals
	wake := c.written && len(a.written) > 0 || c.applied && len(a.applied) > 0
	i.mu.Unlock()
	if wake {
		signal(i.wake)
	}
}

// take exchanges the arrivals for an empty set, whose memory is that of the turn before.
func (i *inbox) take(spare arrivals) arrivals {
	spare.reset()
	i.mu.Lock()
	defer i.mu.Unlock()
	a := i.mu.arrivals
	i.mu.arrivals = spare
	return a
}

func (a *arrivals) reset() {
	*a = arrivals{
		written: empty(a.written), applied: empty(a.applied), bodies: empty(a.bodies), messages: empty(a.messages),
		proposals: empty(a.proposals), barriers: empty(a.barriers), calls: empty(a.calls),
	}
}

// empty keeps a slice's memory, but for a burst's, and lets go of what it held.
func empty[T any](s []T) []T {
	if cap(s) > 1<<12 {
		return nil
	}
	clear(s)
	return s[:0]
}

// deliver hands everything to the replica, but for what the gate keeps back: what its own disk and store say
// first.
func (a *arrivals) deliver(r *replica.Replica, g *gate, ticked bool) {
	for _, w := range a.written {
		r.Wrote(w)
	}
	for _, t := range a.applied {
		r.AppliedTo(t)
	}
	for _, b := range a.bodies {
		r.Step(b)
	}
	g.pass(r, a, ticked)
	r.Barrier(a.barriers)
	for _, call := range a.calls {
		call(r)
	}
}

// gate paces a leader by its own disk and by its quorum. While a batch is on its way to the disk, the next could not
// begin anyway: new proposals wait for it and then share one append to each peer, one sync and one turn of every member.
// And a batch that follows another before that is committed is to be as large at least: where many ask at once, few
// batches are on their way, and where a few do, nobody waits. Nothing waits for a timer: with nothing on its way, a
// proposal goes on at once. A disk or a quorum that hangs does not hold them longer than a tick, and they are let through
// when they have become many.
type gate struct {
	proposals []*replica.Proposal
	forwards  []raft.Message
	count     int // proposals, those in forwards included
}

// gateMost is how many proposals the gate keeps back.
const gateMost = 512

// pass hands messages and proposals to the replica, or keeps the proposals among them back.
func (g *gate) pass(r *replica.Replica, a *arrivals, ticked bool) {
	r.Receive(g.sift(a.messages))
	g.proposals = append(g.proposals, a.proposals...)
	g.count += len(a.proposals)
	if g.count == 0 || !ticked && g.count < gateMost && r.Busy(g.count) {
		return
	}
	r.Receive(g.forwards)
	r.Propose(g.proposals)
	g.forwards, g.proposals, g.count = empty(g.forwards), empty(g.proposals), 0
}

// sift takes the proposals of other members out of their messages, in place.
func (g *gate) sift(msgs []raft.Message) []raft.Message {
	rest := msgs[:0]
	for i := range msgs {
		if f, ok := msgs[i].Body.(raft.Forward); ok {
			g.forwards = append(g.forwards, msgs[i])
			g.count += len(f.Proposals)
		} else {
			rest = append(rest, msgs[i])
		}
	}
	clear(msgs[len(rest):])
	return rest
}
