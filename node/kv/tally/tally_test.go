package tally

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"unsafe"

	"raftsman.dev/node/kv/seeds"
)

// world is an index beside its naive twin: the keys that there are.
type world struct {
	t    *testing.T
	seed uint64
	rng  *rand.Rand
	keys map[string]bool
	x    Index
}

func newWorld(t *testing.T, seed uint64, size int) *world {
	return &world{t: t, seed: seed, rng: rand.New(rand.NewPCG(seed, 9)), keys: map[string]bool{}, x: New(size)}
}

func (w *world) fatalf(format string, args ...any) {
	w.t.Helper()
	w.t.Fatalf("seed %d: %s", w.seed, fmt.Sprintf(format, args...))
}

func (w *world) key() string {
	return fmt.Sprintf("%02x", w.rng.IntN(256))[:1+w.rng.IntN(2)] + []string{"", "", "\x00"}[w.rng.IntN(3)]
}

// count is how many keys there are in [lo, hi), nil for no end.
func (w *world) count(lo, hi []byte) (n int64) {
	for k := range w.keys {
		if k >= string(lo) && (hi == nil || k < string(hi)) {
			n++
		}
	}
	return n
}

// change lets some keys come and go.
func (w *world) change() {
	now := map[string]int64{}
	for range 1 + w.rng.IntN(8) {
		k := w.key()
		if _, twice := now[k]; twice {
			continue
		}
		if now[k] = 1; w.keys[k] {
			now[k] = -1
			delete(w.keys, k)
		} else {
			w.keys[k] = true
		}
	}
	var changes []Change
	for _, k := range slices.Sorted(maps.Keys(now)) {
		changes = append(changes, Change{[]byte(k), now[k]})
	}
	w.x = w.x.Add(changes)
}

// check demands that what is known is right, in order, apart, and within the bounds.
func (w *world) check() {
	w.t.Helper()
	var last []byte
	for i, s := range w.x.Stretches() {
		if i > 0 && bytes.Compare(s.Lo, last) < 0 || bytes.Compare(s.Lo, s.Hi) >= 0 {
			w.fatalf("stretch [%q, %q) behind %q", s.Lo, s.Hi, last)
		}
		if n := w.count(s.Lo, s.Hi); n != s.N || n < w.x.least() || n > w.x.most() {
			w.fatalf("stretch [%q, %q): %d keys, it says %d", s.Lo, s.Hi, n, s.N)
		}
		last = s.Hi
	}
}

// pieces holds the pieces of a range against the stretches.
func (w *world) pieces(lo, hi []byte) {
	w.t.Helper()
	all := w.x.Stretches()
	at, known := lo, 0
	for p := range w.x.Pieces(lo, hi) {
		if !bytes.Equal(p.Lo, at) || p.Hi != nil && bytes.Compare(p.Lo, p.Hi) >= 0 || p.Hi == nil && hi != nil {
			w.fatalf("[%q, %q): piece [%q, %q) at %q", lo, hi, p.Lo, p.Hi, at)
		}
		at = p.Hi
		whole := slices.ContainsFunc(all, func(s Stretch) bool { return bytes.Equal(s.Lo, p.Lo) && bytes.Equal(s.Hi, p.Hi) && s.N == p.N })
		part := slices.ContainsFunc(all, func(s Stretch) bool {
			return bytes.Compare(s.Lo, p.Lo) <= 0 && p.Hi != nil && bytes.Compare(p.Hi, s.Hi) <= 0
		})
		touched := slices.ContainsFunc(all, func(s Stretch) bool {
			return bytes.Compare(p.Lo, s.Hi) < 0 && (p.Hi == nil || bytes.Compare(s.Lo, p.Hi) < 0)
		})
		begins := slices.ContainsFunc(all, func(s Stretch) bool { return bytes.Equal(s.Lo, p.Hi) })
		switch {
		case p.Kind == Known && !whole, p.Kind == Part && (!part || whole), p.Kind == Gap && touched:
			w.fatalf("[%q, %q): piece [%q, %q) of kind %d among %v", lo, hi, p.Lo, p.Hi, p.Kind, all)
		case p.Kind == Gap && p.Meets && !begins, p.Kind == Gap && !p.Meets && !bytes.Equal(p.Hi, hi):
			w.fatalf("[%q, %q): gap [%q, %q) meets %v among %v", lo, hi, p.Lo, p.Hi, p.Meets, all)
		}
		if p.Kind == Known {
			known++
		}
	}
	if (hi == nil || bytes.Compare(lo, hi) < 0) && !bytes.Equal(at, hi) {
		w.fatalf("[%q, %q): the pieces end at %q", lo, hi, at)
	}
	want := 0
	for _, s := range all {
		if bytes.Compare(lo, s.Lo) <= 0 && (hi == nil || bytes.Compare(s.Hi, hi) <= 0) {
			want++
		}
	}
	if known != want {
		w.fatalf("[%q, %q): %d whole stretches of %d", lo, hi, known, want)
	}
}

// learn teaches a random stretch, one that ends where another begins, or one of not many more keys than it may hold.
func (w *world) learn() {
	lo, hi := []byte(w.key()), []byte(w.key())
	if all := w.x.Stretches(); len(all) > 0 && w.rng.IntN(3) == 0 {
		hi = all[w.rng.IntN(len(all))].Lo
	} else if there := slices.Sorted(maps.Keys(w.keys)); len(there) > 0 && w.rng.IntN(4) > 0 {
		at, _ := slices.BinarySearch(there, string(lo))
		hi = []byte(there[min(at+w.rng.IntN(5*int(w.x.size)), len(there)-1)])
	}
	w.x = w.x.Learn(Stretch{lo, hi, w.count(lo, hi)})
}

