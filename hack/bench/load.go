package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// workload is one thing that clients do over and over.
type workload struct {
	name    string
	clients int
	writes  bool
	do      func(ctx context.Context, c *clientv3.Client, w *worker) error
}

// worker is one client; its random numbers are its own.
type worker struct {
	rng   *rand.Rand
	value []byte
}

// keys is how large the loaded set is; key names one of it.
type keys int

func (k keys) key(i int) string { return fmt.Sprintf("bench/%08d", i) }

func (k keys) random(w *worker) string { return k.key(w.rng.IntN(int(k))) }

func (k keys) workloads(clients int) []workload {
	put := func(ctx context.Context, c *clientv3.Client, w *worker) error {
		w.refresh()
		_, err := c.Put(ctx, k.random(w), string(w.value))
		return err
	}
	get := func(choose func(*worker) string) func(context.Context, *clientv3.Client, *worker) error {
		return func(ctx context.Context, c *clientv3.Client, w *worker) error {
			key := choose(w)
			r, err := c.Get(ctx, key)
			if err == nil && (len(r.Kvs) != 1 || len(r.Kvs[0].Value) != valueBytes) {
				err = fmt.Errorf("key %s was not read back: %d values", key, len(r.Kvs))
			}
			return err
		}
	}
	return []workload{
		{name: "put, 1 client", clients: 1, writes: true, do: put},
		{name: fmt.Sprintf("put, %d clients", clients), clients: clients, writes: true, do: put},
		{name: "get, hot key", clients: clients, do: get(func(*worker) string { return k.key(0) })},
		{name: "get, random keys", clients: clients, do: get(k.random)},
	}
}

const valueBytes = 256

// refresh makes the next value differ from the one before.
func (w *worker) refresh() {
	for i := 0; i < 8; i++ {
		w.value[w.rng.IntN(valueBytes)] = byte(w.rng.Uint32())
	}
}

func newWorker(seed uint64, i int) *worker {
	w := &worker{rng: rand.New(rand.NewPCG(seed, uint64(i))), value: make([]byte, valueBytes)}
	for i := range w.value {
		w.value[i] = byte(w.rng.Uint32())
	}
	return w
}

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

// load puts the whole set once, many keys in a transaction.
func load(ctx context.Context, clients []*clientv3.Client, k keys, seed uint64) error {
	const loaders, batch = 16, 64
	var next atomic.Int64
	errs := make(chan error, loaders)
	for i := range loaders {
		w, c := newWorker(seed, i), clients[i%len(clients)]
		go func() {
			for {
				from := int(next.Add(batch)) - batch
				if from >= int(k) {
					errs <- nil
					return
				}
				var ops []clientv3.Op
				for at := from; at < min(from+batch, int(k)); at++ {
					w.refresh()
					ops = append(ops, clientv3.OpPut(k.key(at), string(w.value)))
				}
				if _, err := c.Txn(ctx).Then(ops...).Commit(); err != nil {
					errs <- fmt.Errorf("load keys from %d: %w", from, err)
					return
				}
			}
		}()
	}
	var first error
	for range loaders {
		if err := <-errs; err != nil && first == nil {
			first = err
		}
	}
	return first
}

// tally is what a workload came to within the measured time.
type tally struct {
	latencies []time.Duration // of every success, sorted
	errors    int
	lastError error
	elapsed   time.Duration
}

// run lets the workload's clients work for warm, then calls begin, measures for that long, calls end, and
// stops them. Only what began and ended within the measured time counts.
func run(ctx context.Context, wl workload, clients []*clientv3.Client, seed uint64, warm, measured time.Duration, begin, end func() error) (tally, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var measuring, stopped atomic.Bool
	tallies := make([]tally, wl.clients)
	var wg sync.WaitGroup
	for i := range wl.clients {
		wg.Go(func() {
			w, c, t := newWorker(seed, i), clients[i%len(clients)], &tallies[i]
			for !stopped.Load() && ctx.Err() == nil {
				counts, start := measuring.Load(), time.Now()
				err := wl.do(ctx, c, w)
				took := time.Since(start)
				if counts && measuring.Load() {
					t.add(took, err)
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

func (t *tally) add(took time.Duration, err error) {
	if err != nil {
		t.errors, t.lastError = t.errors+1, err
		return
	}
	t.latencies = append(t.latencies, took)
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
