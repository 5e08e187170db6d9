package watch

import (
	"bytes"
	"context"
	"fmt"
	"sync"

	"raftsman.dev/node/kv"
)

// watcher is one watcher of one stream. Its owner is the pump, but for what the stream's lock guards.
type watcher struct {
	Request // never changed
	stream  *Stream
	single  bool   // key alone
	key     string // the range, for the index; end is empty if there is none
	end     string

	next   kv.Revision // what is below has been queued, or is not asked for
	cohort *cohort     // nil: it waits for one, or for its stream
	spot   *spot       // in the cohort's index
	slot   int
	batch  []*Event // of the revision that is being read
	behind bool     // counted as behind
	dead   bool     // removed from everything, or about to be skipped wherever it still stands
	due    int64    // when progress is sent, in Tick's time; 0 is not yet set

	gone bool   // under the stream's lock: canceled or closed; nothing more is queued for it
	tail uint64 // under the stream's lock: the answer that its next events may be joined to, 0 is none
	told uint64 // under the stream's lock: its newest answer of progress
}

// maxControls is how many answers to requests may be queued on a stream before the next request waits.
const maxControls = 256

// joinBytes is how large an answer gets by joining revisions; a single revision may be larger.
const joinBytes = 64 << 10

// item is a queued answer, and what it takes of the stream's budget.
type item struct {
	Response
	bytes   int
	control bool
}

// Stream is one client's connection with any number of watchers. Its methods may be called by several goroutines.
type Stream struct {
	hub *Hub
	mu  struct {
		sync.Mutex // taken before the hub's, if both
		watchers   map[int64]*watcher
		nextID     int64
		items      []item
		first      uint64 // number of items[0]; they count from 1
		bytes      int    // of the events in items
		controls   int
		blocked    set[*watcher] // did not fit; they go on when there is room
		called     bool          // the pump knows that there is room
		asked      bool          // the pump knows that progress is wanted
		floor      kv.Revision   // what progress must reach to answer the oldest request for it
		newest     kv.Revision   // and to answer all of them
		err        error         // why nothing more comes
	}
	bell chan struct{} // something to take, or an error
	room chan struct{} // fewer than maxControls are queued, or an error

	// Owned by the pump:
	lagging int         // watchers that are behind
	until   kv.Revision // a watcher begins there: no use in trying to answer with progress before
}

// Stream opens a stream. It must be closed.
func (h *Hub) Stream() *Stream {
	s := &Stream{hub: h, bell: make(chan struct{}, 1), room: make(chan struct{}, 1)}
	s.mu.first = 1
	s.mu.watchers = map[int64]*watcher{}
	if !h.enter(s) {
		s.mu.err = ErrClosed
	}
	return s
}

// Watch adds a watcher and queues the answer that it was created, which comes before all its events. It waits while too
// many answers to requests are queued. On an error nothing was queued: ErrDuplicate, ErrEmptyRange, kv.ErrCompacted for
// a negative Start, the context's, or why the stream has ended.
func (s *Stream) Watch(ctx context.Context, r Request) (int64, error) {
	if r.Start < 0 {
		return 0, kv.ErrCompacted
	}
	w, err := newWatcher(s, r)
	if err != nil {
		return 0, err
	}
	if err := s.await(ctx); err != nil {
		return 0, err
	}
	defer s.mu.Unlock()
	if err := s.nameLocked(w); err != nil {
		return 0, err
	}
	// The order is given under the stream's lock, so that it comes before the one that cancels the watcher again.
	revision, ok := s.hub.admit(w)
	if !ok {
		return 0, ErrClosed
	}
	s.mu.watchers[w.ID] = w
	s.pushLocked(item{Response: Response{ID: w.ID, Revision: revision, Created: true, Request: &w.Request}, control: true})
	return w.ID, nil
}

func newWatcher(s *Stream, r Request) (*watcher, error) {
	w := &watcher{Request: r, stream: s, single: len(r.End) == 0, key: string(r.Key), end: string(r.End)}
	if w.key == "" {
		w.key = "\x00"
	}
	switch {
	case w.single:
	case bytes.Equal(r.End, []byte{0}):
		w.end = ""
	case w.key >= w.end:
		return nil, fmt.Errorf("watch [%q, %q): %w", w.key, w.end, ErrEmptyRange)
	}
	return w, nil
}

// nameLocked gives the watcher its ID: etcd's rule, which begins at 0 and never uses one twice by itself.
func (s *Stream) nameLocked(w *watcher) error {
	if w.ID != 0 {
		if s.mu.watchers[w.ID] != nil {
			return fmt.Errorf("watcher %d: %w", w.ID, ErrDuplicate)
		}
		return nil
	}
	for s.mu.watchers[s.mu.nextID] != nil {
		s.mu.nextID++
	}
	w.ID = s.mu.nextID
	s.mu.nextID++
	return nil
}

