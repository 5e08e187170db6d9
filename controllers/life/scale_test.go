package life

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	api "raftsman.dev/api/v1alpha1"
)

// scale is kubectl scale.
func (c *cluster) scale(t *testing.T, replicas int) {
	t.Helper()
	c.kubectl(t, "scale", "raftcluster/"+c.name, fmt.Sprintf("--replicas=%d", replicas))
}

// voters are the group's voters by name.
func (c *cluster) voters() (names []string) {
	c.suite.world.look(c.namespace, func(g *group, _ map[string]*process) {
		if g != nil {
			names = g.voters()
		}
	})
	return names
}

// changes are the group's membership changes so far, in words.
func (c *cluster) changes() (words []string) {
	c.suite.world.look(c.namespace, func(g *group, _ map[string]*process) { words = slices.Clone(g.changes) })
	return words
}

// named are the names demo-0 and so on.
func named(n int) []string {
	var names []string
	for i := range n {
		names = append(names, fmt.Sprintf("demo-%d", i))
	}
	slices.Sort(names)
	return names
}

// whole checks what must be true of a cluster of n members at rest.
func (c *cluster) whole(t *testing.T, n int) {
	t.Helper()
	if got := c.voters(); !slices.Equal(got, named(n)) {
		t.Errorf("voters are %v", got)
	}
	budget := &policyv1.PodDisruptionBudget{}
	if err := c.suite.api.Get(t.Context(), types.NamespacedName{Namespace: c.namespace, Name: c.name}, budget); err != nil {
		t.Fatal(err)
	}
	if keep := budget.Spec.MinAvailable.IntValue(); keep != n/2+1 {
		t.Errorf("the budget keeps %d of %d", keep, n)
	}
	ids := c.suite.world.ids(c.namespace)
	if len(ids) != n {
		t.Errorf("%d Pods run: %v", len(ids), ids)
	}
	claims := c.claims(t)
	if len(claims) != n {
		t.Errorf("%d claims", len(claims))
	}
	for _, claim := range claims {
		if pod := strings.TrimPrefix(claim.Name, "data-"); claim.Annotations[api.AnnotationMember] != ids[pod] {
			t.Errorf("%s is annotated %s and holds %s", claim.Name, claim.Annotations[api.AnnotationMember], ids[pod])
		}
	}
	if r := c.get(t); r.Status.Operation != nil || condition(r, api.ConditionReconciling).Type != "" {
		t.Errorf("something is still in flight: %s", brief(r))
	}
}

// TestScale grows from three to five and shrinks again, by kubectl scale.
func TestScale(t *testing.T) {
	c := newCluster(t, "replicas: 3")
	c.operated(t)
	id := c.ready(t).Status.ClusterID
	before := len(c.changes())

	c.scale(t, 5)
	c.ready(t)
	c.whole(t, 5)
	grown := c.changes()
	if joint := promotions(grown[before:]); len(joint) != 1 || strings.Count(joint[0], "^") != 2 {
		t.Errorf("growing took the changes %q, want one that promotes two", grown[before:])
	}
	// The highest ordinal leads: leadership has to go to a member that stays.
	c.suite.world.look(c.namespace, func(g *group, members map[string]*process) { g.leader = members["demo-4"].member.disk.member })
	c.scale(t, 3)
	c.ready(t)
	c.whole(t, 3)
	if shrunk := c.changes()[len(grown):]; len(shrunk) != 1 || strings.Count(shrunk[0], "-demo-") != 2 {
		t.Errorf("shrinking took the changes %q, want one that removes two", shrunk)
	}
	if now := c.get(t); now.Status.ClusterID != id {
		t.Errorf("the cluster was %s and is %s", id, now.Status.ClusterID)
	}
	c.announcedBeforeFinished(t)
}

// promotions are the changes that promote somebody.
func promotions(changes []string) []string {
	return slices.DeleteFunc(slices.Clone(changes), func(s string) bool { return !strings.Contains(s, "^") })
}

// TestElevenShrinkToFiveAndThree removes members by ID: no two members list the membership in the same order, and
// demo-10 sorts before demo-2.
func TestElevenShrinkToFiveAndThree(t *testing.T) {
	c := newCluster(t, "replicas: 11")
	c.operated(t)
	c.ready(t)
	c.whole(t, 11)
	born := c.suite.world.ids(c.namespace)
	for _, n := range []int{5, 3} {
		c.scale(t, n)
		c.ready(t)
		c.whole(t, n)
		for name, id := range c.suite.world.ids(c.namespace) {
			if born[name] != id {
				t.Errorf("%s was %s and is %s", name, born[name], id)
			}
		}
	}
}

// TestPausedTouchesNothing holds a paused operator to its word: the spec changes, and nothing else does.
func TestPausedTouchesNothing(t *testing.T) {
	c := newCluster(t, "replicas: 3")
	c.operated(t)
	c.ready(t)
	if err := c.apply(t.Context(), "{replicas: 5, paused: true, annotations: {note: new}}"); err != nil {
		t.Fatal(err)
	}
	paused := c.reaches(t, "Paused", func(r *api.RaftCluster) bool {
		return condition(r, api.ConditionReady).Reason == api.ReasonPaused && r.Status.ObservedGeneration == r.Generation
	})
	if condition(paused, api.ConditionReady).Status == metav1.ConditionTrue || condition(paused, api.ConditionAvailable).Status != metav1.ConditionTrue {
		t.Errorf("paused: %s", brief(paused))
	}
	c.stays(t, 3*time.Second, paused.ResourceVersion)
	if got := c.voters(); len(got) != 3 {
		t.Errorf("paused, and %v vote", got)
	}
	if err := c.apply(t.Context(), "{replicas: 5, annotations: {note: new}}"); err != nil {
		t.Fatal(err)
	}
	c.ready(t)
	c.whole(t, 5)
}

// TestHibernateAndWake stops all Pods and brings the same members back.
func TestHibernateAndWake(t *testing.T) {
	c := newCluster(t, "replicas: 3")
	c.operated(t)
	c.ready(t)
	born := c.suite.world.ids(c.namespace)
	c.scale(t, 0)
	asleep := c.reaches(t, "Hibernated", func(r *api.RaftCluster) bool {
		return condition(r, api.ConditionProgressing).Status == metav1.ConditionFalse && condition(r, api.ConditionReady).Reason == api.ReasonHibernated
	})
	if asleep.Status.Replicas != 0 || asleep.Status.HibernatedReplicas != 3 || condition(asleep, api.ConditionAvailable).Status != metav1.ConditionFalse {
		t.Errorf("asleep: %s", brief(asleep))
	}
	if len(c.claims(t)) != 3 {
		t.Errorf("hibernation left %d claims", len(c.claims(t)))
	}
	c.scale(t, 3)
	c.reaches(t, "awake", func(r *api.RaftCluster) bool { return r.Status.HibernatedReplicas == 0 && r.Status.ReadyReplicas == 3 })
	c.ready(t)
	c.whole(t, 3)
	for name, id := range c.suite.world.ids(c.namespace) {
		if born[name] != id {
			t.Errorf("%s was %s and is %s", name, born[name], id)
		}
	}
}

// TestEvenIsAllowedWhereAskedFor grows to four.
func TestEvenIsAllowedWhereAskedFor(t *testing.T) {
	c := newCluster(t, "{replicas: 4, allowEvenReplicas: true}")
	c.operated(t)
	c.ready(t)
	c.whole(t, 4)
}
