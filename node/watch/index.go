package watch

import "math/bits"

// index finds the watchers of a key: those of that key alone by a map, those of ranges by a tree. The zero index is
// empty.
type index struct {
	keys   map[string]*spot
	ranges *node
	seed   uint64
}

// spot holds the watchers of one key, or of one range. Each knows its slot.
type spot struct{ watchers []*watcher }

func (s *spot) add(w *watcher) {
	w.spot, w.slot = s, len(s.watchers)
	s.watchers = append(s.watchers, w)
}

// remove puts the last one into the gap.
func (s *spot) remove(w *watcher) {
	last := len(s.watchers) - 1
	s.watchers[w.slot] = s.watchers[last]
	s.watchers[w.slot].slot = w.slot
	s.watchers[last] = nil
	s.watchers = s.watchers[:last]
	w.spot = nil
}

func (x *index) add(w *watcher) {
	if w.single {
		if x.keys == nil {
			x.keys = map[string]*spot{}
		}
		s := x.keys[w.key]
		if s == nil {
			s = &spot{}
			x.keys[w.key] = s
		}
		s.add(w)
		return
	}
	n := x.ranges.find(w.key, w.end)
	if n == nil {
		n = &node{key: w.key, end: w.end, rank: x.draw()}
		x.ranges = x.ranges.insert(n)
	}
	n.spot.add(w)
}

func (x *index) remove(w *watcher) {
	s := w.spot
	s.remove(w)
	switch {
	case len(s.watchers) > 0:
	case w.single:
		delete(x.keys, w.key)
	default:
		x.ranges = x.ranges.remove(w.key, w.end)
	}
}

// match calls f for each watcher of the key. f must not change the index.
func (x *index) match(key []byte, f func(*watcher)) {
	if s := x.keys[string(key)]; s != nil {
		for _, w := range s.watchers {
			f(w)
		}
	}
	x.ranges.match(key, f)
}

// draw gives the tree's ranks: spread evenly, and the same in every run. It is the generator splitmix64.
func (x *index) draw() uint64 {
	x.seed += 0x9e3779b97f4a7c15
	z := x.seed
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return bits.RotateLeft64(z^z>>31, 17)
}

// node is a range, [key, end) or without an end if end is empty, in a treap: ordered by key and end, a heap by rank.
// far is the farthest end below it, so that a search leaves out what ends before its key. The nil node is an empty tree.
type node struct {
	key, end, far string
	rank          uint64
	left, right   *node
	spot          spot
}

// farther returns the later of two ends; the empty one is the end of all keys.
func farther(a, b string) string {
	if a == "" || b == "" {
		return ""
	}
	return max(a, b)
}

func before(key, end, otherKey, otherEnd string) bool {
	return key < otherKey || key == otherKey && end < otherEnd
}

func (n *node) settle() *node {
	n.far = n.end
	if n.left != nil {
		n.far = farther(n.far, n.left.far)
	}
	if n.right != nil {
		n.far = farther(n.far, n.right.far)
	}
	return n
}

func (n *node) find(key, end string) *node {
	for n != nil && (n.key != key || n.end != end) {
		if before(key, end, n.key, n.end) {
			n = n.left
		} else {
			n = n.right
		}
	}
	return n
}

// insert adds a range that is not there yet, and returns the new root.
func (n *node) insert(m *node) *node {
	switch {
	case n == nil:
		return m.settle()
	case m.rank > n.rank:
		m.left, m.right = n.split(m.key, m.end)
		return m.settle()
	case before(m.key, m.end, n.key, n.end):
		n.left = n.left.insert(m)
	default:
		n.right = n.right.insert(m)
	}
	return n.settle()
}

// split parts the tree into what stands before a range and what stands behind it.
func (n *node) split(key, end string) (lower, upper *node) {
	if n == nil {
		return nil, nil
	}
	if before(key, end, n.key, n.end) {
		lower, n.left = n.left.split(key, end)
		return lower, n.settle()
	}
	n.right, upper = n.right.split(key, end)
	return n.settle(), upper
}

// remove takes out a range that is there, and returns the new root.
func (n *node) remove(key, end string) *node {
	switch {
	case n.key == key && n.end == end:
		return join(n.left, n.right)
	case before(key, end, n.key, n.end):
		n.left = n.left.remove(key, end)
	default:
		n.right = n.right.remove(key, end)
	}
	return n.settle()
}

// join makes one tree of two, all of whose ranges stand in this order.
func join(a, b *node) *node {
	switch {
	case a == nil:
		return b
	case b == nil:
		return a
	case a.rank > b.rank:
		a.right = join(a.right, b)
		return a.settle()
	}
	b.left = join(a, b.left)
	return b.settle()
}

// match calls f for the watchers of every range that holds the key.
func (n *node) match(key []byte, f func(*watcher)) {
	for n != nil && (n.far == "" || string(key) < n.far) {
		n.left.match(key, f)
		if string(key) < n.key {
			return
		}
		if n.end == "" || string(key) < n.end {
			for _, w := range n.spot.watchers {
				f(w)
			}
		}
		n = n.right
	}
}
