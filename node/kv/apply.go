package kv

import (
	"bytes"
	"fmt"
	"maps"
	"slices"

	"github.com/cockroachdb/pebble/v2"
)

// batch is an apply batch in the making: what its entries have written so far, on top of the database.
type batch struct {
	s       *Store
	written map[string]*pending
	order   []string // keys in the order of their first write
	meta    meta
	touched []touched
	buf     []byte
}

// touched is a window as the batch leaves it.
type touched struct {
	origin uint64
	window window
}

// pending is a key's newest version in the batch; a version of 0 is a deletion.
type pending struct{ kv KeyValue }

// Apply brings committed entries into the store, in order and as one atomic batch that also holds how far the
// store is. config and membership are the last ones among the entries; config 0 leaves them as they are.
// Results are parallel to entries. The error is about the store itself: then nothing was applied.
func (s *Store) Apply(entries []Entry, config uint64, membership []byte) ([]Result, error) {
	if s.gen == nil {
		return nil, ErrClosed
	}
	b := &batch{s: s, written: map[string]*pending{}, meta: s.meta}
	results := make([]Result, len(entries))
	for i := range entries {
		e := &entries[i]
		if e.Index != b.meta.Index+1 {
			return nil, fmt.Errorf("apply entry %d after entry %d: %w", e.Index, b.meta.Index, ErrMalformed)
		}
		b.meta.Index, b.meta.Term = e.Index, e.Term
		if e.Command == nil {
			continue
		}
		var err error
		if results[i], err = b.command(e.Command); err != nil {
			return nil, fmt.Errorf("apply entry %d: %w", e.Index, err)
		}
	}
	if config != 0 {
		b.meta.Config, b.meta.Membership = config, bytes.Clone(membership)
	}
	if err := s.commit(b); err != nil {
		return nil, err
	}
	return results, nil
}

// command applies one command, at most once.
func (b *batch) command(raw []byte) (Result, error) {
	c, err := DecodeCommand(raw)
	if err != nil {
		return Result{}, err
	}
	if !b.admit(&c) {
		return Result{ID: c.ID, Duplicate: true, Revision: b.meta.revision}, nil
	}
	if c.Open {
		b.meta.opened = true
		return Result{ID: c.ID, Revision: b.meta.revision}, nil
	}
	res, err := b.txn(&c.Txn)
	res.ID = c.ID
	return res, err
}

func (b *batch) admit(c *Command) bool {
	for i := range b.touched {
		if t := &b.touched[i]; t.origin == c.ID.Origin {
			return t.window.admit(c.ID, c.Floor)
		}
	}
	w := b.s.windows[c.ID.Origin]
	w.bits = slices.Clone(w.bits)
	admitted := w.admit(c.ID, c.Floor)
	b.touched = append(b.touched, touched{c.ID.Origin, w})
	return admitted
}

// txn checks everything, then does it under one new revision, if it writes at all.
func (b *batch) txn(t *Txn) (Result, error) {
	chosen, err := choose(b, t)
	if err == nil {
		err = check(b, &chosen)
	}
	if err != nil {
		if isCommandError(err) {
			return Result{Revision: b.meta.revision, Err: err}, nil
		}
		return Result{}, err
	}
	w := &writing{batch: b, next: b.meta.revision + 1}
	if chosen.pinned() {
		w.undo = map[string]*pending{}
	}
	res, err := w.run(&chosen)
	if err != nil {
		return Result{}, err
	}
	if w.wrote {
		b.meta.revision = w.next
	}
	res.Revision = b.meta.revision
	return res, nil
}

// writing is one transaction being done: it reads its own writes, and its revision has moved once it wrote.
type writing struct {
	*batch
	next  Revision
	wrote bool
	// undo holds what the batch knew, before the transaction, of each key that it wrote: nil for nothing.
	// It is kept only for a transaction with a read at an explicit revision.
	undo map[string]*pending
}

func (w *writing) revision() Revision {
	if w.wrote {
		return w.next
	}
	return w.meta.revision
}

func (w *writing) run(b *branch) (Result, error) {
	res := Result{Succeeded: b.succeeded}
	nested := 0
	for i := range b.ops {
		var r OpResult
		var err error
		switch op := &b.ops[i]; {
		case op.Put != nil:
			r.Put, err = w.put(op.Put)
		case op.Range != nil:
			r.Range, err = w.read(op.Range)
		case op.Delete != nil:
			r.Delete, err = w.delete(op.Delete)
		case op.Txn != nil:
			var n Result
			n, err = w.run(&b.nested[nested])
			r.Txn = &n
			nested++
		}
		if err != nil {
			return Result{}, err
		}
		res.Responses = append(res.Responses, r)
	}
	res.Revision = w.revision()
	return res, nil
}

// read sees the transaction's own writes, unless it names the revision before them.
func (w *writing) read(r *RangeRequest) (*RangeResult, error) {
	if !w.wrote || r.Revision <= 0 {
		return readRange(w, r)
	}
	res, err := readRange(w.before(), r)
	if err == nil {
		res.Revision = w.revision()
	}
	return res, err
}

