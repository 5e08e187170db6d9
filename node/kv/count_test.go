package kv

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"raftsman.dev/node/kv/engine"
	"raftsman.dev/node/kv/memory"
	"raftsman.dev/node/kv/seeds"
	"raftsman.dev/node/kv/tally"
)

// walked is what a count of [lo, hi) would be, key by key.
func walked(t *testing.T, v *View, lo, hi []byte) (n int64) {
	t.Helper()
	must(t, v.scan(lo, hi, false, func(KeyValue) bool { n++; return true }))
	return n
}

// counted counts [lo, hi) as a client's count does.
func counted(t *testing.T, v *View, lo, hi []byte) int64 {
	t.Helper()
	n, err := v.counting().count(lo, hi)
	must(t, err)
	return n
}

// mustKnow demands that what the store knows of its keys is right, and that it is somewhere between so many stretches.
func mustKnow(t *testing.T, s *Store, least, most int) {
	t.Helper()
	v := s.View()
	defer mustClose(t, v)
	all := v.keys.Stretches()
	for _, k := range all {
		if n := walked(t, v, k.Lo, k.Hi); n != k.N {
			t.Fatalf("[%q, %q) has %d keys, the store knows of %d", k.Lo, k.Hi, n, k.N)
		}
	}
	if len(all) < least || len(all) > most {
		t.Fatalf("%d stretches are known, want %d to %d", len(all), least, most)
	}
	s.learning.Lock()
	defer s.learning.Unlock()
	if n := len(s.learning.walkers); n > 0 {
		t.Fatalf("%d walkers are left", n)
	}
}

// scribe makes entries of puts and deletions, one after the other.
type scribe struct{ index uint64 }

func (w *scribe) entry(ops ...Op) Entry { return w.command(Command{Txn: Txn{Success: ops}}) }

func (w *scribe) command(c Command) Entry {
	w.index++
	c.ID, c.Floor = CommandID{Origin: 1, Boot: 1, Seq: w.index}, w.index
	return Entry{Index: w.index, Term: 1, Command: c.AppendTo(nil)}
}

func numbered(i int) []byte { return fmt.Appendf(nil, "key-%06d", i) }

func putOf(key []byte) Op { return Op{Put: &PutRequest{Key: key, Value: []byte("v")}} }

func deleteOf(key []byte) Op { return Op{Delete: &DeleteRequest{Key: key}} }

// keys are entries that put those of the numbers [from, to).
func (w *scribe) keys(from, to int) []Entry {
	var entries []Entry
	for i := from; i < to; i++ {
		entries = append(entries, w.entry(putOf(numbered(i))))
	}
	return entries
}

func inStretches(size int) Options {
	return Options{Engine: memory.New(), CacheSlots: 16, Stretch: size}
}

// TestLearningBesideTheApplier: what comes and goes between the view and the end of the walk is counted right for the
// view, and what is learnt is right for the newest state.
func TestLearningBesideTheApplier(t *testing.T) {
	s, w := mustOpen(t, "s", inStretches(4)), &scribe{}
	defer mustClose(t, s)
	mustApply(t, s, w.keys(0, 100))
	v := s.View()
	defer mustClose(t, v)
	c := v.counting()
	mustApply(t, s, w.keys(90, 120))
	mustApply(t, s, []Entry{
		w.entry(deleteOf(numbered(3)), deleteOf(numbered(50)), putOf([]byte("key-000011a")), putOf(numbered(7))),
		w.entry(deleteOf([]byte("key-000011a"))), w.entry(putOf(numbered(3))), w.entry(putOf([]byte("key-000012a"))),
	})
	if n, err := c.count(nil, nil); n != 100 || err != nil {
		t.Fatalf("counted %d of 100 keys: %v", n, err)
	}
	mustKnow(t, s, 20, 30)
	if n := counted(t, v, nil, nil); n != 100 {
		t.Fatalf("counted %d of 100 keys of a state of the past", n)
	}
	now := s.View()
	defer mustClose(t, now)
	if n := counted(t, now, nil, nil); n != 120 {
		t.Fatalf("counted %d of 120 keys", n)
	}
	mustKnow(t, s, 25, 40)
}

