package main

import (
	"context"
	"errors"
)

// pair is an etcd and a Raftsman group, both with empty data at their start.
type pair struct{ etcd, raftsman *store }

// pairs starts pairs, one ahead: the next is made ready while the last is in use.
type pairs struct {
	ctx            context.Context
	etcd, raftsman program
	root           string
	base           int
	started        int
	ahead          chan ready
}

// ready is a pair that was started, or why it could not be.
type ready struct {
	pair *pair
	err  error
}

// portsEach is how many ports a pair takes, and slots how many pairs' ports are used in turn.
const (
	portsEach = 60
	slots     = 4
)

// take returns a fresh pair.
func (p *pairs) take() (*pair, error) {
	if p.ahead == nil {
		p.begin()
	}
	r := <-p.ahead
	if r.err != nil {
		p.ahead = nil
		return nil, r.err
	}
	p.begin()
	return r.pair, nil
}

func (p *pairs) begin() {
	base := p.base + portsEach*(p.started%slots)
	p.started++
	ahead := make(chan ready, 1)
	p.ahead = ahead
	go func() {
		got, err := startPair(p.ctx, p.etcd, p.raftsman, p.root, base)
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

func startPair(ctx context.Context, etcd, raftsman program, root string, base int) (*pair, error) {
	oracle := make(chan error, 1)
	p := &pair{}
	go func() {
		var err error
		p.etcd, err = startStore(ctx, etcd, root, base+50)
		oracle <- err
	}()
	var err error
	p.raftsman, err = startStore(ctx, raftsman, root, base)
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
