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
	// scan calls f for every key in [lo, hi) in order, hi nil for no end, until f returns false. What f
	// gets may be reused by the next call.
	scan(lo, hi []byte, f func(KeyValue) bool) error
	revision() Revision
}

// holds evaluates a compare: for every key of its range.
func holds(src source, c *Compare) (bool, error) {
	lo, hi, one := bounds(c.Key, c.End)
	if one {
		kv, ok, err := src.get(lo)
		if err != nil {
			return false, err
		}
		return holdsFor(c, kv, ok), nil
	}
	all, some := true, false
	err := src.scan(lo, hi, func(kv KeyValue) bool {
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

// pinned reports whether the branch reads at an explicit revision.
func (b *branch) pinned() bool {
	return slices.ContainsFunc(b.ops, func(op Op) bool { return op.Range != nil && op.Range.Revision > 0 }) ||
		slices.ContainsFunc(b.nested, func(n branch) bool { return n.pinned() })
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

// check refuses what cannot be done before anything is changed.
func check(src source, b *branch) error {
	nested := 0
	for i := range b.ops {
		var err error
		switch op := &b.ops[i]; {
		case op.Put != nil:
			err = checkPut(src, op.Put)
		case op.Range != nil:
			err = checkRevision(src.revision(), op.Range)
		case op.Txn != nil:
			err = check(src, &b.nested[nested])
			nested++
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func checkPut(src source, p *PutRequest) error {
	if p.Lease != 0 {
		return fmt.Errorf("lease %016x: %w", uint64(p.Lease), ErrLeaseNotFound)
	}
	if !p.IgnoreValue && !p.IgnoreLease {
		return nil
	}
	_, ok, err := src.get(p.Key)
	if err == nil && !ok {
		err = ErrKeyNotFound
	}
	return err
}

func checkRevision(now Revision, r *RangeRequest) error {
	switch {
	case r.Revision > now:
		return ErrFutureRevision
	case r.Revision > 0 && r.Revision < now:
		return ErrCompacted
	}
	return nil
}

// readRange answers a range on src. What it returns is the caller's.
func readRange(src source, r *RangeRequest) (*RangeResult, error) {
	res := &RangeResult{Revision: src.revision()}
	lo, hi, one := bounds(r.Key, r.End)
	if one {
		kv, ok, err := src.get(lo)
		if err != nil {
			return nil, err
		}
		if ok {
			res.visit(r, kv)
		}
	} else if err := src.scan(lo, hi, func(kv KeyValue) bool {
		if res.takes(r, &kv) {
			kv = kv.copy(r.dropsValue())
		}
		res.visit(r, kv)
		return true
	}); err != nil {
		return nil, err
	}
	res.finish(r)
	return res, nil
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

// fetchesAll says that the limit cuts only after sorting and filtering.
func (r *RangeRequest) fetchesAll() bool {
	return r.Limit <= 0 || r.Order != SortNone || r.Target != SortByKey || r.filtered()
}

// dropsValue says that values are neither answered nor sorted by.
func (r *RangeRequest) dropsValue() bool { return r.KeysOnly && r.Target != SortByValue }

func (kv *KeyValue) copy(keysOnly bool) KeyValue {
	c := *kv
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
