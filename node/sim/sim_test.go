package sim

import (
	"cmp"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"regexp"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"sync"
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
	hours *float64
}

var asked = flags{
	seeds: flag.Int("sim.seeds", 40, "how many seeds to run"),
	from:  flag.Uint64("sim.from", 0, "the first seed; 0 draws one"),
	one:   flag.Uint64("sim.seed", 0, "run this seed alone and tell its story"),
	lasts: flag.Duration("sim.for", 0, "run seeds for that long, instead of a number of them"),
	hours: flag.Float64("sim.hours", 0, "the same in hours"),
}

// TestSim runs seeds that nobody has seen before, on every processor.
func TestSim(t *testing.T) {
	if *asked.one != 0 {
		run(t, *asked.one, func(line string) { fmt.Println(line) })
		return
	}
	first := *asked.from
	if first == 0 {
		first = rand.Uint64() >> 16
	}
	t.Logf("seeds from %d", first)
	s := sum{first: first, began: time.Now(), faults: map[string]int{}}
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for seed, ok := s.next(); ok && !t.Failed(); seed, ok = s.next() {
				s.add(run(t, seed, nil))
			}
		})
	}
	workers.Wait()
	s.print()
	s.cover(t)
}

// TestPastBugs runs the seed of every bug that was found before.
func TestPastBugs(t *testing.T) {
	text, err := os.ReadFile("BUGS.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := regexp.MustCompile(`(?m)^\| \d{4}-\d\d-\d\d \| (\d+) \|`).FindAllStringSubmatch(string(text), -1)
	if len(rows) == 0 {
		t.Fatal("BUGS.md names no seed")
	}
	for _, row := range rows {
		seed, err := strconv.ParseUint(row[1], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		run(t, seed, nil)
	}
}

// sum is what the runs of a soak amount to.
type sum struct {
	first uint64
	began time.Time

	mu      sync.Mutex
	given   int
	done    int
	seconds int64
	acked   int
	faults  map[string]int
}

// next gives out a seed, while there is time.
func (s *sum) next() (seed uint64, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	lasts := max(*asked.lasts, time.Duration(*asked.hours*float64(time.Hour)))
	if lasts > 0 && time.Since(s.began) >= lasts || lasts == 0 && s.given >= *asked.seeds {
		return 0, false
	}
	s.given++
	return s.first + uint64(s.given-1), true
}

func (s *sum) add(r Report) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.done++
	s.seconds += r.Seconds
	s.acked += r.Acked
	for name, count := range r.Faults {
		s.faults[name] += count
	}
}

func (s *sum) print() {
	elapsed := time.Since(s.began).Seconds()
	fmt.Fprintf(os.Stderr, "sim: %d seeds from %d in %.0f s, %.1f a second; %d s of virtual time, %d writes acknowledged\n", s.done, s.first, elapsed, float64(s.done)/elapsed, s.seconds, s.acked)
	for _, name := range slices.Sorted(maps.Keys(s.faults)) {
		fmt.Fprintf(os.Stderr, "sim:   %-40s %d\n", name, s.faults[name])
	}
}

func run(t *testing.T, seed uint64, tell func(string)) Report {
	t.Helper()
	weather := Draw(rand.New(rand.NewPCG(seed, 0xfade)))
	weather.Pebble = *pebble
	defer func() { // a panic must not take the seed with it
		if p := recover(); p != nil {
			t.Errorf("panic: %v\n%s\nweather %+v\nagain: make sim SEED=%d", p, debug.Stack(), weather, seed)
		}
	}()
	r, err := Run(seed, weather, tell)
	if err == nil {
		err = linearizable(r)
	}
	if err != nil {
		t.Errorf("%v\nweather %+v\nagain: make sim SEED=%d", err, weather, seed)
	}
	return r
}

// verdictWithin is when the search for an order is given up: it would not end then. It takes milliseconds, but at the
// lowest priority on a busy machine these have taken half a minute.
const verdictWithin = 10 * time.Minute

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
		switch porcupine.CheckOperationsTimeout(register(), ops, verdictWithin) {
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
