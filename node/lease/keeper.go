package lease

import (
	"errors"
	"fmt"
	"iter"
	"time"

	"raftsman.dev/node/kv"
)

// Outcomes of Renew and Left.
var (
	// ErrNotLeader: this member counts no leases; the leader does.
	ErrNotLeader = errors.New("lease: not the leader")
	// ErrNotFound: there is no such lease.
	ErrNotFound = errors.New("lease: not found")
	// ErrExpiring: the lease has run out and its expiry is on its way through the log. Try again after each Changed,
	// Failed and change of reign: the answer will be another one then.
	ErrExpiring = errors.New("lease: expiring")
	// ErrPending: the lease lives on, but this must not be confirmed before a checkpoint is undone. The next Work hands
	// out what undoes it. Try again after each Changed, Failed and change of reign.
	ErrPending = errors.New("lease: renewal waits for a checkpoint")
)

// Options are tuning: they change speed and patience and never data.
type Options struct {
	// Pause is the gap between two calls at which the process is taken to have stood still; and the stillness that
	// follows it and begins each reign. An election timeout is right: no lease is granted for less than one and a half,
	// and clients renew three times in a TTL. Default 1 s, at least 1 ms.
	Pause time.Duration
	// Checkpoint is how long a lease is counted before what is left of it is written down, if that is more
	// than Checkpoint. Default 5 min, at least 1 s.
	Checkpoint time.Duration
	// Batch bounds the expiries, and the checkpoints, that one Work hands out. Default 1000.
	Batch int
	// InFlight bounds the expiries, and the checkpoints, that are handed out and whose fate is not known: at the
	// bound Work hands out no more of them. Default 8000, at least Batch.
	InFlight int
	// Every is the time between two batches of expiries, in the caller's time: many leases that run out at once go at an
	// even rate of at most Batch in it, and leave room for what else the log carries. What did not go out when it could
	// have, for the caller or InFlight or because nothing was due, is made up for, up to 8 batches. Default 0, which is no
	// bound; at most Pause.
	Every time.Duration
	// Grain rounds up when a lease is handed out: those of one grain go in order of their IDs. Leases that were
	// granted together have neighbouring IDs, mostly, and neighbours cost less to revoke. Default 0, which is no
	// rounding; at most Pause.
	Grain time.Duration
}

// Default fills what is zero.
func (o *Options) Default() {
	fill(&o.Pause, time.Second)
	fill(&o.Checkpoint, 5*time.Minute)
	fill(&o.Batch, 1000)
	fill(&o.InFlight, 8*o.Batch)
}

func fill[T int | time.Duration](v *T, to T) {
	if *v == 0 {
		*v = to
	}
}

// Validate refuses options that cannot work.
func (o *Options) Validate() error {
	switch {
	case o.Pause < time.Millisecond:
		return fmt.Errorf("lease: a pause of %v is shorter than 1ms", o.Pause)
	case o.Checkpoint < time.Second:
		return fmt.Errorf("lease: a checkpoint interval of %v is shorter than 1s", o.Checkpoint)
	case o.Batch < 1 || o.InFlight < o.Batch:
		return fmt.Errorf("lease: a batch of %d must be positive, and %d in flight no less", o.Batch, o.InFlight)
	case o.Every < 0 || o.Every > o.Pause:
		return fmt.Errorf("lease: %v between two batches must be from 0 to the pause of %v", o.Every, o.Pause)
	case o.Grain < 0 || o.Grain > o.Pause:
		return fmt.Errorf("lease: a grain of %v must be from 0 to the pause of %v", o.Grain, o.Pause)
	}
	return nil
}

// Keeper knows the leases of the store and, while its member leads, counts them. One goroutine owns it.
type Keeper struct {
	opt    Options
	leases map[int64]*lease

	// All of this is of the reign, and zero without one.
	term     uint64 // 0: does not lead
	clock    clock
	queue    queue         // all leases but the expiring ones
	undo     []*lease      // wait for a checkpoint of 0 to be handed out
	due      []*lease      // wait for a checkpoint of what is left to be handed out
	expiring int           // expiries in flight
	flying   int           // checkpoints in flight
	turn     time.Duration // the next batch of expiries may go out, in the caller's time
}

// lease is one lease. All times are kept times. Only the first field means anything without a reign.
type lease struct {
	kv.Lease
	expiry time.Duration
	check  time.Duration // the next checkpoint is due; never if it would be pointless
	at     int32         // place in the queue, where its time is at most that of wake
	state  state
}

// state is a set of what may be said of a lease within a reign.
type state uint8

const (
	expiring state = 1 << iota // its expiry is handed out
	flying                     // a checkpoint is handed out
	queued                     // in undo or due
	renewed                    // a renewal waits for the checkpoint to be undone
	gone                       // revoked: undo and due may still hold it
)

