// Package tally keeps how many keys there are in stretches of the key space, so that a long range is counted without a
// walk over it: what is known is added up, and only the rest is walked. It is told of every key that comes or goes, and
// learns from whoever has walked.
//
// An Index is a value: a change makes another one that shares most of it. Stretches do not overlap, and each holds
// between half and four times as many keys as a stretch is to be learnt of: so there are no more of them than that lets
// the keys fill, and none that is empty. A stretch that grows or shrinks out of these bounds is forgotten, and will be
// learnt anew in proper pieces.
package tally

import (
	"bytes"
	"iter"
	"slices"
)

// Stretch is the keys in [Lo, Hi), of which there are N.
type Stretch struct {
	Lo, Hi []byte
	N      int64
}

// Change is a key that has come (+1) or gone (-1).
type Change struct {
	Key []byte
	By  int64
}

// Kind says what is known of a piece of a range.
type Kind uint8

const (
	// Known is a whole stretch.
	Known Kind = iota
	// Part is a part of a stretch, at an end of the range: how many keys it has is not known, nor worth learning.
	Part
	// Gap is what lies between stretches, or between one and an end of the range.
	Gap
)

// Piece is a part of a range: N counts if it is Known. A nil Hi is no end. A stretch begins where a gap ends that
// Meets one.
type Piece struct {
	Stretch
	Kind  Kind
	Meets bool
}

// Index is what is known. The zero value knows nothing, and learns nothing either.
type Index struct {
	root *node
	size int64
	made uint64 // stretches ever put in
}

// New is an index that knows nothing yet; a stretch is to be learnt of about so many keys, at least 2.
func New(size int) Index { return Index{size: max(int64(size), 2)} }

// Empty reports whether nothing is known.
func (x Index) Empty() bool { return x.root == nil }

// Size is how many keys a stretch is to be learnt of; whoever walks a gap should make one of each so many.
func (x Index) Size() int64 { return x.size }

func (x Index) least() int64 { return x.size / 2 }

func (x Index) most() int64 { return 4 * x.size }

// Add is the index after keys came and went. The changes are in order of their keys, each key once at most.
func (x Index) Add(changes []Change) Index {
	x.root = x.root.add(changes, x.least(), x.most())
	return x
}

// Learn is the index that knows of a stretch, too, which must be right; it keeps the bounds' bytes. One that overlaps what
// is known, or holds too many keys, changes nothing. One that holds too few is joined to the stretch that begins where it
// ends; if there is none, it changes nothing, and if the two are too large together, both are unknown then.
func (x Index) Learn(s Stretch) Index {
	if x.size == 0 || s.N > x.most() || bytes.Compare(s.Lo, s.Hi) >= 0 || x.knows(s.Lo, s.Hi) {
		return x
	}
	front, behind := x.root.split(s.Lo)
	if s.N < x.least() {
		next, rest := behind.shift()
		if next == nil || !bytes.Equal(next.Lo, s.Hi) {
			return x
		}
		if s = (Stretch{s.Lo, next.Hi, s.N + next.N}); s.N > x.most() {
			x.root = merge(front, rest)
			return x
		}
		behind = rest
	}
	x.made++
	x.root = merge(merge(front, &node{Stretch: s, rank: rank(x.made)}), behind)
	return x
}

// knows reports whether a stretch lies in [lo, hi), wholly or in part.
func (x Index) knows(lo, hi []byte) bool {
	return !x.root.each(lo, hi, func(*Stretch) bool { return false })
}

// Pieces cuts [lo, hi) into what is known and what is not, in order; a nil hi is no end.
func (x Index) Pieces(lo, hi []byte) iter.Seq[Piece] {
	return func(yield func(Piece) bool) {
		if hi != nil && bytes.Compare(lo, hi) >= 0 {
			return
		}
		at := lo
		going := x.root.each(lo, hi, func(s *Stretch) bool {
			if bytes.Compare(at, s.Lo) < 0 && !yield(Piece{Stretch{at, s.Lo, 0}, Gap, true}) {
				return false
			}
			p := Piece{Stretch: *s}
			if bytes.Compare(s.Lo, lo) < 0 {
				p.Lo, p.N, p.Kind = lo, 0, Part
			}
			if hi != nil && bytes.Compare(hi, s.Hi) < 0 {
				p.Hi, p.N, p.Kind = hi, 0, Part
			}
			at = s.Hi
			return yield(p)
		})
		if going && (hi == nil || bytes.Compare(at, hi) < 0) { // a stretch always ends, so a range without an end has a gap there
			yield(Piece{Stretch{at, hi, 0}, Gap, false})
		}
	}
}

// Stretches lists all that is known, in order.
func (x Index) Stretches() []Stretch {
	var all []Stretch
	x.root.each(nil, nil, func(s *Stretch) bool {
		all = append(all, *s)
		return true
	})
	return all
}

// before is how many of the changes are about keys before a key.
func before(changes []Change, key []byte) int {
	at, _ := slices.BinarySearchFunc(changes, key, func(c Change, key []byte) int { return bytes.Compare(c.Key, key) })
	return at
}

// Adjust brings stretches, in order and apart from each other, up to what has changed, in any order.
func Adjust(stretches []Stretch, changes []Change) {
	for _, c := range changes {
		at, found := slices.BinarySearchFunc(stretches, c.Key, func(s Stretch, key []byte) int { return bytes.Compare(s.Lo, key) })
		if !found {
			at--
		}
		if at >= 0 && bytes.Compare(c.Key, stretches[at].Hi) < 0 {
			stretches[at].N += c.By
		}
	}
}
