package life

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"raftsman.dev/controllers"

	api "raftsman.dev/api/v1alpha1"
)

// deaths are the effects at which operators have died: just before, or just after with the answer lost.
type deaths struct {
	mu sync.Mutex
	at map[death]bool
}

type death struct {
	effect string
	late   bool
}

// choose lets an operator die where none has died before.
func (d *deaths) choose(effect string) (die, late bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, late := range []bool{false, true} {
		if at := (death{effect, late}); !d.at[at] {
			d.at[at] = true
			return true, late
		}
	}
	return false, false
}

// mortal runs operators that die after a few effects each, one after the other, until done says so; the last one
// lives on. Each is killed just before an effect, or just after it with the answer lost.
func (c *cluster) mortal(t *testing.T, rng *rand.Rand, d *deaths, what string, done func() bool) {
	t.Helper()
	over := time.After(patience)
	for !done() {
		f := &fuse{left: 1 + rng.IntN(8), late: rng.IntN(2) == 0, chosen: d.choose}
		op, err := c.suite.operate(c.namespace, f, c.journal)
		if err != nil {
			t.Fatal(err)
		}
		tick := time.NewTicker(beat)
		for alive := true; alive; {
			select {
			case err := <-op.done:
				op.done <- err
				alive = false
			case <-over:
				tick.Stop()
				_ = op.kill()
				t.Fatalf("%s: not so after %s", what, patience)
			case <-tick.C:
				alive = !done()
			}
		}
		tick.Stop()
		died := f.last
		if err := op.kill(); err != nil {
			t.Fatal(err)
		}
		if died != "" {
			c.journal.add(fmt.Sprintf("==== the operator died, late=%v, at %s", f.late, died))
		}
	}
}

// TestOperatorsDie lives a whole life with operators that are killed between any two steps: birth, growth, shrinking,
// replacing and rolling all complete, and nothing happens twice that must happen once.
func TestOperatorsDie(t *testing.T) {
	d := &deaths{at: map[death]bool{}}
	t.Run("lives", func(t *testing.T) {
		for n := range 3 {
			t.Run(fmt.Sprint(n), func(t *testing.T) { c := newCluster(t, "replicas: 3"); c.mortalLife(t, d, uint64(n)) })
		}
	})
	// Every kind of effect has been the last of some operator, both ways. An operator dies wherever none has died yet.
	for _, effect := range []string{
		"update raftclusters/status", "patch statefulsets", "patch services", "patch serviceaccounts", "patch poddisruptionbudgets",
		"patch persistentvolumeclaims", "delete persistentvolumeclaims", "create pods/eviction", "delete statefulsets",
		"POST /v1/form", "POST /v1/change", "POST /v1/open", "POST /v1/transfer",
	} {
		for _, late := range []bool{false, true} {
			if !d.at[death{effect, late}] {
				t.Errorf("seed=%d: no operator has died at %q, late %v", shared.seed, effect, late)
			}
		}
	}
}

func (c *cluster) mortalLife(t *testing.T, d *deaths, n uint64) {
	rng := rand.New(rand.NewPCG(c.suite.seed, n))
	is := func(voters int) func() bool {
		return func() bool {
			r := c.get(t)
			ready := condition(r, api.ConditionReady)
			return ready.Status == metav1.ConditionTrue && ready.ObservedGeneration == r.Generation && len(c.voters()) == voters
		}
	}
	c.mortal(t, rng, d, "birth", is(3))
	id := c.get(t).Status.ClusterID
	c.whole(t, 3)
	for _, size := range []int{5, 3} {
		if size == 3 {
			c.suite.world.look(c.namespace, func(g *group, members map[string]*process) { g.leader = members["demo-3"].member.disk.member })
		}
		c.scale(t, size)
		before := len(c.changes())
		c.mortal(t, rng, d, fmt.Sprintf("%d voters", size), is(size))
		c.whole(t, size)
		joint := slices.DeleteFunc(c.changes()[before:], func(s string) bool { return !strings.ContainsAny(s, "^-") || strings.Contains(s, "+") })
		if len(joint) != 1 {
			t.Errorf("to %d in the changes %q, want one joint change", size, joint)
		}
	}
	old := c.suite.world.ids(c.namespace)["demo-0"]
	if err := c.suite.world.lose(t.Context(), c.namespace, "demo-0"); err != nil {
		t.Fatal(err)
	}
	c.mortal(t, rng, d, "pod 0 replaced", func() bool { return is(3)() && c.suite.world.ids(c.namespace)["demo-0"] != old })
	if err := c.apply(t.Context(), "{replicas: 3, annotations: {note: rolled}}"); err != nil {
		t.Fatal(err)
	}
	c.mortal(t, rng, d, "rolled", is(3))
	c.whole(t, 3)
	before := c.uids(t)
	if err := c.apply(t.Context(), "{replicas: 3, annotations: {note: rolled}, storage: {size: 2Gi}}"); err != nil {
		t.Fatal(err)
	}
	c.mortal(t, rng, d, "larger volumes", func() bool { return is(3)() && c.setSize(t) == "2Gi" })
	c.grown(t, 3, "2Gi", before)
	c.whole(t, 3)
	if got := c.formed(); !slices.Equal(got, []string{id}) || c.get(t).Status.ClusterID != id {
		t.Errorf("clusters %v; it was %s", got, id)
	}
	c.announcedBeforeFinished(t)
}

