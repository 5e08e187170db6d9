package memory

import (
	"fmt"
	"io"
	"slices"

	"raftsman.dev/node/kv/engine"
)

// db is an open generation.
type db struct {
	d       *Disk
	g       *generation
	damaged func(error)
}

// state is what of an open generation can be read at one moment.
type state struct {
	db   *db
	root *node
}

// now is the newest state.
func (b *db) now() state {
	b.d.mu.Lock()
	defer b.d.mu.Unlock()
	return state{b, b.g.newest()}
}

func (b *db) Get(key []byte) ([]byte, io.Closer, error) { return b.now().Get(key) }

func (b *db) NewIter(lo, hi []byte) (engine.Iterator, error) { return b.now().NewIter(lo, hi) }

func (b *db) NewSnapshot() engine.Snapshot { return b.now() }

func (b *db) NewDurableIter(lo, hi []byte) (engine.Iterator, error) {
	b.d.mu.Lock()
	root := b.g.durable
	b.d.mu.Unlock()
	return state{b, root}.NewIter(lo, hi)
}

func (b *db) NewFinder(_, _ []byte) (engine.Finder, error) { return finder{b.now()}, nil }

func (b *db) NewBatch(int) engine.Batch { return &batch{db: b} }

func (b *db) NewLoader() engine.Loader { return loader{&batch{db: b}} }

func (b *db) Flush() error {
	b.d.mu.Lock()
	defer b.d.mu.Unlock()
	return b.d.doLocked(OpFlush, fmt.Sprintf("flush generation %d", b.g.number), func() { b.g.flushed(len(b.g.since)) })
}

func (b *db) Size() int64 {
	b.d.mu.Lock()
	root := b.g.durable
	b.d.mu.Unlock()
	size := int64(0)
	for _, r := range root.rows() {
		size += int64(len(r.key) + len(r.value))
	}
	return size
}

// Close lets go of what is not durable: whoever opens the generation again must not rely on it.
func (b *db) Close() error {
	b.d.mu.Lock()
	defer b.d.mu.Unlock()
	if !b.g.open {
		return errClosed
	}
	b.g.open, b.g.since = false, nil
	return nil
}

// nothing is the closer of what need not be closed.
type nothing struct{}

func (nothing) Close() error { return nil }

// refuse is what a read meets before it begins.
func (s state) refuse() error {
	s.db.d.mu.Lock()
	defer s.db.d.mu.Unlock()
	return s.db.d.refuseLocked(OpRead, fmt.Sprintf("read generation %d", s.db.g.number))
}

// check says that a row has rotted.
func (s state) check(r *row) error {
	bad := s.db.d.bad.Load()
	if bad == nil || !(*bad)[r] {
		return nil
	}
	err := fmt.Errorf("generation %d: row %x does not verify: %w", s.db.g.number, r.key, engine.ErrCorrupt)
	s.db.damaged(err)
	return err
}

func (s state) Get(key []byte) ([]byte, io.Closer, error) {
	if err := s.refuse(); err != nil {
		return nil, nil, err
	}
	r := s.root.get(key)
	if r == nil {
		return nil, nil, nil
	}
	if err := s.check(r); err != nil {
		return nil, nil, err
	}
	return r.value, nothing{}, nil
}

func (s state) NewIter(lo, hi []byte) (engine.Iterator, error) {
	if err := s.refuse(); err != nil {
		return nil, err
	}
	return &iterator{state: s, cursor: cursor{root: s.root, lo: slices.Clone(lo), hi: slices.Clone(hi)}}, nil
}

func (s state) Close() error { return nil }

type finder struct{ state }

func (f finder) Find(key []byte) ([]byte, bool, error) {
	value, closer, err := f.Get(key)
	return value, closer != nil, err
}

// iterator stops at the first row that has rotted.
type iterator struct {
	state
	cursor cursor
	row    *row
	err    error
}

func (i *iterator) First() bool {
	i.cursor.first()
	return i.Next()
}

func (i *iterator) Seek(key []byte) bool {
	i.cursor.seek(key)
	return i.Next()
}

func (i *iterator) Next() bool {
	if i.err != nil {
		return false
	}
	if i.row = i.cursor.next(); i.row == nil {
		return false
	}
	i.err = i.check(i.row)
	return i.err == nil
}

func (i *iterator) Key() []byte   { return i.row.key }
func (i *iterator) Value() []byte { return i.row.value }
func (i *iterator) Error() error  { return i.err }

// batch is rows to set, and with a nil value to delete.
type batch struct {
	db   *db
	rows []*row
}

func (b *batch) Set(key, value []byte) error {
	own := make([]byte, len(key)+len(value))
	copy(own[copy(own, key):], value)
	b.rows = append(b.rows, &row{own[:len(key):len(key)], own[len(key):]})
	return nil
}

func (b *batch) Delete(key []byte) error {
	b.rows = append(b.rows, &row{key: slices.Clone(key)})
	return nil
}

func (b *batch) Commit() error {
	d, g := b.db.d, b.db.g
	d.mu.Lock()
	defer d.mu.Unlock()
	if !g.open {
		return errClosed
	}
	return d.doLocked(OpCommit, fmt.Sprintf("commit to generation %d", g.number), func() {
		root := g.newest()
		for _, r := range b.rows {
			if r.value == nil {
				root = root.without(r.key)
			} else {
				root = root.set(r)
			}
		}
		g.add(root)
	})
}

func (b *batch) Close() error { return nil }

// loader is a batch that is flushed at once.
type loader struct{ *batch }

func (l loader) Finish() error {
	if err := l.Commit(); err != nil {
		return err
	}
	return l.db.Flush()
}

// add notes the state after a batch.
func (g *generation) add(root *node) {
	g.since = append(g.since, root)
	if len(g.since) <= mostStates {
		return
	}
	kept := g.since[:0]
	for i, s := range g.since {
		if i%2 == 0 { // the newest one's place is even
			kept = append(kept, s)
		}
	}
	clear(g.since[len(kept):])
	g.since = kept
}
