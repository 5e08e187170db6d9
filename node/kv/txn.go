package kv

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
)

// source is the state that a transaction reads: a consistent view of the database, or a batch in the making
// on top of it.
type source interface {
	// get returns the newest version of key, which is the caller's.
	get(key []byte) (KeyValue, bool, error)
	// stat is get for one who does not need the value.
	stat(key []byte) (KeyValue, bool, error)
	// scan calls f for every key in [lo, hi) in order, hi nil for no end, until f returns false. What f
	// gets may be reused by the next call. Unless values are wanted, those that stand apart are left out.
	scan(lo, hi []byte, values bool, f func(KeyValue) bool) error
	// then is the state at an earlier revision, which must not be compacted.
	then(Revision) (source, error)
	// counting begins a count, which must end; nil is that only a scan can tell how many keys there are.
	counting() *counting
	lease(id int64) (Lease, bool)
	// charge is told of the bytes that an answer takes up, and may refuse them.
	charge(bytes int) error
	revision() Revision
	compacted() Revision
}

// holds evaluates a compare: for every key of its range.
func holds(src source, c *Compare) (bool, error) {
	lo, hi, one := bounds(c.Key, c.End)
	if one {
		read := src.stat
		if c.Target == CompareValue {
			read = src.get
		}
		kv, ok, err := read(lo)
		if err != nil {
			return false, err
		}
		return holdsFor(c, kv, ok), nil
	}
	all, some := true, false
	err := src.scan(lo, hi, c.Target == CompareValue, func(kv KeyValue) bool {
		some = true
		all = holdsFor(c, kv, true)
		return all
	})
	if err == nil && !some { // an empty range compares as one missing key
		return holdsFor(c, KeyValue{}, false), nil
	}
	return all, err
}

func holdsFor(c *Compare, kv KeyValue, exists bool) bool {
	order := 0
	switch c.Target {
	case CompareVersion:
		order = cmp.Compare(kv.Version, c.Number)
	case CompareCreate:
		order = cmp.Compare(int64(kv.CreateRevision), c.Number)
	case CompareMod:
		order = cmp.Compare(int64(kv.ModRevision), c.Number)
	case CompareLease:
		order = cmp.Compare(kv.Lease, c.Number)
	case CompareValue:
		if !exists {
			return false
		}
		order = bytes.Compare(kv.Value, c.Value)
	}
	switch c.Result {
	case CompareEqual:
		return order == 0
	case CompareGreater:
		return order > 0
	case CompareLess:
		return order < 0
	}
	return order != 0
}

// branch is the outcome of a transaction's compares, with those of the transactions nested in it.
type branch struct {
	succeeded bool
	ops       []Op
	nested    []branch // one for each Op with a Txn, in order
}

// choose evaluates all compares against the state before the transaction, as etcd does.
func choose(src source, t *Txn) (branch, error) {
	b := branch{succeeded: true, ops: t.Success}
	for i := range t.Compares {
		ok, err := holds(src, &t.Compares[i])
		if err != nil {
			return b, err
		}
		if !ok {
			b.succeeded, b.ops = false, t.Failure
			break
		}
	}
	for i := range b.ops {
		if b.ops[i].Txn != nil {
			n, err := choose(src, b.ops[i].Txn)
			if err != nil {
				return b, err
			}
			b.nested = append(b.nested, n)
		}
	}
	return b, nil
}

