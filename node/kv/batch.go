package kv

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"

	"raftsman.dev/node/kv/engine"
	"raftsman.dev/node/kv/tally"
)

// batch is an apply batch in the making: what its entries have written so far, on top of the database. One is used
// again and again.
type batch struct {
	s       *Store
	writes  writeSet
	rows    []byte // the rows of what was written, one behind the other
	meta    meta
	touched []touched
	values  []apartValue
	points  []Point
	leases  leaseChanges
	history history
	kept    []keptRow
	lookup  *lookup
	buf     []byte
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
	b.lookup.db, b.lookup.buried = b.s.gen.db, b.s.buried
}

// maxKept bounds the scratch bytes that a batch keeps for the next one.
const maxKept = 8 << 20

// end lets go of what the entries brought, so that it can be collected.
func (b *batch) end() {
	b.lookup.close()
	b.writes.clear()
	clear(b.touched)
	clear(b.values)
	b.touched, b.rows, b.points, b.values = b.touched[:0], b.rows[:0], b.points[:0], b.values[:0]
	b.leases.clear()
	clear(b.kept)
	b.kept = b.kept[:0]
	b.history.clear(b.s.opts.Changed != nil)
	if cap(b.rows) > maxKept {
		b.rows = nil
	}
}

func (b *batch) revision() Revision { return b.meta.revision }

// charge refuses nothing: what a command answers must not depend on the member.
func (b *batch) charge(int) error { return nil }

func (b *batch) compacted() Revision { return b.meta.compacted }

// counting is nothing: of a state in the making nothing is known.
func (b *batch) counting() *counting { return nil }

// write notes a key's newest version after what it had; a version of 0 is a deletion.
func (b *batch) write(kv KeyValue, hash uint64, was prior) error {
	if was.version > 0 && was.mod <= b.meta.tidied {
		if err := b.keep(kv.Key); err != nil {
			return err
		}
	}
	from := len(b.rows)
	if kv.Version > 0 {
		b.rows = appendVersion(b.rows, &kv)
	}
	row := b.rows[from:]
	b.meta.effect(&b.buf, &kv, row)
	if kv.apart = len(kv.Value) >= b.s.opts.ApartBytes; kv.apart {
		b.values = append(b.values, apartValue{kv.ModRevision, kv.Key, kv.Value})
		from = len(b.rows)
		b.rows = appendStored(b.rows, &kv)
	}
	b.history.add(&kv, was, row, b.rows[from:])
	p := pending{kv: kv, hash: hash, from: from, to: len(b.rows)}
	if was.version == 0 {
		was.lease = 0
	}
	b.attach(kv.Key, was.lease, kv.Lease)
	p.buried, p.had = was.version == 0 && was.mod > 0, was.version > 0
	if old := b.writes.find(kv.Key, hash); old != nil {
		p.buried, p.had = old.buried, old.had // what the database has does not change within the batch
	}
	b.writes.put(p)
	return nil
}

// keep notes what a key has in the database before it is written for the first time since its last event was tidied
// away: no other place has that version any more, and reads at the compacted revision want it. So a put reads the
// database where its key was left alone for as long as history reaches back, and only then.
func (b *batch) keep(key []byte) error {
	v, closer, err := getRow(b.s.gen.db, key)
	if err != nil || closer == nil {
		return err
	}
	b.kept = append(b.kept, keptRow{rowBefore(nil, key), bytes.Clone(v)})
	return closer.Close()
}

// apartValue is a value that is to stand in a row of its own.
type apartValue struct {
	at         Revision
	key, value []byte
}

// keptRow is a row of history that a batch writes beside its events.
type keptRow struct{ key, value []byte }

// prior is what a key has: in the batch, in the cache, or in the database. It is not remembered: a write will be.
func (b *batch) prior(key []byte, hash uint64) (prior, error) {
	was, _, err := b.known(key, hash)
	return was, err
}

func (b *batch) known(key []byte, hash uint64) (was prior, cached bool, err error) {
	if p := b.writes.find(key, hash); p != nil {
		return p.kv.prior(), true, nil
	}
	if p, ok := b.s.cache.get(key, hash); ok {
		return p, true, nil
	}
	b.s.lookups++
	was, err = b.lookup.prior(key)
	return was, false, err
}