// TestOldOperatorFormsNothing freezes an operator just before it latches a founder. Another one takes over, the
// cluster is born and loses its first disk; then the old one wakes.
func TestOldOperatorFormsNothing(t *testing.T) {
	for _, at := range []string{"update raftclusters/status", "POST /v1/form"} {
		t.Run(strings.NewReplacer("/", "-", " ", "-").Replace(strings.ToLower(at)), func(t *testing.T) { oldOperator(t, at) })
	}
}

func oldOperator(t *testing.T, at string) {
	c := newCluster(t, "")
	frozen, thaw, once := make(chan struct{}), make(chan struct{}), sync.Once{}
	old := &fuse{left: -1}
	old.hold = func(label string) {
		// The founder's latch is the first status write after all Pods have reported that they are empty.
		r := c.get(t)
		waiting := condition(r, api.ConditionReady).Reason == api.ReasonWaitingForFirstMember
		if label == at && (waiting || r.Status.ClusterID != "") {
			stop := false
			once.Do(func() { stop = true })
			if stop {
				close(frozen)
				<-thaw
			}
		}
	}
	first, err := c.suite.operate(c.namespace, old, c.journal)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := first.kill(); err != nil {
			t.Error(err)
		}
	})
	if err := c.apply(t.Context(), "replicas: 3"); err != nil {
		t.Fatal(err)
	}
	select {
	case <-frozen:
	case <-time.After(patience):
		t.Fatalf("the first operator never came to %s", at)
	}
	c.operated(t)
	id := c.ready(t).Status.ClusterID
	founder := c.suite.world.ids(c.namespace)["demo-0"]
	if err := c.suite.world.lose(t.Context(), c.namespace, "demo-0"); err != nil {
		t.Fatal(err)
	}
	c.replaced(t, "demo-0", founder)
	close(thaw)
	c.stays(t, 3*time.Second, c.settled(t).ResourceVersion)
	if got := c.formed(); !slices.Equal(got, []string{id}) || c.get(t).Status.ClusterID != id {
		t.Errorf("clusters %v, status says %s; it was %s", got, c.get(t).Status.ClusterID, id)
	}
	c.whole(t, 3)
}

// TestOneOperatorWorksAtATime runs two with leader election: the second does nothing until the first has ended.
func TestOneOperatorWorksAtATime(t *testing.T) {
	c := newCluster(t, "")
	elect := func(o *controllers.Options) { o.LeaderElect, o.LeaseName = true, "election-test" }
	first := c.operated(t, elect)
	if err := c.apply(t.Context(), "replicas: 3"); err != nil {
		t.Fatal(err)
	}
	c.ready(t)
	idle := &journal{}
	second, err := c.suite.operate(c.namespace, &fuse{left: -1}, idle, elect)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := second.kill(); err != nil {
			t.Error(err)
		}
	})
	c.scale(t, 5)
	c.ready(t)
	if strings.Contains(idle.tail(1000), "step=") {
		t.Errorf("both work:\n%s", idle.tail(20))
	}
	if err := first.end(); err != nil {
		t.Fatal(err)
	}
	first.done <- nil
	c.scale(t, 3)
	c.ready(t)
	c.whole(t, 3)
}