// check refuses what cannot be done before anything is changed: as in etcd, the first operation that cannot be done says why.
func check(src source, b *branch) error {
	var w writeCheck
	err := b.each(func(op *Op) error {
		switch {
		case op.Range != nil:
			return checkRevision(src.revision(), src.compacted(), op.Range)
		case op.Put != nil:
			w.puts = append(w.puts, op.Put.Key)
			return checkPut(src, op.Put)
		case op.Delete != nil:
			w.deletes = append(w.deletes, op.Delete)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return w.check()
}

// each calls f for the operations that will be done, those of nested transactions included, in order.
func (b *branch) each(f func(*Op) error) error {
	nested := 0
	for i := range b.ops {
		var err error
		if b.ops[i].Txn != nil {
			err = b.nested[nested].each(f)
			nested++
		} else {
			err = f(&b.ops[i])
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// writeCheck sees that a transaction writes no key twice: the events of one revision are about different keys.
type writeCheck struct {
	puts    [][]byte
	deletes []*DeleteRequest
}

func (w *writeCheck) check() error {
	if len(w.puts) == 0 || len(w.puts)+len(w.deletes) == 1 {
		return nil
	}
	slices.SortFunc(w.puts, bytes.Compare)
	for i := 1; i < len(w.puts); i++ {
		if bytes.Equal(w.puts[i-1], w.puts[i]) {
			return fmt.Errorf("key %q: %w", w.puts[i], ErrDuplicateKey)
		}
	}
	for _, d := range w.deletes {
		lo, hi, one := bounds(d.Key, d.End)
		i, found := slices.BinarySearchFunc(w.puts, lo, bytes.Compare)
		hit := found
		if !one { // of an empty range, lo itself is no part
			hit = i < len(w.puts) && (hi == nil || bytes.Compare(w.puts[i], hi) < 0)
		}
		if hit {
			return fmt.Errorf("key %q: %w", w.puts[i], ErrDuplicateKey)
		}
	}
	return nil
}

func checkPut(src source, p *PutRequest) error {
	if p.Lease != 0 {
		if _, ok := src.lease(p.Lease); !ok {
			return fmt.Errorf("lease %016x: %w", uint64(p.Lease), ErrLeaseNotFound)
		}
	}
	if p.IgnoreValue || p.IgnoreLease {
		_, ok, err := src.stat(p.Key)
		if err == nil && !ok {
			err = ErrKeyNotFound
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func checkRevision(now, compacted Revision, r *RangeRequest) error {
	switch {
	case r.Revision > now:
		return ErrFutureRevision
	case r.Revision > 0 && r.Revision < compacted:
		return ErrCompacted
	}
	return nil
}

// readRange answers a range on src, or on what it was at the revision asked for. What it returns is the caller's.
func readRange(src source, r *RangeRequest) (*RangeResult, error) {
	then := src
	if r.Revision > 0 && r.Revision < src.revision() {
		var err error
		if then, err = src.then(r.Revision); err != nil {
			return nil, err
		}
	}
	return readRangeOf(then, r, src.revision())
}

// readRangeOf answers a range on a state, for a store at revision now.
func readRangeOf(src source, r *RangeRequest, now Revision) (*RangeResult, error) {
	res := &RangeResult{Revision: now}
	lo, hi, one := bounds(r.Key, r.End)
	if one {
		kv, ok, err := src.get(lo)
		if err != nil {
			return nil, err
		}
		if ok {
			res.visit(r, kv)
		}
	} else if err := scanInto(src, r, res, lo, hi); err != nil {
		return nil, err
	}
	res.finish(r)
	return res, nil
}

// answerOverhead is about what a key takes in an answer besides its bytes.
const answerOverhead = 128

// scanInto visits the keys of a range as far as the limit lets them be taken, and only counts the rest.
func scanInto(src source, r *RangeRequest, res *RangeResult, lo, hi []byte) (err error) {
	var rest *counting
	if r.CountOnly || !r.fetchesAll() {
		rest = src.counting()
	}
	if rest != nil && r.CountOnly {
		res.Count, err = rest.count(lo, hi)
		return err
	}
	if rest != nil {
		defer rest.end()
	}
	var refused error
	more := false
	err = src.scan(lo, hi, r.readsValues(), func(kv KeyValue) bool {
		if res.takes(r, &kv) {
			kv = kv.copy(r.dropsValue())
			refused = src.charge(len(kv.Key) + len(kv.Value) + answerOverhead)
		}
		res.visit(r, kv)
		more = rest != nil && res.Count > r.Limit
		return refused == nil && !more
	})
	if err == nil {
		err = refused
	}
	if err != nil || !more {
		return err
	}
	n, err := rest.count(append(bytes.Clone(res.KVs[len(res.KVs)-1].Key), 0), hi)
	res.Count += n
	return err
}

// takes reports whether the next key is part of the answer, before sorting and the last cut. One more than the limit
// is, to know that there is more.
func (res *RangeResult) takes(r *RangeRequest, kv *KeyValue) bool {
	return !r.CountOnly && r.wants(kv) && (r.fetchesAll() || int64(len(res.KVs)) <= r.Limit)
}

// visit counts a key of the range and takes it, if it is wanted, as it is.
func (res *RangeResult) visit(r *RangeRequest, kv KeyValue) {
	res.Count++
	if res.takes(r, &kv) {
		res.KVs = append(res.KVs, kv)
	}
}

// finish sorts and cuts.
func (res *RangeResult) finish(r *RangeRequest) {
	r.sort(res.KVs)
	if r.Limit > 0 && int64(len(res.KVs)) > r.Limit {
		res.KVs, res.More = res.KVs[:r.Limit], true
	}
	if r.KeysOnly {
		for i := range res.KVs {
			res.KVs[i].Value = nil
		}
	}
}

// fetchesAll says that the limit cuts only after sorting and filtering. Without an order, what is sorted is what the limit
// has left in the order of the keys, as in etcd.
func (r *RangeRequest) fetchesAll() bool {
	return r.Limit <= 0 || r.Order != SortNone || r.filtered()
}

// dropsValue says that values are neither answered nor sorted by.
func (r *RangeRequest) dropsValue() bool { return r.KeysOnly && r.Target != SortByValue }

// readsValues says that values are answered or sorted by.
func (r *RangeRequest) readsValues() bool { return !r.CountOnly && !r.dropsValue() }

func (kv *KeyValue) copy(keysOnly bool) KeyValue {
	c := *kv
	c.apart = false
	c.Key = bytes.Clone(kv.Key)
	if keysOnly {
		c.Value = nil
	} else {
		c.Value = bytes.Clone(kv.Value)
	}
	return c
}

func (r *RangeRequest) filtered() bool {
	return r.MinMod != 0 || r.MaxMod != 0 || r.MinCreate != 0 || r.MaxCreate != 0
}

func (r *RangeRequest) wants(kv *KeyValue) bool {
	return (r.MinMod == 0 || kv.ModRevision >= r.MinMod) && (r.MaxMod == 0 || kv.ModRevision <= r.MaxMod) &&
		(r.MinCreate == 0 || kv.CreateRevision >= r.MinCreate) && (r.MaxCreate == 0 || kv.CreateRevision <= r.MaxCreate)
}

// sort orders as etcd does: a target other than the key without an order means ascending; equal ones keep the
// order of their keys.
func (r *RangeRequest) sort(kvs []KeyValue) {
	order := r.Order
	if order == SortNone {
		if r.Target == SortByKey {
			return
		}
		order = SortAscend
	}
	slices.SortStableFunc(kvs, func(a, b KeyValue) int {
		n := r.compare(&a, &b)
		if order == SortDescend {
			return -n
		}
		return n
	})
}

func (r *RangeRequest) compare(a, b *KeyValue) int {
	switch r.Target {
	case SortByVersion:
		return cmp.Compare(a.Version, b.Version)
	case SortByCreate:
		return cmp.Compare(a.CreateRevision, b.CreateRevision)
	case SortByMod:
		return cmp.Compare(a.ModRevision, b.ModRevision)
	case SortByValue:
		return bytes.Compare(a.Value, b.Value)
	}
	return bytes.Compare(a.Key, b.Key)
}

// readTxn runs a transaction that writes nothing.
func readTxn(src source, b *branch) (Result, error) {
	res := Result{Revision: src.revision(), Succeeded: b.succeeded}
	nested := 0
	for i := range b.ops {
		switch op := &b.ops[i]; {
		case op.Range != nil:
			r, err := readRange(src, op.Range)
			if err != nil {
				return Result{}, err
			}
			res.Responses = append(res.Responses, OpResult{Range: r})
		case op.Txn != nil:
			n, err := readTxn(src, &b.nested[nested])
			if err != nil {
				return Result{}, err
			}
			nested++
			res.Responses = append(res.Responses, OpResult{Txn: &n})
		}
	}
	return res, nil
}