func (l *lease) is(s state) bool { return l.state&s != 0 }

// begin counts the lease from t on, with left to go.
func (l *lease) begin(t, left, interval time.Duration) {
	l.expiry = later(t, left)
	l.recheck(t, interval)
}

// recheck sets the time of the next checkpoint when the newest count was at t.
func (l *lease) recheck(t, interval time.Duration) {
	l.check = never
	if l.expiry-t > interval {
		l.check = later(t, interval)
	}
}

// wake is when the lease is to be looked at.
func (k *Keeper) wake(l *lease) time.Duration { return k.grain(min(l.expiry, l.check)) }

// grain rounds a time up.
func (k *Keeper) grain(t time.Duration) time.Duration {
	if k.opt.Grain <= 0 || t > never-k.opt.Grain {
		return t
	}
	return (t + k.opt.Grain - 1) / k.opt.Grain * k.opt.Grain
}

// stored is what the next leader would count.
func (l *lease) stored() int64 {
	if l.Remaining > 0 {
		return l.Remaining
	}
	return l.TTL
}

// New makes a keeper without leases that does not lead. It panics if the options are not valid.
func New(opt Options) *Keeper {
	opt.Default()
	if err := opt.Validate(); err != nil {
		panic(err)
	}
	return &Keeper{opt: opt, leases: map[int64]*lease{}}
}

// Reset replaces all leases by those that the store holds: when it was opened, or has switched to a snapshot. The
// keeper does not lead after it.
func (k *Keeper) Reset(leases iter.Seq[kv.Lease]) {
	k.Abdicate()
	k.leases = map[int64]*lease{}
	for l := range leases {
		k.leases[l.ID] = &lease{Lease: l, at: absent}
	}
}

// Changed tells what the store has applied, in order, leader or not. now counts only while leading: a lease that is
// granted then lives from now on.
func (k *Keeper) Changed(changes []kv.LeaseChange, now time.Duration) {
	t := k.read(now)
	for i := range changes {
		c := &changes[i]
		l := k.leases[c.ID]
		switch {
		case l == nil && c.Revoked:
		case l == nil:
			k.granted(c.Lease, t)
		case c.Revoked:
			k.revoked(l)
		default:
			l.Lease = c.Lease
			k.landed(l)
		}
	}
}

func (k *Keeper) granted(state kv.Lease, t time.Duration) {
	l := &lease{Lease: state, at: absent}
	k.leases[l.ID] = l
	if k.term != 0 {
		l.begin(t, seconds(l.stored()), k.opt.Checkpoint)
		k.queue.push(l, k.wake(l))
	}
}

func (k *Keeper) revoked(l *lease) {
	delete(k.leases, l.ID)
	if l.is(expiring) {
		k.expiring--
	}
	if l.is(flying) {
		k.flying--
	}
	l.state = gone
	if l.at != absent {
		k.queue.remove(int(l.at))
	}
}

// landed notes that no checkpoint of the lease is in flight any more.
func (k *Keeper) landed(l *lease) {
	if l.is(flying) {
		k.flying--
		l.state &^= flying
	}
	if l.is(renewed) {
		k.askUndo(l)
	}
}

// askUndo has a renewal's checkpoint undone, if there is something to undo.
func (k *Keeper) askUndo(l *lease) {
	switch {
	case l.Remaining <= 0 && !l.is(flying):
		l.state &^= renewed
	case !l.is(flying | queued | expiring):
		l.state |= queued
		k.undo = append(k.undo, l)
	}
}

// Reign begins to count all leases from now on, each with what the store says is left of it: this member leads in term,
// which is not 0, and its store has applied the term's no-op, and Changed has told so. It takes time in
// proportion to the number of leases.
func (k *Keeper) Reign(term uint64, now time.Duration) {
	k.Abdicate()
	k.term = term
	k.clock.pause = k.opt.Pause
	k.clock.restart(now)
	t := k.clock.kept()
	k.queue = make(queue, 0, len(k.leases))
	for _, l := range k.leases { // in any order: the queue's is total
		l.begin(t, seconds(l.stored()), k.opt.Checkpoint)
		l.state = 0
		k.queue = append(k.queue, place{k.wake(l), l})
	}
	k.queue.order()
}

// Abdicate stops counting: this member leads no more. What was handed out is forgotten. It may be called at any time,
// and again.
func (k *Keeper) Abdicate() {
	if k.term == 0 {
		return
	}
	for _, l := range k.leases {
		l.at, l.state = absent, 0
	}
	*k = Keeper{opt: k.opt, leases: k.leases}
}

// read takes a reading of the clock, if there is a reign.
func (k *Keeper) read(now time.Duration) time.Duration {
	if k.term == 0 {
		return 0
	}
	return k.clock.read(now)
}
