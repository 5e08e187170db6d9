//go:build linux

package torture

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"raftsman.dev/hack/e2e/load"
	"raftsman.dev/node/admin"
)

// storeDamaged damages the store of a stopped member in every way there is, then those of two at once. The log is cut
// behind what they hold, so only a peer's snapshot brings a store back: each is rebuilt by one, the group serves
// meanwhile, and in the end all are equal.
func storeDamaged(t *testing.T) {
	rng := seeded(t)
	g := newGroup(t, "--log-keep-entries=200")
	g.start(g.members...)
	g.ready(g.members...)
	g.cutLogs(0)
	r := g.load()
	for i, kind := range storeDamages {
		m := g.members[i%size]
		r.more(50)
		g.kill(m)
		m.damageStore(kind.name, kind.do, rng)
		g.start(m)
		g.rebuilt(m)
	}
	one := r.stop()
	r.steady(one, serveWithin)
	g.equal()

	g.cutLogs(1)
	r = g.load()
	two := g.shuffled(rng)[:2]
	kinds := rng.Perm(len(storeDamages))
	g.kill(two...)
	for i, m := range two {
		kind := storeDamages[kinds[i]]
		m.damageStore(kind.name, kind.do, rng)
	}
	g.start(two...)
	r.more(50)
	g.rebuilt(two...)
	both := r.stop()
	g.equal()
	say("torture: store damaged on one in %d ways, and on two at once: %d acks, largest gap %v on one and %v on two",
		len(storeDamages), one.Writes+both.Writes, one.Gap, both.Gap)
}

func (m *member) damageStore(name string, do func(string, *rand.Rand) error, rng *rand.Rand) {
	m.g.t.Helper()
	if err := do(filepath.Join(m.Dir, "store"), rng); err != nil {
		m.g.t.Fatalf("%s: %s: %v", m.Name, name, err)
	}
	say("torture:   %s: %s", m.Name, name)
}

// cutLogs writes until the log of every member begins later than its first entry.
func (g *group) cutLogs(round int) {
	g.t.Helper()
	if err := load.Fill(g.t.Context(), g.endpoints(), fmt.Sprintf("fill/%d", round), 3000); err != nil {
		g.t.Fatal(err)
	}
	for _, m := range g.members {
		g.until("the log of "+m.Name+" is cut", func(ctx context.Context) error {
			s, err := m.status(ctx, admin.StatusOptions{})
			if err == nil && s.First <= 1 {
				err = fmt.Errorf("it begins with entry %d", s.First)
			}
			return err
		})
	}
}

// maxRestarts is how often a process may stop for what it finds in its store before it has it rebuilt.
const maxRestarts = 3

// rebuilt waits until members have installed a snapshot and serve. A process that stops because it has found damage is
// started again, as Kubernetes does; asking for the hash of the state makes it read everything.
func (g *group) rebuilt(members ...*member) {
	g.t.Helper()
	for _, m := range members {
		restarts := 0
		g.until("the store of "+m.Name+" is rebuilt", func(ctx context.Context) error {
			if state, gone := m.gone(); gone {
				if restarts++; restarts > maxRestarts {
					g.t.Fatalf("%s has stopped %d times (%s): %s", m.Name, restarts, state, lastLine(m.LastWords(4000)))
				}
				m.forgive()
				g.start(m)
			}
			s, err := m.status(ctx, admin.StatusOptions{Hash: true, Quorum: true})
			if err == nil && (s.Snapshots == 0 || !s.Ready || !s.Quorate) {
				err = fmt.Errorf("state=%s problem=%q snapshots=%d ready=%v", s.State, s.Problem, s.Snapshots, s.Ready)
			}
			return err
		})
	}
}
