package node

import (
	"cmp"
	"context"
	"errors"
	"math"
	"slices"
	"sync"
	"time"

	"raftsman.dev/node/etcdapi"
	"raftsman.dev/node/kv"
	"raftsman.dev/node/lease"
)

// leases is the member's part in the life of leases: what its store has applied of them, and while it leads, the time
// that is left of each.
type leases struct {
	began time.Time // of the clock by which leases are counted
	wake  chan struct{}

	mu     sync.Mutex
	keeper *lease.Keeper
	reign  uint64 // the term in which the keeper counts, 0 if it does not
	// index and term are of the newest entry that the keeper has heard of.
	index, term uint64
	changed     chan struct{} // closed when something has changed, for those who wait for it
}

// What is handed out at once: so much can one entry revoke without holding up what follows it for more than some
// milliseconds, and so few of them are on their way that puts get between. At the even rate that this comes to at most
// (11,400 in a second) 100,000 leases that run out together are gone in 9 s, where the log keeps up. Those that run out
// within one grain go in order of their IDs: neighbours cost the store less. etcd looks every 500 ms.
const (
	expiryBatch    = 64
	expiryInFlight = 8 * expiryBatch
	expiryEvery    = 5600 * time.Microsecond
	expiryGrain    = 100 * time.Millisecond
)

func newLeases(election time.Duration) *leases {
	return &leases{
		began: time.Now(), wake: make(chan struct{}, 1), changed: make(chan struct{}),
		keeper: lease.New(lease.Options{Pause: election, Batch: expiryBatch, InFlight: expiryInFlight, Every: expiryEvery, Grain: min(expiryGrain, election)}),
	}
}

func (l *leases) now() time.Duration { return time.Since(l.began) }

// hear takes over what the store has applied, on the applier's goroutine. all are the leases of another state that the
// store has switched to, nil if it has not.
func (l *leases) hear(c kv.Changes, all []kv.Lease) {
	l.mu.Lock()
	defer l.mu.Unlock()
	fresh := l.term != c.Term
	l.index, l.term = c.Index, c.Term
	switch {
	case c.Switched:
		l.keeper.Reset(func(yield func(kv.Lease) bool) {
			for _, x := range all {
				if !yield(x) {
					return
				}
			}
		})
		l.reign = 0
	case len(c.Leases) > 0:
		l.keeper.Changed(c.Leases, l.now())
	case !fresh:
		return
	}
	l.stirLocked()
}

// stirLocked wakes those who wait for a change, and who is to do what follows from it.
func (l *leases) stirLocked() {
	close(l.changed)
	l.changed = make(chan struct{})
	signal(l.wake)
}

// work is what a leader of that term is to propose now, and which entry it had applied then; next is when to ask again.
// A reign begins once an entry of its term has been applied: nothing of an earlier one can follow.
func (l *leases) work(reign uint64) (w lease.Work, seen uint64, next time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	if l.reign != 0 && l.reign != reign {
		l.keeper.Abdicate()
		l.reign = 0
		l.stirLocked()
	}
	if l.reign != reign && l.term == reign {
		l.keeper.Reign(reign, now)
		l.reign = reign
		l.stirLocked()
	}
	w, at := l.keeper.Work(now)
	return w, l.index, at - now
}

func (l *leases) failed(w lease.Work) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.keeper.Failed(w)
	l.stirLocked()
}

// tendLeases has leases revoked that have run out, and written down what is left of others, while this member leads.
func (m *Member) tendLeases() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-m.ending:
			return
		case <-timer.C:
		case <-m.leases.wake:
		}
		w, seen, next := m.leases.work(m.facts.reign.Load())
		if len(w.Expired) > 0 {
			m.decideLeases(lease.Work{Term: w.Term, Expired: w.Expired}, kv.Command{Revoke: &kv.Revocation{Term: w.Term, Seen: seen, Leases: w.Expired}})
		}
		if len(w.Checkpoints) > 0 {
			c := &kv.Checkpoint{Term: w.Term, Seen: seen}
			for _, x := range w.Checkpoints {
				c.Leases = append(c.Leases, kv.Lease{ID: x.ID, Remaining: x.Remaining})
			}
			m.decideLeases(lease.Work{Term: w.Term, Checkpoints: w.Checkpoints}, kv.Command{Checkpoint: c})
		}
		timer.Reset(min(max(next, 0), m.cfg.ElectionTimeout/2))
	}
}

