package watch

import (
	"errors"
	"slices"

	"raftsman.dev/node/kv"
)

// limits bound a turn of a cohort, which always reads to the end of a revision, and the passes.
type limits struct {
	events int // of history
	bytes  int
	seeks  int // previous versions that are looked up
	// passes bounds the cohorts that read from history at a time, and again those that read from the ring: these are not
	// to wait for those.
	passes int
	// near is how far ahead of a pass that reads from history a watcher may be to join it instead of asking for its own.
	near kv.Revision
}

// Anything works; a turn takes some milliseconds, and for as long the newest events wait.
func defaultLimits() limits {
	return limits{events: 4096, bytes: 1 << 20, seeks: 256, passes: 4, near: 4096}
}

// cohort is watchers that read at the same place.
type cohort struct {
	at      kv.Revision // up to here all members have been served
	members set[*watcher]
	index   index
}

func (c *cohort) add(w *watcher) {
	w.cohort = c
	c.members.add(w)
	c.index.add(w)
}

func (c *cohort) remove(w *watcher) {
	w.cohort = nil
	c.members.remove(w)
	c.index.remove(w)
}

func (c *cohort) empty() bool { return len(c.members.items) == 0 }

// next is the first revision that a member may still have to be served.
func (c *cohort) next(w *watcher) kv.Revision { return max(w.next, c.at+1) }

// serves reports whether a watcher has everything up to the cohort's place, and has begun.
func (c *cohort) serves(w *watcher) bool { return w.cohort == c && w.next <= c.at+1 && w.Start <= c.at }

// advance serves a cohort some of what comes next, out of the ring if that reaches back far enough, else out of
// history. It reports whether the cohort has moved.
func (h *Hub) advance(c *cohort) bool {
	h.mu.Lock()
	told := h.mu.revision
	spans := h.mu.ring.after(c.at, h.limits.bytes)
	h.mu.Unlock()
	if c.at >= told {
		return false
	}
	if c.empty() {
		c.at = told
		return true
	}
	r := reading{hub: h, cohort: c}
	var err error
	if len(spans) > 0 {
		err = r.spans(spans)
	} else {
		err = r.history(told)
	}
	if err = errors.Join(err, r.close()); err != nil {
		h.fail(c, err)
		c.at = told
		return true
	}
	return r.moved
}

// fail ends the streams of all members: what comes next cannot be read, and nothing may be left out.
func (h *Hub) fail(c *cohort, err error) {
	for _, w := range slices.Clone(c.members.items) {
		w.stream.fail(err)
		h.remove(w)
	}
}

// reading is one turn of a cohort.
type reading struct {
	hub    *Hub
	cohort *cohort
	view   History // opened when it is needed
	moved  bool

	revision kv.Revision // that is being read
	touched  []*watcher  // that have a batch of it
	copied   []*Event    // of it
	events   int         // in the turn
	bytes    int
	seeks    int
	err      error
}

func (r *reading) open() History {
	if r.view == nil {
		r.view = r.hub.opts.History()
	}
	return r.view
}

func (r *reading) close() error {
	if r.view == nil {
		return nil
	}
	return r.view.Close()
}

// full reports whether the turn has done enough.
func (r *reading) full() bool {
	l := &r.hub.limits
	return r.events >= l.events || r.bytes >= l.bytes || r.seeks >= l.seeks
}

// spans reads from the ring. There are no more of them than make a turn, if no previous versions are wanted.
func (r *reading) spans(spans []span) error {
	for i, s := range spans {
		if i > 0 && r.seeks >= r.hub.limits.seeks {
			return nil
		}
		for _, b := range s.blocks {
			err := kv.EachEvent(b, func(e kv.Event) bool {
				return r.see(&e)
			})
			if err = errors.Join(err, r.err); err != nil {
				r.drop()
				return err
			}
		}
		r.settle(s.last)
	}
	return nil
}

// history reads from the store, no further than what was told: what is told later comes by the ring.
func (r *reading) history(told kv.Revision) error {
	view, c := r.open(), r.cohort
	end := min(told, view.Revision())
	if compacted := view.Compacted(); c.at+1 < compacted {
		r.hub.cancelBelow(c, compacted)
		r.settle(compacted - 1)
	}
	if end <= c.at || c.empty() {
		return nil
	}
	err := view.Events(c.at+1, func(e kv.Event) bool {
		revision := e.KV.ModRevision
		switch {
		case revision > end:
			return false
		case revision > r.revision && r.full():
			end = r.revision
			return false
		}
		return r.see(&e)
	})
	if err = errors.Join(err, r.err); err != nil {
		r.drop()
		return err
	}
	r.settle(end)
	return nil
}

// cancelBelow cancels the members that need something older than what history is compacted at.
func (h *Hub) cancelBelow(c *cohort, compacted kv.Revision) {
	for _, w := range slices.Clone(c.members.items) {
		if c.next(w) < compacted {
			h.cancel(w, compacted)
		}
	}
}

// see takes in one event, and reports whether to go on: not after an error, and not for a cohort that has lost its
// members. Of a revision all members get their events when the next begins, or at the end.
func (r *reading) see(e *kv.Event) bool {
	revision := e.KV.ModRevision
	if revision <= r.cohort.at {
		return true
	}
	if revision != r.revision {
		r.flush()
		r.revision = revision
	}
	r.events++
	r.bytes += len(e.KV.Key) + len(e.KV.Value)
	var shared *Event
	r.cohort.index.match(e.KV.Key, func(w *watcher) {
		if revision < w.next || !w.wants(e) || r.err != nil {
			return
		}
		if shared == nil {
			shared = copyEvent(e)
		}
		if sought := shared.sought; w.PrevKV {
			r.err = shared.seek(r.open)
			if shared.sought != sought {
				r.seeks++
			}
		}
		if len(w.batch) == 0 {
			r.touched = append(r.touched, w)
		}
		w.batch = append(w.batch, shared)
	})
	if shared != nil {
		r.copied = append(r.copied, shared)
	}
	return r.err == nil && !r.cohort.empty()
}

// flush queues what the revision has for each watcher. Whoever has no room leaves the cohort, and goes on from this
// revision another time.
func (r *reading) flush() {
	r.hub.retain(r.copied)
	for _, w := range r.touched {
		if w.stream.offer(w, w.batch) {
			w.due = 0
		} else {
			r.cohort.remove(w)
			w.next = r.revision
			r.hub.fallBehind(w)
		}
		w.batch = nil
	}
	r.hub.release(r.copied)
	r.touched, r.copied = r.touched[:0], r.copied[:0]
}

// settle moves the cohort to a revision, up to and with which everything has been read.
func (r *reading) settle(revision kv.Revision) {
	r.flush()
	if revision > r.cohort.at {
		r.cohort.at, r.moved = revision, true
	}
}

// drop forgets the revision that could not be read to its end.
func (r *reading) drop() {
	for _, w := range r.touched {
		w.batch = nil
	}
}
