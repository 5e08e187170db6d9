package lease

import "time"

// Never is the answer of Work when there is nothing to wait for.
const Never = never

// Work is what the leader of Term has to propose. It counts only in an entry of that term.
type Work struct {
	Term uint64
	// Expired are leases that have run out and are to be revoked, the longest ago first, those of one Grain by ID.
	Expired []int64
	// Checkpoints are to be written down.
	Checkpoints []Checkpoint
}

// Checkpoint is what is left of a lease, in seconds, rounded up; 0 is its whole TTL. It differs from what the store held
// when it was handed out.
type Checkpoint struct {
	ID        int64
	Remaining int64
}

// Empty reports whether there is nothing to propose.
func (w *Work) Empty() bool { return len(w.Expired) == 0 && len(w.Checkpoints) == 0 }

// looksPerBatch bounds how many leases one Work looks at, for each that it may hand out: the places of renewed ones are
// set right on the way.
const looksPerBatch = 8

// catchUp is how many batches that went out late may follow each other at once.
const catchUp = 8

// Work hands out what is to be proposed now, at most a batch of each kind. What was handed out is not again, until
// Failed gives it back or another reign begins. Work is to be called again at next (in the caller's time) at the latest,
// which may be now; and sooner after Changed, if there was a backlog, or after a Renew that answered ErrPending. While
// leading, next is never further away than half a pause: a keeper that is not called takes itself to be paused.
func (k *Keeper) Work(now time.Duration) (w Work, next time.Duration) {
	if k.term == 0 {
		return Work{}, Never
	}
	t := k.read(now)
	w.Term = k.term
	again := k.expire(&w, t)
	if len(w.Expired) > 0 {
		k.turn = later(max(k.turn, k.clock.seen-catchUp*k.opt.Every), k.opt.Every)
	}
	again = k.checkpoint(&w, t) || again
	if again {
		return w, k.clock.seen
	}
	return w, min(k.idle(), later(k.clock.seen, k.opt.Pause/2))
}

// idle is when something will be due that is not yet.
func (k *Keeper) idle() time.Duration {
	if len(k.queue) == 0 || k.expiring >= k.opt.InFlight {
		return never
	}
	head := k.queue[0]
	at := k.clock.when(head.wake)
	if l := head.l; k.wake(l) == head.wake && l.check >= l.expiry { // else there may be a checkpoint, which has no turn
		at = max(at, k.turn, k.clock.seen)
	}
	return at
}

// expire looks at the leases whose time has come; again says that there is more to do at once.
func (k *Keeper) expire(w *Work, t time.Duration) (again bool) {
	if k.clock.stands() {
		return false // also what was overdue before the pause: its keep-alive may lie in a socket
	}
	for range looksPerBatch * k.opt.Batch {
		if len(k.queue) == 0 || k.queue[0].wake > t {
			return false
		}
		l := k.queue[0].l
		switch {
		case k.wake(l) > k.queue[0].wake: // renewed since
			k.queue.down(0, place{k.wake(l), l})
		case l.check < l.expiry:
			if !l.is(flying | queued) {
				l.state |= queued
				k.due = append(k.due, l)
			}
			l.recheck(t, k.opt.Checkpoint)
			k.queue.down(0, place{k.wake(l), l})
		case k.expiring >= k.opt.InFlight || k.clock.seen < k.turn:
			return false
		case len(w.Expired) == k.opt.Batch:
			return k.opt.Every == 0
		default:
			k.queue.remove(0)
			l.state |= expiring
			k.expiring++
			w.Expired = append(w.Expired, l.ID)
		}
	}
	return true
}

// checkpoint takes checkpoints from the two queues, those that somebody waits for first.
func (k *Keeper) checkpoint(w *Work, t time.Duration) (again bool) {
	for _, from := range []*[]*lease{&k.undo, &k.due} {
		taken := 0
		for _, l := range *from {
			if len(w.Checkpoints) == k.opt.Batch || k.flying >= k.opt.InFlight {
				break
			}
			taken++
			l.state &^= queued
			if left, ok := l.write(t); ok {
				l.state |= flying
				k.flying++
				w.Checkpoints = append(w.Checkpoints, Checkpoint{l.ID, left})
			}
		}
		clear((*from)[:taken])
		*from = (*from)[taken:]
	}
	return len(k.undo)+len(k.due) > 0 && k.flying < k.opt.InFlight
}

// write says what a checkpoint at t would write down; ok is false if it would say nothing new, or too late. What is
// queued is not in flight: of one lease there is one checkpoint at a time, for the order of two would not be ours to tell.
func (l *lease) write(t time.Duration) (left int64, ok bool) {
	switch {
	case l.is(gone | expiring):
		return 0, false
	case l.is(renewed):
		return 0, l.Remaining > 0
	}
	left = int64((l.expiry-t-1)/time.Second) + 1
	return left, l.expiry > t && left < l.stored()
}

// Failed gives back what was handed out and is certain not to be in the log: it was refused before it was appended. What
// may be in the log must not be given back: either Changed tells of it, or the reign ends. Work of another term than
// the present one is ignored.
func (k *Keeper) Failed(w Work) {
	if w.Term != k.term || k.term == 0 {
		return
	}
	for _, id := range w.Expired {
		if l := k.leases[id]; l != nil && l.is(expiring) {
			l.state &^= expiring
			k.expiring--
			k.queue.push(l, k.wake(l))
			if l.is(renewed) {
				k.askUndo(l)
			}
		}
	}
	for _, c := range w.Checkpoints {
		l := k.leases[c.ID]
		if l == nil || !l.is(flying) {
			continue
		}
		k.landed(l)
		if !l.is(queued) {
			l.state |= queued
			k.due = append(k.due, l)
		}
	}
}