// decideLeases proposes what the keeper has decided, and gives it back where it is certain that nothing came of it. There
// are no more of these at once than the keeper lets fly.
func (m *Member) decideLeases(w lease.Work, c kv.Command) {
	m.wg.Go(func() {
		_, err := m.command(m.endingContext, c)
		if errors.Is(err, etcdapi.ErrNoLeader) || errors.Is(err, etcdapi.ErrBusy) || errors.Is(err, etcdapi.ErrNoSpace) {
			m.leases.failed(w)
		}
	})
}

// Grant implements etcdapi.Backend.
func (m *Member) Grant(ctx context.Context, l kv.Lease) (kv.Result, error) {
	return m.command(ctx, kv.Command{Grant: &l})
}

// Revoke implements etcdapi.Backend.
func (m *Member) Revoke(ctx context.Context, id int64) (kv.Result, error) {
	return m.command(ctx, kv.Command{Revoke: &kv.Revocation{Leases: []int64{id}}})
}

// MinTTL implements etcdapi.Backend: one and a half election timeouts, as in etcd.
func (m *Member) MinTTL() int64 {
	return int64(math.Ceil(1.5 * m.cfg.ElectionTimeout.Seconds()))
}

// Renew implements etcdapi.Backend. The read round confirms that this member led after the request had come.
func (m *Member) Renew(ctx context.Context, id int64) (int64, error) {
	var ttl int64
	err := m.asLeader(ctx, func(k *lease.Keeper, now time.Duration) (err error) {
		ttl, err = k.Renew(id, now)
		return err
	})
	return ttl, err
}

// TimeLeft implements etcdapi.Backend.
func (m *Member) TimeLeft(ctx context.Context, id int64) (granted, left int64, err error) {
	err = m.asLeader(ctx, func(k *lease.Keeper, now time.Duration) (err error) {
		granted, left, err = k.Left(id, now)
		return err
	})
	return granted, left, err
}

// SoonestFirst implements etcdapi.Backend.
func (m *Member) SoonestFirst(ids []int64) {
	left := make(map[int64]int64, len(ids))
	_, err := m.leases.ask(m.facts.reign.Load(), func(k *lease.Keeper, now time.Duration) error {
		for _, id := range ids {
			if _, seconds, err := k.Left(id, now); err == nil { // one that is gone meanwhile counts as the soonest
				left[id] = seconds
			}
		}
		return nil
	})
	if err == nil {
		slices.SortStableFunc(ids, func(a, b int64) int { return cmp.Compare(left[a], left[b]) })
	}
}

// asLeader asks the keeper once a read round has confirmed this member's leadership, and again while its answer is
// that it is to wait.
func (m *Member) asLeader(ctx context.Context, ask func(*lease.Keeper, time.Duration) error) error {
	if !m.facts.leads() {
		return etcdapi.ErrNotLeader
	}
	ctx, cancel := context.WithTimeoutCause(ctx, requestTimeout, etcdapi.ErrTimeout)
	defer cancel()
	if err := m.Barrier(ctx); err != nil {
		return err
	}
	for {
		changed, err := m.leases.ask(m.facts.reign.Load(), ask)
		switch {
		case errors.Is(err, lease.ErrNotFound):
			return kv.ErrLeaseNotFound
		case errors.Is(err, lease.ErrNotLeader) && !m.facts.leads():
			return etcdapi.ErrNotLeader
		case !errors.Is(err, lease.ErrExpiring) && !errors.Is(err, lease.ErrPending) && !errors.Is(err, lease.ErrNotLeader):
			return err
		}
		signal(m.leases.wake)
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-m.ending:
			return etcdapi.ErrStopped
		}
	}
}

// ask asks the keeper, if it counts in that term; changed is closed when another answer is to be had.
func (l *leases) ask(reign uint64, ask func(*lease.Keeper, time.Duration) error) (changed <-chan struct{}, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.reign == 0 || l.reign != reign {
		return l.changed, lease.ErrNotLeader
	}
	return l.changed, ask(l.keeper, l.now())
}
