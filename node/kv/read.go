package kv

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"

	"raftsman.dev/node/kv/engine"
)

// getKey reads one key; what it returns is the caller's.
func getKey(r engine.Reader, key []byte) (KeyValue, bool, error) {
	v, closer, err := getRow(r, key)
	if closer == nil {
		return KeyValue{}, false, err
	}
	own := make([]byte, len(key)+len(v))
	copy(own[copy(own, key):], v)
	kv, err := decodeStored(own[:len(key):len(key)], own[len(key):])
	if err = errors.Join(err, closer.Close()); err == nil {
		err = kv.fetch(r, nil)
	}
	kv.apart = false
	return kv, err == nil, err
}

// getRow reads a key's row, which is valid until closer is closed; a nil closer says that there is none.
func getRow(r engine.Reader, key []byte) (row []byte, closer io.Closer, err error) {
	var room [128]byte
	v, closer, err := r.Get(rowKey(room[:0], key))
	if err != nil {
		return nil, nil, damage(fmt.Sprintf("key %q", key), err)
	}
	return v, closer, nil
}

// getMeta reads the applied row of a database whose layout is known; ok is false while there is none.
func getMeta(r engine.Reader) (m meta, ok bool, err error) {
	v, closer, err := r.Get(rowApplied())
	if err != nil || closer == nil {
		return meta{}, false, damage("the applied row", err)
	}
	m, err = decodeMeta(v)
	return m, err == nil, errors.Join(err, closer.Close())
}

// scanKeys reads [lo, hi) in order, without the values that stand apart unless values are wanted; what f gets is reused.
func scanKeys(r engine.Reader, lo, hi []byte, values bool, f func(KeyValue) bool) error {
	upper := []byte{prefixKey + 1}
	if hi != nil {
		upper = rowKey(nil, hi)
	}
	it, err := r.NewIter(rowKey(nil, lo), upper)
	if err != nil {
		return damage("a range", err)
	}
	defer it.Close()
	var room []byte
	for ok := it.First(); ok; ok = it.Next() {
		kv, err := decodeStored(it.Key()[1:], it.Value())
		if err == nil && values && kv.apart {
			err = kv.fetch(r, room[:0])
			room = kv.Value
		}
		if err != nil {
			return err
		}
		if !f(kv) {
			break
		}
	}
	return damage("a range", it.Error())
}

// Read runs a read-only transaction on a consistent view.
func (s *Store) Read(ctx context.Context, t Txn) (Result, error) { return s.ReadBilled(ctx, t, nil) }

// ReadBilled is Read, where bill is told of the bytes that answers to ranges take up as they grow; its error ends
// the read and is returned.
func (s *Store) ReadBilled(ctx context.Context, t Txn, bill func(bytes int) error) (Result, error) {
	if err := ctx.Err(); err != nil {
		return Result{}, err
	}
	if len(t.Compares) == 0 && len(t.Success) == 1 && t.Success[0].Range.newestOfOne() {
		if res, ok, err := s.readOne(t.Success[0].Range); ok || err != nil {
			return res, err
		}
	}
	v := s.View()
	v.bill = bill
	defer v.Close()
	b, err := choose(v, &t)
	if err == nil {
		err = check(v, &b)
	}
	if err != nil {
		return Result{}, err
	}
	return readTxn(v, &b)
}

// newestOfOne says that a range is about one key at the newest revision. The newest revision may be named, too; by the
// time it is read it may be an older one, so that is not one of these.
func (r *RangeRequest) newestOfOne() bool { return r != nil && len(r.End) == 0 && r.Revision <= 0 }

// readOne reads a single key without a snapshot: it looks, and looks whether a batch was committed meanwhile.
// ok is false when that keeps happening.
func (s *Store) readOne(r *RangeRequest) (Result, bool, error) {
	for range 4 {
		before := s.seq.Load()
		if before%2 == 1 {
			runtime.Gosched()
			continue
		}
		p, err := s.pin()
		if err != nil {
			return Result{}, false, err
		}
		kv, ok, err := getKey(p.gen.db, r.Key)
		if err := p.gen.release(); err != nil {
			return Result{}, false, err
		}
		if s.seq.Load() != before {
			continue
		}
		if err != nil {
			return Result{}, false, err
		}
		res := &RangeResult{Revision: p.meta.revision}
		if ok {
			res.visit(r, kv)
		}
		res.finish(r)
		return Result{Revision: res.Revision, Succeeded: true, Responses: []OpResult{{Range: res}}}, true, nil
	}
	return Result{}, false, nil
}
