// Package quorum is the arithmetic of majorities, plain and joint (thesis §3.3, §4.3). It knows no Raft:
// IDs and values are whatever the caller counts.
package quorum

import "cmp"

// Outcome is how a vote stands.
type Outcome uint8

const (
	// Pending: neither side has its majority yet.
	Pending Outcome = iota
	// Won: a majority (of each half) said yes.
	Won
	// Lost: a majority of yes has become impossible in at least one half.
	Lost
)

// Size is the smallest number of n voters that is a majority.
func Size(n int) int { return n/2 + 1 }

// Joint is a set of voters; when Outgoing is not empty every decision needs a majority of both halves.
type Joint[ID comparable] struct {
	Incoming, Outgoing []ID
}

// Has reports whether id votes in either half.
func (j Joint[ID]) Has(id ID) bool { return has(j.Incoming, id) || has(j.Outgoing, id) }

func has[ID comparable](ids []ID, id ID) bool {
	for _, x := range ids {
		if x == id {
			return true
		}
	}
	return false
}

// Reached is the largest value that a majority of each half has reached. Without voters it is the zero
// value: nothing can be agreed on by nobody.
func Reached[ID comparable, V cmp.Ordered](j Joint[ID], value func(ID) V) V {
	in := reached(j.Incoming, value)
	if len(j.Outgoing) == 0 {
		return in
	}
	return min(in, reached(j.Outgoing, value))
}

func reached[ID comparable, V cmp.Ordered](ids []ID, value func(ID) V) V {
	var zero V
	if len(ids) == 0 {
		return zero
	}
	var room [15]V
	sorted := room[:0]
	for _, id := range ids {
		v := value(id)
		i := len(sorted)
		sorted = append(sorted, v)
		for ; i > 0 && sorted[i-1] < v; i-- {
			sorted[i] = sorted[i-1]
		}
		sorted[i] = v
	}
	return sorted[Size(len(ids))-1]
}

// Vote says how an election stands. answer tells what a voter said, and ok whether it has said anything.
func Vote[ID comparable](j Joint[ID], answer func(ID) (yes, ok bool)) Outcome {
	in := vote(j.Incoming, answer)
	if len(j.Outgoing) == 0 || in == Lost {
		return in
	}
	switch out := vote(j.Outgoing, answer); {
	case out == Lost:
		return Lost
	case in == Won && out == Won:
		return Won
	}
	return Pending
}

func vote[ID comparable](ids []ID, answer func(ID) (yes, ok bool)) Outcome {
	yes, silent := 0, 0
	for _, id := range ids {
		switch y, ok := answer(id); {
		case !ok:
			silent++
		case y:
			yes++
		}
	}
	switch need := Size(len(ids)); {
	case yes >= need:
		return Won
	case yes+silent < need:
		return Lost
	}
	return Pending
}