// TestLearningInParts: more than is put into the index at a time is learnt all the same, and keys that come and go between
// two parts are told of in both.
func TestLearningInParts(t *testing.T) {
	s, w := mustOpen(t, "s", inStretches(2)), &scribe{}
	defer mustClose(t, s)
	const n = 5 * maxTaught
	mustApply(t, s, w.keys(0, n))
	v := s.View()
	defer mustClose(t, v)
	c := v.counting()
	for p := range c.known.Pieces(nil, nil) {
		if got, err := c.walk(p, nil); got != n || err != nil {
			t.Fatalf("counted %d of %d keys: %v", got, n, err)
		}
	}
	mustClose(t, c.it)
	for round := 0; len(c.walker.learnt) > 0; round++ {
		mustApply(t, s, []Entry{w.entry(deleteOf(numbered(2*round)), putOf(fmt.Appendf(numbered(2*round+1), "%d", round)), deleteOf(numbered(n-9-2*round)))})
		if !s.teachSome(c.walker) || round > 5 {
			t.Fatalf("round %d has taught nothing", round)
		}
	}
	c.end()
	mustKnow(t, s, n/2-10, n/2)
}

// TestCutting: a gap is cut into whole stretches; what is left of it is learnt only if a stretch follows, as one of its
// own or as part of a neighbour.
func TestCutting(t *testing.T) {
	for _, c := range []struct {
		ranges [][2]int // of numbers that are counted, one after the other
		want   string   // where each stretch begins, and its keys
	}{
		{[][2]int{{0, 4}}, "[]"},
		{[][2]int{{0, 5}}, "[0:4]"},
		{[][2]int{{0, 8}}, "[0:4]"},
		{[][2]int{{0, 100}, {3, 50}, {2, 7}}, "[0:4 4:4 8:4 12:4 16:4]"},
		{[][2]int{{8, 13}, {0, 10}}, "[0:4 4:4 8:4]"},
		{[][2]int{{9, 14}, {0, 10}}, "[0:4 4:5 9:4]"},
		{[][2]int{{10, 15}, {0, 14}}, "[0:4 4:4 8:2 10:4]"},
		{[][2]int{{10, 15}, {7, 15}}, "[7:3 10:4]"},
		{[][2]int{{10, 15}, {9, 15}}, "[9:5]"},
	} {
		s, w := mustOpen(t, "s", inStretches(4)), &scribe{}
		mustApply(t, s, w.keys(0, 21))
		v := s.View()
		for _, r := range c.ranges {
			counted(t, v, numbered(r[0]), numbered(r[1]))
		}
		got := []string{}
		for _, k := range s.published.Load().keys.Stretches() {
			got = append(got, fmt.Sprintf("%d:%d", number(t, k.Lo), k.N))
		}
		if fmt.Sprint(got) != c.want {
			t.Errorf("%v: %s, want %s", c.ranges, got, c.want)
		}
		mustClose(t, v)
		mustClose(t, s)
	}
}

func number(t *testing.T, key []byte) (i int) {
	t.Helper()
	_, err := fmt.Sscanf(string(key), "key-%06d", &i)
	must(t, err)
	return i
}

// hookedEngine calls back right after each commit, when readers are not told of it yet.
type hookedEngine struct {
	engine.Engine
	committed *func()
}

type hookedDB struct {
	engine.DB
	committed *func()
}

type hookedBatch struct {
	engine.Batch
	committed *func()
}

func (e hookedEngine) Open(number uint64, exists bool, damaged func(error)) (engine.DB, error) {
	db, err := e.Engine.Open(number, exists, damaged)
	return hookedDB{db, e.committed}, err
}

func (d hookedDB) NewBatch(size int) engine.Batch {
	return hookedBatch{d.DB.NewBatch(size), d.committed}
}

func (b hookedBatch) Commit() error {
	err := b.Batch.Commit()
	if *b.committed != nil {
		(*b.committed)()
	}
	return err
}

