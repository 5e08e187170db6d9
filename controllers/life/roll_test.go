package life

import (
	"fmt"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	api "raftsman.dev/api/v1alpha1"
	"raftsman.dev/controllers"
)

// TestRoll changes the template: all Pods are replaced one by one, the leader last and after it has handed over.
func TestRoll(t *testing.T) {
	c := newCluster(t, "replicas: 3")
	c.operated(t)
	leader := c.ready(t).Status.Leader
	uids, order := map[string]string{}, []string{}
	for _, p := range named(3) {
		uids[p] = string(c.pod(t, p).UID)
	}
	if err := c.apply(t.Context(), "{replicas: 3, annotations: {note: rolled}}"); err != nil {
		t.Fatal(err)
	}
	c.reaches(t, "all rolled", func(r *api.RaftCluster) bool {
		for _, p := range named(3) {
			if now := c.pod(t, p); now.UID != "" && string(now.UID) != uids[p] && !slices.Contains(order, p) {
				order = append(order, p)
			}
		}
		return len(order) == 3 && condition(r, api.ConditionReady).Status == metav1.ConditionTrue && r.Status.UpdatedReplicas == 3
	})
	if order[2] != leader {
		t.Errorf("rolled in the order %v; %s led", order, leader)
	}
	c.suite.world.look(c.namespace, func(g *group, _ map[string]*process) {
		if g.transfers != 1 {
			t.Errorf("%d transfers of leadership", g.transfers)
		}
	})
	c.whole(t, 3)
	c.announcedBeforeFinished(t)
	c.tells(t, api.EventPodRolled, named(3)...)
}

