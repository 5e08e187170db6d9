package plan

import (
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	api "raftsman.dev/api/v1alpha1"
)

var (
	worlds = flag.Int("plan.worlds", 10_000, "how many random worlds to run")
	seed   = flag.Uint64("plan.seed", 0, "seed of the first random world, the others follow; 0 draws one")
)

// settleIn is how many turns an undisturbed world may take to come to rest.
const settleIn = 400

// rest runs an undisturbed world until the planner rests.
func (w *world) rest() error {
	for range settleIn {
		w.tick()
		s := w.operate(false)
		if s.Kind == Rest && s.Stalled == "" && (s.Reason == api.ReasonQuorumHealthy || s.Reason == api.ReasonHibernated) {
			return nil
		}
		if len(w.broken) > 0 {
			break
		}
		if s.Refusal != "" {
			w.yield()
		}
	}
	return fmt.Errorf("not at rest after %d turns, broken %v", settleIn, w.broken)
}

// settles demands that an undisturbed world comes to rest as it should be.
func (w *world) settles(t *testing.T) {
	t.Helper()
	w.story = true
	err := w.rest()
	if err == nil {
		err = w.finished()
	}
	if err != nil {
		t.Fatalf("%v\n%s", err, w.tail())
	}
}

func (w *world) tail() string {
	return strings.Join(w.log[max(0, len(w.log)-80):], "\n")
}

// finished is what must be true of a world at rest.
func (w *world) finished() error {
	g := w.group(w.latched.ClusterID)
	size := int(w.want.Replicas)
	if size == 0 {
		if n := count(w.pods); n > 0 {
			return fmt.Errorf("hibernated with %d Pods", n)
		}
		return nil
	}
	voters := g.now.Voters()
	switch {
	case len(voters) != size || len(g.now.Members) != len(voters):
		return fmt.Errorf("%d voters of %d members, want %d", len(voters), len(g.now.Members), size)
	case count(w.pods) != size:
		return fmt.Errorf("%d Pods", count(w.pods))
	case count(w.claims) != size && !w.want.KeepVolumes:
		return fmt.Errorf("%d claims", count(w.claims))
	case slices.Contains(voters, w.want.Replace) && len(voters) > 2:
		return fmt.Errorf("%s was to be replaced", w.want.Replace)
	case w.set.Storage.Cmp(w.want.Storage) < 0:
		return fmt.Errorf("new volumes would have %s", w.set.Storage.String())
	case *w.guard != needed(g.now):
		return fmt.Errorf("the budget keeps %d of %d", *w.guard, len(voters))
	case w.latched.Operation != nil:
		return fmt.Errorf("operation %s is still announced", w.latched.Operation.Type)
	case w.served != g || !w.latched.Initialized:
		return fmt.Errorf("%s is not the group that serves clients; initialized %v", g.id, w.latched.Initialized)
	}
	for n, p := range w.pods[:size] {
		if p.revision != w.revision {
			return fmt.Errorf("pod %d is of revision %s, want %s", n, p.revision, w.revision)
		}
		if _, member := g.now.Find(w.claims[n].member); !member {
			return fmt.Errorf("pod %d is no member", n)
		}
		if c := w.claims[n]; c.size.Cmp(w.want.Storage) < 0 || c.capacity.Cmp(c.size) < 0 {
			return fmt.Errorf("volume %d asks for %s and has %s", n, c.size.String(), c.capacity.String())
		}
		if w.claims[n].annotated != w.claims[n].member {
			return fmt.Errorf("claim %d is annotated %q and holds %q", n, w.claims[n].annotated, w.claims[n].member)
		}
	}
	return nil
}

// runWorld runs one random world through faults and then to rest. All of it follows from the seed.
func runWorld(seed uint64, all []fault, into *tally, story bool) (*world, error) {
	rng := rand.New(rand.NewPCG(seed, 7))
	sizes := []int32{1, 3, 3, 5, 5, 7, 11}
	w := newWorld(rng, Spec{Name: "db", Replicas: sizes[rng.IntN(len(sizes))], KeepVolumes: rng.IntN(4) == 0})
	w.loose, w.story, w.seen = true, story, into
	into.worlds++
	if rng.IntN(3) > 0 {
		w.born()
	}
	turns, hurry := 15+rng.IntN(30), 3+rng.IntN(8)
	for range turns {
		w.tick()
		if rng.IntN(hurry) == 0 {
			w.strike(all)
		}
		if rng.IntN(12) == 0 {
			w.wakeUp()
		}
		w.operate(rng.IntN(10) == 0)
		if len(w.broken) > 0 {
			return w, fmt.Errorf("broken: %v", w.broken)
		}
	}
	w.heal()
	if err := w.rest(); err != nil {
		return w, err
	}
	return w, w.finished()
}