// TestLearningBetweenCommitAndNews: a view may have a state that is not published yet. What that has brought is not
// counted a second time by what was learnt of it, before the news or after, and what was known before is not taken for
// what it has.
func TestLearningBetweenCommitAndNews(t *testing.T) {
	var committed func()
	o := inStretches(4)
	o.Engine = hookedEngine{o.Engine, &committed}
	s, w := mustOpen(t, "s", o), &scribe{}
	defer mustClose(t, s)
	mustApply(t, s, w.keys(0, 100))
	for round := range 4 { // with nothing known before, and from the third on with all of it
		var count func()
		committed = func() {
			v := s.View()
			t.Cleanup(func() { mustClose(t, v) })
			c := v.counting()
			count = func() {
				if n, err := c.count(nil, nil); n != int64(101+2*round) || err != nil {
					t.Fatalf("round %d: counted %d keys: %v", round, n, err)
				}
			}
			if round%2 == 0 {
				count()
			}
		}
		mustApply(t, s, []Entry{w.entry(putOf(fmt.Appendf(nil, "key-000010%d", round)), deleteOf(numbered(20+round)), putOf(numbered(200+round)))})
		committed = nil
		mustApply(t, s, []Entry{w.entry(putOf(fmt.Appendf(nil, "key-000070%d", round)))})
		if round%2 == 1 {
			count()
		}
		if round < 2 {
			mustKnow(t, s, 0, 0)
		}
		if round == 1 {
			v := s.View()
			counted(t, v, nil, nil)
			mustClose(t, v)
		}
		if round > 0 {
			mustKnow(t, s, 20, 30)
		}
	}
}

// TestNothingIsLearntWrongly: a walk that began too late, was not told of everything, is of another state or fails
// teaches nothing, and answers right as long as it can.
func TestNothingIsLearntWrongly(t *testing.T) {
	for name, c := range map[string]struct {
		before func(t *testing.T, s *Store, w *scribe) // between the view and the beginning of the count
		beside func(t *testing.T, s *Store, w *scribe)
	}{
		"too late": {before: func(t *testing.T, s *Store, w *scribe) { mustApply(t, s, w.keys(100, 101)) }},
		"too many changes": {beside: func(t *testing.T, s *Store, w *scribe) {
			for at := 100; at < 100+maxNotes+1; at += 1 << 12 {
				mustApply(t, s, w.keys(at, at+1<<12))
			}
		}},
		"another state": {beside: func(t *testing.T, s *Store, w *scribe) {
			ahead := mustOpen(t, "ahead", inStretches(4))
			defer mustClose(t, ahead)
			other := &scribe{}
			mustApply(t, ahead, other.keys(50, 200))
			transfer(t, ahead, s)
		}},
		"closed": {beside: func(t *testing.T, s *Store, _ *scribe) { mustClose(t, s) }},
	} {
		t.Run(name, func(t *testing.T) {
			s, w := mustOpen(t, "s", inStretches(4)), &scribe{}
			defer mustClose(t, s)
			mustApply(t, s, w.keys(0, 100))
			v := s.View()
			defer mustClose(t, v)
			if c.before != nil {
				c.before(t, s, w)
			}
			count := v.counting()
			if c.beside != nil {
				c.beside(t, s, w)
			}
			if n, err := count.count(nil, nil); n != 100 || err != nil {
				t.Fatalf("counted %d of 100 keys: %v", n, err)
			}
			if name != "closed" {
				mustKnow(t, s, 0, 0)
			}
		})
	}
}

// TestGivenUpCount: a count that fails, and a range that ends before it is counted, leave no walker behind.
func TestGivenUpCount(t *testing.T) {
	disk := memory.New()
	o := inStretches(4)
	o.Engine = disk
	s, w := mustOpen(t, "s", o), &scribe{}
	defer mustClose(t, s)
	mustApply(t, s, w.keys(0, 100))
	bad, all := errors.New("bad"), RangeRequest{Key: []byte{0}, End: []byte{0}}
	limited, counts := all, all
	limited.Limit, counts.CountOnly = 10, true
	for _, r := range []*RangeRequest{&limited, &counts} {
		for after := range 2 {
			v := s.View()
			disk.Set(memory.Rule{Ops: memory.OpRead, After: after, Err: bad})
			_, err := readRange(v, r)
			disk.Set()
			if mustKnow(t, s, 0, 30); (err != nil) != (after == 0 || r.Limit > 0) || err != nil && !errors.Is(err, bad) {
				t.Fatalf("%+v, the disk failing after %d reads: %v", r, after, err)
			}
			mustClose(t, v)
		}
	}
	_, err := s.ReadBilled(t.Context(), Txn{Success: []Op{{Range: &limited}}}, func(int) error { return bad })
	if mustKnow(t, s, 0, 30); !errors.Is(err, bad) {
		t.Fatal(err)
	}
	v := s.View()
	defer mustClose(t, v)
	err = v.Stream(&limited, 1, func(Chunk) error {
		mustKnow(t, s, 20, 30) // and none is there while a client is waited for
		return bad
	})
	if mustKnow(t, s, 20, 30); !errors.Is(err, bad) {
		t.Fatal(err)
	}
}