// before is the batch as it was when the transaction began.
func (w *writing) before() *batch {
	b := *w.batch
	b.written, b.order = maps.Clone(w.written), nil
	for _, key := range w.order {
		if p, ours := w.undo[key]; ours && p == nil {
			delete(b.written, key)
			continue
		} else if ours {
			b.written[key] = p
		}
		b.order = append(b.order, key)
	}
	return &b
}

func (w *writing) put(p *PutRequest) (*PutResult, error) {
	res := &PutResult{}
	kv := KeyValue{Key: p.Key, Value: p.Value, Lease: p.Lease, ModRevision: w.next, CreateRevision: w.next, Version: 1}
	if p.PrevKV || p.IgnoreValue || p.IgnoreLease {
		old, ok, err := w.get(p.Key)
		if err != nil {
			return nil, err
		}
		if ok {
			kept := old.copy(false)
			kv.CreateRevision, kv.Version = old.CreateRevision, old.Version+1
			if p.IgnoreValue {
				kv.Value = kept.Value
			}
			if p.IgnoreLease {
				kv.Lease = kept.Lease
			}
			if p.PrevKV {
				res.Prev = &kept
			}
		}
	} else if err := w.succeed(&kv); err != nil {
		return nil, err
	}
	w.write(kv)
	return res, nil
}

// succeed continues the version that the key has, from the batch, the cache, or the database.
func (w *writing) succeed(kv *KeyValue) error {
	if p := w.written[string(kv.Key)]; p != nil {
		if p.kv.Version > 0 {
			kv.CreateRevision, kv.Version = p.kv.CreateRevision, p.kv.Version+1
		}
		return nil
	}
	old, ok := w.s.cache.get(kv.Key)
	if !ok {
		found, exists, err := w.s.lookup(kv.Key)
		if err != nil {
			return err
		}
		if exists {
			old = found
		}
	}
	if old.version > 0 {
		kv.CreateRevision, kv.Version = old.create, old.version+1
	}
	return nil
}

func (b *batch) write(kv KeyValue) {
	if p := b.written[string(kv.Key)]; p != nil {
		p.kv = kv
		return
	}
	key := string(kv.Key)
	b.written[key] = &pending{kv}
	b.order = append(b.order, key)
}

func (w *writing) write(kv KeyValue) {
	w.wrote = true
	if w.undo != nil {
		w.remember(kv.Key)
	}
	w.batch.write(kv)
	w.buf = w.meta.effect(w.buf, &kv)
}

func (w *writing) remember(key []byte) {
	if _, done := w.undo[string(key)]; done {
		return
	}
	var was *pending
	if p := w.written[string(key)]; p != nil {
		was = &pending{p.kv}
	}
	w.undo[string(key)] = was
}

func (w *writing) delete(d *DeleteRequest) (*DeleteResult, error) {
	res := &DeleteResult{}
	var victims [][]byte
	visit := func(kv KeyValue) bool {
		victims = append(victims, bytes.Clone(kv.Key))
		if d.PrevKV {
			res.Prev = append(res.Prev, kv.copy(false))
		}
		return true
	}
	lo, hi, one := bounds(d.Key, d.End)
	if one {
		kv, ok, err := w.get(lo)
		if err != nil {
			return nil, err
		}
		if ok {
			visit(kv)
		}
	} else if err := w.scan(lo, hi, visit); err != nil {
		return nil, err
	}
	for _, key := range victims {
		w.write(KeyValue{Key: key})
	}
	res.Deleted = int64(len(victims))
	return res, nil
}

func (b *batch) revision() Revision { return b.meta.revision }

func (b *batch) get(key []byte) (KeyValue, bool, error) {
	if p := b.written[string(key)]; p != nil {
		return p.kv, p.kv.Version > 0, nil
	}
	return b.s.getKey(b.s.gen.db, key)
}

// scan merges what the batch has written with the database.
func (b *batch) scan(lo, hi []byte, f func(KeyValue) bool) error {
	var own []string
	for _, key := range b.order {
		if key >= string(lo) && (hi == nil || key < string(hi)) {
			own = append(own, key)
		}
	}
	slices.Sort(own)
	going := true
	emit := func(key string) {
		if kv := b.written[key].kv; kv.Version > 0 && going {
			going = f(kv)
		}
	}
	err := scanKeys(b.s.gen.db, lo, hi, func(kv KeyValue) bool {
		for len(own) > 0 && own[0] < string(kv.Key) && going {
			emit(own[0])
			own = own[1:]
		}
		if len(own) > 0 && own[0] == string(kv.Key) {
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

// fill turns the batch into rows.
func (b *batch) fill(rows *pebble.Batch) error {
	var key []byte
	slices.Sort(b.order) // the memory table finds the place of a key sooner from that of the key before it
	for _, k := range b.order {
		kv := &b.written[k].kv
		key = rowKey(key[:0], kv.Key)
		if kv.Version == 0 {
			if err := rows.Delete(key, nil); err != nil {
				return err
			}
			continue
		}
		b.buf = appendVersion(b.buf[:0], kv)
		if err := rows.Set(key, b.buf, nil); err != nil {
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
