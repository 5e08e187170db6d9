package watch

import (
	"cmp"
	"slices"
	"time"

	"raftsman.dev/node/kv"
)

type orderKind uint8

const (
	addWatcher orderKind = iota
	removeWatcher
	removeStream
	askProgress
	resume
)

// order is something that a stream wants of the pump. Orders are obeyed one after the other, as they were given.
type order struct {
	kind    orderKind
	watcher *watcher
	stream  *Stream
}

// pump is what the hub's goroutine owns.
type pump struct {
	main    *cohort
	passes  []*cohort // each has members
	turns   int
	waiting []*watcher // for a cohort
	sort    bool       // it is worthwhile to look for cohorts
	asking  set[*Stream]
	timed   set[*watcher] // want progress
}

func (h *Hub) run() {
	defer close(h.stopped)
	for {
		more := h.turn()
		select {
		case <-h.done:
			return
		default:
		}
		if more {
			continue
		}
		select {
		case <-h.done:
			return
		case <-h.bell:
		}
	}
}

// turn does a bounded part of what there is to do, the newest events first, and reports whether it has moved anything: if
// not, there is nothing to do before the bell rings.
func (h *Hub) turn() bool {
	h.mu.Lock()
	orders, now, told, compacted := h.mu.orders, h.mu.tick, h.mu.revision, h.mu.compacted
	h.mu.orders, h.mu.tick = nil, time.Time{}
	h.mu.Unlock()
	main := h.pump.main
	if main.empty() {
		main.at = max(main.at, told) // nobody needs what lies between
	}
	for _, o := range orders {
		h.obey(o, compacted)
	}
	moved := h.advance(main) || len(orders) > 0
	h.assign(compacted)
	moved = h.pass() || moved
	h.answer()
	if !now.IsZero() {
		h.sweep(now)
	}
	return moved
}

func (h *Hub) obey(o order, compacted kv.Revision) {
	p := &h.pump
	switch o.kind {
	case addWatcher:
		h.begin(o.watcher, compacted)
	case removeWatcher:
		h.remove(o.watcher)
	case removeStream:
		for _, w := range o.stream.left() {
			h.remove(w)
		}
		p.asking.remove(o.stream)
	case askProgress:
		p.asking.add(o.stream)
	case resume:
		for _, w := range o.stream.unblock() {
			h.wait(w)
		}
	}
}

// begin takes in a new watcher. One that asks for what is compacted is canceled, even if the ring still had it.
func (h *Hub) begin(w *watcher, compacted kv.Revision) {
	p := &h.pump
	switch {
	case w.Start > 0 && w.Start < compacted:
		h.cancel(w, compacted)
		return
	case w.next > p.main.at:
		p.main.add(w)
	default:
		h.fallBehind(w)
		h.wait(w)
	}
	if w.Progress {
		p.timed.add(w)
	}
}

// wait puts a watcher to those that look for a cohort.
func (h *Hub) wait(w *watcher) {
	if !w.dead {
		h.pump.waiting = append(h.pump.waiting, w)
		h.pump.sort = true
	}
}

// remove takes a watcher out of everything, once. Where it still waits it is passed over.
func (h *Hub) remove(w *watcher) {
	if w.dead {
		return
	}
	w.dead = true
	if w.cohort != nil {
		w.cohort.remove(w)
	}
	h.pump.timed.remove(w)
	h.catchUp(w)
	w.stream.until = 0 // it may have been the one that progress waited for
	h.watchers.Add(-1)
}

// cancel ends a watcher that needs what is compacted.
func (h *Hub) cancel(w *watcher, compacted kv.Revision) {
	w.stream.compacted(w, h.revision(), compacted)
	h.remove(w)
}

func (h *Hub) fallBehind(w *watcher) {
	if !w.behind {
		w.behind = true
		w.stream.lagging++
		h.behind.Add(1)
	}
}

func (h *Hub) catchUp(w *watcher) {
	if w.behind {
		w.behind = false
		w.stream.lagging--
		h.behind.Add(-1)
	}
}

