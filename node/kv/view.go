package kv

import (
	"errors"
	"fmt"

	"raftsman.dev/node/kv/engine"
	"raftsman.dev/node/kv/tally"
)

// View is a consistent, pinned state of the store. It must be closed.
type View struct {
	s    *Store
	gen  *generation // nil once the store was closed
	size int         // about how large an exported chunk is
	meta meta
	keys tally.Index     // how many there are, as far as it was known
	snap engine.Snapshot // nil for a view of the newest state that only pins the generation
	err  error           // what every read answers, if there is nothing to read from
	bill func(bytes int) error
}

// View pins the newest state. It takes no lock that Apply holds: how far the state is, it reads from the state.
func (s *Store) View() *View {
	v, err := s.acquire()
	if err != nil {
		return &View{meta: s.published.Load().meta, err: err}
	}
	v.snap = v.gen.db.NewSnapshot()
	if m, ok, err := getMeta(v.snap); err != nil {
		v.err = err
	} else if ok {
		if m.Index != v.meta.Index { // a batch was committed meanwhile
			v.keys = s.keysAt(v.gen, m.Index)
		}
		v.meta = m
	}
	return v
}

// acquire pins the generation in force. The only error is ErrClosed.
func (s *Store) acquire() (*View, error) {
	p, err := s.pin()
	if err != nil {
		return nil, err
	}
	return &View{s: s, gen: p.gen, size: s.opts.ExportBytes, meta: p.meta, keys: p.keys}, nil
}

// keysAt is how many keys there were when that entry had been applied, if that is the newest state still: else nothing is
// known.
func (s *Store) keysAt(gen *generation, index uint64) tally.Index {
	if p := s.published.Load(); p.gen == gen && p.meta.Index == index {
		return p.keys
	}
	return tally.New(s.opts.Stretch)
}

// pin is acquire for a caller that releases the generation itself.
func (s *Store) pin() (*published, error) {
	for {
		p := s.published.Load()
		if p.gen == nil {
			return nil, ErrClosed
		}
		if n := p.gen.refs.Load(); n > 0 && p.gen.refs.CompareAndSwap(n, n+1) {
			return p, nil
		}
	}
}

// Close lets go of the state.
func (v *View) Close() error {
	if v.gen == nil {
		return nil
	}
	var err error
	if v.snap != nil {
		err = v.snap.Close()
	}
	return errors.Join(err, v.gen.release())
}

// Applied is how far the viewed state is.
func (v *View) Applied() Applied { return v.meta.Applied }

// Revision is the viewed state's revision.
func (v *View) Revision() Revision { return v.meta.revision }

// Compacted is the oldest revision that can be read, -1 before the first compaction, as in etcd.
func (v *View) Compacted() Revision { return v.meta.compacted }

func (v *View) revision() Revision { return v.meta.revision }

func (v *View) compacted() Revision { return v.meta.compacted }

// lease is never asked: a view is only read.
func (v *View) lease(int64) (Lease, bool) { return Lease{}, false }

func (v *View) then(at Revision) (source, error) {
	return past{r: v.snap, at: at, bill: v.bill, view: v}, v.err
}

func (v *View) charge(bytes int) error {
	if v.bill == nil {
		return nil
	}
	return v.bill(bytes)
}

// Events calls f for the events from a revision on, up to the viewed one, in order, until it returns false. What f gets is
// reused. Errors: ErrCompacted if there were events from there on that are gone.
func (v *View) Events(from Revision, f func(Event) bool) error {
	if v.err != nil {
		return v.err
	}
	if from < v.meta.compacted {
		return fmt.Errorf("events from revision %d on, compacted at %d: %w", from, v.meta.compacted, ErrCompacted)
	}
	var room []byte
	return eachBlock(v.snap, from, func(_ place, block []byte) (more bool, err error) {
		more = true
		var bad error
		err = EachEvent(block, func(e Event) bool {
			if e.KV.ModRevision < from {
				return true
			}
			if e.KV.apart {
				bad = e.KV.fetch(v.snap, room[:0])
				room = e.KV.Value
			}
			e.KV.apart, e.apartBefore = false, false
			more = bad == nil && f(e)
			return more
		})
		return more, errors.Join(err, bad)
	})
}

// Before is what the key of an event had just before it; ok is false where it had nothing, and where that has been
// compacted. It is the caller's.
func (v *View) Before(e Event) (kv KeyValue, ok bool, err error) {
	if v.err != nil || e.Before == 0 || e.KV.ModRevision-1 < v.meta.compacted {
		return KeyValue{}, false, v.err
	}
	return past{r: v.snap, at: e.KV.ModRevision - 1}.from(e.KV.Key, e.Before)
}

// Leases calls f for every lease, in order of the ids as unsigned numbers, until it returns false.
func (v *View) Leases(f func(Lease) bool) error {
	if v.err != nil {
		return v.err
	}
	return eachLease(v.snap, f)
}

// LeaseKeys calls f for the keys attached to a lease, in order, until it returns false. What f gets is reused.
func (v *View) LeaseKeys(id int64, f func(key []byte) bool) error {
	if v.err != nil {
		return v.err
	}
	return eachAttached(v.snap, id, f)
}

func (v *View) stat(key []byte) (KeyValue, bool, error) { return v.get(key) }

func (v *View) get(key []byte) (KeyValue, bool, error) {
	if v.err != nil {
		return KeyValue{}, false, v.err
	}
	return getKey(v.snap, key)
}

func (v *View) scan(lo, hi []byte, values bool, f func(KeyValue) bool) error {
	if v.err != nil {
		return v.err
	}
	return scanKeys(v.snap, lo, hi, values, f)
}

// Export gives out the whole state in chunks, in order. A chunk is rows, each a length-prefixed key and
// value; f must not keep it.
func (v *View) Export(f func(chunk []byte) error) error {
	return v.ExportFrom(nil, func(_, chunk []byte) error { return f(chunk) })
}

// ExportFrom is Export from the chunk on that begins with the given row, nil being the first chunk; f hears the key
// of each chunk's first row too, and must keep neither. Where a chunk ends depends on where it begins and on the
// state alone, so that the chunks of one view are the same from whichever of them it is exported.
func (v *View) ExportFrom(from []byte, f func(first, chunk []byte) error) error {
	var first, chunk []byte
	err := v.rows(from, func(key, value []byte) error {
		if len(chunk) == 0 {
			first = append(first[:0], key...)
		}
		chunk = appendBytes(appendBytes(chunk, key), value)
		if len(chunk) < v.size {
			return nil
		}
		err := f(first, chunk)
		chunk = chunk[:0]
		return err
	})
	if err == nil && len(chunk) > 0 {
		err = f(first, chunk)
	}
	return err
}

// rows gives out the rows whose keys are not before from.
func (v *View) rows(from []byte, f func(key, value []byte) error) error {
	if v.err != nil {
		return v.err
	}
	it, err := v.snap.NewIter(from, nil)
	if err != nil {
		return damage("the whole state", err)
	}
	defer it.Close()
	for ok := it.First(); ok; ok = it.Next() {
		if err := f(it.Key(), it.Value()); err != nil {
			return err
		}
	}
	return damage("the whole state", it.Error())
}
