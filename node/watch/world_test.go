package watch

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"raftsman.dev/node/kv"
)

// store plays the store: all that ever happened, and what of it can still be read.
type store struct {
	mu struct {
		sync.Mutex
		all       []kv.Event
		revision  kv.Revision
		compacted kv.Revision
		open      int
		lookups   int
		err       error // what reads answer
	}
}

func newStore() *store {
	s := &store{}
	s.mu.revision = 1
	return s
}

// write appends revisions, one for each list of events (keys and values are set; a nil value deletes), and returns
// what the applier tells of them. cut decides whether a block ends before an event.
func (s *store) write(cut func() bool, revisions ...[]kv.KeyValue) kv.Changes {
	s.mu.Lock()
	defer s.mu.Unlock()
	var blocks [][]byte
	var block []byte
	last := kv.Revision(0)
	for _, changes := range revisions {
		s.mu.revision++
		for _, c := range changes {
			e := s.eventLocked(c)
			s.mu.all = append(s.mu.all, e)
			if len(block) > 0 && cut() {
				blocks, block, last = append(blocks, block), nil, 0
			}
			block = kv.AppendEvent(block, last, &e)
			last = e.KV.ModRevision
		}
	}
	return kv.Changes{Revision: s.mu.revision, Compacted: s.mu.compacted, Blocks: append(blocks, block)}
}

func (s *store) eventLocked(c kv.KeyValue) kv.Event {
	e := kv.Event{KV: kv.KeyValue{Key: c.Key, ModRevision: s.mu.revision}}
	prev := newestBefore(s.mu.all, c.Key, s.mu.revision)
	if prev != nil {
		e.Before = prev.KV.ModRevision
	}
	if c.Value == nil {
		return e
	}
	e.KV.Value, e.KV.CreateRevision, e.KV.Version = c.Value, s.mu.revision, 1
	if prev != nil && !prev.Deletion() {
		e.KV.CreateRevision, e.KV.Version = prev.KV.CreateRevision, prev.KV.Version+1
	}
	return e
}

func newestBefore(all []kv.Event, key []byte, revision kv.Revision) *kv.Event {
	for i := len(all) - 1; i >= 0; i-- {
		if all[i].KV.ModRevision < revision && bytes.Equal(all[i].KV.Key, key) {
			return &all[i]
		}
	}
	return nil
}

func (s *store) compact(at kv.Revision) kv.Changes {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.compacted = at
	return kv.Changes{Revision: s.mu.revision, Compacted: at}
}

func (s *store) revisions() (revision, compacted kv.Revision) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.revision, s.mu.compacted
}

func (s *store) truth() []kv.Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.all
}

func (s *store) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.err = err
}

// lookups is how many previous versions were asked for.
func (s *store) lookups() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.lookups
}

func (s *store) opened() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.open
}

// view is a pinned state of it.
type view struct {
	store               *store
	all                 []kv.Event
	revision, compacted kv.Revision
	err                 error
}

func (s *store) view() History {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.open++
	return &view{store: s, all: s.mu.all, revision: s.mu.revision, compacted: s.mu.compacted, err: s.mu.err}
}

func (v *view) Revision() kv.Revision  { return v.revision }
func (v *view) Compacted() kv.Revision { return v.compacted }

func (v *view) Close() error {
	v.store.mu.Lock()
	defer v.store.mu.Unlock()
	v.store.mu.open--
	return nil
}

// Events lends each key and value, and spoils them after the call.
func (v *view) Events(from kv.Revision, f func(kv.Event) bool) error {
	if v.err != nil {
		return v.err
	}
	if from < v.compacted {
		return kv.ErrCompacted
	}
	i, _ := slices.BinarySearchFunc(v.all, from, func(e kv.Event, r kv.Revision) int { return cmp.Compare(e.KV.ModRevision, r) })
	for _, e := range v.all[i:] {
		e.KV.Key, e.KV.Value = slices.Clone(e.KV.Key), slices.Clone(e.KV.Value)
		more := f(e)
		for _, b := range [][]byte{e.KV.Key, e.KV.Value} {
			for i := range b {
				b[i] = '!'
			}
		}
		if !more {
			return nil
		}
	}
	return nil
}

func (v *view) Before(e kv.Event) (kv.KeyValue, bool, error) {
	v.store.mu.Lock()
	v.store.mu.lookups++
	v.store.mu.Unlock()
	if v.err != nil {
		return kv.KeyValue{}, false, v.err
	}
	if e.KV.ModRevision-1 < v.compacted {
		return kv.KeyValue{}, false, nil
	}
	prev := newestBefore(v.all, e.KV.Key, e.KV.ModRevision)
	if prev == nil || prev.Deletion() {
		return kv.KeyValue{}, false, nil
	}
	return prev.KV, true, nil
}

