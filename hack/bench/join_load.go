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
)

// fillKey names one key of the filled store.
func fillKey(i int) string { return fmt.Sprintf("join/%010d", i) }

// fillBatch is how many keys a transaction puts.
const fillBatch = 64

// fill puts n keys with values of that size, many in a transaction. tell hears of the progress.
func fill(ctx context.Context, clients []*clientv3.Client, n, size int, tell func(done int)) error {
	const loaders = 8
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var next atomic.Int64
	errs := make(chan error, loaders)
	for i := range loaders {
		rng, c := rand.New(rand.NewPCG(1, uint64(i))), clients[i%len(clients)]
		go func() {
			value := make([]byte, size)
			for {
				from := int(next.Add(fillBatch)) - fillBatch
				if from >= n {
					errs <- nil
					return
				}
				var ops []clientv3.Op
				for at := from; at < min(from+fillBatch, n); at++ {
					randomize(rng, value)
					ops = append(ops, clientv3.OpPut(fillKey(at), string(value)))
				}
				if _, err := c.Txn(ctx).Then(ops...).Commit(); err != nil {
					errs <- fmt.Errorf("fill from key %d on: %w", from, err)
					return
				}
				if from%(fillBatch<<9) == 0 {
					tell(from)
				}
			}
		}()
	}
	var first error
	for range loaders {
		if err := <-errs; err != nil && first == nil {
			first = err
			cancel()
		}
	}
	return first
}

// randomize makes the value one that does not compress to nothing: half of it is random.
func randomize(rng *rand.Rand, value []byte) {
	for i := 0; i < len(value); i += 2 {
		value[i] = byte(rng.Uint32())
	}
}

// paced puts at a fixed rate, whatever the answers take: a put that waits for its turn behind a slow one is late, and
// counts as such.
type paced struct {
	clients []*clientv3.Client
	rate    float64 // a second
	workers int
	keys    int
	size    int
}

// sample is one put: when it was due, and how long after that it was answered.
type sample struct {
	due  time.Time
	took time.Duration
}

// begin puts in the background until end is called, which returns as run does.
func (p paced) begin(ctx context.Context) (end func() ([]sample, int, error)) {
	ctx, stop := context.WithCancel(ctx)
	done := make(chan struct{})
	var all []sample
	var failed int
	var last error
	go func() {
		defer close(done)
		all, failed, last = p.run(ctx)
	}()
	return func() ([]sample, int, error) {
		stop()
		<-done
		return all, failed, last
	}
}

// run puts until ctx ends, and returns all samples and the number of errors with the last of them.
func (p paced) run(ctx context.Context) (all []sample, failed int, last error) {
	parts, errs := make([][]sample, p.workers), make([]tally, p.workers)
	interval := time.Duration(float64(p.workers) / p.rate * float64(time.Second))
	start := time.Now()
	var wg sync.WaitGroup
	for i := range p.workers {
		wg.Go(func() {
			rng, c, value := rand.New(rand.NewPCG(2, uint64(i))), p.clients[i%len(p.clients)], make([]byte, p.size)
			due := start.Add(interval * time.Duration(i) / time.Duration(p.workers))
			for ; ; due = due.Add(interval) {
				pause(ctx, time.Until(due))
				if ctx.Err() != nil {
					return
				}
				randomize(rng, value[:16])
				// Not ended with ctx: what has begun is waited for, and counted.
				request, cancel := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
				_, err := c.Put(request, fillKey(rng.IntN(p.keys)), string(value))
				cancel()
				if err != nil {
					errs[i].errors, errs[i].lastError = errs[i].errors+1, err
					continue
				}
				parts[i] = append(parts[i], sample{due, time.Since(due)})
			}
		})
	}
	wg.Wait()
	for i := range parts {
		all, failed = append(all, parts[i]...), failed+errs[i].errors
		if errs[i].lastError != nil {
			last = errs[i].lastError
		}
	}
	return all, failed, last
}

// between sorts the latencies of the samples that were due in [from, to).
func between(all []sample, from, to time.Time) []time.Duration {
	var took []time.Duration
	for _, s := range all {
		if !s.due.Before(from) && s.due.Before(to) {
			took = append(took, s.took)
		}
	}
	slices.Sort(took)
	return took
}

// measureCapacity is how many puts a second there are of keys of the filled store with that many workers, as fast as
// all of them can.
func measureCapacity(ctx context.Context, clients []*clientv3.Client, workers, keys, size int, measured time.Duration) (float64, error) {
	wl := workload{name: "capacity", clients: workers, writes: true, size: size, do: func(ctx context.Context, c *clientv3.Client, w *worker) error {
		randomize(w.rng, w.value)
		_, err := c.Put(ctx, fillKey(w.rng.IntN(keys)), string(w.value))
		return err
	}}
	nothing := func() error { return nil }
	t, err := run(ctx, wl, clients, 3, 2*time.Second, measured, nothing, nothing)
	if err == nil && len(t.latencies) == 0 {
		err = fmt.Errorf("no put succeeded: %w", t.lastError)
	}
	return t.perSecond(), err
}

// part is how puts went in a part of the measured time.
type part struct {
	after           time.Duration // from the moment that counts; negative before it
	p50, p99, worst time.Duration
}

// inParts cuts [from, to) into parts of a length, counted from zero, and says of each how its puts went; one without a
// put is left out.
func inParts(all []sample, from, zero, to time.Time, length time.Duration) []part {
	var parts []part
	for at := zero.Add(from.Sub(zero).Truncate(length)); at.Before(to); at = at.Add(length) {
		end := at.Add(length)
		if end.After(to) {
			end = to
		}
		if took := between(all, at, end); len(took) > 0 {
			parts = append(parts, part{at.Sub(zero), percentile(took, 0.5), percentile(took, 0.99), took[len(took)-1]})
		}
	}
	return parts
}
