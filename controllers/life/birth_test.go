package life

import (
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	api "raftsman.dev/api/v1alpha1"
)

// TestBirth follows a cluster from kubectl apply to Ready, and looks at everything that people look at.
func TestBirth(t *testing.T) {
	c := newCluster(t, "replicas: 3")
	c.operated(t)
	c.kubectl(t, "wait", "--for=condition=Ready", "raftcluster/demo", "--timeout=3m")
	got := c.get(t)
	c.announcedBeforeFinished(t)

	t.Run("status", func(t *testing.T) { checkStatus(t, got) })
	t.Run("objects", func(t *testing.T) { c.checkObjects(t, got) })
	t.Run("columns", func(t *testing.T) { c.checkColumns(t, got) })
	t.Run("scale subresource", func(t *testing.T) { c.checkScale(t, got) })
	t.Run("a status that has not changed is not written", func(t *testing.T) {
		// The members' commit goes on all the while, and the operator asks them every second.
		c.stays(t, 4*time.Second, got.ResourceVersion)
	})
}

// announcedBeforeFinished looks at every status that was ever written: the first says Reconciling, and none says
// Ready while something is in flight.
func (c *cluster) announcedBeforeFinished(t *testing.T) {
	t.Helper()
	all := c.suite.seen.of(c)
	first := slices.IndexFunc(all, func(r api.RaftCluster) bool { return len(r.Status.Conditions) > 0 })
	if first < 0 {
		t.Fatal("no status was ever seen")
	}
	if condition(&all[first], api.ConditionReconciling).Status != metav1.ConditionTrue {
		t.Errorf("the first status does not say Reconciling: %s", brief(&all[first]))
	}
	for i := range all[first:] {
		r := &all[first+i]
		ready := condition(r, api.ConditionReady).Status == metav1.ConditionTrue
		if ready && (condition(r, api.ConditionInitialized).Status != metav1.ConditionTrue || r.Status.Operation != nil || condition(r, api.ConditionReconciling).Type != "") {
			t.Errorf("Ready while something is in flight: %s", brief(r))
		}
		for _, cond := range r.Status.Conditions {
			if cond.ObservedGeneration != r.Status.ObservedGeneration {
				t.Errorf("%s speaks of generation %d, status of %d", cond.Type, cond.ObservedGeneration, r.Status.ObservedGeneration)
			}
			if cond.Status != metav1.ConditionTrue && (cond.Type == api.ConditionReconciling || cond.Type == api.ConditionStalled) {
				t.Errorf("%s is there and not True: %s", cond.Type, brief(r))
			}
		}
	}
}

func checkStatus(t *testing.T, got *api.RaftCluster) {
	s := got.Status
	if s.ObservedGeneration != got.Generation || s.Replicas != 3 || s.ReadyReplicas != 3 || s.UpdatedReplicas != 3 || s.VotingMembers != 3 || s.Learners != 0 {
		t.Errorf("numbers: %s", brief(got))
	}
	if len(s.ClusterID) != 16 || s.Version != "0.1.0" || s.Leader == "" || s.Operation != nil || s.Selector == "" {
		t.Errorf("identity: %s", brief(got))
	}
	if is := conditions(got); !slices.Equal(is, []string{api.ConditionAvailable, api.ConditionInitialized, api.ConditionReady}) {
		t.Errorf("conditions that are True: %v", is)
	}
	leaders := 0
	for i, m := range s.Members {
		if m.Name != "demo-"+string(rune('0'+i)) || len(m.ID) != 16 || !m.Ready || m.Version != "0.1.0" || m.Lag != "ok" {
			t.Errorf("member %d: %+v", i, m)
		}
		if m.Role == "leader" {
			leaders++
		} else if m.Role != "voter" {
			t.Errorf("role of %s: %s", m.Name, m.Role)
		}
	}
	if len(s.Members) != 3 || leaders != 1 {
		t.Errorf("members: %s", brief(got))
	}
}

