package replica

import (
	"fmt"
	"sync"

	"raftsman.dev/node/kv"
	"raftsman.dev/node/raft"
)

// Proposal is one command of this member's clients from its registration to its outcome.
type Proposal struct {
	seq     uint64
	payload []byte
	grows   bool
	done    chan Outcome
	// Owned by the waiters' lock:
	open     int    // tries whose fate is not known
	deadline uint64 // tick at which the client is told
	retry    uint64 // tick from which it is proposed again
}

// Done delivers the outcome, once.
func (p *Proposal) Done() <-chan Outcome { return p.done }

// waiters holds the proposals that have no outcome yet. It is the one place shared between the owner,
// the applier and the goroutines of clients; no IO happens under its lock.
type waiters struct {
	mu struct {
		sync.Mutex
		pending map[uint64]*Proposal
		next    uint64 // the next sequence
		low     uint64 // the lowest sequence without an outcome; next when there is none
		bytes   int
		stopped bool
	}
	origin   raft.MemberID
	boot     raft.Boot
	maxCount int
	maxBytes int
}

func newWaiters(origin raft.MemberID, boot raft.Boot, maxCount, maxBytes int) *waiters {
	w := &waiters{origin: origin, boot: boot, maxCount: maxCount, maxBytes: maxBytes}
	w.mu.pending = map[uint64]*Proposal{}
	w.mu.next, w.mu.low = 1, 1
	return w
}

// register gives the command its ID and encodes it. A sequence is never more than maxCount past the
// floor, so the replicated window of command IDs stays bounded.
func (w *waiters) register(cmd kv.Command, deadline uint64) (*Proposal, error) {
	if err := cmd.Check(); err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.mu.stopped:
		return nil, ErrStopped
	case w.mu.next-w.mu.low >= uint64(w.maxCount) || w.mu.bytes >= w.maxBytes:
		return nil, fmt.Errorf("%d proposals of %d bytes are waiting on this member: %w", len(w.mu.pending), w.mu.bytes, ErrBusy)
	}
	p := &Proposal{seq: w.mu.next, grows: cmd.Grows(), done: make(chan Outcome, 1), deadline: deadline}
	cmd.ID = kv.CommandID{Origin: uint64(w.origin), Boot: uint64(w.boot), Seq: p.seq}
	cmd.Floor = w.mu.low
	p.payload = cmd.AppendTo(nil)
	w.mu.next++
	w.mu.pending[p.seq] = p
	w.mu.bytes += len(p.payload)
	return p, nil
}

// own reports whether it is the ID of a command of this boot's clients. Safe for concurrent use.
func (w *waiters) own(id kv.CommandID) bool {
	return id.Origin == uint64(w.origin) && id.Boot == uint64(w.boot)
}

// applied delivers results of this boot's commands to their proposals.
func (w *waiters) applied(id kv.CommandID, result kv.Result) {
	if !w.own(id) {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if p := w.mu.pending[id.Seq]; p != nil && !result.Duplicate {
		w.finishLocked(p, Outcome{Result: result})
	}
}

func (w *waiters) finishLocked(p *Proposal, o Outcome) {
	delete(w.mu.pending, p.seq)
	w.mu.bytes -= len(p.payload)
	for w.mu.low < w.mu.next && w.mu.pending[w.mu.low] == nil {
		w.mu.low++
	}
	p.done <- o
}

// tried notes that proposals are on their way once more, and returns those: not what has an outcome, since somebody
// may have been told that nothing was done.
func (w *waiters) tried(ps []*Proposal, retryAt uint64) []*Proposal {
	w.mu.Lock()
	defer w.mu.Unlock()
	waiting := make([]*Proposal, 0, len(ps))
	for _, p := range ps {
		if w.mu.pending[p.seq] == nil {
			continue
		}
		p.open++
		p.retry = retryAt
		waiting = append(waiting, p)
	}
	return waiting
}

// returned lets a proposal be tried again with the next tick. Another member says that it did not take it: that
// holds for one copy, and another may have been taken, so what becomes of it stays unknown. Only for want of space
// the client is told at once, if no other copy was sent: trying again is its own choice.
func (w *waiters) returned(seq uint64, reason raft.Refusal, now uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	p := w.mu.pending[seq]
	switch {
	case p == nil:
	case reason == raft.RefusedNoSpace && p.open == 1:
		w.finishLocked(p, Outcome{Err: noSpaceThere()})
	default:
		p.retry = now + 1
	}
}

// refused takes one try back: this member's own core did not take it, so it never will be.
func (w *waiters) refused(seq uint64, reason raft.Refusal, now uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	p := w.mu.pending[seq]
	if p == nil || p.open == 0 {
		return
	}
	p.open--
	if err := final(reason); err != nil && p.open == 0 {
		w.finishLocked(p, Outcome{Err: err})
		return
	}
	p.retry = now + 1
}

// final is what a client is told at once of a refusal, nil where trying again by itself may help.
func final(reason raft.Refusal) error {
	switch reason {
	case raft.RefusedBusy:
		return ErrBusy
	case raft.RefusedNoSpace:
		return ErrNoSpace
	}
	return nil
}

// due gives up on proposals past their deadline and returns, in order, those that are to be tried again
// now; all pending ones when the leader has changed.
func (w *waiters) due(now uint64, all bool) []*Proposal {
	w.mu.Lock()
	defer w.mu.Unlock()
	var again []*Proposal
	for seq := w.mu.low; seq < w.mu.next && len(w.mu.pending) > 0; seq++ {
		p := w.mu.pending[seq]
		switch {
		case p == nil:
		case now >= p.deadline && p.open == 0:
			w.finishLocked(p, Outcome{Err: ErrNoLeader})
		case now >= p.deadline:
			w.finishLocked(p, Outcome{Err: ErrUnknown})
		case p.retry != 0 && (all || now >= p.retry):
			again = append(again, p)
		}
	}
	return again
}

// count is the number of proposals without an outcome.
func (w *waiters) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.mu.pending)
}

// stop answers everything that still waits.
func (w *waiters) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.mu.stopped = true
	for seq := w.mu.low; seq < w.mu.next; seq++ {
		if p := w.mu.pending[seq]; p != nil {
			w.finishLocked(p, Outcome{Err: ErrStopped})
		}
	}
}
