package resource

import (
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	api "raftsman.dev/api/v1alpha1"
)

// DisruptionBudget keeps a quorum of the voters from voluntary disruption. guard is a number and not a
// percentage or a maxUnavailable: those are counted on Pods, and not all Pods vote.
func DisruptionBudget(c *api.RaftCluster, guard int32) *policyv1.PodDisruptionBudget {
	least := intstr.FromInt32(guard)
	return &policyv1.PodDisruptionBudget{
		TypeMeta:   metav1.TypeMeta{APIVersion: "policy/v1", Kind: "PodDisruptionBudget"},
		ObjectMeta: meta(c, c.Name),
		Spec: policyv1.PodDisruptionBudgetSpec{
			MinAvailable: &least,
			Selector:     &metav1.LabelSelector{MatchLabels: Selector(c)},
		},
	}
}
