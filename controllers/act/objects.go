package act

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	api "raftsman.dev/api/v1alpha1"
	"raftsman.dev/controllers/observe"
	"raftsman.dev/controllers/plan"
	"raftsman.dev/controllers/resource"
)

// apply brings all objects of a RaftCluster up to date, each by server-side apply.
func (a Actor) apply(ctx context.Context, c *api.RaftCluster, sizes resource.Sizes) error {
	objects, err := resource.All(c, a.Defaults, sizes)
	if err != nil {
		return err
	}
	for _, o := range objects {
		if err := a.applyOne(ctx, c, o); err != nil {
			return err
		}
	}
	return nil
}

// resize applies the one object of a kind whose size changes, and leaves the others as they are.
func (a Actor) resize(ctx context.Context, c *api.RaftCluster, kind string, sizes resource.Sizes) error {
	objects, err := resource.All(c, a.Defaults, sizes)
	if err != nil {
		return err
	}
	for _, o := range objects {
		if o.GetObjectKind().GroupVersionKind().Kind == kind {
			return a.applyOne(ctx, c, o)
		}
	}
	return fmt.Errorf("a RaftCluster has no %s", kind)
}

// unscaled refuses to set a size when the StatefulSet has another one than it was planned on: what a stale cache
// takes for growing may be shrinking. One that was made anew since gives another size to volumes too.
func (a Actor) unscaled(ctx context.Context, c *api.RaftCluster, step plan.Step) error {
	from := step.From
	set := &appsv1.StatefulSet{}
	err := a.Live.Get(ctx, client.ObjectKeyFromObject(c), set)
	switch {
	case apierrors.IsNotFound(err) && from == nil:
		return nil
	case err != nil:
		return moved("read the StatefulSet", err)
	case from == nil || set.Spec.Replicas == nil || *set.Spec.Replicas != *from || !step.Storage.Equal(observe.VolumeSize(set)):
		return fmt.Errorf("%w: the StatefulSet has another size than was observed", ErrMoved)
	}
	return nil
}

// applyOne takes over fields that others have set, but never an object that is somebody else's.
func (a Actor) applyOne(ctx context.Context, c *api.RaftCluster, o client.Object) error {
	what := o.GetObjectKind().GroupVersionKind().Kind + " " + o.GetName()
	if err := a.free(ctx, c, o, what); err != nil {
		return err
	}
	fields, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
	if err != nil {
		return fmt.Errorf("encode %s: %w", what, err)
	}
	delete(fields, "status")
	err = a.Objects.Apply(ctx, client.ApplyConfigurationFromUnstructured(&unstructured.Unstructured{Object: fields}), client.FieldOwner(Owner), client.ForceOwnership)
	if apierrors.IsInvalid(err) {
		return fmt.Errorf("%w: %s: %w", ErrInvalid, what, err)
	}
	return moved("apply "+what, err)
}

// free refuses an object of the same name that this RaftCluster does not own.
func (a Actor) free(ctx context.Context, c *api.RaftCluster, o client.Object, what string) error {
	live := &metav1.PartialObjectMetadata{}
	live.SetGroupVersionKind(o.GetObjectKind().GroupVersionKind())
	err := a.Live.Get(ctx, client.ObjectKeyFromObject(o), live)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read %s: %w", what, err)
	}
	owner := metav1.GetControllerOf(live)
	if owner != nil && owner.UID == c.UID {
		if live.DeletionTimestamp != nil {
			return fmt.Errorf("%w: %s is being deleted", ErrLater, what)
		}
		return nil
	}
	// An orphan of an earlier life of this RaftCluster carries its labels and has no owner.
	if owner == nil && live.Labels[api.LabelCluster] == c.Name && live.Labels[api.LabelManager] == Owner {
		return nil
	}
	return fmt.Errorf("%w: %s exists and is not of this RaftCluster: delete it, or give the RaftCluster another name", ErrInvalid, what)
}

// idle refuses to drop a claim that holds somebody's data: the damaged data of the Pod that the step names may go,
// any other claim only while nobody uses it.
func (a Actor) idle(ctx context.Context, c *api.RaftCluster, step plan.Step) error {
	if step.Pod.Name == "" {
		return a.unused(ctx, c, step.Claim)
	}
	pod := &corev1.Pod{}
	if err := a.Live.Get(ctx, types.NamespacedName{Namespace: c.Namespace, Name: step.Pod.Name}, pod); err != nil {
		return moved("read Pod "+step.Pod.Name, err)
	}
	return judged(pod, step.Pod)
}

// unused refuses to drop a claim while a Pod uses it or is about to.
func (a Actor) unused(ctx context.Context, c *api.RaftCluster, claim plan.Claim) error {
	pod := &corev1.Pod{}
	err := a.Live.Get(ctx, types.NamespacedName{Namespace: c.Namespace, Name: claim.Pod}, pod)
	if err == nil {
		return fmt.Errorf("%w: Pod %s still uses claim %s", ErrMoved, claim.Pod, claim.Name)
	}
	if !apierrors.IsNotFound(err) {
		return fmt.Errorf("read Pod %s: %w", claim.Pod, err)
	}
	set := &appsv1.StatefulSet{}
	if err := a.Live.Get(ctx, client.ObjectKeyFromObject(c), set); err != nil {
		return moved("read the StatefulSet", err)
	}
	ordinal, ok := plan.Spec{Name: c.Name}.Ordinal(claim.Pod)
	if !ok || set.Spec.Replicas == nil || ordinal < *set.Spec.Replicas {
		return fmt.Errorf("%w: the StatefulSet wants Pod %s", ErrMoved, claim.Pod)
	}
	return nil
}
