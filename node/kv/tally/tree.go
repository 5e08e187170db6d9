package tally

import "bytes"

// node is a persistent treap: stretches in their order, and a heap of ranks. A change copies the path to it; nil is
// nothing.
type node struct {
	Stretch
	rank        uint64
	left, right *node
}

// rank is a number's place in a shuffle that is always the same: it keeps the treap flat whatever the keys are.
func rank(n uint64) uint64 {
	n *= 0x9e3779b97f4a7c15
	n = (n ^ n>>30) * 0xbf58476d1ce4e5b9
	n = (n ^ n>>27) * 0x94d049bb133111eb
	return n ^ n>>31
}

// add copies what the changes, which are in order, alter, and drops what gets out of bounds.
func (n *node) add(changes []Change, least, most int64) *node {
	if n == nil || len(changes) == 0 {
		return n
	}
	from, to := before(changes, n.Lo), before(changes, n.Hi)
	left, right := n.left.add(changes[:from], least, most), n.right.add(changes[to:], least, most)
	by := int64(0)
	for _, c := range changes[from:to] {
		by += c.By
	}
	if now := n.N + by; now < least || now > most {
		return merge(left, right)
	}
	if by == 0 && left == n.left && right == n.right {
		return n
	}
	c := *n
	c.N, c.left, c.right = n.N+by, left, right
	return &c
}

// split parts the stretches that begin before a key from the rest.
func (n *node) split(key []byte) (l, r *node) {
	if n == nil {
		return nil, nil
	}
	c := *n
	if bytes.Compare(n.Lo, key) < 0 {
		c.right, r = n.right.split(key)
		return &c, r
	}
	l, c.left = n.left.split(key)
	return l, &c
}

// shift takes the first stretch off.
func (n *node) shift() (first, rest *node) {
	if n == nil {
		return nil, nil
	}
	if n.left == nil {
		return n, n.right
	}
	c := *n
	first, c.left = n.left.shift()
	return first, &c
}

// merge joins two trees of which the first lies before the second.
func merge(l, r *node) *node {
	switch {
	case l == nil:
		return r
	case r == nil:
		return l
	case l.rank > r.rank:
		c := *l
		c.right = merge(l.right, r)
		return &c
	}
	c := *r
	c.left = merge(l, r.left)
	return &c
}

// each calls f for the stretches that lie in [lo, hi), wholly or in part, in order, until it returns false; a nil hi is
// no end.
func (n *node) each(lo, hi []byte, f func(*Stretch) bool) bool {
	if n == nil {
		return true
	}
	if bytes.Compare(lo, n.Lo) < 0 && !n.left.each(lo, hi, f) {
		return false
	}
	within := hi == nil || bytes.Compare(n.Lo, hi) < 0
	if within && bytes.Compare(lo, n.Hi) < 0 && !f(&n.Stretch) {
		return false
	}
	return hi != nil && bytes.Compare(n.Hi, hi) >= 0 || n.right.each(lo, hi, f)
}