func (c *cluster) checkObjects(t *testing.T, got *api.RaftCluster) {
	ctx := t.Context()
	set, budget, peers, clients := &appsv1.StatefulSet{}, &policyv1.PodDisruptionBudget{}, &corev1.Service{}, &corev1.Service{}
	for name, o := range map[string]client.Object{"demo": set, "demo ": budget, "demo-peer": peers, "demo  ": clients} {
		if err := c.suite.api.Get(ctx, types.NamespacedName{Namespace: c.namespace, Name: strings.TrimSpace(name)}, o); err != nil {
			t.Fatal(err)
		}
		owner := metav1.GetControllerOf(o)
		if owner == nil || owner.UID != got.UID {
			t.Errorf("%T is not owned by the RaftCluster", o)
		}
	}
	if budget.Spec.MinAvailable.IntValue() != 2 || budget.Spec.MaxUnavailable != nil {
		t.Errorf("the budget: %+v", budget.Spec)
	}
	if peers.Spec.ClusterIP != corev1.ClusterIPNone || !peers.Spec.PublishNotReadyAddresses || clients.Spec.PublishNotReadyAddresses {
		t.Errorf("services: %+v, %+v", peers.Spec, clients.Spec)
	}
	if set.Spec.PodManagementPolicy != appsv1.ParallelPodManagement || set.Spec.UpdateStrategy.Type != appsv1.OnDeleteStatefulSetStrategyType {
		t.Errorf("the StatefulSet: %+v", set.Spec)
	}
	ids := c.suite.world.ids(c.namespace)
	for _, claim := range c.claims(t) {
		pod := strings.TrimPrefix(claim.Name, "data-")
		if claim.Annotations[api.AnnotationMember] != ids[pod] || claim.Annotations[api.AnnotationClaim] != string(claim.UID) {
			t.Errorf("%s is annotated %v, its member is %s", claim.Name, claim.Annotations, ids[pod])
		}
	}
}

func (c *cluster) claims(t *testing.T) []corev1.PersistentVolumeClaim {
	t.Helper()
	list := &corev1.PersistentVolumeClaimList{}
	if err := c.suite.api.List(t.Context(), list, client.InNamespace(c.namespace)); err != nil {
		t.Fatal(err)
	}
	return list.Items
}

func (c *cluster) checkColumns(t *testing.T, got *api.RaftCluster) {
	lines := strings.Split(strings.TrimSpace(c.kubectl(t, "get", "raft", "demo", "-o", "wide")), "\n")
	if len(lines) != 2 {
		t.Fatalf("kubectl get: %q", lines)
	}
	if head := strings.Fields(lines[0]); !slices.Equal(head, []string{"NAME", "DESIRED", "READY", "LEADER", "VERSION", "AVAILABLE", "REASON", "AGE", "CLUSTERID", "LEARNERS", "UPDATED"}) {
		t.Errorf("columns: %v", head)
	}
	row := strings.Fields(lines[1])
	row[7] = ""
	if !slices.Equal(row, []string{"demo", "3", "3", got.Status.Leader, "0.1.0", "True", "QuorumHealthy", "", got.Status.ClusterID, "0", "3"}) {
		t.Errorf("row: %v", row)
	}
	if all := c.kubectl(t, "get", "all"); !strings.Contains(all, "raftcluster.raftsman.dev/demo") {
		t.Errorf("kubectl get all does not list it:\n%s", all)
	}
}

func (c *cluster) checkScale(t *testing.T, got *api.RaftCluster) {
	scale := &autoscalingv1.Scale{}
	if err := c.suite.api.SubResource("scale").Get(t.Context(), got, scale); err != nil {
		t.Fatal(err)
	}
	if scale.Spec.Replicas != 3 || scale.Status.Replicas != 3 || scale.Status.Selector != got.Status.Selector {
		t.Errorf("scale: %+v", scale)
	}
	pods := &corev1.PodList{}
	selector, err := metav1.ParseToLabelSelector(scale.Status.Selector)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.suite.api.List(t.Context(), pods, client.InNamespace(c.namespace), client.MatchingLabels(selector.MatchLabels)); err != nil {
		t.Fatal(err)
	}
	if len(pods.Items) != 3 {
		t.Errorf("the selector %s finds %d Pods", scale.Status.Selector, len(pods.Items))
	}
}

// stays watches the RaftCluster for a while: nobody may write it.
func (c *cluster) stays(t *testing.T, long time.Duration, version string) {
	t.Helper()
	over := time.After(long)
	tick := time.NewTicker(beat)
	defer tick.Stop()
	for {
		if now := c.get(t); now.ResourceVersion != version {
			t.Fatalf("it has been written: version %s, then %s: %s", version, now.ResourceVersion, brief(now))
		}
		select {
		case <-over:
			return
		case <-tick.C:
		}
	}
}
