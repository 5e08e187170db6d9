package controllers

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	api "raftsman.dev/api/v1alpha1"
	"raftsman.dev/controllers/plan"
)

// register adds the operator's own metrics to a registry. Another manager of the same process may have done so
// already: its counter is shared.
func register(registry prometheus.Registerer, clusters *census) (func(plan.Step), error) {
	steps := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "raftsman_operator_steps_total", Help: "Steps that the operator has planned.",
	}, []string{"kind", "reason"})
	var already prometheus.AlreadyRegisteredError
	switch err := registry.Register(steps); {
	case errors.As(err, &already):
		steps = already.ExistingCollector.(*prometheus.CounterVec)
	case err != nil:
		return nil, fmt.Errorf("register metrics: %w", err)
	}
	if err := registry.Register(clusters); err != nil && !errors.As(err, &already) {
		return nil, fmt.Errorf("register metrics: %w", err)
	}
	return func(s plan.Step) { steps.WithLabelValues(string(s.Kind), s.Reason).Inc() }, nil
}

// census tells the state of every RaftCluster whenever it is asked, so that nothing is left of those that are gone.
// Only the operator that works tells it.
type census struct {
	objects    client.Reader
	elected    <-chan struct{}
	conditions *prometheus.Desc
	members    *prometheus.Desc
	disks      *prometheus.Desc
}

func newCensus(objects client.Reader, elected <-chan struct{}) *census {
	return &census{
		objects: objects, elected: elected,
		conditions: prometheus.NewDesc("raftsman_cluster_condition", "1 while a condition of a RaftCluster is True, else 0.", []string{"namespace", "name", "condition"}, nil),
		disks:      prometheus.NewDesc("raftsman_cluster_disks", "Members of a RaftCluster whose disk is in a state: ok, filling, low or full.", []string{"namespace", "name", "state"}, nil),
		members:    prometheus.NewDesc("raftsman_cluster_members", "Members of a RaftCluster: desired, ready, voter or learner.", []string{"namespace", "name", "kind"}, nil),
	}
}

// Describe says what is told.
func (c *census) Describe(descriptions chan<- *prometheus.Desc) {
	descriptions <- c.conditions
	descriptions <- c.members
	descriptions <- c.disks
}

// Collect tells it. The cache answers at once; what it cannot answer is left out.
func (c *census) Collect(metrics chan<- prometheus.Metric) {
	select {
	case <-c.elected:
	default:
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	list := &api.RaftClusterList{}
	if err := c.objects.List(ctx, list); err != nil {
		return
	}
	for i := range list.Items {
		c.tell(&list.Items[i], metrics)
	}
}

func (c *census) tell(r *api.RaftCluster, metrics chan<- prometheus.Metric) {
	is := map[string]float64{api.ConditionReconciling: 0, api.ConditionStalled: 0}
	for _, cond := range r.Status.Conditions {
		is[cond.Type] = 0
		if cond.Status == metav1.ConditionTrue {
			is[cond.Type] = 1
		}
	}
	for kind, value := range is {
		metrics <- prometheus.MustNewConstMetric(c.conditions, prometheus.GaugeValue, value, r.Namespace, r.Name, kind)
	}
	counts := map[string]int32{
		"desired": r.Wanted(), "ready": r.Status.ReadyReplicas, "voter": r.Status.VotingMembers, "learner": r.Status.Learners,
	}
	for kind, n := range counts {
		metrics <- prometheus.MustNewConstMetric(c.members, prometheus.GaugeValue, float64(n), r.Namespace, r.Name, kind)
	}
	disks := map[string]int{"ok": 0, "filling": 0, "low": 0, "full": 0}
	for _, m := range r.Status.Members {
		if m.Disk != "" {
			disks[m.Disk]++
		}
	}
	for state, n := range disks {
		metrics <- prometheus.MustNewConstMetric(c.disks, prometheus.GaugeValue, float64(n), r.Namespace, r.Name, state)
	}
}
