package kv

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"hash/crc32"
	"maps"
	"slices"
)

// model is the store's naive twin: etcd's semantics written down with a map, without a database, a cache
// or a batch.
type model struct {
	revision Revision
	kvs      map[string]KeyValue
	opened   bool
	origins  map[uint64]*modelOrigin
	effects  uint32
}

// modelOrigin is what is known of one origin's commands: every sequence that was applied, as a set.
type modelOrigin struct {
	boot, floor uint64
	seen        map[uint64]bool
}

func newModel() *model {
	return &model{revision: 1, kvs: map[string]KeyValue{}, origins: map[uint64]*modelOrigin{}}
}

func (m *model) apply(c Command) Result {
	if !m.admit(c) {
		return Result{ID: c.ID, Duplicate: true, Revision: m.revision}
	}
	if c.Open {
		m.opened = true
		return Result{ID: c.ID, Revision: m.revision}
	}
	res := m.txn(c.Txn)
	res.ID = c.ID
	return res
}

func (m *model) admit(c Command) bool {
	o := m.origins[c.ID.Origin]
	if o == nil || c.ID.Boot > o.boot {
		o = &modelOrigin{boot: c.ID.Boot, seen: map[uint64]bool{}}
		m.origins[c.ID.Origin] = o
	}
	if c.ID.Boot < o.boot {
		return false
	}
	o.floor = max(o.floor, min(c.Floor, c.ID.Seq))
	if c.ID.Seq < o.floor || c.ID.Seq >= o.floor+maxWindow || o.seen[c.ID.Seq] {
		return false
	}
	o.seen[c.ID.Seq] = true
	return true
}

// modelTxn is one transaction under way: the state before it, the state it makes, and which branch each
// (nested) transaction takes, in the order in which they are met.
type modelTxn struct {
	*model
	before map[string]KeyValue
	begin  Revision
	path   []bool
	wrote  bool
}

func (m *model) txn(t Txn) Result {
	x := &modelTxn{model: m, before: maps.Clone(m.kvs), begin: m.revision}
	x.decide(t)
	path := x.path
	if err := x.check(t); err != nil {
		return Result{Revision: m.revision, Err: err}
	}
	x.path = path
	res := x.run(t)
	if x.wrote {
		m.revision++
	}
	res.Revision = m.revision
	return res
}

func (x *modelTxn) decide(t Txn) {
	ok := true
	for _, c := range t.Compares {
		ok = ok && x.holds(c)
	}
	x.path = append(x.path, ok)
	for _, op := range pick(ok, t) {
		if op.Txn != nil {
			x.decide(*op.Txn)
		}
	}
}

func pick(ok bool, t Txn) []Op {
	if ok {
		return t.Success
	}
	return t.Failure
}

func (x *modelTxn) step() bool {
	ok := x.path[0]
	x.path = x.path[1:]
	return ok
}

func (x *modelTxn) holds(c Compare) bool {
	kvs := within(x.before, c.Key, c.End)
	if len(kvs) == 0 {
		if c.Target == CompareValue {
			return false
		}
		kvs = []KeyValue{{}}
	}
	for _, kv := range kvs {
		side := map[CompareTarget]int{
			CompareVersion: cmp.Compare(kv.Version, c.Number),
			CompareCreate:  cmp.Compare(int64(kv.CreateRevision), c.Number),
			CompareMod:     cmp.Compare(int64(kv.ModRevision), c.Number),
			CompareLease:   cmp.Compare(kv.Lease, c.Number),
			CompareValue:   bytes.Compare(kv.Value, c.Value),
		}[c.Target]
		if !map[CompareResult]bool{CompareEqual: side == 0, CompareGreater: side > 0, CompareLess: side < 0, CompareNotEqual: side != 0}[c.Result] {
			return false
		}
	}
	return true
}

// within lists the keys of an etcd range, in order.
func within(kvs map[string]KeyValue, key, end []byte) []KeyValue {
	var found []KeyValue
	for _, k := range slices.Sorted(maps.Keys(kvs)) {
		in := k == string(key)
		if string(end) == "\x00" {
			in = k >= string(key)
		} else if len(end) > 0 {
			in = k >= string(key) && k < string(end)
		}
		if in {
			found = append(found, kvs[k])
		}
	}
	return found
}