// TestManyWalkers: those beyond the bound are answered, and learn nothing.
func TestManyWalkers(t *testing.T) {
	s, w := mustOpen(t, "s", inStretches(4)), &scribe{}
	defer mustClose(t, s)
	mustApply(t, s, w.keys(0, 100))
	v := s.View()
	defer mustClose(t, v)
	var idle []*counting
	for range maxWalkers {
		idle = append(idle, v.counting())
	}
	if n := counted(t, v, nil, nil); n != 100 || !s.published.Load().keys.Empty() {
		t.Fatalf("counted %d of 100 keys and learnt %v", n, s.published.Load().keys.Stretches())
	}
	for _, c := range idle {
		c.end()
	}
	counted(t, v, nil, nil)
	mustKnow(t, s, 20, 30)
}

// rowCounter is an engine that counts the rows which iterators move to.
type rowCounter struct {
	engine.Engine
	rows *atomic.Int64
}

type countedDB struct {
	engine.DB
	rows *atomic.Int64
}

type countedSnapshot struct {
	engine.Snapshot
	rows *atomic.Int64
}

type countedIterator struct {
	engine.Iterator
	rows *atomic.Int64
}

func (e rowCounter) Open(number uint64, exists bool, damaged func(error)) (engine.DB, error) {
	db, err := e.Engine.Open(number, exists, damaged)
	return countedDB{db, e.rows}, err
}

func (d countedDB) NewSnapshot() engine.Snapshot {
	return countedSnapshot{d.DB.NewSnapshot(), d.rows}
}

func (s countedSnapshot) NewIter(lo, hi []byte) (engine.Iterator, error) {
	it, err := s.Snapshot.NewIter(lo, hi)
	return countedIterator{it, s.rows}, err
}

func (i countedIterator) First() bool {
	i.rows.Add(1)
	return i.Iterator.First()
}

func (i countedIterator) Next() bool {
	i.rows.Add(1)
	return i.Iterator.Next()
}

func (i countedIterator) Seek(key []byte) bool {
	i.rows.Add(1)
	return i.Iterator.Seek(key)
}

// TestSecondCountReadsLittle: what has been counted once is not walked again: not for the same range, not for a page of
// it, and not after keys have come and gone.
func TestSecondCountReadsLittle(t *testing.T) {
	const n, size = 20_000, 64
	o := inStretches(size)
	o.Engine = rowCounter{o.Engine, &atomic.Int64{}}
	rows := o.Engine.(rowCounter).rows
	s, w := mustOpen(t, "s", o), &scribe{}
	defer mustClose(t, s)
	mustApply(t, s, w.keys(0, n))
	read := func(r RangeRequest) (*RangeResult, int) {
		t.Helper()
		rows.Store(0)
		res, err := s.Read(t.Context(), Txn{Success: []Op{{Range: &r}}})
		must(t, err)
		return res.Responses[0].Range, int(rows.Load())
	}
	all, page := RangeRequest{Key: []byte("key-"), End: []byte("key."), CountOnly: true}, RangeRequest{Key: numbered(1234), End: []byte("key."), Limit: 50}
	if res, rows := read(all); res.Count != n || rows < n {
		t.Fatalf("the first count is %d, over %d rows", res.Count, rows)
	}
	if res, rows := read(all); res.Count != n || rows > 2*size {
		t.Fatalf("the second count is %d, over %d rows", res.Count, rows)
	}
	if res, rows := read(page); res.Count != n-1234 || !res.More || len(res.KVs) != 50 || rows > 50+4*size {
		t.Fatalf("a page: count %d, more %v, %d keys, over %d rows", res.Count, res.More, len(res.KVs), rows)
	}
	v := s.View()
	defer mustClose(t, v)
	rows.Store(0)
	must(t, v.Stream(&page, 100, func(c Chunk) error {
		if c.Last && (c.Count != n-1234 || !c.More) {
			t.Errorf("a stream: count %d, more %v", c.Count, c.More)
		}
		return nil
	}))
	if rows := rows.Load(); rows > 50+4*size {
		t.Errorf("a stream: over %d rows", rows)
	}
	at := s.Revision()
	mustApply(t, s, []Entry{w.entry(deleteOf(numbered(77)), deleteOf(numbered(15_000)), putOf([]byte("key-000100a")))})
	if res, rows := read(all); res.Count != n-1 || rows > 2*size {
		t.Fatalf("the count after a change is %d, over %d rows", res.Count, rows)
	}
	all.Revision, page.Revision = at, at
	if res, rows := read(all); res.Count != n || rows > 2*size+8 {
		t.Fatalf("the count before the change is %d, over %d rows", res.Count, rows)
	}
	if res, rows := read(page); res.Count != n-1234 || len(res.KVs) != 50 || rows > 60+4*size {
		t.Fatalf("a page of before the change: count %d, %d keys, over %d rows", res.Count, len(res.KVs), rows)
	}
	mustKnow(t, s, n/size-2, n/size+2)
}