// runWorlds runs so many worlds on all processors; it returns the first seed that fails.
func runWorlds(first uint64, n int) (sum *tally, failed []uint64) {
	sum = newTally()
	var mu sync.Mutex
	var next atomic.Uint64
	var working sync.WaitGroup
	var stop atomic.Bool
	for range runtime.GOMAXPROCS(0) {
		working.Go(func() {
			own, all := newTally(), faults()
			for !stop.Load() {
				i := next.Add(1) - 1
				if i >= uint64(n) {
					break
				}
				if _, err := runWorld(first+i, all, own, false); err != nil {
					stop.Store(true)
					mu.Lock()
					failed = append(failed, first+i)
					mu.Unlock()
				}
			}
			mu.Lock()
			defer mu.Unlock()
			sum.add(own)
		})
	}
	working.Wait()
	slices.Sort(failed)
	return sum, failed
}

func TestRandomWorldsComeToRestAndNeverBreak(t *testing.T) {
	first := *seed
	if first == 0 {
		first = uint64(time.Now().UnixNano()) % 1_000_000_000
	}
	n := *worlds
	if testing.Short() {
		n = 1000
	}
	// The worlds make little garbage that lives, and much that does not.
	defer debug.SetGCPercent(debug.SetGCPercent(800))
	began := time.Now()
	sum, failed := runWorlds(first, n)
	if len(failed) > 0 {
		w, err := runWorld(failed[0], faults(), newTally(), true)
		t.Fatalf("seed=%d: %v\n%s\n(again with -plan.seed %d -plan.worlds 1)", failed[0], err, w.tail(), failed[0])
	}
	t.Logf("seed=%d: %d worlds, %d turns in %.0f s", first, sum.worlds, sum.turns, time.Since(began).Seconds())
	if n < 1000 {
		return // too few to have seen everything
	}
	for _, f := range faults() {
		if sum.faults[f.name] == 0 {
			t.Errorf("in no world has there been: %s", f.name)
		}
	}
	for _, k := range []Kind{Rest, Wait, Apply, Scale, Protect, Latch, Form, Change, Transfer, Open, Annotate, Evict, Remove, Drop, Enlarge, Orphan} {
		if sum.kinds[k] == 0 {
			t.Errorf("no world has needed %s; there were %v", k, slices.Sorted(maps.Keys(sum.kinds)))
		}
	}
	for _, e := range []string{api.EventMemberAdded, api.EventMemberPromoted, api.EventMemberRemoved, api.EventMemberReplaced, api.EventLeadershipTransferred, api.EventPodRolled, api.EventVolumeExpanded} {
		if sum.events[e] == 0 {
			t.Errorf("no world has seen the event %s", e)
		}
	}
}

func TestElevenMembersShrinkByOrdinalNotByListPosition(t *testing.T) {
	w := newWorld(rand.New(rand.NewPCG(11, 1)), Spec{Name: "db", Replicas: 11})
	w.settles(t)
	stay := map[string]bool{}
	for _, c := range w.claims[:9] {
		stay[c.member] = true
	}
	w.want.Replicas = 9
	w.settles(t)
	for _, id := range w.truth().now.Voters() {
		if !stay[id] {
			t.Errorf("%s has stayed and should have gone", id)
		}
	}
}

func TestDeadlineIsSaidAndTryingGoesOn(t *testing.T) {
	w := newWorld(rand.New(rand.NewPCG(1, 1)), Spec{Name: "db", Replicas: 3})
	w.settles(t)
	w.template("bad", true)
	w.want.Replicas = 5
	for range int(DefaultDeadline/time.Second) + 60 {
		w.tick()
		w.operate(false)
	}
	if s := w.operate(false); s.Stalled != api.ReasonDeadlineExceeded {
		t.Fatalf("after the deadline: %s", s)
	}
	w.template("good", false)
	w.settles(t)
}
