package quorum

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// The twins answer by trying every set of voters: slow, and hard to get wrong.

// subsets calls visit with every subset of ids.
func subsets(ids []int, visit func(set map[int]bool)) {
	for bits := range 1 << len(ids) {
		set := map[int]bool{}
		for i, id := range ids {
			if bits&(1<<i) != 0 {
				set[id] = true
			}
		}
		visit(set)
	}
}

// decides reports whether a set of voters may decide alone: more than half of each half that exists.
func decides(j Joint[int], set map[int]bool) bool {
	of := func(ids []int) bool {
		n := 0
		for _, id := range ids {
			if set[id] {
				n++
			}
		}
		return 2*n > len(ids)
	}
	return of(j.Incoming) && (len(j.Outgoing) == 0 || of(j.Outgoing))
}

// naiveReached is the largest value that all members of some deciding set have reached.
func naiveReached(j Joint[int], values map[int]int) int {
	best := 0
	subsets(everybody(j), func(set map[int]bool) {
		if !decides(j, set) {
			return
		}
		least := 1 << 30
		for id := range set {
			least = min(least, values[id])
		}
		best = max(best, least)
	})
	return best
}

// naiveVote plays out every way in which the silent may still answer.
func naiveVote(j Joint[int], answers map[int]bool) Outcome {
	var silent []int
	for _, id := range everybody(j) {
		if _, ok := answers[id]; !ok {
			silent = append(silent, id)
		}
	}
	wins, losses := 0, 0
	subsets(silent, func(late map[int]bool) {
		yes := map[int]bool{}
		for id, said := range answers {
			if said {
				yes[id] = true
			}
		}
		for id := range late {
			yes[id] = true
		}
		if decides(j, yes) {
			wins++
		} else {
			losses++
		}
	})
	switch {
	case losses == 0:
		return Won
	case wins == 0:
		return Lost
	}
	return Pending
}

func everybody(j Joint[int]) []int {
	seen := map[int]bool{}
	var all []int
	for _, id := range append(append([]int{}, j.Incoming...), j.Outgoing...) {
		if !seen[id] {
			seen[id] = true
			all = append(all, id)
		}
	}
	return all
}

// draw makes up two halves that overlap at random, of up to 7 voters each.
func draw(rng *rand.Rand) (Joint[int], map[int]int, map[int]bool) {
	half := func() []int {
		return rng.Perm(9)[:rng.IntN(8)]
	}
	j := Joint[int]{Incoming: half()}
	if len(j.Incoming) > 0 && rng.IntN(2) == 0 {
		j.Outgoing = half()
	}
	values, answers := map[int]int{}, map[int]bool{}
	for id := range 9 {
		values[id] = rng.IntN(6)
		if dice := rng.IntN(3); dice > 0 {
			answers[id] = dice == 1
		}
	}
	return j, values, answers
}

func TestAgainstTheTwins(t *testing.T) {
	for seed := range uint64(3000) {
		j, values, answers := draw(rand.New(rand.NewPCG(seed, 7)))
		what := fmt.Sprintf("seed=%d voters=%v values=%v answers=%v", seed, j, values, answers)
		if got, want := Reached(j, func(id int) int { return values[id] }), naiveReached(j, values); got != want {
			t.Errorf("%s: reached %d, the twin says %d", what, got, want)
		}
		said := map[int]bool{}
		for _, id := range everybody(j) {
			if yes, ok := answers[id]; ok {
				said[id] = yes
			}
		}
		got := Vote(j, func(id int) (bool, bool) { yes, ok := answers[id]; return yes, ok })
		if want := naiveVote(j, said); got != want {
			t.Errorf("%s: vote %d, the twin says %d", what, got, want)
		}
	}
}

// TestAnyTwoQuorumsMeet is why majorities work: no two deciding sets of one configuration are disjoint, and
// none of a joint configuration misses one of either half alone (thesis §4.3).
func TestAnyTwoQuorumsMeet(t *testing.T) {
	for seed := range uint64(40) {
		j, _, _ := draw(rand.New(rand.NewPCG(seed, 8)))
		for _, other := range []Joint[int]{j, {Incoming: j.Incoming}, {Incoming: j.Outgoing}} {
			if len(j.Incoming) == 0 || len(other.Incoming) == 0 {
				continue
			}
			// The members outside a deciding set can never decide without it.
			subsets(everybody(j), func(set map[int]bool) {
				if !decides(j, set) {
					return
				}
				rest := map[int]bool{}
				for _, id := range everybody(other) {
					if !set[id] {
						rest[id] = true
					}
				}
				if decides(other, rest) {
					t.Fatalf("seed=%d: %v decides in %v, and %v in %v without it", seed, set, j, rest, other)
				}
			})
		}
	}
}

func TestNobodyDecidesNothing(t *testing.T) {
	if got := Reached(Joint[int]{}, func(int) int { return 5 }); got != 0 {
		t.Errorf("without voters %d is reached", got)
	}
	if got := Vote(Joint[int]{}, func(int) (bool, bool) { return true, true }); got != Lost {
		t.Errorf("without voters the vote stands at %d, want lost: nobody can ever win it", got)
	}
}

func TestSize(t *testing.T) {
	for n, want := range []int{1, 1, 2, 2, 3, 3, 4, 4} {
		if got := Size(n); got != want {
			t.Errorf("a majority of %d is %d, want %d", n, got, want)
		}
	}
}

// TestManyVoters goes past the room that Reached has on its stack.
func TestManyVoters(t *testing.T) {
	var j Joint[int]
	for id := range 101 {
		j.Incoming = append(j.Incoming, id)
	}
	if got := Reached(j, func(id int) int { return id }); got != 50 {
		t.Errorf("reached %d, want 50: 51 of 101 hold 50 or more", got)
	}
}

// TestReachedIsWhatVotersSay: no value of its own comes in, also where theirs are below zero.
func TestReachedIsWhatVotersSay(t *testing.T) {
	for n := 1; n <= 20; n++ {
		var j Joint[int]
		for id := range n {
			j.Incoming = append(j.Incoming, id)
		}
		if got := Reached(j, func(int) int { return -5 }); got != -5 {
			t.Errorf("%d voters at -5 have reached %d", n, got)
		}
	}
}
