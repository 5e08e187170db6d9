package watch

import (
	"slices"
	"sync/atomic"

	"raftsman.dev/node/kv"
)

// Event is one change of one key, shared by all the watchers that it is for: nobody may change it or what it holds.
type Event struct {
	kv.Event
	// Prev is the version just before; nil if there was none, if it is compacted, or if no watcher wanted it when the
	// event was read. It may be given only to a watcher that has asked for it: another one's wish may have put it here.
	Prev *kv.KeyValue

	sought bool         // Prev has been looked for
	refs   atomic.Int32 // queued answers that hold the event, and the pump while it works on it
}

// eventOverhead is about what an event takes in memory besides its keys and values.
const eventOverhead = 200

// copyEvent makes the event independent of the block that it was read from.
func copyEvent(e *kv.Event) *Event {
	k, v := len(e.KV.Key), len(e.KV.Value)
	b := append(append(make([]byte, 0, k+v), e.KV.Key...), e.KV.Value...)
	c := &Event{Event: *e}
	c.KV.Key, c.KV.Value = b[:k:k], b[k:]
	return c
}

func (e *Event) bytes() int {
	n := eventOverhead + len(e.KV.Key) + len(e.KV.Value)
	if e.Prev != nil {
		n += len(e.Prev.Key) + len(e.Prev.Value)
	}
	return n
}

// seek looks the previous version up, once for all watchers.
func (e *Event) seek(open func() History) error {
	created := !e.Deletion() && e.KV.CreateRevision == e.KV.ModRevision
	if e.sought || created {
		return nil
	}
	prev, ok, err := open().Before(e.Event)
	if err == nil && ok {
		prev.Key, prev.Value = slices.Clone(prev.Key), slices.Clone(prev.Value)
		e.Prev = &prev
	}
	e.sought = true
	return err
}

// Request is what a watcher asks for.
type Request struct {
	// ID is chosen by the client; 0 lets the stream choose.
	ID int64
	// Key and End are the range [Key, End): End empty is Key alone, End "\0" is every key from Key on. An empty Key is "\0".
	Key, End []byte
	// Start is the first revision of interest: 0 is the next one. One that lies ahead keeps the watcher silent until then.
	Start kv.Revision
	// PrevKV wants Event.Prev.
	PrevKV bool
	// NoPut and NoDelete leave out events.
	NoPut, NoDelete bool
	// Progress wants to hear how far the watcher is when nothing has happened for Options.Interval.
	Progress bool
	// Fragment is the business of whoever sends the answers: here it is only carried along.
	Fragment bool
}

// wants reports whether the filters let the event through.
func (r *Request) wants(e *kv.Event) bool {
	if e.Deletion() {
		return !r.NoDelete
	}
	return !r.NoPut
}

// Response is one answer on a stream. Exactly one holds: Created, Canceled (or both: a refusal), Events is not empty,
// or it is progress.
type Response struct {
	// ID is the watcher's; -1 speaks for no single one: progress of the whole stream, or a refusal.
	ID int64
	// Revision is, of events, the newest among them; of progress, the one up to which everything was sent before; else
	// the store's.
	Revision kv.Revision
	Created  bool
	Canceled bool
	// CompactRevision, if not 0, is why the watcher was canceled: what it needs next is older.
	CompactRevision kv.Revision
	// Err is why a request was refused.
	Err error
	// Events are in order, and all that the watcher is to have of each revision that they are of.
	Events []*Event
	// Request is what the watcher had asked for; nil if ID is -1.
	Request *Request
}
