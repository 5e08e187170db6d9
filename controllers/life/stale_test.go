package life

import (
	"errors"
	"net/http"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	quantity "k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"raftsman.dev/controllers/act"
	"raftsman.dev/controllers/observe"
	"raftsman.dev/controllers/plan"
	"raftsman.dev/controllers/resource"
)

// TestStaleStepsDoNothing performs steps that were planned on facts that have changed since: each of them is refused
// before it touches anything.
func TestStaleStepsDoNothing(t *testing.T) {
	c := newCluster(t, "replicas: 3")
	op := c.operated(t)
	c.ready(t)
	if err := op.end(); err != nil {
		t.Fatal(err)
	}
	op.done <- nil
	defaults := resource.Defaults{Image: image}
	look := func() *observe.Sight {
		s, err := observe.Observer{Objects: c.suite.api, HTTP: http.DefaultClient, Defaults: defaults}.Look(t.Context(), types.NamespacedName{Namespace: c.namespace, Name: c.name})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	actor := act.Actor{Objects: c.suite.api, Live: c.suite.api, HTTP: http.DefaultClient, Defaults: defaults, NewClusterID: func() (string, error) { return "0000000000000bad", nil }}
	refused := func(what string, s *observe.Sight, step plan.Step) {
		t.Helper()
		if err := actor.Perform(t.Context(), s.Cluster, step); !errors.Is(err, act.ErrMoved) {
			t.Errorf("%s: %v, want %v", what, err, act.ErrMoved)
		}
	}

	old := look()
	c.scale(t, 5)
	for _, step := range everyStep(old.Seen) {
		refused("after an edit of the spec: "+step.String(), old, step)
	}
	c.scale(t, 3)

	now := look()
	pod, claim, five := now.Seen.Pods[2], now.Seen.Claims[2], int32(5)
	other, moved, copied := pod, pod, claim
	other.UID, moved.IP, copied.UID = "another", "10.9.9.9", "another"
	refused("another Pod", now, plan.Step{Kind: plan.Remove, Pod: other})
	refused("another Pod", now, plan.Step{Kind: plan.Evict, Pod: other})
	refused("a Pod whose address has gone elsewhere", now, plan.Step{Kind: plan.Remove, Pod: moved})
	refused("another claim", now, plan.Step{Kind: plan.Drop, Claim: copied, Pod: pod})
	refused("a claim in use", now, plan.Step{Kind: plan.Drop, Claim: claim})
	refused("the damaged claim of another Pod", now, plan.Step{Kind: plan.Drop, Claim: claim, Pod: moved})
	refused("a claim that is another's", now, plan.Step{Kind: plan.Annotate, Claim: copied, Pod: pod})
	refused("a size planned on another", now, plan.Step{Kind: plan.Scale, Replicas: 4, From: &five, Storage: now.Seen.Set.Storage})
	refused("a larger claim than is wanted", now, plan.Step{Kind: plan.Enlarge, Claim: claim})
	set := *now.Seen.Set
	set.UID = "another"
	refused("another StatefulSet", now, plan.Step{Kind: plan.Orphan, Set: &set, From: &set.Replicas, Storage: set.Storage})
	refused("a StatefulSet that gives another size to volumes", now, plan.Step{Kind: plan.Scale, Replicas: 5, From: &set.Replicas, Storage: quantity.MustParse("7Gi")})
	refused("objects for a StatefulSet that was not seen", now, plan.Step{Kind: plan.Apply, Replicas: 1, Guard: 1})
	refused("a second founding", now, plan.Step{Kind: plan.Latch, Latch: &plan.LatchChange{Found: &pod.Report.Member}})
	c.untouched(t, now)
}

// everyStep is a step of each kind that acts, each as harmful as can be.
func everyStep(seen plan.Observation) []plan.Step {
	pod, claim := seen.Pods[2], seen.Claims[2]
	leader, _ := seen.Leader()
	change := &plan.MembershipChange{Index: leader.Report.Membership.Index, Remove: []string{pod.Report.Member}}
	from := &seen.Set.Replicas
	return []plan.Step{
		{Kind: plan.Apply, Replicas: 1, Guard: 0, From: from}, {Kind: plan.Scale, Replicas: 1, From: from}, {Kind: plan.Protect},
		{Kind: plan.Latch, Latch: &plan.LatchChange{Abandon: true}}, {Kind: plan.Form, Pod: pod}, {Kind: plan.Open, Pod: leader},
		{Kind: plan.Change, Pod: leader, Change: change}, {Kind: plan.Transfer, Pod: leader, To: pod.Report.Member},
		{Kind: plan.Annotate, Pod: seen.Pods[1], Claim: claim}, {Kind: plan.Evict, Pod: pod}, {Kind: plan.Remove, Pod: pod},
		{Kind: plan.Drop, Pod: pod, Claim: claim}, {Kind: plan.Enlarge, Claim: claim},
		{Kind: plan.Orphan, Set: seen.Set, From: from, Storage: seen.Set.Storage},
	}
}

// untouched compares the cluster with what it was.
func (c *cluster) untouched(t *testing.T, was *observe.Sight) {
	t.Helper()
	pods := &corev1.PodList{}
	if err := c.suite.api.List(t.Context(), pods, client.InNamespace(c.namespace)); err != nil {
		t.Fatal(err)
	}
	for _, p := range pods.Items {
		if !slices.ContainsFunc(was.Seen.Pods, func(o plan.Pod) bool { return o.UID == string(p.UID) }) || p.DeletionTimestamp != nil {
			t.Errorf("Pod %s is another or on its way out", p.Name)
		}
	}
	if len(pods.Items) != 3 || c.get(t).Status.ClusterID != was.Cluster.Status.ClusterID {
		t.Errorf("%d Pods, %s", len(pods.Items), brief(c.get(t)))
	}
	c.whole(t, 3)
}
