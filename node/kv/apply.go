package kv

import (
	"bytes"
	"fmt"
	"slices"
)

// Apply brings committed entries into the store, in order and as one atomic batch that also holds how far the
// store is. config and membership are the last ones among the entries; config 0 leaves them as they are.
// Results are parallel to entries. The error is about the store itself: then nothing was applied.
func (s *Store) Apply(entries []Entry, config uint64, membership []byte) ([]Result, error) {
	if s.gen == nil {
		return nil, ErrClosed
	}
	b := &s.batch
	b.begin()
	defer b.end()
	results := make([]Result, len(entries))
	for i := range entries {
		e := &entries[i]
		if e.Index != b.meta.Index+1 {
			return nil, fmt.Errorf("apply entry %d after entry %d: %w", e.Index, b.meta.Index, ErrMalformed)
		}
		b.meta.Index, b.meta.Term = e.Index, e.Term
		if e.Command != nil {
			var err error
			if results[i], err = b.command(e.Command); err != nil {
				return nil, fmt.Errorf("apply entry %d: %w", e.Index, err)
			}
		}
		b.pass()
	}
	if config != 0 {
		b.meta.Config, b.meta.Membership = config, bytes.Clone(membership)
	}
	if err := s.commit(b); err != nil {
		return nil, err
	}
	s.points = append(s.points, b.points...)
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
		w.undo = map[string]*KeyValue{}
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
	undo map[string]*KeyValue
}

func (w *writing) revision() Revision {
	if w.wrote {
		return w.next
	}
	return w.meta.revision
}

func (w *writing) run(b *branch) (Result, error) {
	res := Result{Succeeded: b.succeeded}
	if len(b.ops) > 0 {
		res.Responses = make([]OpResult, len(b.ops))
	}
	nested := 0
	for i := range b.ops {
		r := &res.Responses[i]
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
	b := &batch{s: w.s, meta: w.meta}
	for i := range w.writes.list {
		p := w.writes.list[i]
		if old, ours := w.undo[string(p.kv.Key)]; !ours {
			b.writes.put(p)
		} else if old != nil {
			p.kv = *old
			b.writes.put(p)
		}
	}
	return b
}

func (w *writing) put(p *PutRequest) (*PutResult, error) {
	res := &PutResult{}
	kv := KeyValue{Key: p.Key, Value: p.Value, Lease: p.Lease, ModRevision: w.next, CreateRevision: w.next, Version: 1}
	look := p.PrevKV || p.IgnoreValue || p.IgnoreLease
	if look {
		old, ok, err := w.get(p.Key)
		if err != nil {
			return nil, err
		}
		if ok {
			kv.CreateRevision, kv.Version = old.CreateRevision, old.Version+1
			if p.IgnoreValue {
				kv.Value = old.Value
			}
			if p.IgnoreLease {
				kv.Lease = old.Lease
			}
			if p.PrevKV {
				res.Prev = &old
			}
		}
	}
	hash := w.s.hash(p.Key)
	if !look {
		if err := w.succeed(&kv, hash); err != nil {
			return nil, err
		}
	}
	w.write(kv, hash)
	return res, nil
}

// succeed continues the version that the key has, from the batch, the cache, or the database.
func (w *writing) succeed(kv *KeyValue, hash uint64) error {
	if p := w.writes.find(kv.Key, hash); p != nil {
		if p.kv.Version > 0 {
			kv.CreateRevision, kv.Version = p.kv.CreateRevision, p.kv.Version+1
		}
		return nil
	}
	old, ok := w.s.cache.get(kv.Key, hash)
	if !ok {
		var err error
		if old, err = w.s.lookup(kv.Key, hash); err != nil {
			return err
		}
	}
	if old.version > 0 {
		kv.CreateRevision, kv.Version = old.create, old.version+1
	}
	return nil
}

func (w *writing) write(kv KeyValue, hash uint64) {
	w.wrote = true
	if w.undo != nil {
		w.remember(kv.Key, hash)
	}
	w.batch.write(kv, hash)
}

func (w *writing) remember(key []byte, hash uint64) {
	if _, done := w.undo[string(key)]; done {
		return
	}
	var was *KeyValue
	if p := w.writes.find(key, hash); p != nil {
		kv := p.kv
		was = &kv
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
		w.write(KeyValue{Key: key}, w.s.hash(key))
	}
	res.Deleted = int64(len(victims))
	return res, nil
}
