package watch

import (
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"raftsman.dev/node/kv"
)

var (
	// ErrClosed: the hub or the stream was closed.
	ErrClosed = errors.New("watch stream is closed")
	// ErrDuplicate: the stream has a watcher with this ID.
	ErrDuplicate = errors.New("watch ID is already in use on this stream")
	// ErrEmptyRange: no key can be in the range.
	ErrEmptyRange = errors.New("watcher range is empty")
)

// History is a pinned state of the store. It is used by one goroutine, and is closed.
type History interface {
	Revision() kv.Revision
	Compacted() kv.Revision
	// Events calls f with the events from a revision on, in order, until f returns false or the view's revision is
	// through; what f gets is valid during the call. It answers kv.ErrCompacted if from < Compacted().
	Events(from kv.Revision, f func(kv.Event) bool) error
	// Before is the version just before an event; false if there was none, or if it is compacted. It may be called from
	// within Events.
	Before(e kv.Event) (kv.KeyValue, bool, error)
	Close() error
}

// Options are the hub's tuning, and what it needs of the member.
type Options struct {
	// History opens a view of the store's newest state. What was told must be in it.
	History func() History
	// Revision and Compacted are the store's at the start.
	Revision, Compacted kv.Revision
	// RingBytes bounds the recent events that are held encoded; default 64 MiB. What is older is read from History.
	RingBytes int
	// StreamBytes bounds the events queued on one stream; default 4 MiB. Watchers beyond it wait until half is taken.
	StreamBytes int
	// QueueBytes bounds the events queued on all streams together, each weighed once; default 256 MiB. Beyond it a stream
	// holds one answer.
	QueueBytes int64
	// Interval is after how long without events a watcher hears of progress, if it wants to; default 10 minutes. Rand
	// lengthens each by up to a tenth; nil does not. The pump alone uses it.
	Interval time.Duration
	Rand     *rand.Rand
	// First, if not nil, is called when a watcher comes where there was none. It must not block.
	First func()
}

func (o *Options) fill() {
	if o.RingBytes == 0 {
		o.RingBytes = 64 << 20
	}
	if o.StreamBytes == 0 {
		o.StreamBytes = 4 << 20
	}
	if o.QueueBytes == 0 {
		o.QueueBytes = 256 << 20
	}
	if o.Interval == 0 {
		o.Interval = 10 * time.Minute
	}
}

// Hub serves all watchers of one member.
type Hub struct {
	opts Options
	// What is shared with the applier. No IO happens under it, and nothing that takes long; it is taken last.
	mu struct {
		sync.Mutex
		ring      ring
		revision  kv.Revision
		compacted kv.Revision
		orders    []order
		streams   set[*Stream]
		tick      time.Time // the newest that the pump has not seen
		closed    bool
	}
	bell    chan struct{} // there is something for the pump
	done    chan struct{} // closed: the pump has to stop
	stopped chan struct{} // closed: it has

	watchers atomic.Int64
	behind   atomic.Int64
	queued   atomic.Int64
	events   atomic.Uint64

	limits limits
	pump   pump
}

// New starts a hub. It must be closed.
func New(o Options) *Hub {
	h := newHub(o)
	go h.run()
	return h
}

func newHub(o Options) *Hub {
	o.fill()
	h := &Hub{opts: o, limits: defaultLimits(), bell: make(chan struct{}, 1), done: make(chan struct{}), stopped: make(chan struct{})}
	h.mu.ring.max = o.RingBytes
	h.mu.revision, h.mu.compacted = o.Revision, o.Compacted
	h.pump.main = &cohort{at: o.Revision}
	return h
}

// Tell takes over what a batch has changed. The applier calls it after each batch, in order, when the store shows the
// batch and before anybody is told that it is done. It never waits for a watcher, nor for a read.
func (h *Hub) Tell(c kv.Changes) {
	h.mu.Lock()
	h.mu.compacted = c.Compacted
	switch {
	case c.Switched || c.Revision < h.mu.revision || len(c.Blocks) == 0 && c.Revision > h.mu.revision:
		h.mu.ring.clear()
	case c.Revision > h.mu.revision:
		h.mu.ring.add(newSpan(h.mu.revision, c.Revision, c.Blocks))
	}
	h.mu.revision = c.Revision
	h.mu.Unlock()
	if h.watchers.Load() > 0 {
		wake(h.bell)
	}
}

// Tick lets time pass for progress intervals; the owner calls it about once a second.
func (h *Hub) Tick(now time.Time) {
	h.mu.Lock()
	h.mu.tick = now
	h.mu.Unlock()
	if h.watchers.Load() > 0 {
		wake(h.bell)
	}
}

// Close ends all streams with ErrClosed, and the pump. It waits until the pump's last turn is over, so that afterwards
// no History is open.
func (h *Hub) Close() {
	h.mu.Lock()
	closed := h.mu.closed
	h.mu.closed = true
	streams := h.mu.streams.take()
	h.mu.Unlock()
	for _, s := range streams {
		s.fail(ErrClosed)
	}
	if !closed {
		close(h.done)
	}
	<-h.stopped
}

// Stats are the hub's numbers at one time; each is exact, but not all of the same moment.
type Stats struct {
	Streams   int
	Watchers  int
	Behind    int    // watchers that read from further back than the newest events
	Events    uint64 // events taken from streams, ever
	RingBytes int
	// QueuedBytes is what all queues hold, each event weighed once.
	QueuedBytes int64
}

// Stats may be called by anyone.
func (h *Hub) Stats() Stats {
	h.mu.Lock()
	defer h.mu.Unlock()
	return Stats{
		Streams: len(h.mu.streams.items), Watchers: int(h.watchers.Load()), Behind: int(h.behind.Load()),
		Events: h.events.Load(), RingBytes: h.mu.ring.bytes, QueuedBytes: h.queued.Load(),
	}
}

// Watchers is Stats().Watchers, and waits for nobody.
func (h *Hub) Watchers() int { return int(h.watchers.Load()) }

func (h *Hub) revision() kv.Revision {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.mu.revision
}

// enter registers a stream; false if the hub is closed.
func (h *Hub) enter(s *Stream) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.mu.closed {
		h.mu.streams.add(s)
	}
	return !h.mu.closed
}

// admit decides where a new watcher begins, and orders it in.
func (h *Hub) admit(w *watcher) (revision kv.Revision, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.mu.closed {
		return 0, false
	}
	w.next = w.Start
	if w.Start == 0 {
		w.next = h.mu.revision + 1
	}
	if h.watchers.Add(1) == 1 && h.opts.First != nil {
		h.opts.First()
	}
	h.mu.orders = append(h.mu.orders, order{kind: addWatcher, watcher: w})
	wake(h.bell)
	return h.mu.revision, true
}

// order gives the pump something to do.
func (h *Hub) order(o order) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if o.kind == removeStream {
		h.mu.streams.remove(o.stream)
	}
	h.mu.orders = append(h.mu.orders, o)
	wake(h.bell)
}