// tells waits until there is an event of this reason about each of the Pods.
func (c *cluster) tells(t *testing.T, reason string, pods ...string) {
	t.Helper()
	err := wait(t.Context(), patience, "events "+reason, func() error {
		list, about := &corev1.EventList{}, []string{}
		if err := c.suite.api.List(t.Context(), list, client.InNamespace(c.namespace)); err != nil {
			return err
		}
		for _, e := range list.Items {
			if e.Reason == reason && e.InvolvedObject.Name == c.name && e.Related != nil && !slices.Contains(about, e.Related.Name) {
				about = append(about, e.Related.Name)
			}
		}
		if slices.Sort(about); !slices.Equal(about, pods) {
			return fmt.Errorf("they are about %v, want %v", about, pods)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// TestBadTemplateIsReverted rolls to an image that cannot be pulled: one Pod is lost to it, the others stay, and
// reverting heals without a person.
func TestBadTemplateIsReverted(t *testing.T) {
	c := newCluster(t, "replicas: 3")
	c.operated(t)
	c.ready(t)
	born := c.suite.world.ids(c.namespace)
	if err := c.apply(t.Context(), "{replicas: 3, image: 'raftsman.dev/raftsman:bad'}"); err != nil {
		t.Fatal(err)
	}
	stuck := c.reaches(t, "one Pod down", func(r *api.RaftCluster) bool {
		return r.Status.ReadyReplicas == 2 && r.Status.UpdatedReplicas == 1 && condition(r, api.ConditionDegraded).Status == metav1.ConditionTrue
	})
	if condition(stuck, api.ConditionAvailable).Status != metav1.ConditionTrue || stuck.Status.Operation == nil || stuck.Status.Operation.Type != api.OperationRoll {
		t.Errorf("a bad template: %s", brief(stuck))
	}
	c.stays(t, 3*time.Second, c.settled(t).ResourceVersion)
	if err := c.apply(t.Context(), "{replicas: 3}"); err != nil {
		t.Fatal(err)
	}
	c.ready(t)
	c.whole(t, 3)
	for name, id := range c.suite.world.ids(c.namespace) {
		if born[name] != id {
			t.Errorf("%s was %s and is %s", name, born[name], id)
		}
	}
}

// settled waits until nobody has written the RaftCluster for a second.
func (c *cluster) settled(t *testing.T) *api.RaftCluster {
	t.Helper()
	version, since := "", time.Now()
	return c.reaches(t, "a quiet second", func(r *api.RaftCluster) bool {
		if r.ResourceVersion != version {
			version, since = r.ResourceVersion, time.Now()
		}
		return time.Since(since) > time.Second
	})
}

// TestDeadline lets a growth last too long: that is said, the operator goes on trying, and it ends well.
func TestDeadline(t *testing.T) {
	c := newCluster(t, "replicas: 3")
	c.operated(t)
	c.ready(t)
	slow := func(is bool) {
		c.suite.world.look(c.namespace, func(g *group, _ map[string]*process) { g.slow = is })
	}
	slow(true)
	if err := c.apply(t.Context(), "{replicas: 5, progressDeadlineSeconds: 1800}"); err != nil {
		t.Fatal(err)
	}
	c.reaches(t, "waiting for learners", func(r *api.RaftCluster) bool {
		return condition(r, api.ConditionProgressing).Reason == api.ReasonWaitingForLearnerCatchUp
	})
	// As if nothing had been achieved for an hour.
	err := wait(t.Context(), patience, "the start is set back", func() error {
		r := c.get(t)
		r.Status.Operation.ProgressedAt = metav1.NewTime(time.Now().Add(-time.Hour).Truncate(time.Second))
		return c.suite.api.Status().Update(t.Context(), r)
	})
	if err != nil {
		t.Fatal(err)
	}
	r := c.reaches(t, "DeadlineExceeded", func(r *api.RaftCluster) bool {
		return condition(r, api.ConditionStalled).Reason == api.ReasonDeadlineExceeded
	})
	if condition(r, api.ConditionAvailable).Status != metav1.ConditionTrue || condition(r, api.ConditionReconciling).Type != "" {
		t.Errorf("past the deadline: %s", brief(r))
	}
	slow(false)
	c.ready(t)
	c.whole(t, 5)
}

// TestUnsupportedUpgradePath asks for a version that skips a minor: it is refused before any Pod is touched, all else in
// the spec takes effect, and the next minor is rolled to.
func TestUnsupportedUpgradePath(t *testing.T) {
	c := newCluster(t, "replicas: 3")
	c.operated(t)
	c.ready(t)
	before := c.pod(t, "demo-0").UID
	if err := c.apply(t.Context(), "{replicas: 5, image: 'raftsman.dev/raftsman:0.3.0'}"); err != nil {
		t.Fatal(err)
	}
	r := c.reaches(t, "UnsupportedUpgradePath, and five voters", func(r *api.RaftCluster) bool {
		return condition(r, api.ConditionStalled).Reason == api.ReasonUnsupportedUpgradePath && condition(r, api.ConditionReady).Reason == api.ReasonUnsupportedUpgradePath && len(c.voters()) == 5
	})
	if r.Status.Version != "0.1.0" || r.Status.UpdatedReplicas != 5 || c.pod(t, "demo-0").UID != before || condition(r, api.ConditionReconciling).Type != "" {
		t.Errorf("refused: %s", brief(r))
	}
	c.stays(t, 3*time.Second, c.settled(t).ResourceVersion)
	if err := c.apply(t.Context(), "{replicas: 5, image: 'raftsman.dev/raftsman:0.2.0'}"); err != nil {
		t.Fatal(err)
	}
	if r := c.ready(t); r.Status.Version != "0.2.0" || c.pod(t, "demo-0").UID == before {
		t.Errorf("upgraded: %s", brief(r))
	}
	c.whole(t, 5)
}

// TestRestartedAt rolls by an annotation on the RaftCluster, as kubectl rollout restart does with a Deployment.
func TestRestartedAt(t *testing.T) {
	c := newCluster(t, "replicas: 3")
	c.operated(t, func(o *controllers.Options) { o.Poll = time.Hour }) // the annotation alone wakes the operator
	c.ready(t)
	c.kubectl(t, "annotate", "raftcluster/demo", api.AnnotationRestartedAt+"=now")
	c.reaches(t, "restarted", func(r *api.RaftCluster) bool {
		for _, p := range named(3) {
			if c.pod(t, p).Annotations[api.AnnotationRestartedAt] != "now" {
				return false
			}
		}
		return r.Status.UpdatedReplicas == 3 && condition(r, api.ConditionReady).Status == metav1.ConditionTrue
	})
	c.whole(t, 3)
}