// Cancel ends a watcher and queues the answer that it was canceled, behind which none of its events comes. It reports
// whether there was one. Like Watch it waits and fails.
func (s *Stream) Cancel(ctx context.Context, id int64) (bool, error) {
	if err := s.await(ctx); err != nil {
		return false, err
	}
	defer s.mu.Unlock()
	w := s.mu.watchers[id]
	if w == nil {
		return false, nil
	}
	s.endLocked(w, Response{Revision: s.hub.revision()}, true)
	s.hub.order(order{kind: removeWatcher, watcher: w})
	return true, nil
}

// endLocked lets go of a watcher and queues its last answer.
func (s *Stream) endLocked(w *watcher, r Response, control bool) {
	w.gone = true
	delete(s.mu.watchers, w.ID)
	s.mu.blocked.remove(w)
	r.ID, r.Canceled, r.Request = w.ID, true, &w.Request
	s.pushLocked(item{Response: r, control: control})
}

// Refuse queues the answer that a watcher could not be created, in its order. Like Watch it waits and fails.
func (s *Stream) Refuse(ctx context.Context, reason error) error {
	if err := s.await(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	s.pushLocked(item{Response: Response{ID: -1, Revision: s.hub.revision(), Created: true, Canceled: true, Err: reason}, control: true})
	return nil
}

// Progress asks for one answer with ID -1, queued as soon as every watcher of the stream has everything up to a revision
// that is no older than the store's now. An answer is for all requests that it reaches; later ones do not put it off. A
// stream without watchers gets none.
func (s *Stream) Progress() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.err != nil {
		return
	}
	s.mu.newest = s.hub.revision()
	if !s.mu.asked {
		s.mu.asked, s.mu.floor = true, s.mu.newest
		s.hub.order(order{kind: askProgress, stream: s})
	}
}

// Next returns the next answer, in order. An error is the context's, or why the stream has ended: then what was queued
// is lost, and a client goes on from what it has received.
func (s *Stream) Next(ctx context.Context) (Response, error) {
	for {
		r, ok, err := s.take()
		if ok || err != nil {
			return r, err
		}
		select {
		case <-ctx.Done():
			return Response{}, ctx.Err()
		case <-s.bell:
		}
	}
}

func (s *Stream) take() (Response, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.err != nil {
		wake(s.bell) // for whoever else waits
		return Response{}, false, s.mu.err
	}
	if len(s.mu.items) == 0 {
		return Response{}, false, nil
	}
	it := s.popLocked()
	s.hub.release(it.Events)
	s.hub.events.Add(uint64(len(it.Events)))
	s.callLocked()
	if len(s.mu.items) > 0 {
		wake(s.bell)
	}
	return it.Response, true, nil
}

func (s *Stream) popLocked() item {
	it := s.mu.items[0]
	s.mu.items[0] = item{}
	s.mu.items = s.mu.items[1:]
	s.mu.first++
	if len(s.mu.items) == 0 {
		s.mu.items = nil
	}
	s.mu.bytes -= it.bytes
	if it.control {
		s.mu.controls--
		wake(s.room)
	}
	return it
}

// callLocked tells the pump once that there is room again: when half of the queue is empty, so that a watcher goes back
// to history for more than a single answer.
func (s *Stream) callLocked() {
	if len(s.mu.blocked.items) > 0 && !s.mu.called && s.mu.bytes <= s.hub.opts.StreamBytes/2 {
		s.mu.called = true
		s.hub.order(order{kind: resume, stream: s})
	}
}

// await locks the stream once an answer to a request may be queued.
func (s *Stream) await(ctx context.Context) error {
	for {
		s.mu.Lock()
		if s.mu.err != nil || s.mu.controls < maxControls {
			break
		}
		s.mu.Unlock()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.room:
		}
	}
	if s.mu.err != nil || s.mu.controls < maxControls-1 {
		wake(s.room) // for whoever else waits
	}
	if err := s.mu.err; err != nil {
		s.mu.Unlock()
		return err
	}
	return nil
}

func (s *Stream) pushLocked(it item) {
	if it.control {
		s.mu.controls++
	}
	s.mu.bytes += it.bytes
	s.mu.items = append(s.mu.items, it)
	wake(s.bell)
}

// Close ends the stream and all its watchers. It does not wait.
func (s *Stream) Close() { s.fail(ErrClosed) }

// fail ends the stream for the given reason, if it has not ended yet.
func (s *Stream) fail(reason error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.err != nil {
		return
	}
	s.mu.err = reason
	for _, it := range s.mu.items {
		s.hub.release(it.Events)
	}
	s.mu.items, s.mu.bytes = nil, 0
	s.mu.blocked.take()
	for _, w := range s.mu.watchers {
		w.gone = true
	}
	wake(s.bell)
	wake(s.room)
	s.hub.order(order{kind: removeStream, stream: s})
}

// wake wakes who waits on the channel, now or next.
func wake(bell chan struct{}) {
	select {
	case bell <- struct{}{}:
	default:
	}
}