// assign finds cohorts for the watchers that wait, those that need the oldest first: who comes after them may join.
func (h *Hub) assign(compacted kv.Revision) {
	p := &h.pump
	if !p.sort {
		return
	}
	p.sort = false
	waiting := p.waiting
	slices.SortStableFunc(waiting, func(a, b *watcher) int { return cmp.Compare(a.next, b.next) })
	p.waiting = nil
	for _, w := range waiting {
		switch {
		case w.dead:
		case w.next > p.main.at:
			h.catchUp(w)
			p.main.add(w)
		default:
			if !h.join(w, compacted) {
				p.waiting = append(p.waiting, w)
			}
		}
	}
}

// join puts a watcher to a pass that comes by its place soon, or to a new one that begins there; false if there are
// enough passes already. A watcher whose next events are compacted is canceled, unless the ring still has them.
func (h *Hub) join(w *watcher, compacted kv.Revision) bool {
	oldest := h.oldest()
	fast := w.next-1 >= oldest
	if w.next < compacted && !fast {
		h.cancel(w, compacted)
		return true
	}
	count := 0
	for _, c := range h.pump.passes {
		if c.at < w.next && (c.at >= oldest || w.next-c.at <= h.limits.near) {
			c.add(w)
			return true
		}
		if c.at >= oldest == fast {
			count++
		}
	}
	if count >= h.limits.passes {
		return false
	}
	c := &cohort{at: w.next - 1}
	c.add(w)
	h.pump.passes = append(h.pump.passes, c)
	return true
}

// oldest is the revision behind which the ring has everything.
func (h *Hub) oldest() kv.Revision {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.mu.ring.spans) == 0 {
		return h.mu.revision
	}
	return h.mu.ring.spans[0].before
}

// pickUp lets a pass that reads from history take along those waiting watchers that it comes by next.
func (h *Hub) pickUp(c *cohort) {
	p := &h.pump
	if p.sort || len(p.waiting) == 0 {
		return // they are in no order now: assign comes before the next turn of a pass
	}
	place := func(w *watcher, r kv.Revision) int { return cmp.Compare(w.next, r) }
	from, _ := slices.BinarySearchFunc(p.waiting, c.at+1, place)
	to, _ := slices.BinarySearchFunc(p.waiting, c.at+h.limits.near+1, place)
	for _, w := range p.waiting[from:to] {
		if !w.dead {
			c.add(w)
		}
	}
	p.waiting = slices.Delete(p.waiting, from, to)
}

// pass advances the next one of the passes. One that has met the main cohort is merged into it, and one that has lost
// its members is given up.
func (h *Hub) pass() bool {
	p := &h.pump
	if len(p.passes) == 0 {
		return false
	}
	p.turns++
	i := p.turns % len(p.passes)
	c := p.passes[i]
	h.pickUp(c)
	moved := h.advance(c)
	met := c.at >= p.main.at
	if !met && !c.empty() {
		return moved
	}
	p.passes = slices.Delete(p.passes, i, i+1)
	p.sort = len(p.waiting) > 0
	for _, w := range c.members.items {
		w.next = c.next(w)
		h.catchUp(w)
		p.main.add(w)
	}
	return true
}

// answer settles requests for progress.
func (h *Hub) answer() {
	p := &h.pump
	for _, s := range slices.Clone(p.asking.items) {
		if s.lagging == 0 && s.until <= p.main.at && s.answer(p.main) {
			p.asking.remove(s)
		}
	}
}

// sweep sends progress to the watchers that have been idle for the interval.
func (h *Hub) sweep(now time.Time) {
	main := h.pump.main
	for _, w := range h.pump.timed.items {
		switch {
		case w.due == 0:
		case now.UnixNano() < w.due || !main.serves(w) || !w.stream.report(w, main.at):
			continue
		}
		w.due = now.UnixNano() + int64(h.opts.Interval)
		if h.opts.Rand != nil {
			w.due += h.opts.Rand.Int64N(int64(h.opts.Interval)/10 + 1)
		}
	}
}
