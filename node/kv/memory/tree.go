package memory

import "bytes"

// row is one key and its value. It never changes: a state shares it with all others that have it.
type row struct{ key, value []byte }

// node is a persistent treap: rows in order of their keys, and a heap of ranks that are drawn from the keys, so that
// equal states have equal shapes. A change copies the path to the row; nil is the empty state.
type node struct {
	*row
	rank        uint64
	left, right *node
}

// rank is the key's FNV-1a, stirred: neighbouring keys must not have neighbouring ranks.
func rank(key []byte) uint64 {
	h := Hash(key)
	h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
	return h ^ h>>27
}

// Hash is FNV-1a: the same in every process, for a simulated store's own tables.
func Hash(key []byte) uint64 {
	h := uint64(0xcbf29ce484222325)
	for _, b := range key {
		h = (h ^ uint64(b)) * 0x100000001b3
	}
	return h
}

func (n *node) get(key []byte) *row {
	for n != nil {
		switch order := bytes.Compare(key, n.key); {
		case order == 0:
			return n.row
		case order < 0:
			n = n.left
		default:
			n = n.right
		}
	}
	return nil
}

// set gives the state with the row in it. The node that it gives is a new one, its children may be shared.
func (n *node) set(r *row) *node {
	if n == nil {
		return &node{row: r, rank: rank(r.key)}
	}
	c := *n
	switch order := bytes.Compare(r.key, n.key); {
	case order == 0:
		c.row = r
	case order < 0:
		l := n.left.set(r)
		if l.rank > c.rank {
			c.left, l.right = l.right, &c
			return l
		}
		c.left = l
	default:
		t := n.right.set(r)
		if t.rank > c.rank {
			c.right, t.left = t.left, &c
			return t
		}
		c.right = t
	}
	return &c
}

// without gives the state without the key.
func (n *node) without(key []byte) *node {
	if n == nil {
		return nil
	}
	order := bytes.Compare(key, n.key)
	if order == 0 {
		return merge(n.left, n.right)
	}
	c := *n
	if order < 0 {
		c.left = n.left.without(key)
	} else {
		c.right = n.right.without(key)
	}
	return &c
}

// merge joins two states of which the first lies before the second.
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

// cursor walks over [lo, hi); nil is no bound.
type cursor struct {
	root   *node
	lo, hi []byte
	path   []*node // the row to come is the last one's
}

// first puts the cursor before the first row.
func (c *cursor) first() { c.seek(c.lo) }

// seek puts the cursor before the first row at or behind from; nil is before all.
func (c *cursor) seek(from []byte) {
	c.path = c.path[:0]
	for n := c.root; n != nil; {
		if from != nil && bytes.Compare(n.key, from) < 0 {
			n = n.right
			continue
		}
		c.path = append(c.path, n)
		n = n.left
	}
}

// next gives the next row, nil at the end.
func (c *cursor) next() *row {
	if len(c.path) == 0 {
		return nil
	}
	n := c.path[len(c.path)-1]
	if c.hi != nil && bytes.Compare(n.key, c.hi) >= 0 {
		c.path = c.path[:0]
		return nil
	}
	c.path = c.path[:len(c.path)-1]
	for r := n.right; r != nil; r = r.left {
		c.path = append(c.path, r)
	}
	return n.row
}

// rows lists all of a state.
func (n *node) rows() []*row {
	c := cursor{root: n}
	c.first()
	var all []*row
	for r := c.next(); r != nil; r = c.next() {
		all = append(all, r)
	}
	return all
}
