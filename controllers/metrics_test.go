package controllers

import (
	"context"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	api "raftsman.dev/api/v1alpha1"
	"raftsman.dev/controllers/plan"
)

// found is a reader that finds these RaftClusters.
type found struct {
	client.Reader
	items []api.RaftCluster
}

func (f *found) List(_ context.Context, list client.ObjectList, _ ...client.ListOption) error {
	list.(*api.RaftClusterList).Items = f.items
	return nil
}

func TestCensus(t *testing.T) {
	r := api.RaftCluster{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "demo"}}
	r.Status.ReadyReplicas, r.Status.VotingMembers = 2, 3
	r.Status.Conditions = []metav1.Condition{{Type: api.ConditionReady, Status: metav1.ConditionFalse}, {Type: api.ConditionReconciling, Status: metav1.ConditionTrue}}
	r.Status.Members = []api.MemberStatus{{Name: "demo-0", Disk: "ok"}, {Name: "demo-1", Disk: "filling"}, {Name: "demo-2"}}
	objects, elected := &found{items: []api.RaftCluster{r}}, make(chan struct{})
	c := newCensus(objects, elected)
	if n := testutil.CollectAndCount(c); n != 0 {
		t.Errorf("an operator that does not work tells %d metrics", n)
	}
	close(elected)
	want := `
# HELP raftsman_cluster_condition 1 while a condition of a RaftCluster is True, else 0.
# TYPE raftsman_cluster_condition gauge
raftsman_cluster_condition{condition="Ready",name="demo",namespace="a"} 0
raftsman_cluster_condition{condition="Reconciling",name="demo",namespace="a"} 1
raftsman_cluster_condition{condition="Stalled",name="demo",namespace="a"} 0
# HELP raftsman_cluster_disks Members of a RaftCluster whose disk is in a state: ok, filling, low or full.
# TYPE raftsman_cluster_disks gauge
raftsman_cluster_disks{name="demo",namespace="a",state="filling"} 1
raftsman_cluster_disks{name="demo",namespace="a",state="full"} 0
raftsman_cluster_disks{name="demo",namespace="a",state="low"} 0
raftsman_cluster_disks{name="demo",namespace="a",state="ok"} 1
# HELP raftsman_cluster_members Members of a RaftCluster: desired, ready, voter or learner.
# TYPE raftsman_cluster_members gauge
raftsman_cluster_members{kind="desired",name="demo",namespace="a"} 3
raftsman_cluster_members{kind="learner",name="demo",namespace="a"} 0
raftsman_cluster_members{kind="ready",name="demo",namespace="a"} 2
raftsman_cluster_members{kind="voter",name="demo",namespace="a"} 3
`
	if err := testutil.CollectAndCompare(c, strings.NewReader(want)); err != nil {
		t.Error(err)
	}
	objects.items = nil
	if n := testutil.CollectAndCount(c); n != 0 {
		t.Errorf("%d metrics are left of a RaftCluster that is gone", n)
	}
}

func TestTwoManagersShareTheCounter(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	for range 2 {
		steps, err := register(registry, newCensus(&found{}, make(chan struct{})))
		if err != nil {
			t.Fatal(err)
		}
		steps(plan.Step{Kind: plan.Rest, Reason: api.ReasonQuorumHealthy})
	}
	want := `
# HELP raftsman_operator_steps_total Steps that the operator has planned.
# TYPE raftsman_operator_steps_total counter
raftsman_operator_steps_total{kind="Rest",reason="QuorumHealthy"} 2
`
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want)); err != nil {
		t.Error(err)
	}
}
