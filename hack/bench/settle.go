package main

import (
	"context"
	"errors"
	"time"
)

// settle waits until the members have compacted what a fill has left, but no longer than bound: what is measured
// before that is lower than what the store can do. They are at rest when they all together use a quarter of one
// core over a look.
func (g *group) settle(ctx context.Context, look, bound time.Duration, progress func(format string, args ...any)) error {
	atRest, began := look/4, time.Now()
	for last := time.Duration(-1); time.Since(began) < bound; pause(ctx, look) {
		cpu, err := cpuOf(g.pids)
		if err = errors.Join(err, ctx.Err()); err != nil {
			return err
		}
		if last >= 0 && cpu-last < atRest {
			progress("the members were at rest after %v", time.Since(began).Round(time.Second))
			return nil
		}
		last = cpu
	}
	progress("the members are not at rest after %v; going on", bound)
	return nil
}
