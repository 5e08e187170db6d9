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

	compacted Revision
	events    []Event                          // all that ever happened
	states    map[Revision]map[string]KeyValue // the state at every revision
	leases    map[int64]Lease
}

// modelOrigin is what is known of one origin's commands: every sequence that was applied, as a set.
type modelOrigin struct {
	boot, floor uint64
	seen        map[uint64]bool
}

func newModel() *model {
	return &model{
		revision: 1, compacted: -1, kvs: map[string]KeyValue{}, origins: map[uint64]*modelOrigin{},
		states: map[Revision]map[string]KeyValue{1: {}}, leases: map[int64]Lease{},
	}
}

// apply does a command that stands in that entry.
func (m *model) apply(c Command, at Entry) Result {
	if !m.admit(c) {
		return Result{ID: c.ID, Duplicate: true, Revision: m.revision}
	}
	var res Result
	switch {
	case c.Open:
		m.opened = true
	case c.Compact != nil:
		res.Err = m.compact(c.Compact.Revision)
	case c.Grant != nil:
		res.Err = m.grant(*c.Grant, at.Index)
	case c.Revoke != nil:
		res.Err = m.revoke(*c.Revoke, at.Term)
	case c.Checkpoint != nil:
		res.Err = m.checkpoint(*c.Checkpoint, at.Term)
	default:
		res = m.txn(c.Txn)
	}
	res.ID, res.Revision = c.ID, m.revision
	return res
}

func (m *model) compact(at Revision) error {
	if at <= m.compacted {
		return ErrCompacted
	}
	if at > m.revision {
		return ErrFutureRevision
	}
	m.compacted = at
	m.touches("h", append(binary.BigEndian.AppendUint64([]byte("h"), uint64(at)), 0, 0, 0, 0))
	return nil
}

func (m *model) grant(l Lease, index uint64) error {
	if _, ok := m.leases[l.ID]; ok {
		return ErrLeaseExists
	}
	m.leases[l.ID] = Lease{ID: l.ID, TTL: l.TTL, Granted: index}
	m.touchesLease(l.ID)
	return nil
}

func (m *model) revoke(r Revocation, term uint64) error {
	if r.Term != 0 && r.Term != term {
		return ErrFenced
	}
	for _, id := range r.Leases {
		if _, ok := m.leases[id]; !ok {
			if len(r.Leases) == 1 {
				return ErrLeaseNotFound
			}
			continue
		}
		if r.Term != 0 && m.leases[id].Granted > r.Seen {
			continue
		}
		x := &modelTxn{model: m, begin: m.revision}
		for _, key := range m.attached(id) {
			x.delete(DeleteRequest{Key: []byte(key)})
		}
		x.end()
		delete(m.leases, id)
		m.touchesLease(id)
	}
	return nil
}

func (m *model) attached(id int64) []string {
	var keys []string
	for _, key := range slices.Sorted(maps.Keys(m.kvs)) {
		if m.kvs[key].Lease == id {
			keys = append(keys, key)
		}
	}
	return keys
}

func (m *model) checkpoint(c Checkpoint, term uint64) error {
	if c.Term != 0 && c.Term != term {
		return ErrFenced
	}
	for _, left := range c.Leases {
		if l, ok := m.leases[left.ID]; ok && (c.Term == 0 || l.Granted <= c.Seen) {
			l.Remaining = left.Remaining
			m.leases[left.ID] = l
			m.touchesLease(left.ID)
		}
	}
	return nil
}

// touches notes what a command left of a row that is not a key's.
func (m *model) touches(key string, row []byte) {
	b := append(binary.AppendUvarint(nil, uint64(len(key))), key...)
	b = append(binary.AppendUvarint(b, uint64(len(row))), row...)
	m.effects = crc32.Update(m.effects, crc32.MakeTable(crc32.Castagnoli), b)
}

func (m *model) touchesLease(id int64) {
	var row []byte
	if l, ok := m.leases[id]; ok {
		row = binary.AppendUvarint(binary.AppendVarint(binary.AppendVarint(nil, l.TTL), l.Remaining), l.Granted)
	}
	m.touches(string(binary.BigEndian.AppendUint64([]byte("l"), uint64(id))), row)
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
	x.end()
	res.Revision = m.revision
	return res
}

// end closes the revision, if anything was written.
func (x *modelTxn) end() {
	if x.wrote {
		x.revision++
		x.states[x.revision] = maps.Clone(x.kvs)
	}
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

// check refuses what cannot be done: the first operation that cannot says why, and duplicates come last.
func (x *modelTxn) check(t Txn) error {
	var all []Op
	x.collect(t, &all)
	written := map[string]bool{}
	var duplicate error
	for _, op := range all {
		if r := op.Range; r != nil && r.Revision > x.begin {
			return ErrFutureRevision
		} else if r != nil && r.Revision > 0 && r.Revision < x.compacted {
			return ErrCompacted
		}
		if p := op.Put; p != nil {
			if _, ok := x.leases[p.Lease]; !ok && p.Lease != 0 {
				return ErrLeaseNotFound
			}
			if _, ok := x.before[string(p.Key)]; !ok && (p.IgnoreValue || p.IgnoreLease) {
				return ErrKeyNotFound
			}
			if written[string(p.Key)] {
				duplicate = ErrDuplicateKey
			}
			written[string(p.Key)] = true
			for _, other := range all {
				if d := other.Delete; d != nil && len(within(map[string]KeyValue{string(p.Key): {}}, d.Key, d.End)) > 0 {
					duplicate = ErrDuplicateKey
				}
			}
		}
	}
	return duplicate
}

// collect lists the operations that will be done.
func (x *modelTxn) collect(t Txn, all *[]Op) {
	for _, op := range pick(x.step(), t) {
		if op.Txn != nil {
			x.collect(*op.Txn, all)
		} else {
			*all = append(*all, op)
		}
	}
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
	kv.Key, kv.ModRevision = []byte(key), m.revision+1
	m.events = append(m.events, Event{KV: kv})
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
	if r.Revision > 0 { // pinned: nothing of what the transaction has written
		state = x.states[r.Revision]
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
	filtered := r.MinMod != 0 || r.MaxMod != 0 || r.MinCreate != 0 || r.MaxCreate != 0
	if n := int(r.Limit) + 1; r.Limit > 0 && r.Order == SortNone && !filtered && len(res.KVs) > n {
		res.KVs = res.KVs[:n] // sorted is what was read, as etcd does it
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
