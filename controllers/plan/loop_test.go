package plan

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"

	api "raftsman.dev/api/v1alpha1"
)

// settleIn is how many turns an undisturbed world may take to come to rest.
const settleIn = 400

// rest runs an undisturbed world until the planner rests.
func (w *world) rest(t *testing.T, seed uint64) {
	t.Helper()
	for range settleIn {
		w.tick()
		if s := w.operate(false); s.Kind == Rest && s.Stalled == "" && (s.Reason == api.ReasonQuorumHealthy || s.Reason == api.ReasonHibernated) {
			return
		}
		if len(w.broken) > 0 {
			break
		}
	}
	t.Fatalf("seed=%d: not at rest after %d turns, broken %v\n%s", seed, settleIn, w.broken, w.tail())
}

func (w *world) tail() string {
	return strings.Join(w.log[max(0, len(w.log)-60):], "\n")
}

// finished is what must be true of a world at rest.
func (w *world) finished() error {
	g := w.groups[w.latched.ClusterID]
	if w.want.Replicas == 0 {
		if len(w.pods) > 0 {
			return fmt.Errorf("hibernated with %d Pods", len(w.pods))
		}
		return nil
	}
	voters := g.membership().Voters()
	switch {
	case len(voters) != int(w.want.Replicas) || len(g.members) != len(voters):
		return fmt.Errorf("%d voters of %d members, want %d", len(voters), len(g.members), w.want.Replicas)
	case len(w.pods) != int(w.want.Replicas):
		return fmt.Errorf("%d Pods", len(w.pods))
	case len(w.claims) != int(w.want.Replicas) && !w.want.KeepVolumes:
		return fmt.Errorf("%d claims", len(w.claims))
	case slices.Contains(voters, w.want.Replace) && len(voters) > 2:
		return fmt.Errorf("%s was to be replaced", w.want.Replace)
	case *w.guard != quorum(len(voters)):
		return fmt.Errorf("the budget keeps %d of %d", *w.guard, len(voters))
	case w.latched.Operation != nil:
		return fmt.Errorf("operation %s is still announced", w.latched.Operation.Type)
	case !g.open || !w.latched.Initialized:
		return fmt.Errorf("open %v, initialized %v", g.open, w.latched.Initialized)
	}
	for n, p := range w.pods {
		if p.revision != w.set.Revision {
			return fmt.Errorf("pod %d is of revision %s", n, p.revision)
		}
		if _, member := g.membership().Find(w.claims[n].member); !member {
			return fmt.Errorf("pod %d is no member", n)
		}
		if w.claims[n].annotated != w.claims[n].member {
			return fmt.Errorf("claim %d is annotated %q and holds %q", n, w.claims[n].annotated, w.claims[n].member)
		}
	}
	if w.set.Storage.Cmp(w.want.Storage) < 0 {
		return fmt.Errorf("new volumes would have %s", w.set.Storage.String())
	}
	for n := range w.pods {
		if c := w.claims[n]; c.size.Cmp(w.want.Storage) < 0 || c.capacity.Cmp(c.size) < 0 {
			return fmt.Errorf("volume %d asks for %s and has %s", n, c.size.String(), c.capacity.String())
		}
	}
	served := 0
	for _, other := range w.groups {
		if other.open {
			served++
		}
	}
	if served != 1 {
		return fmt.Errorf("%d groups have served clients", served)
	}
	return nil
}

// fault does one thing to the world that the planner has to live with, and that leaves a majority its data.
func (w *world) fault() string {
	sizes := []int32{1, 3, 5, 7}
	n := int32(w.rng.IntN(max(1, len(w.pods))))
	switch w.rng.IntN(14) {
	case 13:
		if c := w.claims[n]; c != nil {
			w.want.Replace = c.member
			return fmt.Sprintf("%s of disk %d is to be replaced", c.member, n)
		}
	case 11:
		w.want.Storage.Add(resource.MustParse("1Gi"))
		return fmt.Sprintf("storage=%s", w.want.Storage.String())
	case 12:
		w.rigid = !w.rigid
		return fmt.Sprintf("volumes may grow: %v", !w.rigid)
	case 0:
		w.want.Replicas = sizes[w.rng.IntN(len(sizes))]
		return fmt.Sprintf("replicas=%d", w.want.Replicas)
	case 1:
		if w.set != nil {
			w.set.Revision = w.id("r")
			return "new template " + w.set.Revision
		}
	case 2:
		if w.set != nil {
			w.set.Revision = w.id("r")
			w.bad[w.set.Revision] = true
			return "bad template " + w.set.Revision
		}
	case 3:
		if p := w.pods[n]; p != nil {
			p.leaving = true
			return fmt.Sprintf("pod %d deleted", n)
		}
	case 4, 5:
		if w.healthy() && w.pods[n] != nil {
			w.pods[n].leaving, w.claims[n].leaving = true, true
			return fmt.Sprintf("pod %d and its disk lost", n)
		}
	case 6:
		if w.healthy() && w.pods[n] != nil && w.latched.Initialized {
			w.claims[n].corrupt = true
			return fmt.Sprintf("disk %d damaged", n)
		}
	case 7:
		w.silent[n] = !w.silent[n]
		return fmt.Sprintf("pod %d silent: %v", n, w.silent[n])
	case 10:
		if w.healthy() && w.pods[n] != nil && w.latched.Initialized {
			w.claims[n].leaving = true
			return fmt.Sprintf("somebody deletes claim %d", n)
		}
	case 9:
		if w.set != nil && w.set.Replicas > 1 && w.latched.Initialized {
			w.set.Replicas = int32(w.rng.IntN(int(w.set.Replicas)))
			return fmt.Sprintf("somebody scales the StatefulSet to %d", w.set.Replicas)
		}
	case 8:
		if w.latched.Initialized && w.rng.IntN(3) == 0 {
			w.want.Replicas = 0
			return "hibernate"
		}
	}
	return ""
}