// wanted is the naive match of an event against a request.
func wanted(r *Request, e *kv.Event) bool {
	key := r.Key
	if len(key) == 0 {
		key = []byte{0}
	}
	in := bytes.Equal(e.KV.Key, key)
	switch {
	case string(r.End) == "\x00":
		in = bytes.Compare(e.KV.Key, key) >= 0
	case len(r.End) > 0:
		in = bytes.Compare(e.KV.Key, key) >= 0 && bytes.Compare(e.KV.Key, r.End) < 0
	}
	return in && (e.Deletion() && !r.NoDelete || !e.Deletion() && !r.NoPut)
}

// expectation is what one watcher is owed.
type expectation struct {
	id       int64
	request  Request
	next     kv.Revision // the first revision that it has not heard of for certain
	created  kv.Revision // what the creation has to say; 0 is not known
	seen     bool        // it was created, as far as the client knows
	canceled bool        // by the client
	stale    bool        // it had asked for what was compacted
}

// owed lists the events that it has to get of the revisions from its next one to r.
func (x *expectation) owed(all []kv.Event, r kv.Revision) []kv.Event {
	var out []kv.Event
	i, _ := slices.BinarySearchFunc(all, x.next, func(e kv.Event, r kv.Revision) int { return cmp.Compare(e.KV.ModRevision, r) })
	for ; i < len(all) && all[i].KV.ModRevision <= r; i++ {
		if wanted(&x.request, &all[i]) {
			out = append(out, all[i])
		}
	}
	return out
}

// client reads one stream and checks all that comes.
type client struct {
	stream *Stream
	store  *store
	live   map[int64]*expectation
	asked  kv.Revision // where it last asked for progress
	heard  kv.Revision // what it was last answered
	got    int         // events
	ended  int         // compacted
	reason error
}

// hear checks one answer against the truth.
func (c *client) hear(r Response) error {
	x := c.live[r.ID]
	if told := c.stream.hub.revision(); r.Revision > told {
		return fmt.Errorf("%s, but only %d was told", describe(r), told)
	}
	switch {
	case r.ID == -1:
		return c.progress(r)
	case x == nil:
		return fmt.Errorf("answer for watcher %d, which is not there: %+v", r.ID, r)
	case r.Created:
		if x.created == 0 && x.request.Start == 0 {
			x.next = r.Revision + 1
		}
		if x.seen || x.created > 0 && r.Revision != x.created {
			return fmt.Errorf("watcher %d created at %d, want once and at %d", r.ID, r.Revision, x.created)
		}
		x.seen = true
		return nil
	case !x.seen:
		return fmt.Errorf("watcher %d: %+v before it was created", r.ID, r)
	case r.Canceled:
		return c.canceled(x, r)
	case len(r.Events) > 0:
		return c.events(x, r)
	case !x.request.Progress:
		return fmt.Errorf("watcher %d has not asked for progress", r.ID)
	}
	return c.reached(x, r.Revision)
}

func (c *client) canceled(x *expectation, r Response) error {
	delete(c.live, x.id)
	_, compacted := c.store.revisions()
	switch {
	case r.CompactRevision == 0 && !x.canceled:
		return fmt.Errorf("watcher %d was canceled by nobody", x.id)
	case r.CompactRevision > compacted || r.CompactRevision > 0 && x.next >= r.CompactRevision:
		return fmt.Errorf("watcher %d canceled at compaction %d, it needs %d", x.id, r.CompactRevision, x.next)
	case r.CompactRevision > 0:
		c.ended++
	}
	return nil
}

func (c *client) events(x *expectation, r Response) error {
	if x.stale {
		return fmt.Errorf("watcher %d began below the compaction and got events", x.id)
	}
	all := c.store.truth()
	owed := x.owed(all, r.Revision)
	if len(owed) != len(r.Events) || owed[len(owed)-1].KV.ModRevision != r.Revision {
		return fmt.Errorf("watcher %d %+v: %d events up to %d, want %d from %d", x.id, x.request, len(r.Events), r.Revision, len(owed), x.next)
	}
	for i, e := range r.Events {
		if !sameKV(&e.KV, &owed[i].KV) {
			return fmt.Errorf("watcher %d: event %+v, want %+v", x.id, e.KV, owed[i].KV)
		}
		if err := c.prev(x, e, all); err != nil {
			return err
		}
	}
	x.next = r.Revision + 1
	c.got += len(owed)
	return nil
}

