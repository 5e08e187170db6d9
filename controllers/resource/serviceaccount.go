package resource

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	api "raftsman.dev/api/v1alpha1"
)

// ServiceAccount is the members' own: they never talk to the API server, so it carries no token.
func ServiceAccount(c *api.RaftCluster) *corev1.ServiceAccount {
	no := false
	return &corev1.ServiceAccount{
		TypeMeta:                     metav1.TypeMeta{APIVersion: "v1", Kind: "ServiceAccount"},
		ObjectMeta:                   meta(c, c.Name+"-member"),
		AutomountServiceAccountToken: &no,
	}
}
