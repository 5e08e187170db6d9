package observe

import (
	"context"
	"encoding/json"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"raftsman.dev/controllers/plan"
)

// VolumeSize is the size that a StatefulSet's template gives to new volumes; zero where it has no template.
func VolumeSize(set *appsv1.StatefulSet) resource.Quantity {
	if len(set.Spec.VolumeClaimTemplates) == 0 {
		return resource.Quantity{}
	}
	return Size(&set.Spec.VolumeClaimTemplates[0])
}

// Size is what a claim asks for.
func Size(claim *corev1.PersistentVolumeClaim) resource.Quantity {
	return claim.Spec.Resources.Requests[corev1.ResourceStorage]
}

// Larger is the patch that makes a claim, and no other of its name, ask for a size.
func Larger(claim *corev1.PersistentVolumeClaim, size resource.Quantity) client.Patch {
	patch := fmt.Sprintf(`{"metadata":{"uid":%q,"resourceVersion":%q},"spec":{"resources":{"requests":{"storage":%q}}}}`, claim.UID, claim.ResourceVersion, size.String())
	return client.RawPatch(types.MergePatchType, json.RawMessage(patch))
}

// sizes fills in how large a claim is and, where a larger one is wanted, whether it may become so. The API server is
// asked, by a rehearsal of which nothing stays: it knows StorageClasses, quotas and policies, and the operator need
// not be let at them.
func (o Observer) sizes(ctx context.Context, s *Sight, c *corev1.PersistentVolumeClaim, claim *plan.Claim) {
	claim.Size, claim.Capacity = Size(c), c.Status.Capacity[corev1.ResourceStorage]
	claim.Bound = c.Status.Phase == corev1.ClaimBound
	for _, cond := range c.Status.Conditions {
		claim.Remount = claim.Remount || cond.Type == corev1.PersistentVolumeClaimFileSystemResizePending && cond.Status == corev1.ConditionTrue
	}
	if !s.Seen.Enlarges(s.Want, *claim) || s.Want.Paused || s.Want.Deleting {
		return
	}
	err := o.Rehearse.Patch(ctx, c.DeepCopy(), Larger(c, s.Want.Storage))
	if apierrors.IsForbidden(err) || apierrors.IsInvalid(err) {
		claim.Refusal = err.Error()
	}
}
