package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// silent keeps the client library's own log out of the output.
func silent() *zap.Logger { return zap.NewNop() }

// connect opens n clients, each of which knows every member.
func connect(endpoints []string, n int) ([]*clientv3.Client, error) {
	var all []*clientv3.Client
	for i := range n {
		turned := slices.Concat(endpoints[i%len(endpoints):], endpoints[:i%len(endpoints)])
		c, err := clientv3.New(clientv3.Config{Endpoints: turned, DialTimeout: 5 * time.Second, Logger: silent()})
		if err != nil {
			disconnect(all)
			return nil, err
		}
		all = append(all, c)
	}
	return all, nil
}

func disconnect(all []*clientv3.Client) {
	for _, c := range all {
		_ = c.Close() // the members are about to end as well
	}
}

// load puts the whole set once, many keys in a transaction. An operation is a key, a latency that of a transaction.
func load(ctx context.Context, clients []*clientv3.Client, k keys, seed uint64) (tally, error) {
	const loaders, batch = 16, 64
	var next atomic.Int64
	errs, parts, start := make(chan error, loaders), make([]tally, loaders), time.Now()
	for i := range loaders {
		w, c := newWorker(seed, i, valueBytes), clients[i%len(clients)]
		go func() {
			for {
				from := int(next.Add(batch)) - batch
				if from >= int(k) {
					errs <- nil
					return
				}
				begun := time.Now()
				var ops []clientv3.Op
				for at := from; at < min(from+batch, int(k)); at++ {
					w.refresh()
					ops = append(ops, clientv3.OpPut(k.key(at), string(w.value)))
				}
				if _, err := c.Txn(ctx).Then(ops...).Commit(); err != nil {
					errs <- fmt.Errorf("load keys from %d: %w", from, err)
					return
				}
				parts[i].add(time.Since(begun), nil)
			}
		}()
	}
	var first error
	for range loaders {
		if err := <-errs; err != nil && first == nil {
			first = err
		}
	}
	sum := merge(parts, time.Since(start))
	sum.counted = int(k)
	return sum, first
}

// tally is what a workload came to within the measured time.
type tally struct {
	latencies []time.Duration // of every success, sorted in the end
	errors    int
	lastError error
	elapsed   time.Duration
	// counted is how many operations there were, if not as many as latencies and errors; else 0.
	counted int
}

// succeeded is the number of operations that did.
func (t *tally) succeeded() int {
	if t.counted > 0 {
		return t.counted
	}
	return len(t.latencies)
}

// perSecond is the rate of those.
func (t *tally) perSecond() float64 { return float64(t.succeeded()) / t.elapsed.Seconds() }

// run lets the workload's clients work for warm, then calls begin, measures for that long, calls end, and stops them.
// What ended within the measured time counts: as much of it began before as goes on after, so that slow answers count
// as often as they come.
func run(ctx context.Context, wl workload, clients []*clientv3.Client, seed uint64, warm, measured time.Duration, begin, end func() error) (tally, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var measuring, stopped atomic.Bool
	tallies := make([]tally, wl.clients)
	var wg sync.WaitGroup
	for i := range wl.clients {
		wg.Go(func() {
			w, c, t := newWorker(seed, i, cmp.Or(wl.size, valueBytes)), clients[i%len(clients)], &tallies[i]
			for !stopped.Load() && ctx.Err() == nil {
				start := time.Now()
				err := wl.do(ctx, c, w)
				if took := time.Since(start); measuring.Load() {
					t.add(took, err, w.several...)
				}
			}
		})
	}
	pause(ctx, warm)
	err := begin()
	start := time.Now()
	measuring.Store(true)
	if err == nil {
		pause(ctx, measured)
	}
	measuring.Store(false)
	elapsed := time.Since(start)
	if err == nil {
		err = end()
	}
	stopped.Store(true)
	wg.Wait()
	if err == nil {
		err = ctx.Err()
	}
	return merge(tallies, elapsed), err
}

// pause waits that long, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// add counts one operation, with the latencies that it had within if there are any.
func (t *tally) add(took time.Duration, err error, several ...time.Duration) {
	switch {
	case err != nil:
		t.errors, t.lastError = t.errors+1, err
	case len(several) > 0:
		t.latencies = append(t.latencies, several...)
	default:
		t.latencies = append(t.latencies, took)
	}
}

func merge(parts []tally, elapsed time.Duration) tally {
	sum := tally{elapsed: elapsed}
	for _, p := range parts {
		sum.latencies = append(sum.latencies, p.latencies...)
		sum.errors += p.errors
		if p.lastError != nil {
			sum.lastError = p.lastError
		}
	}
	slices.Sort(sum.latencies)
	return sum
}
