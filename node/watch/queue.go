package watch

import "raftsman.dev/node/kv"

// What the pump does to a stream's queue. Nothing here waits.

// offer queues a revision's events for a watcher, joined to its last answer if that has not been taken yet. False is:
// there is no room, the watcher is kept among the blocked ones and has to go on from this revision later. The events
// of a watcher that is gone are dropped.
func (s *Stream) offer(w *watcher, events []*Event) bool {
	bytes := 0
	for _, e := range events {
		bytes += e.bytes()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if w.gone || s.mu.err != nil {
		return true
	}
	// With nothing queued one answer always fits. So whoever is refused has something to take before it, and taking that is
	// what calls for more.
	if s.mu.bytes > 0 && (s.mu.bytes+bytes > s.hub.opts.StreamBytes || s.hub.queued.Load() > s.hub.opts.QueueBytes) {
		s.mu.blocked.add(w)
		return false
	}
	s.hub.retain(events)
	revision := events[0].KV.ModRevision
	if w.tail >= s.mu.first {
		last := &s.mu.items[w.tail-s.mu.first]
		if last.bytes+bytes <= joinBytes {
			last.Events = append(last.Events, events...)
			last.Revision = revision
			last.bytes += bytes
			s.mu.bytes += bytes
			return true
		}
	}
	s.pushLocked(item{Response: Response{ID: w.ID, Revision: revision, Events: events, Request: &w.Request}, bytes: bytes})
	w.tail = s.mu.first + uint64(len(s.mu.items)) - 1
	return true
}

// report queues a watcher's own progress, if the client has taken all events and the watcher's last progress: then it is
// idle indeed, and what is queued stays bounded.
func (s *Stream) report(w *watcher, revision kv.Revision) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if w.gone || s.mu.err != nil || s.mu.bytes > 0 || w.told >= s.mu.first {
		return false
	}
	s.pushLocked(item{Response: Response{ID: w.ID, Revision: revision, Request: &w.Request}})
	w.told = s.mu.first + uint64(len(s.mu.items)) - 1
	return true
}

// answer queues the progress that was asked for if every watcher is served by the main cohort and has begun. It reports
// whether all questions are settled: the oldest is answered as soon as it can be, though newer ones ask for more.
func (s *Stream) answer(main *cohort) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.floor > main.at {
		return false
	}
	for _, w := range s.mu.watchers {
		if !main.serves(w) {
			s.until = max(w.next-1, w.Start)
			return false
		}
	}
	if s.mu.err != nil || len(s.mu.watchers) == 0 {
		s.mu.asked = false
		return true
	}
	s.mu.asked, s.mu.floor = s.mu.newest > main.at, s.mu.newest
	for _, w := range s.mu.watchers {
		w.tail = 0 // what comes now must not be joined to what stands before
	}
	if n := len(s.mu.items); n > 0 && s.mu.items[n-1].ID == -1 && !s.mu.items[n-1].Created {
		s.mu.items[n-1].Revision = main.at
	} else {
		s.pushLocked(item{Response: Response{ID: -1, Revision: main.at}})
	}
	return !s.mu.asked
}

// compacted cancels a watcher that needs what history does not have any more.
func (s *Stream) compacted(w *watcher, revision, compacted kv.Revision) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !w.gone {
		s.endLocked(w, Response{Revision: revision, CompactRevision: compacted}, false)
	}
}

// unblock hands over the watchers that had no room.
func (s *Stream) unblock() []*watcher {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.called = false
	return s.mu.blocked.take()
}

// left lists the watchers of a stream that has ended.
func (s *Stream) left() []*watcher {
	s.mu.Lock()
	defer s.mu.Unlock()
	ws := make([]*watcher, 0, len(s.mu.watchers))
	for _, w := range s.mu.watchers {
		ws = append(ws, w)
	}
	s.mu.watchers = nil
	return ws
}

// retain and release keep account of the events that are queued: each is weighed once, however many queues it is in.
func (h *Hub) retain(events []*Event) {
	for _, e := range events {
		if e.refs.Add(1) == 1 {
			h.queued.Add(int64(e.bytes()))
		}
	}
}

func (h *Hub) release(events []*Event) {
	for _, e := range events {
		if e.refs.Add(-1) == 0 {
			h.queued.Add(-int64(e.bytes()))
		}
	}
}
