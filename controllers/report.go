package controllers

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"

	api "raftsman.dev/api/v1alpha1"
	"raftsman.dev/controllers/observe"
	"raftsman.dev/controllers/plan"
	"raftsman.dev/controllers/resource"
)

// announce writes status before an act that begins or advances an operation, and before the first act of all,
// so that nobody takes the object for finished. A latch carries its status in its own write.
func (r *Reconciler) announce(ctx context.Context, s *observe.Sight, step plan.Step) error {
	if step.Kind == plan.Latch {
		r.describe(s, step)
		return nil
	}
	if step.Kind == plan.Rest || step.Kind == plan.Wait || refused(s.Cluster) {
		return nil
	}
	return r.report(ctx, s, step)
}

// refused says that status tells already why this very spec cannot be carried out: announcing another attempt would
// take that back for a moment, at every look.
func refused(c *api.RaftCluster) bool {
	s := meta.FindStatusCondition(c.Status.Conditions, api.ConditionStalled)
	return s != nil && s.Reason == api.ReasonInvalidSpec && s.ObservedGeneration == c.Generation
}

// describe computes the status that belongs to a step.
func (r *Reconciler) describe(s *observe.Sight, step plan.Step) {
	plan.Describe(&s.Cluster.Status, s.Cluster.Generation, s.Want, s.Seen, step, r.Now())
	s.Cluster.Status.Selector = labels.SelectorFromSet(resource.Selector(s.Cluster)).String()
}

// report writes status if it has changed, on the version that was observed: whoever was faster wins, and the
// facts are gathered again.
func (r *Reconciler) report(ctx context.Context, s *observe.Sight, step plan.Step) error {
	before := s.Cluster.Status.DeepCopy()
	r.describe(s, step)
	if equality.Semantic.DeepEqual(*before, s.Cluster.Status) {
		return nil
	}
	written := s.Cluster.DeepCopy() // the answer must not replace the spec that the step is carried out with
	if err := r.Objects.Status().Update(ctx, written); err != nil {
		return fmt.Errorf("write status: %w", err)
	}
	s.Cluster.ResourceVersion, s.Cluster.Status = written.ResourceVersion, written.Status
	r.turns(s.Cluster, before, step)
	return nil
}

// tell records what has been done.
func (r *Reconciler) tell(ctx context.Context, c *api.RaftCluster, step plan.Step) {
	log := logr.FromContextOrDiscard(ctx)
	if step.Kind == plan.Rest || step.Kind == plan.Wait {
		log.V(1).Info("nothing to do")
		return
	}
	log.Info("done")
	if step.Event != "" {
		r.Events.Eventf(c, about(c, step), corev1.EventTypeNormal, step.Event, string(step.Kind), "%s", step.Why)
	}
}

// about is the Pod that a step is about. Events about different Pods are kept apart; the same news of one object is
// only counted, and what it said the second time is lost.
func about(c *api.RaftCluster, step plan.Step) runtime.Object {
	name := step.Pod.Name
	switch {
	case step.ToName != "":
		name = step.ToName
	case step.Change != nil && len(step.Change.Add) > 0:
		name = step.Change.Add[0].Name
	case step.Change != nil:
		name = named(step)
	}
	if name == "" {
		return nil
	}
	return &corev1.ObjectReference{APIVersion: "v1", Kind: "Pod", Namespace: c.Namespace, Name: name}
}

// named is the name of the first member that a change promotes or removes.
func named(step plan.Step) string {
	m := step.Pod.Report.Membership
	for _, id := range append(slices.Clone(step.Change.Promote), step.Change.Remove...) {
		if e, ok := m.Find(id); ok {
			return e.Name
		}
	}
	return ""
}

// turns records the turning points between two statuses.
func (r *Reconciler) turns(c *api.RaftCluster, before *api.RaftClusterStatus, step plan.Step) {
	was, is := operation(before), operation(&c.Status)
	if was != is {
		switch is {
		case api.OperationGrow:
			r.Events.Eventf(c, nil, corev1.EventTypeNormal, api.EventScaleUp, string(step.Kind), "growing to a size of %d", c.Wanted())
		case api.OperationShrink:
			r.Events.Eventf(c, nil, corev1.EventTypeNormal, api.EventScaleDown, string(step.Kind), "shrinking to a size of %d", c.Wanted())
		case api.OperationRoll:
			r.Events.Eventf(c, nil, corev1.EventTypeNormal, api.EventRollingUpdateStarted, string(step.Kind), "replacing the Pods of an old revision one by one")
		}
		if was == api.OperationRoll && c.Status.UpdatedReplicas == c.Status.Replicas {
			r.Events.Eventf(c, nil, corev1.EventTypeNormal, api.EventRollingUpdateCompleted, string(step.Kind), "all Pods are of the wanted revision")
		}
	}
	lost := func(s *api.RaftClusterStatus) bool {
		a := meta.FindStatusCondition(s.Conditions, api.ConditionAvailable)
		return a != nil && a.Status == metav1.ConditionFalse && a.Reason == api.ReasonQuorumLost
	}
	switch {
	case !lost(before) && lost(&c.Status):
		r.Events.Eventf(c, nil, corev1.EventTypeWarning, api.EventQuorumLost, string(step.Kind), "%s", note(step.Why))
	case lost(before) && meta.IsStatusConditionTrue(c.Status.Conditions, api.ConditionAvailable):
		r.Events.Eventf(c, nil, corev1.EventTypeNormal, api.EventQuorumRestored, string(step.Kind), "a quorum answers again")
	}
}

// note is a text cut to what an event may carry.
func note(text string) string {
	const most = 1000
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + "…"
}

func operation(s *api.RaftClusterStatus) api.OperationType {
	if s.Operation == nil {
		return ""
	}
	return s.Operation.Type
}
