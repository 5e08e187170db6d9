package watch

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"raftsman.dev/node/kv"
)

// crowd is a running hub whose store is written to while clients come, read, cancel and go.
type crowd struct {
	t       *testing.T
	hub     *Hub
	store   *store
	written chan struct{} // closed when the writer is done
}

func (c *crowd) write(rng *rand.Rand, revisions int) {
	defer close(c.written)
	for i := range revisions {
		k := rng.IntN(20)
		changes := []kv.KeyValue{put(k, fmt.Sprint(i)), put(20+rng.IntN(20), "x")}
		if rng.IntN(5) == 0 {
			changes[0].Value = nil
		}
		told := c.store.write(func() bool { return rng.IntN(2) == 0 }, changes)
		switch revision, _ := c.store.revisions(); {
		case i%500 == 250:
			c.hub.Tell(kv.Changes{Revision: told.Revision, Compacted: told.Compacted, Switched: true})
		case i%300 == 299:
			c.hub.Tell(told)
			c.hub.Tell(c.store.compact(revision - 200))
		default:
			c.hub.Tell(told)
		}
		c.hub.Tick(time.Unix(int64(i), 0))
	}
}

// follow has watchers of all kinds, and reads until it has heard that nothing is missing.
func (c *crowd) follow(ctx context.Context, seed uint64) error {
	rng := rand.New(rand.NewPCG(seed, 2))
	cl := newClient(c.hub, c.store)
	defer cl.stream.Close()
	for range 20 {
		r := anyRequest(rng, 40, 10)
		r.Start = kv.Revision(rng.IntN(3))
		id, err := cl.stream.Watch(ctx, r)
		if err != nil {
			return err
		}
		cl.live[id] = &expectation{id: id, request: r, next: r.Start}
	}
	cl.ask(1)
	for len(cl.live) > 0 {
		r, err := cl.stream.Next(ctx)
		if err != nil {
			return err
		}
		if err := cl.hear(r); err != nil {
			return err
		}
		if r.ID != -1 {
			continue
		}
		select {
		case <-c.written:
			if revision, _ := c.store.revisions(); r.Revision >= revision {
				return nil
			}
		default:
		}
		cl.stream.Progress()
	}
	return nil
}

// churn opens streams, cancels, and leaves without reading, until the writer is done.
func (c *crowd) churn(ctx context.Context, seed uint64) error {
	rng := rand.New(rand.NewPCG(seed, 3))
	for {
		s := c.hub.Stream()
		for range 10 {
			id, err := s.Watch(ctx, anyRequest(rng, 40, 10))
			if err != nil {
				return err
			}
			if _, err := s.Cancel(ctx, id-int64(rng.IntN(2))); err != nil {
				return err
			}
			if _, err := s.Next(ctx); err != nil {
				return err
			}
		}
		s.Progress()
		s.Close()
		if _, err := s.Next(ctx); !errors.Is(err, ErrClosed) {
			return fmt.Errorf("next on a closed stream: %w", err)
		}
		c.hub.Stats()
		select {
		case <-c.written:
			return nil
		default:
		}
	}
}

// With real goroutines all over it, each client still hears the truth and nothing else.
func TestWatchersAtTheSameTime(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c := &crowd{t: t, store: newStore(), written: make(chan struct{})}
	c.hub = New(Options{History: c.store.view, Revision: 1, RingBytes: 10_000, StreamBytes: 5_000, QueueBytes: 40_000, Interval: time.Second, Rand: rand.New(rand.NewPCG(1, 1))})
	var all sync.WaitGroup
	for seed := range uint64(8) {
		all.Go(func() {
			if err := c.follow(ctx, seed); err != nil {
				t.Errorf("client %d: %v", seed, err)
			}
		})
	}
	for seed := range uint64(2) {
		all.Go(func() {
			if err := c.churn(ctx, seed); err != nil {
				t.Errorf("passer-by %d: %v", seed, err)
			}
		})
	}
	c.write(rand.New(rand.NewPCG(0, 0)), 1500)
	all.Wait()
	c.hub.Close()
	c.hub.Close()
	if _, err := c.hub.Stream().Watch(ctx, Request{}); !errors.Is(err, ErrClosed) {
		t.Errorf("a watcher of a closed hub: %v", err)
	}
	if s := c.hub.Stats(); s.QueuedBytes != 0 || s.Streams != 0 || c.store.opened() != 0 {
		t.Errorf("after the end: %+v, %d views are open", s, c.store.opened())
	}
}

// Whoever waits for an answer is woken when the hub is closed.
func TestCloseWakesReaders(t *testing.T) {
	s := newStore()
	h := New(Options{History: s.view, Revision: 1})
	const readers = 3
	errs := make(chan error, readers)
	stream := h.Stream()
	for range readers {
		go func() {
			_, err := stream.Next(context.Background())
			errs <- err
		}()
	}
	h.Close()
	for range readers {
		if err := <-errs; !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
	}
}
