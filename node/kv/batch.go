package kv

import (
	"bytes"
	"hash/maphash"
	"slices"

	"github.com/cockroachdb/pebble/v2"
)

// batch is an apply batch in the making: what its entries have written so far, on top of the database. One is used
// again and again.
type batch struct {
	s       *Store
	writes  writeSet
	rows    []byte // the rows of what was written, one behind the other
	meta    meta
	touched []touched
	buf     []byte
	order   []int32
}

// touched is a window as the batch leaves it.
type touched struct {
	origin uint64
	window window
}

// begin makes the batch empty, on the store's present state.
func (b *batch) begin() {
	b.meta = b.s.meta
	b.end()
}

// maxKept bounds the scratch bytes that a batch keeps for the next one.
const maxKept = 8 << 20

// end lets go of what the entries brought, so that it can be collected.
func (b *batch) end() {
	b.writes.clear()
	clear(b.touched)
	b.touched, b.rows, b.order = b.touched[:0], b.rows[:0], b.order[:0]
	if cap(b.rows) > maxKept {
		b.rows = nil
	}
}

func (b *batch) revision() Revision { return b.meta.revision }

// write notes a key's newest version; a version of 0 is a deletion.
func (b *batch) write(kv KeyValue, hash uint64) {
	from := len(b.rows)
	if kv.Version > 0 {
		b.rows = appendVersion(b.rows, &kv)
	}
	p := pending{kv: kv, hash: hash, from: from, to: len(b.rows)}
	b.meta.effect(&b.buf, &kv, b.rows[from:])
	b.writes.put(p)
}

func (b *batch) get(key []byte) (KeyValue, bool, error) {
	if p := b.writes.find(key, b.s.hash(key)); p != nil {
		return p.kv.copy(false), p.kv.Version > 0, nil
	}
	return getKey(b.s.gen.db, key)
}

// scan merges what the batch has written with the database.
func (b *batch) scan(lo, hi []byte, f func(KeyValue) bool) error {
	own := b.writes.within(lo, hi)
	going := true
	emit := func(kv *KeyValue) {
		if kv.Version > 0 && going {
			going = f(*kv)
		}
	}
	err := scanKeys(b.s.gen.db, lo, hi, func(kv KeyValue) bool {
		for len(own) > 0 && bytes.Compare(own[0].kv.Key, kv.Key) < 0 && going {
			emit(&own[0].kv)
			own = own[1:]
		}
		if len(own) > 0 && bytes.Equal(own[0].kv.Key, kv.Key) {
			emit(&own[0].kv)
			own = own[1:]
		} else if going {
			going = f(kv)
		}
		return going
	})
	for ; err == nil && going && len(own) > 0; own = own[1:] {
		emit(&own[0].kv)
	}
	return err
}

// fill turns the batch into rows, the keys in order: that is how the database takes them fastest.
func (b *batch) fill(rows *pebble.Batch) error {
	for i := range b.writes.list {
		b.order = append(b.order, int32(i))
	}
	slices.SortFunc(b.order, func(x, y int32) int {
		return bytes.Compare(b.writes.list[x].kv.Key, b.writes.list[y].kv.Key)
	})
	for _, i := range b.order {
		p := &b.writes.list[i]
		if p.kv.Version == 0 {
			b.buf = rowKey(b.buf[:0], p.kv.Key)
			if err := rows.Delete(b.buf, nil); err != nil {
				return err
			}
			continue
		}
		op := rows.SetDeferred(1+len(p.kv.Key), p.to-p.from)
		rowKey(op.Key[:0], p.kv.Key)
		copy(op.Value, b.rows[p.from:p.to])
		if err := op.Finish(); err != nil {
			return err
		}
	}
	for i := range b.touched {
		t := &b.touched[i]
		if err := rows.Set(rowWindow(t.origin), t.window.appendTo(nil), nil); err != nil {
			return err
		}
	}
	return rows.Set(rowApplied(), b.meta.append(nil), nil)
}

// pending is a key's newest version in a batch, and where its row is.
type pending struct {
	kv       KeyValue
	hash     uint64
	from, to int
}

// writeSet holds the keys that a batch has written, in the order of their first write: a table of places in the
// list, by hash, with linear probing; 0 is empty.
type writeSet struct {
	list  []pending
	table []int32
}

// minTable is the table's first size, and maxTable the largest that is kept for the next batch.
const (
	minTable = 1 << 8
	maxTable = 1 << 16
)

// find returns the key's place, nil if it has not been written. It is valid until the next put.
func (w *writeSet) find(key []byte, hash uint64) *pending {
	if len(w.table) == 0 {
		return nil
	}
	for at := hash; ; at++ {
		i := w.table[at&uint64(len(w.table)-1)]
		if i == 0 {
			return nil
		}
		if p := &w.list[i-1]; p.hash == hash && bytes.Equal(p.kv.Key, key) {
			return p
		}
	}
}

func (w *writeSet) put(p pending) {
	if old := w.find(p.kv.Key, p.hash); old != nil {
		*old = p
		return
	}
	w.list = append(w.list, p)
	if 2*len(w.list) > len(w.table) {
		w.table = make([]int32, max(minTable, 2*len(w.table)))
		for i := range w.list {
			w.enter(i)
		}
		return
	}
	w.enter(len(w.list) - 1)
}

func (w *writeSet) enter(i int) {
	at := w.list[i].hash
	for w.table[at&uint64(len(w.table)-1)] != 0 {
		at++
	}
	w.table[at&uint64(len(w.table)-1)] = int32(i + 1)
}

func (w *writeSet) clear() {
	clear(w.list)
	w.list = w.list[:0]
	if len(w.table) > maxTable {
		w.list, w.table = nil, nil
	}
	clear(w.table)
}

// within lists what was written in [lo, hi), in order of the keys.
func (w *writeSet) within(lo, hi []byte) []*pending {
	var own []*pending
	for i := range w.list {
		if p := &w.list[i]; bytes.Compare(p.kv.Key, lo) >= 0 && (hi == nil || bytes.Compare(p.kv.Key, hi) < 0) {
			own = append(own, p)
		}
	}
	slices.SortFunc(own, func(x, y *pending) int { return bytes.Compare(x.kv.Key, y.kv.Key) })
	return own
}

// hash is for tables in memory alone. Its seed is drawn at start, so that no choice of keys can crowd a table;
// nothing that is stored or answered depends on it.
func (s *Store) hash(key []byte) uint64 { return maphash.Bytes(s.seed, key) }
