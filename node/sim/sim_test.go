package sim

import (
	"cmp"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

// flags of the simulator: how many seeds, from where, and one alone with its story.
type flags struct {
	seeds *int
	from  *uint64
	one   *uint64
	lasts *time.Duration
}

var asked = flags{
	seeds: flag.Int("sim.seeds", 60, "how many seeds to run"),
	from:  flag.Uint64("sim.from", 1, "the first seed; 0 draws one"),
	one:   flag.Uint64("sim.seed", 0, "run this seed alone and tell its story"),
	lasts: flag.Duration("sim.for", 0, "run fresh seeds for that long, instead of a number of them"),
}

func TestSim(t *testing.T) {
	if *asked.one != 0 {
		run(t, *asked.one, func(line string) { fmt.Println(line) })
		return
	}
	first := *asked.from
	if first == 0 {
		first = rand.Uint64() >> 16
	}
	began, faults, seconds, acked, n := time.Now(), map[string]int{}, int64(0), 0, 0
	for ; more(n, began) && !t.Failed(); n++ {
		r := run(t, first+uint64(n), nil)
		seconds += r.Seconds
		acked += r.Acked
		for name, count := range r.Faults {
			faults[name] += count
		}
	}
	elapsed := time.Since(began).Seconds()
	fmt.Fprintf(os.Stderr, "sim: %d seeds from %d, %.1f a second; %d s of virtual time, %d writes acknowledged\n", n, first, float64(n)/elapsed, seconds, acked)
	var names []string
	for name := range faults {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		fmt.Fprintf(os.Stderr, "sim:   %-32s %d\n", name, faults[name])
	}
}

func more(n int, began time.Time) bool {
	if *asked.lasts > 0 {
		return time.Since(began) < *asked.lasts
	}
	return n < *asked.seeds
}

func run(t *testing.T, seed uint64, tell func(string)) Report {
	t.Helper()
	weather := Draw(rand.New(rand.NewPCG(seed, 0xfade)))
	weather.Pebble = *pebble
	r, err := Run(seed, weather, tell)
	if err == nil {
		err = linearizable(r)
	}
	if err != nil {
		t.Errorf("%v\nweather %+v\nagain: go test ./node/sim -run TestSim -sim.seed %d", err, weather, seed)
	}
	return r
}

// linearizable judges the history of each key: whether the operations that are known, and some of those that are
// not, could have happened one after the other.
func linearizable(r Report) error {
	byKey := map[string][]porcupine.Operation{}
	end := int64(1) << 62
	for _, op := range r.History {
		ret := op.Return
		if op.Unknown {
			ret = end
		}
		byKey[op.Key] = append(byKey[op.Key], porcupine.Operation{ClientId: op.Client, Input: op, Output: op, Call: op.Call, Return: ret})
	}
	for key, ops := range byKey {
		// An unknown operation ends after everything, so its client must be one of its own.
		for i := range ops {
			if ops[i].Return == end {
				ops[i].ClientId = 1000 + i
			}
		}
		switch porcupine.CheckOperationsTimeout(register(), ops, 30*time.Second) {
		case porcupine.Ok:
		case porcupine.Illegal:
			if *asked.one != 0 {
				tellHistory(ops)
			}
			return fmt.Errorf("seed %d: the history of %s is not linearizable", r.Seed, key)
		default:
			return fmt.Errorf("seed %d: the history of %s could not be judged in time", r.Seed, key)
		}
	}
	return nil
}

// tellHistory prints what was asked of one key, in the order of the calls.
func tellHistory(ops []porcupine.Operation) {
	slices.SortFunc(ops, func(a, b porcupine.Operation) int { return cmp.Compare(a.Call, b.Call) })
	for _, o := range ops {
		op := o.Input.(Operation)
		fmt.Printf("%10d to %10d client %d %s %q expected %q swapped %v unknown %v\n", op.Call, op.Return, op.Client, op.Kind, op.Value, op.Expected, op.Swapped, op.Unknown)
	}
}

// register is one key: "" while it is not there.
func register() porcupine.Model {
	return porcupine.Model{
		Init: func() any { return "" },
		Step: func(state, input, _ any) (bool, any) {
			op := input.(Operation)
			switch {
			case op.Kind == Get:
				return op.Value == state, state
			case op.Kind == Put:
				return true, op.Value
			case op.Unknown: // a swap whose outcome nobody knows
				if state == op.Expected {
					return true, op.Value
				}
				return true, state
			case op.Swapped:
				return state == op.Expected, op.Value
			}
			return state != op.Expected, state
		},
		DescribeOperation: func(input, _ any) string { return fmt.Sprintf("%+v", input) },
	}
}
