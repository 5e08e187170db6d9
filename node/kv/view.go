package kv

import (
	"errors"
	"fmt"
	"hash/crc64"

	"raftsman.dev/node/kv/engine"
)

// View is a consistent, pinned state of the store. It must be closed.
type View struct {
	gen  *generation // nil once the store was closed
	size int         // about how large an exported chunk is
	meta meta
	snap engine.Snapshot // nil for a view of the newest state that only pins the generation
	err  error           // what every read answers, if there is nothing to read from
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
	return &View{gen: p.gen, size: s.opts.ExportBytes, meta: p.meta}, nil
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

func (v *View) revision() Revision { return v.meta.revision }

func (v *View) get(key []byte) (KeyValue, bool, error) {
	if v.err != nil {
		return KeyValue{}, false, v.err
	}
	return getKey(v.snap, key)
}

func (v *View) scan(lo, hi []byte, f func(KeyValue) bool) error {
	if v.err != nil {
		return v.err
	}
	return scanKeys(v.snap, lo, hi, f)
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

// Hash is a checksum of the logical state at the returned applied index: equal on equal members.
func (s *Store) Hash() (hash, applied uint64, err error) {
	v := s.View()
	defer v.Close()
	h := crc64.New(crc64.MakeTable(crc64.ECMA))
	err = v.rows(nil, func(key, value []byte) error {
		_, err := h.Write(appendBytes(appendBytes(nil, key), value))
		return err
	})
	if err != nil {
		return 0, 0, fmt.Errorf("hash the store: %w", err)
	}
	return h.Sum64(), v.meta.Index, nil
}