// healthy says that a disk may be lost without losing what the group has written.
func (w *world) healthy() bool {
	g := w.groups[w.latched.ClusterID]
	if g == nil {
		return !w.latched.Initialized
	}
	if g.joint || len(g.membership().Voters()) < 3 {
		return false
	}
	for _, c := range w.claims {
		if c.leaving {
			return false
		}
	}
	up := w.living(g)
	for _, id := range g.membership().Voters() {
		if !up[id] {
			return false
		}
	}
	return true
}

func runSeed(t *testing.T, seed uint64, seenEvents map[string]int, seenKinds map[Kind]int) {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 7))
	sizes := []int32{1, 3, 5, 7, 11}
	w := newWorld(rng, Spec{Name: "db", Replicas: sizes[rng.IntN(len(sizes))], KeepVolumes: rng.IntN(4) == 0})
	for range 150 {
		w.tick()
		if rng.IntN(12) == 0 {
			if f := w.fault(); f != "" {
				w.log = append(w.log, "    fault: "+f)
			}
		}
		w.operate(rng.IntN(10) == 0)
		if len(w.broken) > 0 {
			t.Fatalf("seed=%d: %v\n%s", seed, w.broken, w.tail())
		}
	}
	clear(w.silent)
	w.rigid = false
	if w.want.Replicas < 3 {
		w.want.Replace = "" // nobody can be done without
	}
	for _, set := range []*Set{w.set, w.orphaned} {
		if set != nil && w.bad[set.Revision] {
			set.Revision = w.id("r")
		}
	}
	if w.want.Replicas == 0 {
		w.want.Replicas = 3
	}
	w.log = append(w.log, "    healed")
	w.rest(t, seed)
	if err := w.finished(); err != nil {
		t.Fatalf("seed=%d: %v\n%s", seed, err, w.tail())
	}
	for e, n := range w.events {
		seenEvents[e] += n
	}
	for k, n := range w.kinds {
		seenKinds[k] += n
	}
}

func TestRandomWorldsComeToRestAndNeverBreak(t *testing.T) {
	events, kinds := map[string]int{}, map[Kind]int{}
	for seed := range uint64(1500) {
		runSeed(t, seed, events, kinds)
	}
	for _, k := range []Kind{Rest, Wait, Apply, Scale, Protect, Latch, Form, Change, Transfer, Open, Annotate, Evict, Remove, Drop, Enlarge, Orphan} {
		if kinds[k] == 0 {
			t.Errorf("no world has needed %s", k)
		}
	}
	for _, e := range []string{api.EventMemberAdded, api.EventMemberPromoted, api.EventMemberRemoved, api.EventMemberReplaced, api.EventLeadershipTransferred, api.EventPodRolled, api.EventVolumeExpanded} {
		if events[e] == 0 {
			t.Errorf("no world has seen the event %s", e)
		}
	}
}

func TestElevenMembersShrinkByOrdinalNotByListPosition(t *testing.T) {
	w := newWorld(rand.New(rand.NewPCG(11, 1)), Spec{Name: "db", Replicas: 11})
	w.rest(t, 11)
	stay := map[string]bool{}
	for n := range int32(9) {
		stay[w.claims[n].member] = true
	}
	w.want.Replicas = 9
	w.rest(t, 11)
	if err := w.finished(); err != nil {
		t.Fatal(err)
	}
	for _, id := range w.groups[w.latched.ClusterID].membership().Voters() {
		if !stay[id] {
			t.Errorf("%s has stayed and should have gone", id)
		}
	}
}

func TestDeadlineIsSaidAndTryingGoesOn(t *testing.T) {
	w := newWorld(rand.New(rand.NewPCG(1, 1)), Spec{Name: "db", Replicas: 3})
	w.rest(t, 1)
	w.set.Revision = "bad"
	w.bad["bad"] = true
	w.want.Replicas = 5
	for range int(Deadline/time.Second) + 60 {
		w.tick()
		w.operate(false)
	}
	if s := w.operate(false); s.Stalled != api.ReasonDeadlineExceeded {
		t.Fatalf("after the deadline: %s", s)
	}
	w.set.Revision = "good"
	w.rest(t, 1)
	if err := w.finished(); err != nil {
		t.Fatal(err)
	}
}
