package act

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	api "raftsman.dev/api/v1alpha1"
	"raftsman.dev/controllers/observe"
	"raftsman.dev/controllers/plan"
)

// enlarge makes the very claim that was judged ask for the size of the spec.
func (a Actor) enlarge(ctx context.Context, c *api.RaftCluster, step plan.Step) error {
	claim := &corev1.PersistentVolumeClaim{}
	if err := a.Live.Get(ctx, types.NamespacedName{Namespace: c.Namespace, Name: step.Claim.Name}, claim); err != nil {
		return moved("read claim "+step.Claim.Name, err)
	}
	if string(claim.UID) != step.Claim.UID || claim.DeletionTimestamp != nil || c.Spec.Storage.Size.Cmp(observe.Size(claim)) <= 0 {
		return fmt.Errorf("%w: claim %s is another one, on its way out or large enough", ErrMoved, step.Claim.Name)
	}
	err := a.Objects.Patch(ctx, claim, observe.Larger(claim, c.Spec.Storage.Size), client.FieldOwner(Owner))
	if apierrors.IsForbidden(err) || apierrors.IsInvalid(err) {
		// It was allowed a moment ago: the next look finds out why it is not any more.
		return fmt.Errorf("%w: enlarge claim %s: %w", ErrLater, step.Claim.Name, err)
	}
	return moved("enlarge claim "+step.Claim.Name, err)
}

// orphan deletes the very StatefulSet that was judged and nothing that it has made: its Pods run on, and the
// StatefulSet that is applied next takes them over.
func (a Actor) orphan(ctx context.Context, c *api.RaftCluster, step plan.Step) error {
	if err := a.unscaled(ctx, c, step); err != nil {
		return err
	}
	uid := types.UID(step.Set.UID)
	set := &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Namespace: c.Namespace, Name: c.Name}}
	return moved("delete the StatefulSet and leave its Pods", a.Objects.Delete(ctx, set,
		client.Preconditions{UID: &uid}, client.PropagationPolicy(metav1.DeletePropagationOrphan)))
}