// TestQueue: keys that come at one end and go at the other leave no stretches behind, and the count stays cheap; nor do
// many little ranges cut the keys into more stretches than half-filled ones.
func TestQueue(t *testing.T) {
	const size, length = 8, 400
	for _, seed := range seeds.Of(t, 3) {
		rng := rand.New(rand.NewPCG(seed, 11))
		s, w := mustOpen(t, "s", inStretches(size)), &scribe{}
		mustApply(t, s, w.keys(0, length))
		for at := 0; at < 3000; {
			n := 1 + rng.IntN(30)
			var ops []Op
			for i := range n {
				ops = append(ops, deleteOf(numbered(at+i)))
			}
			mustApply(t, s, append(w.keys(length+at, length+at+n), w.entry(ops...)))
			at += n
			v := s.View()
			if got := counted(t, v, []byte("key-"), []byte("key.")); got != length {
				t.Fatalf("seed %d: counted %d of %d keys", seed, got, length)
			}
			for range 20 {
				lo := at + rng.IntN(length)
				hi := lo + rng.IntN(5*size)
				if got, want := counted(t, v, numbered(lo), numbered(hi)), int64(min(hi, at+length)-lo); got != want {
					t.Fatalf("seed %d: counted %d of %d keys", seed, got, want)
				}
			}
			mustClose(t, v)
			mustKnow(t, s, length/(4*size)-1, length/(size/2))
		}
		mustClose(t, s)
	}
}

// TestCountsBesideTheApplier: while keys come and go, history is tidied and a snapshot takes the state's place, every
// count is that of a walk over the same view, and what is known in the end is right.
func TestCountsBesideTheApplier(t *testing.T) { onEach(t, testCountsBesideTheApplier) }

func testCountsBesideTheApplier(t *testing.T, g ground) {
	s, ahead := mustOpen(t, "s", g.options("s")), mustOpen(t, "ahead", g.options("ahead"))
	var done atomic.Bool
	var readers sync.WaitGroup
	for reader := range 3 {
		readers.Go(func() { countAlong(t, s, uint64(reader), &done) })
	}
	rng, w := rand.New(rand.NewPCG(1, 5)), &scribe{}
	for round := range 6 {
		for range 60 {
			var entries []Entry
			for range 1 + rng.IntN(8) {
				i := rng.IntN(300)
				part := Op{Delete: &DeleteRequest{Key: numbered(i), End: numbered(i + rng.IntN(12))}}
				entries = append(entries, w.entry([]Op{putOf(numbered(i)), putOf(numbered(i)), deleteOf(numbered(i)), part}[min(rng.IntN(16)/5, 3)]))
			}
			mustApply(t, ahead, entries)
			if round%3 != 1 {
				mustApply(t, s, entries)
			}
		}
		if round%3 == 1 {
			transfer(t, ahead, s)
		}
		if _, err := s.Tidy(100); err != nil {
			t.Error(err)
		}
	}
	done.Store(true)
	readers.Wait()
	v := s.View()
	counted(t, v, nil, nil)
	mustClose(t, v)
	mustKnow(t, s, 10, 200)
	if a, b := hashOf(t, s), hashOf(t, ahead); a != b {
		t.Errorf("states %s and %s", a, b)
	}
	mustClose(t, s)
	mustClose(t, ahead)
}

