package watch

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// The index finds exactly the watchers whose range holds the key, however they came and went.
func TestIndexAgainstAList(t *testing.T) {
	for seed := range uint64(30) {
		rng := rand.New(rand.NewPCG(seed, 0))
		var x index
		var list []*watcher
		for range 400 {
			if len(list) > 0 && rng.IntN(5) < 2 {
				i := rng.IntN(len(list))
				x.remove(list[i])
				list = slices.Delete(list, i, i+1)
			} else {
				w, err := newWatcher(nil, anyRequest(rng, 40, 1))
				if err != nil {
					t.Fatal(err)
				}
				x.add(w)
				list = append(list, w)
			}
			k := key(rng.IntN(40))
			found := map[*watcher]int{}
			x.match(k, func(w *watcher) { found[w]++ })
			for _, w := range list {
				in := w.single && string(k) == w.key || !w.single && string(k) >= w.key && (w.end == "" || string(k) < w.end)
				if in != (found[w] == 1) {
					t.Fatalf("seed=%d: key %s, range [%q, %q) single %v: found %d times", seed, k, w.key, w.end, w.single, found[w])
				}
				delete(found, w)
			}
			if len(found) > 0 {
				t.Fatalf("seed=%d: key %s finds %d watchers that were removed", seed, k, len(found))
			}
		}
		if err := checkTree(x.ranges); err != nil {
			t.Fatalf("seed=%d: %v", seed, err)
		}
		for _, w := range list {
			x.remove(w)
		}
		if len(x.keys) > 0 || x.ranges != nil {
			t.Fatalf("seed=%d: the index of no watchers is not empty", seed)
		}
	}
}

func checkTree(n *node) error {
	if n == nil {
		return nil
	}
	far := n.end
	for _, m := range []*node{n.left, n.right} {
		if m == nil {
			continue
		}
		far = farther(far, m.far)
		if m.rank > n.rank || before(m.key, m.end, n.key, n.end) != (m == n.left) {
			return fmt.Errorf("node [%q, %q) stands wrong below [%q, %q)", m.key, m.end, n.key, n.end)
		}
		if err := checkTree(m); err != nil {
			return err
		}
	}
	if far != n.far || len(n.spot.watchers) == 0 {
		return fmt.Errorf("node [%q, %q): far %q, want %q; %d watchers", n.key, n.end, n.far, far, len(n.spot.watchers))
	}
	return nil
}

// 100,000 ranges must not make a long branch, in whatever order they come.
func TestRangeTreeStaysShallow(t *testing.T) {
	var x index
	for i := range 100_000 {
		k := fmt.Appendf(nil, "%06d", i)
		w, err := newWatcher(nil, Request{Key: k, End: append(bytes.Clone(k), 'z')})
		if err != nil {
			t.Fatal(err)
		}
		x.add(w)
	}
	var depth func(n *node) int
	depth = func(n *node) int {
		if n == nil {
			return 0
		}
		return 1 + max(depth(n.left), depth(n.right))
	}
	if d := depth(x.ranges); d > 60 {
		t.Errorf("100,000 ranges are %d deep", d)
	}
	found := 0
	x.match([]byte("012345x"), func(*watcher) { found++ })
	if found != 1 {
		t.Errorf("found %d ranges, want 1", found)
	}
}
