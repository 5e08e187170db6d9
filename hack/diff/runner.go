package main

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
)

// maxVoid is how many sequences in a row may be given up.
const maxVoid = 5

// runner runs sequences, some abreast, until enough was compared, or up to the first difference.
type runner struct {
	config
	out   io.Writer
	pairs *pairs
	met   *matrix
	begin time.Time

	mu    sync.Mutex
	next  uint64 // sequence, counted from the seed
	given int    // operations of sequences that were begun, without those that were not done
	void  int    // sequences in a row that were given up
	// differing counts the sequences with a difference, in a survey.
	differing int
	stopped   bool
	errs      []error
	found     *finding
}

// finding is the first difference of a run that is no survey.
type finding struct {
	seed   uint64
	script []op
	d      *difference
}

func (r *runner) run() error {
	var wait sync.WaitGroup
	for range max(r.abreast, 1) {
		wait.Add(1)
		go func() {
			defer wait.Done()
			r.work()
		}()
	}
	wait.Wait()
	if len(r.errs) > 0 || r.found == nil {
		return errors.Join(r.errs...)
	}
	return report(r.out, r.pairs, r.config, r.found.seed, r.found.script, r.found.d)
}

func (r *runner) work() {
	for {
		seed, ops := r.take()
		if ops == 0 {
			return
		}
		script, d, err := sequence(r.pairs, r.met, seed, ops)
		r.done(finding{seed, script, d}, ops, err)
	}
}

// take returns the next sequence and how many operations it shall have: 0 if there is none.
func (r *runner) take() (seed uint64, ops int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stopped || r.given >= r.ops {
		return 0, 0
	}
	seed, ops = r.seed+r.next, min(r.each, r.ops-r.given)
	r.next++
	r.given += ops
	return seed, ops
}

// done takes note of a sequence that was to have so many operations.
func (r *runner) done(f finding, ops int, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.given -= ops - len(f.script)
	if v := (voidError{}); errors.As(err, &v) && r.void < maxVoid {
		r.void++
		fmt.Fprintf(r.out, "sequence %d: %v\n", f.seed, err)
		return
	}
	r.void = 0
	switch {
	case err != nil:
		r.stopped, r.errs = true, append(r.errs, err)
	case f.d != nil && r.survey:
		r.differing++
		fmt.Fprintf(r.out, "sequence %d, operation %d, %s\n%s", f.seed, f.d.at, f.script[f.d.at], f.d.text)
	case f.d != nil:
		r.stopped, r.found = true, &f
	default:
		fmt.Fprintf(r.out, "%7d operations compared after %v\n", r.met.total(), time.Since(r.begin).Round(time.Second))
	}
}