// TestAgainstTheTwin: whatever comes, goes and is learnt, what the index knows is right; and no index changes when
// another one is made of it.
func TestAgainstTheTwin(t *testing.T) {
	for _, seed := range seeds.Of(t, 30) {
		w := newWorld(t, seed, 2+int(seed)%5)
		known := 0
		for range 400 {
			old, before := w.x, fmt.Sprint(w.x.Stretches())
			if w.rng.IntN(3) > 0 {
				w.learn()
			} else {
				w.change()
			}
			w.check()
			if fmt.Sprint(old.Stretches()) != before {
				w.fatalf("an earlier index has changed")
			}
			lo, hi := []byte(w.key()), []byte(w.key())
			if w.rng.IntN(4) == 0 {
				hi = nil
			}
			w.pieces(lo, hi)
			known = max(known, len(w.x.Stretches()))
		}
		if known < 4 {
			t.Fatalf("seed %d: never more than %d stretches", seed, known)
		}
	}
}

// TestAdjust: stretches that were right before some changes are right after them.
func TestAdjust(t *testing.T) {
	for _, seed := range seeds.Of(t, 30) {
		w := newWorld(t, seed, 2)
		var learnt []Stretch
		borders := map[string]bool{}
		for range 10 {
			borders[w.key()] = true
		}
		sorted := slices.Sorted(maps.Keys(borders))
		for i := 1; i < len(sorted); i++ {
			if w.rng.IntN(3) > 0 {
				learnt = append(learnt, Stretch{Lo: []byte(sorted[i-1]), Hi: []byte(sorted[i])})
			}
		}
		var changes []Change
		for range 200 {
			k := w.key()
			if changes = append(changes, Change{[]byte(k), 1}); w.keys[k] {
				changes[len(changes)-1].By = -1
				delete(w.keys, k)
			} else {
				w.keys[k] = true
			}
		}
		Adjust(learnt, changes)
		for _, s := range learnt {
			if n := w.count(s.Lo, s.Hi); n != s.N {
				t.Fatalf("seed %d: stretch [%q, %q): %d keys, it says %d", seed, s.Lo, s.Hi, n, s.N)
			}
		}
	}
}

// TestJoining: a stretch of few keys is not kept by itself, and what has grown too large together is unknown.
func TestJoining(t *testing.T) {
	stretch := func(lo, hi string, n int64) Stretch { return Stretch{[]byte(lo), []byte(hi), n} }
	for _, c := range []struct {
		name  string
		learn []Stretch
		want  string
	}{
		{"alone", []Stretch{stretch("a", "c", 3)}, "[]"},
		{"apart", []Stretch{stretch("c", "d", 8), stretch("a", "b", 3)}, "[c-d:8]"},
		{"behind", []Stretch{stretch("a", "b", 8), stretch("b", "c", 3)}, "[a-b:8]"},
		{"before", []Stretch{stretch("b", "c", 8), stretch("a", "b", 3)}, "[a-c:11]"},
		{"empty, before", []Stretch{stretch("b", "c", 8), stretch("a", "b", 0)}, "[a-c:8]"},
		{"before a large one", []Stretch{stretch("c", "d", 4), stretch("b", "c", 30), stretch("a", "b", 3)}, "[c-d:4]"},
		{"too large", []Stretch{stretch("a", "b", 33)}, "[]"},
		{"overlapping", []Stretch{stretch("b", "d", 8), stretch("a", "c", 8), stretch("c", "e", 8), stretch("b", "c", 4)}, "[b-d:8]"},
		{"no range", []Stretch{stretch("b", "b", 8), stretch("b", "a", 8), stretch("b", "", 8)}, "[]"},
	} {
		x := New(8)
		for _, s := range c.learn {
			x = x.Learn(s)
		}
		got := []string{}
		for _, s := range x.Stretches() {
			got = append(got, fmt.Sprintf("%s-%s:%d", s.Lo, s.Hi, s.N))
		}
		if fmt.Sprint(got) != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
	if x := (Index{}).Learn(stretch("a", "b", 0)); !x.Empty() {
		t.Error("the zero index has learnt something")
	}
}

// TestDepth: the tree stays flat when stretches are learnt in order, and that many of them are small.
func TestDepth(t *testing.T) {
	const keys, size = 1_000_000, 512
	x, bytes := New(size), 0
	border := func(i int) []byte { return fmt.Appendf(nil, "/registry/pods/namespace-0001/pod-%08d", i) }
	lo := border(0)
	for i := size; i <= keys; i += size {
		hi := border(i)
		x = x.Learn(Stretch{lo, hi, size})
		bytes += int(unsafe.Sizeof(node{})) + cap(hi)
		lo = hi
	}
	var deepest func(*node) int
	deepest = func(n *node) int {
		if n == nil {
			return 0
		}
		return 1 + max(deepest(n.left), deepest(n.right))
	}
	if n, depth := len(x.Stretches()), deepest(x.root); n != keys/size || depth > 40 {
		t.Errorf("%d stretches, %d deep", n, depth)
	}
	if bytes > 512<<10 {
		t.Errorf("a million keys take %d bytes", bytes)
	}
	t.Logf("%d keys: %d bytes, %d deep", keys, bytes, deepest(x.root))
}
