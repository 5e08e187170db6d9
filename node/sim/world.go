package sim

import (
	"fmt"
	"math/rand/v2"

	"raftsman.dev/node/raft"
)

// Virtual time is in microseconds since the beginning of the world.
const (
	millisecond = 1000
	second      = 1000 * millisecond
	// tick is the length of a member's tick: its heartbeat interval.
	tick = 50 * millisecond
)

// event is something that will happen. Of two at the same time the one that was made first does.
type event struct {
	at, order int64
	do        func()
}

// agenda is a heap: what comes first is at its top.
type agenda []event

func (a agenda) before(i, j int) bool {
	return a[i].at < a[j].at || a[i].at == a[j].at && a[i].order < a[j].order
}

func (a *agenda) push(e event) {
	h := append(*a, e)
	*a = h
	for i := len(h) - 1; i > 0 && h.before(i, (i-1)/2); i = (i - 1) / 2 {
		h[i], h[(i-1)/2] = h[(i-1)/2], h[i]
	}
}

func (a *agenda) pop() event {
	h := *a
	first, last := h[0], len(h)-1
	h[0], h[last] = h[last], event{}
	h = h[:last]
	*a = h
	for i, next := 0, 1; next < len(h); i, next = next, 2*next+1 {
		if next+1 < len(h) && h.before(next+1, next) {
			next++
		}
		if !h.before(next, i) {
			break
		}
		h[i], h[next] = h[next], h[i]
	}
	return first
}

// World is one simulated group with everything around it.
type World struct {
	seed    uint64
	rng     *rand.Rand
	weather Weather
	now     int64
	order   int64
	agenda  agenda
	calm    bool // the second phase: no faults any more

	hosts map[raft.MemberID]*host
	ids   []raft.MemberID // of every host that ever was, in order
	net   network
	truth truth
	story *story
	// Faults counts what took effect.
	Faults map[string]int
	failed error
}

func newWorld(seed uint64, weather Weather, tell func(string)) *World {
	w := &World{
		seed: seed, rng: rand.New(rand.NewPCG(seed, 0x5eed)), weather: weather, hosts: map[raft.MemberID]*host{},
		Faults: map[string]int{}, story: &story{tell: tell},
	}
	w.net = network{w: w, wires: map[link]*wire{}}
	w.truth = newTruth(w)
	return w
}

// after puts something on the agenda.
func (w *World) after(delay int64, do func()) {
	w.order++
	w.agenda.push(event{at: w.now + max(delay, 0), order: w.order, do: do})
}

// strikeAfter puts a fault on the agenda, which does not strike any more once the world is calm: what heals everything
// ends no fault that comes later.
func (w *World) strikeAfter(delay int64, strike func()) { w.after(delay, w.inChaos(strike)) }

// inChaos is a strike that a calm world is spared.
func (w *World) inChaos(strike func()) func() {
	return func() {
		if !w.calm {
			strike()
		}
	}
}

// runUntil lets everything happen up to a moment, or until the condition holds; false when it never did.
func (w *World) runUntil(end int64, holds func() bool) bool {
	for len(w.agenda) > 0 && w.agenda[0].at <= end && w.failed == nil {
		e := w.agenda.pop()
		w.now = e.at
		e.do()
		if holds != nil && holds() {
			return true
		}
	}
	w.now = max(w.now, end)
	return holds == nil || holds()
}

// fail ends the run. The first reason counts.
func (w *World) fail(format string, args ...any) {
	if w.failed == nil {
		w.failed = fmt.Errorf("seed %d at %d.%06ds: %w", w.seed, w.now/second, w.now%second, fmt.Errorf(format, args...))
	}
}

// chance is true so many times in a million.
func (w *World) chance(perMillion int) bool { return w.rng.IntN(1_000_000) < perMillion }

// between draws from [lo, hi].
func (w *World) between(lo, hi int64) int64 { return lo + w.rng.Int64N(hi-lo+1) }

// pick draws one of a list that is not empty.
func pick[T any](w *World, from []T) T { return from[w.rng.IntN(len(from))] }

// fault counts one that took effect.
func (w *World) fault(name string) { w.Faults[name]++ }

func (w *World) count(name string, n int) {
	if n > 0 {
		w.Faults[name] += n
	}
}

// living are the hosts that are up, in order.
func (w *World) living() []*host {
	var up []*host
	for _, id := range w.ids {
		if h := w.hosts[id]; h.up() {
			up = append(up, h)
		}
	}
	return up
}

// leader is the living leader of the highest term.
func (w *World) leader() *host {
	var best *host
	for _, h := range w.living() {
		if h.replica.Brief().Role == raft.RoleLeader && (best == nil || h.replica.Brief().Term > best.replica.Brief().Term) {
			best = h
		}
	}
	return best
}
