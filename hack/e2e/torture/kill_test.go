//go:build linux

package torture

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// allKilled kills every member at once, over and over, at any moment of its life: in the middle of its start, before
// anybody leads, and under load. Each time all are started again. Short timeouts make for many cycles, not for other
// code.
func allKilled(t *testing.T) {
	rng := seeded(t)
	g := newGroup(t, "--election-timeout=300ms", "--heartbeat-interval=30ms")
	g.start(g.members...)
	g.ready(g.members...)
	r := g.load()
	began, early := time.Now(), 0
	for cycle := range *asked.cycles {
		if cycle > 0 && rng.IntN(4) == 0 {
			early++ // whether they serve again or not
			g.pause(upTo(rng, 600*time.Millisecond))
		} else {
			r.more(1 + rng.IntN(20))
			g.pause(upTo(rng, time.Second))
		}
		g.massacre(rng)
		g.start(g.members...)
		if t.Failed() {
			t.Fatalf("in cycle %d", cycle)
		}
	}
	each := time.Since(began) / time.Duration(max(*asked.cycles, 1))
	r.more(50)
	figures := r.stop()
	g.equal()
	say("torture: all killed %d times, %d of them before they need have served, %v a cycle: %d acks, %d outcomes unknown, largest gap %v",
		*asked.cycles, early, each.Round(time.Millisecond), figures.Writes, figures.Unknown, figures.Gap)
}

// massacre kills all members, in any order, at once or within some milliseconds.
func (g *group) massacre(rng *rand.Rand) {
	all := slices.Clone(g.members)
	rng.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	if rng.IntN(2) == 0 {
		for _, m := range all[1:] {
			g.kill(all[0])
			g.pause(upTo(rng, 50*time.Millisecond))
			all[0] = m
		}
		all = all[:1]
	}
	g.kill(all...)
}

func upTo(rng *rand.Rand, most time.Duration) time.Duration {
	return time.Duration(rng.Int64N(int64(most)))
}
