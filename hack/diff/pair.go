package main

import (
	"context"
	"errors"
	"sync"
)

// pair is an etcd and a Raftsman group, both with empty data at their start.
type pair struct{ etcd, raftsman *store }

// pairs starts pairs, one ahead: the next is made ready while the last is in use.
type pairs struct {
	ctx            context.Context
	etcd, raftsman program
	root           string
	ports          ports

	mu    sync.Mutex
	ahead chan ready
	// want is how many pairs will be taken, 0 if that is not known, and begun how many were started.
	want, begun int
}

// ready is a pair that was started, or why it could not be.
type ready struct {
	pair *pair
	err  error
}

// take returns a fresh pair.
func (p *pairs) take() (*pair, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ahead == nil {
		p.begin()
	}
	r := <-p.ahead
	p.ahead = nil
	if r.err != nil {
		return nil, r.err
	}
	if p.want == 0 || p.begun < p.want {
		p.begin()
	}
	return r.pair, nil
}

func (p *pairs) begin() {
	p.begun++
	ahead := make(chan ready, 1)
	p.ahead = ahead
	go func() {
		got, err := startPair(p.ctx, p.etcd, p.raftsman, p.root, &p.ports)
		ahead <- ready{got, err}
	}()
}

// close ends the pair that was made ready and not taken.
func (p *pairs) close() error {
	if p.ahead == nil {
		return nil
	}
	r := <-p.ahead
	p.ahead = nil
	if r.pair == nil {
		return nil // whoever took the last one has heard of what is wrong
	}
	return r.pair.stop()
}

func startPair(ctx context.Context, etcd, raftsman program, root string, from *ports) (*pair, error) {
	oracle := make(chan error, 1)
	p := &pair{}
	go func() {
		var err error
		p.etcd, err = startStore(ctx, etcd, root, from)
		oracle <- err
	}()
	var err error
	p.raftsman, err = startStore(ctx, raftsman, root, from)
	if err = errors.Join(err, <-oracle); err != nil {
		return nil, errors.Join(err, p.stop())
	}
	return p, nil
}

func (p *pair) stop() error {
	var errs []error
	for _, s := range []*store{p.etcd, p.raftsman} {
		if s != nil {
			errs = append(errs, s.stop())
		}
	}
	return errors.Join(errs...)
}
