package main

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// leasedPrefix is where the keys of the leases are.
const leasedPrefix = "leased/"

// term is when leases end that are granted over a while: a whole number of seconds after each was granted, such that
// all end within the second that begins at due.
type term struct{ begun, due time.Time }

// secondsFor is the TTL of a lease that is granted now, and how long to wait first: a grant late in its second would
// be answered in the next, and end too late.
func (t term) secondsFor(now time.Time) (ttl int64, wait time.Duration) {
	const early = 850 * time.Millisecond
	into := now.Sub(t.begun)
	if rest := into % time.Second; rest > early {
		wait = time.Second - rest
		into += wait
	}
	return int64(t.due.Sub(t.begun.Add(into.Truncate(time.Second))) / time.Second), wait
}

// grantAll grants n leases with that many workers, and puts a key with each. Last is the latest moment at which any of
// them may end, if all members' clocks run as ours does.
func (t term) grantAll(ctx context.Context, clients []*clientv3.Client, n, workers int) (last time.Time, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var next atomic.Int64
	type outcome struct {
		last time.Time
		err  error
	}
	outcomes := make(chan outcome, workers)
	for i := range workers {
		go func() {
			last, err := t.grantSome(ctx, clients[i%len(clients)], &next, int64(n))
			outcomes <- outcome{last, err}
		}()
	}
	for range workers {
		o := <-outcomes
		if o.last.After(last) {
			last = o.last
		}
		if o.err != nil && err == nil {
			err = o.err
			cancel()
		}
	}
	return last, err
}

// grantSome is one worker of grantAll.
func (t term) grantSome(ctx context.Context, c *clientv3.Client, next *atomic.Int64, n int64) (last time.Time, err error) {
	var puts []clientv3.Op
	flush := func() error {
		if len(puts) == 0 {
			return nil
		}
		_, err := c.Txn(ctx).Then(puts...).Commit()
		puts = puts[:0]
		return err
	}
	for {
		i := next.Add(1) - 1
		if i >= n {
			return last, flush()
		}
		ttl, wait := t.secondsFor(time.Now())
		pause(ctx, wait)
		if ttl < 5 {
			return last, fmt.Errorf("lease %d of %d would be granted for %d s: granting takes too long", i, n, ttl)
		}
		granted, err := c.Grant(ctx, ttl)
		if err != nil {
			return last, fmt.Errorf("grant lease %d: %w", i, err)
		}
		if ends := time.Now().Add(time.Duration(granted.TTL) * time.Second); ends.After(last) {
			last = ends
		}
		if puts = append(puts, clientv3.OpPut(fmt.Sprintf("%s%08d", leasedPrefix, i), "x", clientv3.WithLease(granted.ID))); len(puts) < fillBatch {
			continue
		}
		if err := flush(); err != nil {
			return last, fmt.Errorf("put the keys of leases: %w", err)
		}
	}
}

// countLeased is how many of the leases' keys there are.
func countLeased(ctx context.Context, c *clientv3.Client) (int, error) {
	r, err := c.Get(ctx, leasedPrefix, clientv3.WithPrefix(), clientv3.WithCountOnly())
	if err != nil {
		return 0, fmt.Errorf("count the leases' keys: %w", err)
	}
	return int(r.Count), nil
}