// countAlong holds counts against walks over the same views.
func countAlong(t *testing.T, s *Store, seed uint64, done *atomic.Bool) {
	rng := rand.New(rand.NewPCG(seed, 6))
	for reads := 0; !done.Load() || reads == 0; reads++ {
		v := s.View()
		r := RangeRequest{Key: numbered(rng.IntN(300)), End: numbered(rng.IntN(300)), CountOnly: rng.IntN(2) == 0}
		if rng.IntN(2) == 0 {
			r.Key, r.End = []byte("key-"), []byte("key.")
		}
		if !r.CountOnly {
			r.Limit = 1 + int64(rng.IntN(20))
		}
		want := int64(0)
		err := v.scan(r.Key, r.End, false, func(KeyValue) bool { want++; return true })
		got, readErr := readRange(v, &r)
		if err := errors.Join(err, readErr, v.Close()); err != nil {
			t.Errorf("reader %d, read %d: %v", seed, reads, err)
			return
		}
		if more := !r.CountOnly && want > r.Limit; got.Count != want || got.More != more {
			t.Errorf("reader %d, read %d: count %d, more %v; want %d, %v", seed, reads, got.Count, got.More, want, more)
			return
		}
	}
}

// compareCounts holds counts, whole and behind a limit, against the twin, and what is known of the keys against those that
// there are.
func (p *pair) compareCounts(s *Store) {
	p.t.Helper()
	for range 8 {
		r := &RangeRequest{Key: p.gen.key(), End: p.gen.end(), CountOnly: p.gen.one(2)}
		if p.gen.one(3) {
			r.Key, r.End = []byte{}, []byte{0}
		}
		if !r.CountOnly {
			r.Limit = 1 + int64(p.gen.rng.IntN(12))
		}
		if p.gen.one(3) && p.twin.compacted < p.twin.revision { // often with few events since
			r.Revision = max(1, p.twin.compacted, p.twin.revision-Revision(p.gen.rng.IntN(12)))
		}
		got, err := s.Read(p.t.Context(), Txn{Success: []Op{{Range: r}}})
		want, _ := p.twin.read(Txn{Success: []Op{{Range: r}}})
		if err != nil || show(&got) != show(&want) {
			p.fatalf("count\n have %s %v\n want %s\n of %+v", show(&got), err, show(&want), r)
		}
	}
	for _, k := range s.published.Load().keys.Stretches() {
		n := int64(0)
		for key := range p.twin.kvs {
			if bytes.Compare([]byte(key), k.Lo) >= 0 && bytes.Compare([]byte(key), k.Hi) < 0 {
				n++
			}
		}
		if n != k.N {
			p.fatalf("[%q, %q) has %d keys, the store knows of %d", k.Lo, k.Hi, n, k.N)
		}
	}
	p.known = max(p.known, len(s.published.Load().keys.Stretches()))
}

// TestComings: the changes of a batch are those of the database, whatever was written in between.
func TestComings(t *testing.T) {
	s, w := mustOpen(t, "s", inStretches(4)), &scribe{}
	defer mustClose(t, s)
	mustApply(t, s, []Entry{w.entry(putOf([]byte("a")), putOf([]byte("b")), putOf([]byte("c")))})
	b := &s.batch
	b.begin()
	for _, op := range []Op{
		putOf([]byte("a")), deleteOf([]byte("b")), deleteOf([]byte("c")), putOf([]byte("c")), putOf([]byte("e")),
		putOf([]byte("d")), deleteOf([]byte("d")), putOf([]byte("f")), deleteOf([]byte("f")), putOf([]byte("f")),
	} {
		if _, err := b.txn(&Txn{Success: []Op{op}}); err != nil {
			t.Fatal(err)
		}
	}
	want := fmt.Sprint([]tally.Change{{Key: []byte("b"), By: -1}, {Key: []byte("e"), By: 1}, {Key: []byte("f"), By: 1}})
	if got := fmt.Sprint(b.writes.comings()); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	b.end()
}
