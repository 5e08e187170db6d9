package kv

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"raftsman.dev/node/kv/seeds"
)

// small are options under which little data already rotates memory tables, overflows the cache, is counted in stretches
// and stands apart.
func small(fs vfs.FS) Options {
	return Options{FS: fs, MemTableBytes: 64 << 10, BlockCacheBytes: 1 << 20, CacheSlots: 16, Stretch: 4, ApartBytes: 6}
}

func mustOpen(t testing.TB, dir string, o Options) *Store {
	t.Helper()
	s, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// generator draws commands that collide often: few keys, few origins, repeated IDs.
type generator struct {
	rng   *rand.Rand
	boots [3]uint64
	next  [3]uint64
	floor [3]uint64
	now   Revision // the revision around which compares and reads are drawn
	old   Revision // the compacted revision
	term  uint64
	index uint64
}

func newGenerator(seed uint64) *generator {
	return &generator{rng: rand.New(rand.NewPCG(seed, 7)), boots: [3]uint64{1, 1, 1}, next: [3]uint64{1, 1, 1}}
}

func (g *generator) one(in int) bool { return g.rng.IntN(in) == 0 }

func (g *generator) key() []byte {
	const letters = "\x00ab\xff"
	b := make([]byte, 1+g.rng.IntN(3)+g.rng.IntN(2)*g.rng.IntN(2))
	for i := range b {
		b[i] = letters[g.rng.IntN(len(letters))]
	}
	return b
}

func (g *generator) end() []byte {
	switch g.rng.IntN(3) {
	case 0:
		return nil
	case 1:
		return []byte{0}
	}
	return g.key()
}

func (g *generator) value() []byte {
	size := g.rng.IntN(12)
	if g.one(40) {
		size = g.rng.IntN(9000)
	}
	return bytes.Repeat([]byte{byte('a' + g.rng.IntN(4))}, size)
}

func (g *generator) near() Revision { return g.now - Revision(g.rng.IntN(30)) + 2 }

// past is a revision that can often be read.
func (g *generator) past() Revision {
	return max(1, g.old-2) + Revision(g.rng.IntN(int(g.now-max(1, g.old-2))+2))
}

func (g *generator) lease() int64 { return []int64{-3, 1, 2, 77, 1 << 40}[g.rng.IntN(5)] }

func (g *generator) put() *PutRequest {
	p := &PutRequest{Key: g.key(), PrevKV: g.one(3), IgnoreValue: g.one(8), IgnoreLease: g.one(8)}
	if !p.IgnoreValue {
		p.Value = g.value()
	}
	if g.one(5) {
		p.Lease = g.lease()
	}
	return p
}

func (g *generator) get() *RangeRequest {
	r := &RangeRequest{Key: g.key(), End: g.end(), KeysOnly: g.one(4), CountOnly: g.one(6)}
	r.Order, r.Target = SortOrder(g.rng.IntN(3)), SortTarget(g.rng.IntN(5))
	if g.one(2) {
		r.Order, r.Target = SortNone, SortByKey
	}
	if g.one(2) {
		r.Limit = int64(g.rng.IntN(6)) - 1
	}
	switch g.rng.IntN(12) {
	case 0:
		r.Revision = g.now
	case 1:
		r.Revision = g.near()
	case 2:
		r.Revision = -1
	case 3, 4, 5:
		r.Revision = g.past()
	}
	for _, bound := range []*Revision{&r.MinMod, &r.MaxMod, &r.MinCreate, &r.MaxCreate} {
		if g.one(8) {
			*bound = g.near()
		}
	}
	return r
}

func (g *generator) compare() Compare {
	c := Compare{Key: g.key(), Target: CompareTarget(g.rng.IntN(5)), Result: CompareResult(g.rng.IntN(4))}
	if g.one(4) {
		c.End = g.end()
	}
	switch c.Target {
	case CompareValue:
		c.Value = g.value()
	case CompareVersion:
		c.Number = int64(g.rng.IntN(3))
	case CompareLease:
		c.Number = int64(g.rng.IntN(2))
	default:
		c.Number = int64(g.near())
		if g.one(2) {
			c.Number = 0
		}
	}
	return c
}

func (g *generator) ops(depth int, readOnly bool) []Op {
	ops := make([]Op, 0, 4)
	for range g.rng.IntN(4) {
		switch kind := g.rng.IntN(8); {
		case kind == 0 && depth < 3:
			t := g.txn(depth+1, readOnly)
			ops = append(ops, Op{Txn: &t})
		case kind < 3 || readOnly:
			ops = append(ops, Op{Range: g.get()})
		case kind == 3:
			ops = append(ops, Op{Delete: g.delete()})
		default:
			ops = append(ops, Op{Put: g.put()})
		}
	}
	return ops
}

func (g *generator) delete() *DeleteRequest {
	d := &DeleteRequest{Key: g.key(), PrevKV: g.one(2)}
	if g.one(3) {
		d.End = g.end()
	}
	return d
}

func (g *generator) txn(depth int, readOnly bool) Txn {
	var t Txn
	for range g.rng.IntN(3) {
		t.Compares = append(t.Compares, g.compare())
	}
	t.Success, t.Failure = g.ops(depth, readOnly), g.ops(depth, readOnly)
	return t
}

// command draws one command: mostly fresh, sometimes a repetition, a straggler, one beyond the window, or
// one of an earlier or a later boot.
func (g *generator) command() Command {
	o := g.rng.IntN(3)
	c := Command{ID: CommandID{Origin: uint64(o + 5), Boot: g.boots[o], Seq: g.next[o]}, Floor: g.floor[o]}
	switch g.rng.IntN(20) {
	case 0, 1:
		c.ID.Seq -= min(c.ID.Seq, uint64(g.rng.IntN(90)))
	case 2:
		c.ID.Seq += uint64(g.rng.IntN(100))
	case 3:
		c.ID.Seq += maxWindow - uint64(g.rng.IntN(3))
	case 4:
		c.ID.Boot -= uint64(g.rng.IntN(2))
	case 5:
		if g.one(4) {
			g.boots[o], g.next[o], g.floor[o] = g.boots[o]+1, 1, 0
		}
	default:
		g.next[o]++
	}
	if g.one(4) {
		g.floor[o] += uint64(g.rng.IntN(int(min(g.next[o]-min(g.floor[o], g.next[o]), 100)) + 1))
	}
	switch kind := g.rng.IntN(40); {
	case kind < 4:
		g.other(&c)
	case kind < 20:
		c.Txn.Success = []Op{{Put: g.put()}}
	case kind < 25:
		c.Txn.Success = []Op{{Delete: g.delete()}}
	default:
		c.Txn = g.txn(0, false)
	}
	return c
}

// other makes a command that is no transaction.
func (g *generator) other(c *Command) {
	switch kind := g.rng.IntN(12); {
	case kind == 0:
		c.Open = true
	case kind < 4:
		c.Compact = &Compaction{Revision: g.past()}
	case kind < 8:
		c.Grant = &Lease{ID: g.lease(), TTL: int64(g.rng.IntN(100))}
	case kind < 10:
		c.Revoke = &Revocation{Term: g.fence(), Seen: g.seen()}
		for range 1 + g.rng.IntN(2)*g.rng.IntN(4) {
			c.Revoke.Leases = append(c.Revoke.Leases, g.lease())
		}
	default:
		c.Checkpoint = &Checkpoint{Term: g.fence(), Seen: g.seen()}
		for range g.rng.IntN(4) {
			c.Checkpoint.Leases = append(c.Checkpoint.Leases, Lease{ID: g.lease(), Remaining: int64(g.rng.IntN(50))})
		}
	}
}

// seen is the index of an earlier entry.
func (g *generator) seen() uint64 { return g.index - min(g.index, 1+uint64(g.rng.IntN(100))) }

// fence is mostly no term or the right one.
func (g *generator) fence() uint64 { return []uint64{0, g.term, g.term, g.term + 1}[g.rng.IntN(4)] }

// show renders a result so that two can be compared and read; nil and empty are the same, as on the wire.
func show(r *Result) string {
	var b strings.Builder
	fmt.Fprintf(&b, "id=%v rev=%d ok=%v dup=%v err=%q [", r.ID, r.Revision, r.Succeeded, r.Duplicate, sentinel(r.Err))
	for _, op := range r.Responses {
		switch {
		case op.Range != nil:
			fmt.Fprintf(&b, " range rev=%d count=%d more=%v%s", op.Range.Revision, op.Range.Count, op.Range.More, showKVs(op.Range.KVs))
		case op.Put != nil:
			b.WriteString(" put")
			if op.Put.Prev != nil {
				b.WriteString(showKVs([]KeyValue{*op.Put.Prev}))
			}
		case op.Delete != nil:
			fmt.Fprintf(&b, " delete %d%s", op.Delete.Deleted, showKVs(op.Delete.Prev))
		case op.Txn != nil:
			b.WriteString(" txn " + show(op.Txn))
		}
	}
	b.WriteString(" ]")
	return b.String()
}

func showKVs(kvs []KeyValue) string {
	var b strings.Builder
	for _, kv := range kvs {
		value := fmt.Sprintf("%q", kv.Value)
		if len(kv.Value) > 16 {
			value = fmt.Sprintf("%q*%d", kv.Value[:1], len(kv.Value))
		}
		fmt.Fprintf(&b, " %q=%s(c%d m%d v%d l%d)", kv.Key, value, kv.CreateRevision, kv.ModRevision, kv.Version, kv.Lease)
	}
	return b.String()
}

func sentinel(err error) string {
	for _, s := range []error{ErrKeyNotFound, ErrLeaseNotFound, ErrLeaseExists, ErrDuplicateKey, ErrFenced, ErrCompacted, ErrFutureRevision} {
		if errors.Is(err, s) {
			return s.Error()
		}
	}
	if err != nil {
		return "unexpected: " + err.Error()
	}
	return ""
}

// everything is a transaction that reads the whole state.
func everything() Txn {
	return Txn{Success: []Op{{Range: &RangeRequest{Key: []byte{}, End: []byte{0}}}}}
}

// pair drives a store and its twin with the same log.
type pair struct {
	t      *testing.T
	seed   uint64
	gen    *generator
	ground ground
	dir    string
	store  *Store
	twin   *model
	log    []Entry
	want   []string // the twin's result of each entry
	known  int      // the most stretches of keys that a store has known of
}

func (p *pair) fatalf(format string, args ...any) {
	p.t.Helper()
	p.t.Fatalf("seed %d, entry %d: %s", p.seed, len(p.log), fmt.Sprintf(format, args...))
}

// extend draws n entries and their results.
func (p *pair) extend(n int) {
	for range n {
		e := Entry{Index: uint64(len(p.log) + 1), Term: 1 + uint64(len(p.log)/50)}
		want := Result{}
		if !p.gen.one(15) {
			p.gen.now, p.gen.old, p.gen.term, p.gen.index = p.twin.revision, p.twin.compacted, e.Term, e.Index
			c := p.gen.command()
			e.Command = c.AppendTo(nil)
			want = p.twin.apply(c, e)
		}
		p.log, p.want = append(p.log, e), append(p.want, show(&want))
	}
}

// catchUp applies what the store lacks, in batches of random size, and compares every result.
func (p *pair) catchUp(s *Store) {
	p.t.Helper()
	for at := s.Applied().Index; at < uint64(len(p.log)); at = s.Applied().Index {
		size := 20
		if p.gen.one(8) {
			size = 1000
		}
		n := min(uint64(1+p.gen.rng.IntN(size)), uint64(len(p.log))-at)
		got, err := s.Apply(p.log[at:at+n], 0, nil)
		if err != nil {
			p.fatalf("apply %d entries after %d: %v", n, at, err)
		}
		for i := range got {
			if have, want := show(&got[i]), p.want[at+uint64(i)]; have != want {
				c, _ := DecodeCommand(p.log[at+uint64(i)].Command)
				p.fatalf("result of entry %d\n have %s\n want %s\n of %+v", at+uint64(i)+1, have, want, c)
			}
		}
	}
}

// compare holds the caught-up store against the twin: everything, and some random reads.
func (p *pair) compare(s *Store) {
	p.t.Helper()
	if a := s.Applied(); a.Index != uint64(len(p.log)) || a.Term != p.log[len(p.log)-1].Term || a.Effects != p.twin.effects {
		p.fatalf("applied %+v of %d entries, effects %08x", a, len(p.log), p.twin.effects)
	}
	if s.Revision() != p.twin.revision || s.Opened() != p.twin.opened {
		p.fatalf("revision %d, opened %v; want %d, %v", s.Revision(), s.Opened(), p.twin.revision, p.twin.opened)
	}
	p.compareHistory(s)
	p.compareCounts(s)
	p.compareApart(s)
	reads := []Txn{everything()}
	p.gen.now, p.gen.old = p.twin.revision, p.twin.compacted
	for range 8 {
		reads = append(reads, p.gen.txn(0, true), Txn{Success: []Op{{Range: p.gen.get()}}})
	}
	for range 4 {
		r := p.gen.get()
		r.Order, r.Target, r.MinMod, r.MaxMod, r.MinCreate, r.MaxCreate = SortNone, SortByKey, 0, 0, 0, 0
		got, err := p.streamed(s, r)
		want, wantErr := p.twin.read(Txn{Success: []Op{{Range: r}}})
		if sentinel(err) != sentinel(wantErr) || err == nil && show(&got) != show(&want) {
			p.fatalf("stream\n have %s %v\n want %s %v\n of %+v", show(&got), err, show(&want), wantErr, r)
		}
	}
	for _, t := range reads {
		got, err := s.Read(p.t.Context(), t)
		want, wantErr := p.twin.read(t)
		if sentinel(err) != sentinel(wantErr) || err == nil && show(&got) != show(&want) {
			p.fatalf("read\n have %s %v\n want %s %v\n of %+v", show(&got), err, show(&want), wantErr, t)
		}
	}
}

// streamed is a range answered in small chunks, put together.
func (p *pair) streamed(s *Store, r *RangeRequest) (Result, error) {
	p.t.Helper()
	v := s.View()
	defer mustClose(p.t, v)
	whole := RangeResult{Revision: v.Revision()}
	err := v.Stream(r, p.gen.rng.IntN(40), func(c Chunk) error {
		whole.KVs = append(whole.KVs, c.KVs...)
		whole.Count, whole.More = c.Count, c.More
		return nil
	})
	return Result{Revision: v.Revision(), Succeeded: true, Responses: []OpResult{{Range: &whole}}}, err
}

// compareHistory holds what the store says of the past and of leases against the twin.
func (p *pair) compareHistory(s *Store) {
	p.t.Helper()
	v := s.View()
	defer mustClose(p.t, v)
	if v.Compacted() != p.twin.compacted || v.Revision() != p.twin.revision {
		p.fatalf("a view of revision %d, compacted at %d; want %d, %d", v.Revision(), v.Compacted(), p.twin.revision, p.twin.compacted)
	}
	from := p.gen.past()
	var got, want strings.Builder
	err := v.Events(from, func(e Event) bool {
		prev, ok, err := v.Before(e)
		if err != nil {
			p.fatalf("before %+v: %v", e, err)
		}
		p.gen.tell(&got, e.KV, prev, ok)
		return true
	})
	if from < p.twin.compacted != errors.Is(err, ErrCompacted) || err != nil && !errors.Is(err, ErrCompacted) {
		p.fatalf("events from %d on, compacted at %d: %v", from, p.twin.compacted, err)
	}
	for _, e := range p.twin.events {
		if err == nil && e.KV.ModRevision >= from {
			prev, ok := p.twin.states[e.KV.ModRevision-1][string(e.KV.Key)]
			p.gen.tell(&want, e.KV, prev, ok && e.KV.ModRevision-1 >= p.twin.compacted)
		}
	}
	if got.String() != want.String() {
		p.fatalf("events from %d on, compacted at %d:\n have %s\n want %s", from, p.twin.compacted, &got, &want)
	}
	p.compareLeases(v)
}

func (p *pair) compareLeases(v *View) {
	p.t.Helper()
	got := map[int64]Lease{}
	must(p.t, v.Leases(func(l Lease) bool { got[l.ID] = l; return true }))
	if !maps.Equal(got, p.twin.leases) {
		p.fatalf("leases %v, want %v", got, p.twin.leases)
	}
	for _, id := range []int64{-3, 1, 2, 77, 1 << 40} {
		var keys []string
		must(p.t, v.LeaseKeys(id, func(key []byte) bool { keys = append(keys, string(key)); return true }))
		if want := p.twin.attached(id); !slices.Equal(keys, want) {
			p.fatalf("keys of lease %d: %q, want %q", id, keys, want)
		}
	}
}

// tell writes an event down with what was before it.
func (g *generator) tell(b *strings.Builder, kv, prev KeyValue, ok bool) {
	if kv.Version == 0 {
		kv = KeyValue{Key: kv.Key, ModRevision: kv.ModRevision}
	}
	b.WriteString(showKVs([]KeyValue{kv}))
	if ok {
		b.WriteString(" <-" + showKVs([]KeyValue{prev}))
	}
}

func hashOf(t *testing.T, s *Store) string {
	t.Helper()
	hash, at, err := s.Hash()
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%016x at %d", hash, at)
}

// open opens a store in which some values stand apart: from so many bytes on as is drawn, each time anew.
func (p *pair) open(dir string) *Store {
	o := p.ground.options(dir)
	o.ApartBytes = 1 + p.gen.rng.IntN(12)
	return mustOpen(p.t, dir, o)
}

// reopen closes the store, flushed or not, and opens it again.
func (p *pair) reopen() {
	p.t.Helper()
	if p.gen.one(2) {
		if err := p.store.Flush(); err != nil {
			p.fatalf("flush: %v", err)
		}
		if at, err := p.store.Durable(); err != nil || at != p.store.Applied().Index {
			p.fatalf("durable after a flush: %d, applied %d, %v", at, p.store.Applied().Index, err)
		}
	}
	durable, err := p.store.Durable()
	if err != nil {
		p.fatalf("durable: %v", err)
	}
	if err := p.store.Close(); err != nil {
		p.fatalf("close: %v", err)
	}
	p.store = p.open(p.dir)
	if at := p.store.Applied().Index; at < durable || at > uint64(len(p.log)) {
		p.fatalf("reopened at %d; durable was %d", at, durable)
	}
}

// transfer makes the state of from the state of to, by export and import.
func transfer(t *testing.T, from, to *Store) {
	t.Helper()
	v := from.View()
	defer v.Close()
	in, err := to.BeginImport()
	if err != nil {
		t.Fatal(err)
	}
	if err := v.Export(in.Add); err != nil {
		t.Fatal(err)
	}
	if at, err := in.Finish(); err != nil || at.Index != v.Applied().Index || at.Term != v.Applied().Term {
		t.Fatalf("import holds %+v of %+v: %v", at, v.Applied(), err)
	}
	if err := to.Switch(in); err != nil {
		t.Fatal(err)
	}
}

// TestAgainstTheTwin: random commands give the twin's results, revisions and state, whatever the batches,
// across flushes, restarts and snapshots, and two members are equal to the bit.
func TestAgainstTheTwin(t *testing.T) {
	onEach(t, testAgainstTheTwin)
}

func testAgainstTheTwin(t *testing.T, g ground) {
	for _, seed := range seeds.Of(t, 12) {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			p := &pair{t: t, seed: seed, gen: newGenerator(seed), ground: g, dir: fmt.Sprint("s", seed), twin: newModel()}
			if _, ok := g.(onPebble); ok && seed%4 == 0 { // on a real disk
				p.ground, p.dir = onPebble{vfs.Default}, filepath.Join(t.TempDir(), "s")
			}
			p.store = p.open(p.dir)
			other := p.open(p.dir + "-other")
			for range 25 {
				p.extend(1 + p.gen.rng.IntN(60))
				p.catchUp(p.store)
				p.compare(p.store)
				switch p.gen.rng.IntN(8) {
				case 6, 7:
					if _, err := p.store.Tidy(p.gen.rng.IntN(100)); err != nil {
						p.fatalf("tidy: %v", err)
					}
					p.compare(p.store)
				case 0, 1:
					p.reopen()
				case 2:
					transfer(t, p.store, other)
					p.compare(other)
				case 3:
					p.catchUp(other)
					p.compare(other)
					transfer(t, other, p.store)
				}
			}
			p.catchUp(p.store)
			p.catchUp(other)
			p.compare(p.store)
			p.compare(other)
			if a, b := hashOf(t, p.store), hashOf(t, other); a != b {
				p.fatalf("two members differ: %s and %s", a, b)
			}
			if p.known < 2 {
				p.fatalf("no more than %d stretches of keys were known", p.known)
			}
			if err := errors.Join(p.store.Close(), other.Close()); err != nil {
				t.Fatal(err)
			}
		})
	}
}