// then is the state at a revision that has neither been compacted nor is to come: in the database's past, or at one of
// the batch's own revisions.
func (b *batch) then(at Revision) (source, error) {
	if at < b.s.meta.revision {
		return past{r: b.s.gen.db, at: at}, nil
	}
	s := &batch{s: b.s, meta: b.meta, lookup: b.lookup}
	s.meta.revision = at
	for _, block := range b.history.told.all() {
		if err := EachEvent(block, func(e Event) bool {
			if e.KV.ModRevision > at {
				return false
			}
			s.writes.put(pending{kv: e.KV, hash: b.s.hash(e.KV.Key)})
			return true
		}); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func (b *batch) stat(key []byte) (KeyValue, bool, error) {
	hash := b.s.hash(key)
	p, cached, err := b.known(key, hash)
	if err == nil && !cached { // what is compared is often written next
		b.s.cache.put(key, hash, p)
	}
	if err != nil || p.version == 0 {
		return KeyValue{}, false, err
	}
	return KeyValue{Key: key, CreateRevision: p.create, ModRevision: p.mod, Version: p.version, Lease: p.lease}, true, nil
}

func (b *batch) get(key []byte) (KeyValue, bool, error) {
	if p := b.writes.find(key, b.s.hash(key)); p != nil {
		if p.kv.Version == 0 {
			return KeyValue{}, false, nil
		}
		return p.kv.copy(false), true, nil
	}
	return getKey(b.s.gen.db, key)
}

// scan merges what the batch has written with the database.
func (b *batch) scan(lo, hi []byte, values bool, f func(KeyValue) bool) error {
	own := b.writes.within(lo, hi)
	going := true
	emit := func(place int32) {
		if kv := b.writes.list[place].kv; kv.Version > 0 && going {
			going = f(kv)
		}
	}
	err := scanKeys(b.s.gen.db, lo, hi, values, func(kv KeyValue) bool {
		for len(own) > 0 && bytes.Compare(b.writes.key(own[0]), kv.Key) < 0 && going {
			emit(own[0])
			own = own[1:]
		}
		if len(own) > 0 && bytes.Equal(b.writes.key(own[0]), kv.Key) {
			emit(own[0])
			own = own[1:]
		} else if going {
			going = f(kv)
		}
		return going
	})
	for ; err == nil && going && len(own) > 0; own = own[1:] {
		emit(own[0])
	}
	return err
}

// fill turns the batch into rows, one kind after the other and the keys in order: that is how the database takes them
// fastest.
func (b *batch) fill(rows engine.Batch) error {
	if err := errors.Join(b.fillKeys(rows), b.fillValues(rows), b.fillGraves(rows), b.fillHistory(rows), b.fillLeases(rows)); err != nil {
		return err
	}
	for i := range b.touched {
		t := &b.touched[i]
		key := rowWindow(t.origin)
		b.buf = t.window.appendTo(append(b.buf[:0], key...))
		if err := rows.Set(b.buf[:len(key)], b.buf[len(key):]); err != nil {
			return err
		}
	}
	key := rowApplied()
	b.buf = b.meta.append(append(b.buf[:0], key...))
	return rows.Set(b.buf[:len(key)], b.buf[len(key):])
}

func (b *batch) fillKeys(rows engine.Batch) error {
	for _, i := range b.writes.inOrder() {
		p := &b.writes.list[i]
		b.buf = rowKey(b.buf[:0], p.kv.Key)
		if err := put(rows, b.buf, b.rows[p.from:p.to], p.kv.Version > 0); err != nil {
			return err
		}
	}
	return nil
}

// fillValues writes the values that stand apart; also of what the batch itself has overwritten, for its events.
func (b *batch) fillValues(rows engine.Batch) error {
	for i := range b.values {
		v := &b.values[i]
		b.buf = rowValue(b.buf[:0], v.at, v.key)
		if err := rows.Set(b.buf, v.value); err != nil {
			return err
		}
	}
	return nil
}

// fillGraves makes the graves of keys that are gone, and removes those of keys that are back.
func (b *batch) fillGraves(rows engine.Batch) error {
	for _, i := range b.writes.inOrder() {
		p := &b.writes.list[i]
		gone := p.kv.Version == 0
		if !gone && !p.buried {
			continue
		}
		b.buf = rowGrave(b.buf[:0], p.kv.Key)
		n := len(b.buf)
		b.buf = binary.AppendUvarint(b.buf, uint64(p.kv.ModRevision))
		if err := put(rows, b.buf[:n], b.buf[n:], gone); err != nil {
			return err
		}
	}
	return nil
}

func (b *batch) fillHistory(rows engine.Batch) error {
	err := b.history.stored(func(last place, block []byte) error {
		b.buf = last.append(b.buf[:0])
		return rows.Set(b.buf, block)
	})
	if err != nil {
		return err
	}
	for _, k := range b.kept {
		if err := rows.Set(k.key, k.value); err != nil {
			return err
		}
	}
	return nil
}

// history is a batch's events in the making. Those that are told have their values. They are stored as they are told up
// to the first that needs a bare block; from there on each is put into a bare one as well.
type history struct {
	told  blocks
	plain int // so many of what is told are stored as they are, where bare holds anything
	bare  blocks
}

// add notes an event, with the key's row and what of it is stored in history; those of one batch come in order.
func (h *history) add(kv *KeyValue, was prior, row, stored []byte) {
	bare := h.bare.events > 0
	if !bare && (kv.apart || was.apart) {
		bare = true
		h.told.close()
		h.plain, h.bare.at = len(h.told.done), h.told.at
	}
	open := h.told.next(kv, row)
	h.told.add(kv, appendEvent(open, h.told.latest, kv.ModRevision, kv.Key, was.mod, row))
	if bare {
		open = h.bare.next(kv, stored)
		h.bare.add(kv, appendBare(open, h.bare.latest, kv.ModRevision, kv.Key, was, stored))
	}
}

// stored calls f for the blocks that are to be stored, each with the place of its last event.
func (h *history) stored(f func(last place, block []byte) error) error {
	told := h.told.all()
	if h.bare.events > 0 {
		told = told[:h.plain]
	}
	for i, block := range told {
		if err := f(h.told.last[i], block); err != nil {
			return err
		}
	}
	for i, block := range h.bare.all() {
		if err := f(h.bare.last[i], block); err != nil {
			return err
		}
	}
	return nil
}

// bytes is about how much is stored.
func (h *history) bytes() int {
	if h.bare.events > 0 {
		return h.plain*blockBytes + h.bare.bytes()
	}
	return h.told.bytes()
}

// clear makes it empty; given says that somebody else has what was told now.
func (h *history) clear(given bool) {
	h.told.clear(given)
	h.bare.clear(false)
	h.plain = 0
}

// blocks are events of one form in the making.
type blocks struct {
	done   [][]byte
	last   []place // where each of all ends
	open   []byte
	at     place
	latest Revision // of the newest event in open, 0 if there is none
	room   int      // about how large the next block will be, as the one before was
	events int      // in all of them
}

// next is the block that the next event goes into.
func (h *blocks) next(kv *KeyValue, row []byte) []byte {
	size := len(kv.Key) + len(row)
	if len(h.open) > 0 && len(h.open)+size > blockBytes {
		h.close()
	}
	if h.open == nil {
		h.open = make([]byte, 0, max(h.room, size+32))
	}
	return h.open
}

// add takes the block with an event more.
func (h *blocks) add(kv *KeyValue, open []byte) {
	if h.at.revision == kv.ModRevision {
		h.at.sub++
	} else {
		h.at = place{revision: kv.ModRevision}
	}
	h.open, h.latest = open, kv.ModRevision
	h.events++
}

// close ends the open block, if there is one.
func (h *blocks) close() {
	if len(h.open) > 0 {
		h.done = append(h.done, h.open)
		h.open, h.latest = nil, 0
		h.last = append(h.last[:len(h.done)-1], h.at)
	}
}

// all are the blocks, and their ends stand in last.
func (h *blocks) all() [][]byte {
	if len(h.open) == 0 {
		return h.done
	}
	h.last = append(h.last[:len(h.done)], h.at)
	return append(h.done[:len(h.done):len(h.done)], h.open)
}

func (h *blocks) bytes() int { return len(h.done)*blockBytes + len(h.open) }

// clear makes it empty; given says that somebody else has the blocks now.
func (h *blocks) clear(given bool) {
	open, room := h.open[:0], min(len(h.open)+len(h.open)/8, blockBytes)
	if len(h.done) > 0 {
		room = blockBytes
	}
	if given || cap(open) > maxKept {
		open = nil
	}
	clear(h.done)
	*h = blocks{done: h.done[:0], last: h.last[:0], open: open, room: room}
}

// pending is a key's newest version in a batch, and where its row is, as it is to be stored.
type pending struct {
	kv       KeyValue
	hash     uint64
	from, to int
	buried   bool // the database has a grave of it
	had      bool // the database has the key
}

// writeSet holds the keys that a batch has written, in the order of their first write: a table of places in the
// list, by hash, with linear probing; 0 is empty.
type writeSet struct {
	list    []pending
	table   []int32
	sorted  []int32        // places in the list, in order of the keys; those from len(sorted) on are still to come in
	changes []tally.Change // scratch
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
	clear(w.changes)
	w.list, w.sorted, w.changes = w.list[:0], w.sorted[:0], w.changes[:0]
	if len(w.table) > maxTable {
		w.list, w.table, w.sorted, w.changes = nil, nil, nil, nil
	}
	clear(w.table)
}

func (w *writeSet) key(place int32) []byte { return w.list[place].kv.Key }

// inOrder lists the places of all keys in order of the keys. A few new ones are put where they belong, so that a
// batch of many small scans between its writes does not sort everything each time.
func (w *writeSet) inOrder() []int32 {
	first := len(w.sorted)
	if first == 0 || len(w.list)-first > 32 {
		for i := first; i < len(w.list); i++ {
			w.sorted = append(w.sorted, int32(i))
		}
		slices.SortFunc(w.sorted, func(x, y int32) int { return bytes.Compare(w.key(x), w.key(y)) })
		return w.sorted
	}
	for i := first; i < len(w.list); i++ {
		at, _ := w.search(w.key(int32(i)))
		w.sorted = slices.Insert(w.sorted, at, int32(i))
	}
	return w.sorted
}

func (w *writeSet) search(key []byte) (at int, found bool) {
	return slices.BinarySearchFunc(w.sorted, key, func(place int32, key []byte) int { return bytes.Compare(w.key(place), key) })
}

// within lists the places of what was written in [lo, hi), in order of the keys; it is valid until the next put.
func (w *writeSet) within(lo, hi []byte) []int32 {
	own := w.inOrder()
	if hi != nil {
		to, _ := w.search(hi)
		own = own[:to]
	}
	from, _ := w.search(lo)
	return own[min(from, len(own)):]
}
