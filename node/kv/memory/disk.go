// Package memory is the engine of simulated stores: rows in memory, on a disk that can lose power, fill up, fail and
// rot. It has no goroutine, clock or random source of its own: the same calls do the same. What Pebble does when it
// likes, to make an older memory table durable, happens here when the caller says so (FlushSome).
//
// A state is a persistent tree, so a snapshot is a pointer, and so is each state that a loss of power may go back to:
// those after single batches since the newest durable one. Nothing in between is ever found, as with Pebble, whose
// flushes are atomic.
package memory

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"

	"raftsman.dev/node/kv/engine"
)

// mostStates bounds the states that are kept for a loss of power to go back to; from then on every other one is let
// go, as if memory tables were larger.
const mostStates = 256

// Disk is the place of one store, with what would survive a loss of power. It is itself the engine.
type Disk struct {
	mu struct {
		sync.Mutex
		generations map[uint64]*generation
		current     uint64 // 0 while there is none
		spoilt      bool   // the name of the one in force does not verify
		rules       []*ruleState
		altered     []*row // rows that nobody wrote
	}
	bad atomic.Pointer[map[*row]bool] // what has rotted at rest; never changed, only replaced
}

var _ engine.Engine = (*Disk)(nil)

// generation is one generation's states. Guarded by the disk's lock, but for the trees, which never change.
type generation struct {
	number  uint64
	open    bool
	durable *node
	since   []*node // after the batches since then, in order
}

func (g *generation) newest() *node {
	if n := len(g.since); n > 0 {
		return g.since[n-1]
	}
	return g.durable
}

// flushed makes the first n of the states since the durable one durable.
func (g *generation) flushed(n int) {
	if n > 0 {
		g.durable = g.since[n-1]
		g.since = slices.Clone(g.since[n:])
	}
}

// New is an empty disk.
func New() *Disk {
	d := &Disk{}
	d.mu.generations = map[uint64]*generation{}
	return d
}

// Current implements engine.Engine, as do the methods below.
func (d *Disk) Current() (number uint64, ok bool, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.refuseLocked(OpOpen, "read which generation is in force"); err != nil {
		return 0, false, err
	}
	if d.mu.spoilt {
		return 0, false, fmt.Errorf("the name of the generation in force does not verify: %w", engine.ErrCorrupt)
	}
	if d.mu.current != 0 {
		if d.mu.generations[d.mu.current] == nil {
			return 0, false, fmt.Errorf("generation %d is in force, and is not there: %w", d.mu.current, engine.ErrCorrupt)
		}
		return d.mu.current, true, nil
	}
	for _, number := range slices.Sorted(maps.Keys(d.mu.generations)) {
		if number != 1 || d.mu.generations[number].durable != nil {
			return 0, false, fmt.Errorf("there is generation %d, and none is in force: %w", number, engine.ErrCorrupt)
		}
		delete(d.mu.generations, number)
	}
	return 0, false, nil
}

func (d *Disk) SetCurrent(number uint64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.doLocked(OpSwitch, fmt.Sprintf("put generation %d in force", number), func() { d.mu.current, d.mu.spoilt = number, false })
}

func (d *Disk) Open(number uint64, exists bool, damaged func(error)) (engine.DB, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.refuseLocked(OpOpen, fmt.Sprintf("open generation %d", number)); err != nil {
		return nil, err
	}
	g := d.mu.generations[number]
	switch {
	case g != nil && g.open:
		return nil, fmt.Errorf("generation %d is open", number)
	case g == nil && exists:
		return nil, fmt.Errorf("generation %d is not there: %w", number, engine.ErrCorrupt)
	case g == nil:
		g = &generation{number: number}
		d.mu.generations[number] = g
	}
	g.open = true
	return &db{d: d, g: g, damaged: damaged}, nil
}

func (d *Disk) Remove(number uint64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if g := d.mu.generations[number]; g != nil && g.open {
		return fmt.Errorf("generation %d is open", number)
	}
	return d.doLocked(OpRemove, fmt.Sprintf("remove generation %d", number), func() { delete(d.mu.generations, number) })
}

func (d *Disk) RemoveOthers(number uint64) error {
	for _, other := range d.Generations() {
		if other == number {
			continue
		}
		if err := d.Remove(other); err != nil {
			return err
		}
	}
	return nil
}

// Generations lists what is there, in force or not.
func (d *Disk) Generations() []uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Sorted(maps.Keys(d.mu.generations))
}

// FlushSome makes durable some of what is not yet, up to a batch that is drawn, as Pebble does when an older memory
// table is full.
func (d *Disk) FlushSome(rng *rand.Rand) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, number := range slices.Sorted(maps.Keys(d.mu.generations)) {
		g := d.mu.generations[number]
		g.flushed(rng.IntN(len(g.since) + 1))
	}
}

// Crash is the disk as it is found after a loss of power now: each generation is at what was durable, or by coin at
// a later state, whose flush nobody had heard of yet. Rules are gone, damage stays. The old disk is left to the dying
// process; nothing that it still does reaches the new one.
func (d *Disk) Crash(rng *rand.Rand) *Disk {
	found := d.Clone()
	if rng.IntN(2) == 0 {
		found.FlushSome(rng)
	}
	for _, g := range found.mu.generations {
		g.since = nil
	}
	return found
}

// Clone is a copy of the disk with nothing open and no rules.
func (d *Disk) Clone() *Disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	c := New()
	c.mu.current, c.mu.spoilt, c.mu.altered = d.mu.current, d.mu.spoilt, d.mu.altered
	for number, g := range d.mu.generations {
		c.mu.generations[number] = &generation{number: number, durable: g.durable, since: slices.Clone(g.since)}
	}
	c.bad.Store(d.bad.Load())
	return c
}

// errClosed is what a generation answers that was closed; the store never asks one.
var errClosed = errors.New("generation is closed")