func (x *modelTxn) check(t Txn) error {
	for _, op := range pick(x.step(), t) {
		var err error
		switch {
		case op.Put != nil && op.Put.Lease != 0:
			err = ErrLeaseNotFound
		case op.Put != nil && (op.Put.IgnoreValue || op.Put.IgnoreLease):
			if _, ok := x.before[string(op.Put.Key)]; !ok {
				err = ErrKeyNotFound
			}
		case op.Range != nil && op.Range.Revision > x.begin:
			err = ErrFutureRevision
		case op.Range != nil && op.Range.Revision > 0 && op.Range.Revision < x.begin:
			err = ErrCompacted
		case op.Txn != nil:
			err = x.check(*op.Txn)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (x *modelTxn) now() Revision {
	if x.wrote {
		return x.begin + 1
	}
	return x.begin
}

func (x *modelTxn) run(t Txn) Result {
	res := Result{Succeeded: x.step()}
	for _, op := range pick(res.Succeeded, t) {
		var r OpResult
		switch {
		case op.Put != nil:
			r.Put = x.put(*op.Put)
		case op.Delete != nil:
			r.Delete = x.delete(*op.Delete)
		case op.Range != nil:
			r.Range = x.get(*op.Range)
		case op.Txn != nil:
			n := x.run(*op.Txn)
			n.Revision = x.now()
			r.Txn = &n
		}
		res.Responses = append(res.Responses, r)
	}
	res.Revision = x.now()
	return res
}

// leaves notes what an operation left of a key, in the words of the package doc.
func (m *model) leaves(key string, kv KeyValue) {
	b := binary.AppendUvarint(nil, uint64(len(key)))
	b = append(b, key...)
	for _, n := range []uint64{uint64(kv.CreateRevision), uint64(kv.ModRevision), uint64(kv.Version)} {
		b = binary.AppendUvarint(b, n)
	}
	b = append(binary.AppendVarint(b, kv.Lease), kv.Value...)
	m.effects = crc32.Update(m.effects, crc32.MakeTable(crc32.Castagnoli), b)
}

func (x *modelTxn) put(p PutRequest) *PutResult {
	old, had := x.kvs[string(p.Key)]
	kv := KeyValue{Key: p.Key, Value: p.Value, Lease: p.Lease, CreateRevision: x.begin + 1, ModRevision: x.begin + 1, Version: 1}
	res := &PutResult{}
	if had {
		kv.CreateRevision, kv.Version = old.CreateRevision, old.Version+1
		if p.PrevKV {
			res.Prev = &old
		}
	}
	if p.IgnoreValue {
		kv.Value = old.Value
	}
	if p.IgnoreLease {
		kv.Lease = old.Lease
	}
	x.kvs[string(p.Key)], x.wrote = kv, true
	x.leaves(string(p.Key), kv)
	return res
}

func (x *modelTxn) delete(d DeleteRequest) *DeleteResult {
	res := &DeleteResult{}
	for _, kv := range within(x.kvs, d.Key, d.End) {
		delete(x.kvs, string(kv.Key))
		x.leaves(string(kv.Key), KeyValue{})
		res.Deleted++
		x.wrote = true
		if d.PrevKV {
			res.Prev = append(res.Prev, kv)
		}
	}
	return res
}

func (x *modelTxn) get(r RangeRequest) *RangeResult {
	state := x.kvs
	if r.Revision == x.begin { // pinned to what was before the transaction
		state = x.before
	}
	all := within(state, r.Key, r.End)
	res := &RangeResult{Count: int64(len(all)), Revision: x.now()}
	if r.CountOnly {
		return res
	}
	for _, kv := range all {
		if (r.MinMod == 0 || kv.ModRevision >= r.MinMod) && (r.MaxMod == 0 || kv.ModRevision <= r.MaxMod) &&
			(r.MinCreate == 0 || kv.CreateRevision >= r.MinCreate) && (r.MaxCreate == 0 || kv.CreateRevision <= r.MaxCreate) {
			res.KVs = append(res.KVs, kv)
		}
	}
	modelSort(res.KVs, r)
	if r.Limit > 0 && int64(len(res.KVs)) > r.Limit {
		res.KVs, res.More = res.KVs[:r.Limit], true
	}
	for i := range res.KVs {
		if r.KeysOnly {
			res.KVs[i].Value = nil
		}
	}
	return res
}

func modelSort(kvs []KeyValue, r RangeRequest) {
	slices.SortStableFunc(kvs, func(a, b KeyValue) int {
		n := map[SortTarget]int{
			SortByKey:     bytes.Compare(a.Key, b.Key),
			SortByVersion: cmp.Compare(a.Version, b.Version),
			SortByCreate:  cmp.Compare(a.CreateRevision, b.CreateRevision),
			SortByMod:     cmp.Compare(a.ModRevision, b.ModRevision),
			SortByValue:   bytes.Compare(a.Value, b.Value),
		}[r.Target]
		if r.Order == SortDescend {
			return -n
		}
		return n
	})
}

// read answers a read-only transaction.
func (m *model) read(t Txn) (Result, error) {
	res := m.txn(t)
	return res, res.Err
}
