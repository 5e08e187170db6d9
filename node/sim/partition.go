package sim

import (
	"slices"

	"raftsman.dev/node/raft"
)

// shape is a partition by name: which of two members the one does not reach.
type shape struct {
	name string
	cut  func(from, to raft.MemberID) bool
}

// partition cuts links in one of the shapes that have hurt systems before.
func (n *network) partition() string {
	s := pick(n.w, n.shapes())
	n.join()
	cut := false
	for _, a := range n.w.ids {
		for _, b := range n.w.ids {
			if a != b && s.cut(a, b) {
				n.wire(link{a, b}).cut = true
				cut = true
			}
		}
	}
	if cut {
		n.w.fault("partition: " + s.name)
	}
	return s.name
}

func (n *network) shapes() []shape {
	ids := n.w.ids
	one := pick(n.w, ids)
	half := map[raft.MemberID]bool{}
	for _, id := range ids {
		half[id] = n.w.rng.IntN(2) == 0
	}
	shapes := []shape{
		{"isolated member", func(a, b raft.MemberID) bool { return a == one || b == one }},
		{"deaf member", func(a, b raft.MemberID) bool { return b == one }},
		{"mute member", func(a, b raft.MemberID) bool { return a == one }},
		{"halves", func(a, b raft.MemberID) bool { return half[a] != half[b] }},
		{"one-way halves", func(a, b raft.MemberID) bool { return half[a] && !half[b] }},
		{"bridge", func(a, b raft.MemberID) bool { return a != one && b != one && half[a] != half[b] }},
		{"ring", func(a, b raft.MemberID) bool { return !neighbours(ids, a, b) }},
	}
	if l := n.w.leader(); l != nil {
		shapes = append(shapes, shape{"isolated leader", func(a, b raft.MemberID) bool { return a == l.id || b == l.id }},
			shape{"deaf leader", func(_, b raft.MemberID) bool { return b == l.id }})
	}
	return shapes
}

// neighbours reports whether two members stand within reach in a ring in which each sees a majority.
func neighbours(ids []raft.MemberID, a, b raft.MemberID) bool {
	i, j, n := slices.Index(ids, a), slices.Index(ids, b), len(ids)
	apart := min((i-j+n)%n, (j-i+n)%n)
	return apart <= (n/2+1)/2
}
