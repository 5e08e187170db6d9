// Command mutation measures the unit tests of the core: it changes the source in hundreds of small ways, each a bug
// that somebody could have typed, and asks for each whether a test notices. It prints the survivors and the score
// (killed, of those that compile) and fails below the bound.
//
// All mutants of a group of packages are built into one test binary, by overlay, never in the tree: each stands
// behind a comparison with a number that the binary reads from its environment, so a mutant costs a run of the tests
// and no build. One that would not compile by itself is left out, which the type checker tells (schema.go). Tests run
// in an order that kills early: by kills for each second of their own, learned on the way, in processes that stop at
// the first failure (run.go). A mutant that lets a test run for much longer than it did without counts as killed.
//
// Changes that no test could see are not made, by rules (sites.go): the wording of errors and logs, String methods,
// locks, room set aside in advance, memory given up early, and the exact values of bounds that are named constants.
package main

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
)

// group is a set of packages that are mutated together, and the packages whose tests are asked, in this order.
type group struct {
	mutated, asked []string
}

func groups() []group {
	return []group{
		{[]string{"node/raft", "node/raft/quorum"}, []string{"node/raft/quorum", "node/raft"}},
		{[]string{"node/replica"}, []string{"node/replica"}},
	}
}

func main() {
	n := flag.Int("n", 0, "try this many of each group, drawn by the seed; 0: all")
	seed := flag.Uint64("seed", 1, "draws the sample")
	only := flag.String("only", "", "try only mutants whose file:line contains one of these, separated by commas; a blank ends a line number")
	parallel := flag.Int("p", 1, "mutants tried at once")
	bound := flag.Float64("bound", 80, "fail under this score, in percent")
	verbose := flag.Bool("v", false, "print every mutant, and what killed it")
	flag.Parse()
	var all tally
	for _, g := range groups() {
		t, err := measure(g, *only, *n, *seed, *parallel, *verbose)
		if err != nil {
			fmt.Fprintln(os.Stderr, "mutation:", err)
			os.Exit(1)
		}
		if t.total() > 0 {
			fmt.Printf("%s: %v\n", strings.Join(g.mutated, " and "), t)
		}
		all.add(t)
	}
	fmt.Printf("score: %v\n", all)
	if all.total() == 0 || all.score() < *bound {
		fmt.Fprintf(os.Stderr, "mutation: the bound is %.0f %%\n", *bound)
		os.Exit(1)
	}
}

// tally counts fates.
type tally struct{ failed, late, survived int }

func (t *tally) add(o tally) {
	t.failed, t.late, t.survived = t.failed+o.failed, t.late+o.late, t.survived+o.survived
}

func (t tally) total() int { return t.failed + t.late + t.survived }

func (t tally) score() float64 { return 100 * float64(t.failed+t.late) / float64(t.total()) }

// String is the line that is printed.
func (t tally) String() string {
	return fmt.Sprintf("%.1f %%, %d of %d killed (%d by a failing test, %d by time), %d survived",
		t.score(), t.failed+t.late, t.total(), t.failed, t.late, t.survived)
}

// measure tries the mutants of one group.
func measure(g group, only string, n int, seed uint64, parallel int, verbose bool) (tally, error) {
	s, err := newSchema(g.mutated, func(all []site) []site { return choose(all, only, seed) }, n)
	if err != nil || len(s.mutants) == 0 {
		return tally{}, err
	}
	fmt.Printf("%s: %d mutants; %d that would not compile are left out\n", strings.Join(g.mutated, " and "), len(s.mutants), s.broken)
	dir, err := os.MkdirTemp("", "mutation-")
	if err != nil {
		return tally{}, err
	}
	defer os.RemoveAll(dir)
	bench, err := newBench(s, g.asked, dir)
	if err != nil {
		return tally{}, err
	}
	return try(bench, s, parallel, verbose)
}

// choose keeps the sites that were asked for and shuffles them by the seed.
func choose(sites []site, only string, seed uint64) []site {
	var chosen []site
	for _, s := range sites {
		if slices.ContainsFunc(strings.Split(only, ","), func(part string) bool { return strings.Contains(s.place()+" ", part) }) {
			chosen = append(chosen, s)
		}
	}
	rand.New(rand.NewPCG(seed, 1)).Shuffle(len(chosen), func(i, j int) { chosen[i], chosen[j] = chosen[j], chosen[i] })
	return chosen
}

// try hands out the mutants and prints what becomes of them.
func try(b *bench, s *schema, parallel int, verbose bool) (tally, error) {
	work := make(chan mutant, len(s.mutants))
	for _, m := range s.mutants {
		work <- m
	}
	close(work)
	var mu sync.Mutex
	var t tally
	var failure error
	var all sync.WaitGroup
	for range max(1, parallel) {
		all.Go(func() {
			for m := range work {
				f, err := b.ask(m.id)
				mu.Lock()
				if err != nil {
					failure = err
				}
				t.note(f)
				if verbose || f.by == "" {
					fmt.Printf("%s %s: %s\n%s", f, m.place(), m.what, s.diff(m))
				}
				mu.Unlock()
			}
		})
	}
	all.Wait()
	return t, failure
}

func (t *tally) note(f fate) {
	switch {
	case f.by == "":
		t.survived++
	case f.late:
		t.late++
	default:
		t.failed++
	}
}
