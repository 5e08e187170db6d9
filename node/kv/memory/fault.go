package memory

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
)

// Op is a set of operations.
type Op uint8

const (
	OpOpen   Op = 1 << iota // also to ask which generation is in force
	OpRead                  // a row, or an iterator as it begins
	OpCommit                // of a batch
	OpFlush
	OpSwitch // to another generation
	OpRemove
)

// OpChange are those that change the disk. OpSpace is what a full one refuses; a commit is not part of it: rows wait
// in memory.
const (
	OpChange = OpCommit | OpFlush | OpSwitch | OpRemove
	OpSpace  = OpFlush | OpSwitch
)

// Rule is one fault: which operations it hits, and what it does to them. The first After of them pass, the next Times
// are hit (0: all the rest).
type Rule struct {
	Ops   Op
	After int
	Times int
	// Err is the answer; it is in the chain.
	Err error
	// Done says that the operation has taken effect all the same: then its answer is late, not wrong.
	Done bool
}

type ruleState struct {
	Rule
	seen int
}

// Set replaces all rules; counting begins anew.
func (d *Disk) Set(rules ...Rule) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.mu.rules = nil
	for _, r := range rules {
		d.mu.rules = append(d.mu.rules, &ruleState{Rule: r})
	}
}

// hitLocked counts an operation and says which rule it met: the first that hits; all count what they see.
func (d *Disk) hitLocked(op Op) *Rule {
	var hit *Rule
	for _, r := range d.mu.rules {
		if r.Ops&op == 0 {
			continue
		}
		r.seen++
		if hit == nil && r.seen > r.After && (r.Times == 0 || r.seen <= r.After+r.Times) {
			hit = &r.Rule
		}
	}
	return hit
}

// refuseLocked is the error of an operation that changes nothing.
func (d *Disk) refuseLocked(op Op, what string) error { return d.doLocked(op, what, func() {}) }

// doLocked does an operation, unless a rule is against it.
func (d *Disk) doLocked(op Op, what string, do func()) error {
	rule := d.hitLocked(op)
	if rule == nil || rule.Err == nil || rule.Done {
		do()
	}
	if rule == nil || rule.Err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, rule.Err)
}

// blockRows is about how many rows stand or fall together.
const blockRows = 8

// Rot damages some neighbouring rows of those at rest in the generation in force; false when there are none. Reads that
// meet them, by way of whatever state still has them, answer engine.ErrCorrupt; a row that was written anew is sound.
func (d *Disk) Rot(rng *rand.Rand) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	g := d.mu.generations[d.mu.current]
	if g == nil || g.durable == nil {
		return false
	}
	all := g.durable.rows()
	bad := map[*row]bool{}
	if old := d.bad.Load(); old != nil {
		maps.Copy(bad, *old)
	}
	first := rng.IntN(len(all))
	for _, r := range all[first:min(first+1+rng.IntN(blockRows), len(all))] {
		bad[r] = true
	}
	d.bad.Store(&bad)
	return true
}

// SpoilName damages the name of the generation in force: the store cannot be opened any more.
func (d *Disk) SpoilName() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.mu.spoilt = true
}

// Alter changes a row of the generation in force behind the back of who has it open, in every state in which it stands;
// what reads it later finds nothing wrong. Among the rows that are durable and in the newest state one is drawn that
// change has something to put in place of; nil and false when there is none. newest reads the newest state, nil for no
// row.
func (d *Disk) Alter(rng *rand.Rand, change func(key, value []byte, newest func(key []byte) []byte) []byte) (key []byte, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	g := d.mu.generations[d.mu.current]
	if g == nil || g.durable == nil {
		return nil, false
	}
	all := g.durable.rows()
	old := all[rng.IntN(len(all))]
	value := change(old.key, old.value, func(key []byte) []byte {
		if r := g.newest().get(key); r != nil {
			return r.value
		}
		return nil
	})
	if value == nil || g.newest().get(old.key) != old {
		return nil, false
	}
	r := &row{key: old.key, value: value}
	alter := func(n *node) *node {
		if n.get(old.key) != old {
			return n
		}
		return n.set(r)
	}
	g.durable = alter(g.durable)
	for i := range g.since {
		g.since[i] = alter(g.since[i])
	}
	d.mu.altered = append(slices.Clone(d.mu.altered), r)
	return r.key, true
}

// Altered reports whether a row that was altered still stands in any state of the generation in force.
func (d *Disk) Altered() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	g := d.mu.generations[d.mu.current]
	if g == nil {
		return false
	}
	for _, r := range d.mu.altered {
		if g.durable.get(r.key) == r || slices.ContainsFunc(g.since, func(n *node) bool { return n.get(r.key) == r }) {
			return true
		}
	}
	return false
}
