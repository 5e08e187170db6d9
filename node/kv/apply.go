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
	res, err := b.perform(&c)
	res.ID = c.ID
	return res, err
}

func (b *batch) perform(c *Command) (Result, error) {
	switch c.kind() {
	case bodyOpen:
		b.meta.opened = true
		return Result{Revision: b.meta.revision}, nil
	case bodyCompact:
		return b.compact(c.Compact)
	case bodyGrant:
		return b.grant(c.Grant)
	case bodyRevoke:
		return b.revoke(c.Revoke)
	case bodyCheckpoint:
		return b.checkpoint(c.Checkpoint)
	}
	return b.txn(&c.Txn)
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
	res, err := w.run(&chosen)
	if err != nil {
		return Result{}, err
	}
	w.finish()
	res.Revision = b.meta.revision
	return res, nil
}

// writing is one transaction being done: it reads its own writes, and its revision has moved once it wrote.
type writing struct {
	*batch
	next  Revision
	wrote bool
}

// finish moves the revision if something was written.
func (w *writing) finish() {
	if w.wrote {
		w.meta.revision = w.next
	}
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

// read sees the transaction's own writes, unless it names a revision: then that one.
func (w *writing) read(r *RangeRequest) (*RangeResult, error) {
	if !w.wrote || r.Revision <= 0 {
		return readRange(w, r)
	}
	then, err := w.then(r.Revision)
	if err != nil {
		return nil, err
	}
	return readRangeOf(then, r, w.revision())
}

func (w *writing) put(p *PutRequest) (*PutResult, error) {
	res := &PutResult{}
	kv := KeyValue{Key: p.Key, Value: p.Value, Lease: p.Lease, ModRevision: w.next, CreateRevision: w.next, Version: 1}
	hash := w.s.hash(p.Key)
	was, err := w.prior(p.Key, hash)
	if err != nil {
		return nil, err
	}
	if was.version > 0 {
		kv.CreateRevision, kv.Version = was.create, was.version+1
		if p.IgnoreLease {
			kv.Lease = was.lease
		}
	}
	if was.version > 0 && (p.PrevKV || p.IgnoreValue) {
		old, _, err := w.get(p.Key)
		if err != nil {
			return nil, err
		}
		if p.IgnoreValue {
			kv.Value = old.Value
		}
		if p.PrevKV {
			res.Prev = &old
		}
	}
	return res, w.write(kv, hash, was)
}

func (w *writing) write(kv KeyValue, hash uint64, was prior) error {
	w.wrote = true
	return w.batch.write(kv, hash, was)
}

func (w *writing) delete(d *DeleteRequest) (*DeleteResult, error) {
	res := &DeleteResult{}
	var victims []victim
	var err error
	if lo, hi, one := bounds(d.Key, d.End); one { // what the cache knows is enough, but for the value
		var was prior
		if was, err = w.prior(lo, w.s.hash(lo)); was.version > 0 {
			victims = append(victims, victim{lo, was})
		}
		if was.version > 0 && d.PrevKV {
			var kv KeyValue
			kv, _, err = w.get(lo)
			res.Prev = append(res.Prev, kv)
		}
	} else {
		err = w.scan(lo, hi, d.PrevKV, func(kv KeyValue) bool {
			victims = append(victims, victim{bytes.Clone(kv.Key), kv.prior()})
			if d.PrevKV {
				res.Prev = append(res.Prev, kv.copy(false))
			}
			return true
		})
	}
	if err != nil {
		return nil, err
	}
	for _, v := range victims {
		if err := w.write(KeyValue{Key: v.key, ModRevision: w.next}, w.s.hash(v.key), v.was); err != nil {
			return nil, err
		}
	}
	res.Deleted = int64(len(victims))
	return res, nil
}

// victim is a key that is to be deleted, and what it has.
type victim struct {
	key []byte
	was prior
}