func (c *client) prev(x *expectation, e *Event, all []kv.Event) error {
	_, compacted := c.store.revisions()
	prev := newestBefore(all, e.KV.Key, e.KV.ModRevision)
	none := prev == nil || prev.Deletion()
	switch {
	case e.Prev == nil && x.request.PrevKV && !none && e.KV.ModRevision > compacted:
		return fmt.Errorf("watcher %d: no previous version with %+v", x.id, e.KV)
	case e.Prev != nil && (none || !sameKV(e.Prev, &prev.KV)):
		return fmt.Errorf("watcher %d: previous version %+v of %+v", x.id, e.Prev, e.KV)
	}
	return nil
}

func sameKV(a, b *kv.KeyValue) bool {
	return bytes.Equal(a.Key, b.Key) && bytes.Equal(a.Value, b.Value) && a.CreateRevision == b.CreateRevision &&
		a.ModRevision == b.ModRevision && a.Version == b.Version && a.Lease == b.Lease
}

// reached checks that nothing up to a revision is still owed, and that none of it comes later.
func (c *client) reached(x *expectation, r kv.Revision) error {
	if owed := x.owed(c.store.truth(), r); len(owed) > 0 {
		return fmt.Errorf("watcher %d: progress %d, but it is owed %+v", x.id, r, owed[0])
	}
	if r < x.request.Start || r < x.next-1 {
		return fmt.Errorf("watcher %d: progress %d, it was at %d and starts at %d", x.id, r, x.next, x.request.Start)
	}
	x.next = r + 1
	return nil
}

func (c *client) progress(r Response) error {
	if r.Created || r.Canceled || len(r.Events) > 0 || c.asked == 0 || r.Revision < c.heard {
		return fmt.Errorf("progress %+v, asked at %d, heard %d before", r, c.asked, c.heard)
	}
	c.heard = r.Revision
	for _, x := range c.live {
		if !x.seen || x.canceled {
			continue
		}
		if err := c.reached(x, r.Revision); err != nil {
			return err
		}
	}
	return nil
}

func (c *client) ask(told kv.Revision) {
	c.asked = told
	c.stream.Progress()
}

// read takes up to n answers without waiting.
func (c *client) read(t *testing.T, n int) int {
	t.Helper()
	for i := range n {
		r, ok, err := c.stream.take()
		if err != nil && c.reason != nil {
			return i
		}
		if err != nil {
			t.Fatalf("stream ended: %v", err)
		}
		if !ok {
			return i
		}
		if err := c.hear(r); err != nil {
			t.Fatal(err)
		}
	}
	return n
}

func newClient(h *Hub, s *store) *client {
	return &client{stream: h.Stream(), store: s, live: map[int64]*expectation{}}
}

// watch creates a watcher. The caller tells nothing meanwhile.
func (c *client) watch(t *testing.T, told kv.Revision, compacted kv.Revision, r Request) int64 {
	t.Helper()
	id, err := c.stream.Watch(context.Background(), r)
	if err != nil {
		t.Fatal(err)
	}
	x := &expectation{id: id, request: r, next: r.Start, created: told, stale: r.Start > 0 && r.Start < compacted}
	if r.Start == 0 {
		x.next = told + 1
	}
	if c.live[id] != nil && !c.live[id].canceled {
		t.Fatalf("watcher %d given twice", id)
	}
	c.live[id] = x
	return id
}

func key(i int) []byte { return fmt.Appendf(nil, "k%03d", i) }

func put(i int, value string) kv.KeyValue { return kv.KeyValue{Key: key(i), Value: []byte(value)} }

func del(i int) kv.KeyValue { return kv.KeyValue{Key: key(i)} }

// anyRequest draws a watcher of any shape.
func anyRequest(rng *rand.Rand, keys int, revision kv.Revision) Request {
	r := Request{
		Key: key(rng.IntN(keys)), PrevKV: rng.IntN(3) == 0, Progress: rng.IntN(3) == 0,
		NoPut: rng.IntN(8) == 0, NoDelete: rng.IntN(8) == 0,
	}
	switch rng.IntN(6) {
	case 0:
		r.End = []byte{0}
	case 1, 2:
		r.End = append(key(rng.IntN(keys)), 'x')
		if bytes.Compare(r.Key, r.End) >= 0 {
			r.Key = nil
		}
	}
	switch rng.IntN(4) {
	case 0:
		r.Start = 1 + kv.Revision(rng.IntN(int(revision)))
	case 1:
		r.Start = max(1, revision-5+kv.Revision(rng.IntN(12)))
	case 2:
		r.Start = revision + kv.Revision(rng.IntN(30))
	}
	return r
}
