package kv

import (
	"bytes"
	"fmt"
	"hash/maphash"
	"math/rand/v2"
	"testing"

	"raftsman.dev/node/kv/seeds"
)

// TestCacheIsExactAndBounded: whatever was put, an answer is the newest one for that very key, also when keys share
// hashes, overwrite each other's bytes, or are too long; and nothing grows.
func TestCacheIsExactAndBounded(t *testing.T) {
	for _, seed := range seeds.Of(t, 20) {
		rng := rand.New(rand.NewPCG(seed, 9))
		c := newMetaCache(1 << rng.IntN(8))
		most := c.shards[0].most
		ring := cacheKeyBytes * most
		newest := map[string]prior{}
		hits := 0
		for step := range 20_000 {
			key := bytes.Repeat([]byte{byte(rng.IntN(200))}, rng.IntN(40))
			if rng.IntN(50) == 0 {
				key = bytes.Repeat([]byte{byte(rng.IntN(3))}, rng.IntN(2*ring))
			}
			hash := uint64(len(key)) * 0x9e3779b97f4a7c15 >> 60 // few hashes, many keys each
			if len(key) > 0 {
				hash += uint64(key[0])
			}
			if rng.IntN(2) == 0 {
				p := prior{version: int64(rng.IntN(3)), mod: Revision(step)}
				c.put(key, hash, p)
				newest[string(key)] = p
			} else if got, ok := c.get(key, hash); ok {
				hits++
				if want, known := newest[string(key)]; !known || got != want {
					t.Fatalf("seed %d, step %d: key of %d bytes: %+v, want %+v", seed, step, len(key), got, want)
				}
			}
			if rng.IntN(5000) == 0 {
				c.clear()
				clear(newest)
			}
		}
		if s := &c.shards[0]; hits == 0 || s.size() > most || len(s.ring) != cacheKeyBytes*s.size() {
			t.Fatalf("seed %d: %d hits, %d slots of %d, ring of %d bytes", seed, hits, s.size(), most, len(s.ring))
		}
	}
}

// TestCacheHoldsAsManyAsItHasSlots: filled to three quarters, it has lost hardly a key, and for a few keys it is small.
func TestCacheHoldsAsManyAsItHasSlots(t *testing.T) {
	const slots = 1 << 14
	c := newMetaCache(slots)
	seed := maphash.MakeSeed()
	key := func(i int) ([]byte, uint64) {
		k := fmt.Appendf(nil, "/registry/leases/node-%05d", i)
		return k, maphash.Bytes(seed, k)
	}
	size := func() (n int) {
		for i := range c.shards {
			n += c.shards[i].size()
		}
		return n
	}
	for i := range slots * 3 / 4 {
		k, hash := key(i)
		c.put(k, hash, prior{version: int64(i + 1)})
		if i == slots/64 && size() > slots/2 {
			t.Fatalf("for %d keys there are %d slots", i, size())
		}
	}
	if size() != slots {
		t.Fatalf("it has grown to %d slots, want %d", size(), slots)
	}
	missing := 0
	for i := range slots * 3 / 4 {
		k, hash := key(i)
		if p, ok := c.get(k, hash); !ok || p.version != int64(i+1) {
			missing++
		}
	}
	if missing > slots*3/4/10 {
		t.Fatalf("%d of %d keys are missing", missing, slots*3/4)
	}
}

// TestPutsDoNotReadTheDatabase: once a key has been met, a put of it costs no read, whatever happened to the key in
// between; what is answered stays right.
func TestPutsDoNotReadTheDatabase(t *testing.T) { onEach(t, testPutsDoNotReadTheDatabase) }

func testPutsDoNotReadTheDatabase(t *testing.T, g ground) {
	o := g.options("s")
	o.CacheSlots = 4096
	s := mustOpen(t, "s", o)
	defer mustClose(t, s)
	index := uint64(0)
	apply := func(ops ...Op) Result {
		t.Helper()
		index++
		c := Command{ID: CommandID{Origin: 1, Boot: 1, Seq: index}, Floor: index, Txn: Txn{Success: ops}}
		r := mustApply(t, s, []Entry{{Index: index, Term: 1, Command: c.AppendTo(nil)}})[0]
		if r.Err != nil || r.Duplicate {
			t.Fatalf("%+v", r)
		}
		return r
	}
	key := func(i int) []byte { return fmt.Appendf(nil, "key-%03d", i) }
	put := func(i int) Op { return Op{Put: &PutRequest{Key: key(i), Value: make([]byte, 100)}} }
	for i := range 500 {
		apply(put(i))
	}
	if s.lookups != 500 {
		t.Fatalf("the first puts of 500 keys read the database %d times", s.lookups)
	}
	for i := range 500 {
		apply(put(i))
	}
	apply(Op{Delete: &DeleteRequest{Key: key(100), End: key(200)}})
	apply(Op{Delete: &DeleteRequest{Key: key(7)}})
	apply(put(7), put(300))
	apply(Op{Delete: &DeleteRequest{Key: key(300)}})
	apply(put(300))
	for i := 100; i < 200; i++ {
		apply(put(i))
	}
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	for i := range 500 {
		apply(put(i))
	}
	if s.lookups != 500 {
		t.Fatalf("later puts read the database %d times", s.lookups-500)
	}
	for i, version := range map[int]int64{0: 3, 7: 2, 100: 2, 199: 2, 200: 3, 300: 2} {
		r, err := s.Read(t.Context(), get(string(key(i))))
		if err != nil || r.Responses[0].Range.KVs[0].Version != version {
			t.Errorf("%s: %s, want version %d: %v", key(i), show(&r), version, err)
		}
	}
}
