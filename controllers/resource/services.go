package resource

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	api "raftsman.dev/api/v1alpha1"
)

// PeerService is the headless Service through which members find each other. It ignores readiness: members
// need each other's addresses most when they are not ready.
func PeerService(c *api.RaftCluster) *corev1.Service {
	return &corev1.Service{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Service"},
		ObjectMeta: meta(c, PeerServiceName(c)),
		Spec: corev1.ServiceSpec{
			ClusterIP:                corev1.ClusterIPNone,
			PublishNotReadyAddresses: true,
			Selector:                 Selector(c),
			Ports: []corev1.ServicePort{
				port("client", ClientPort), port("peer", PeerPort), port("metrics", MetricsPort), port("admin", AdminPort),
			},
		},
	}
}

// ClientService is where clients come in. Only members that are ready, which are voters that serve, stand
// behind it.
func ClientService(c *api.RaftCluster) *corev1.Service {
	return &corev1.Service{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Service"},
		ObjectMeta: meta(c, c.Name),
		Spec: corev1.ServiceSpec{
			Type:     corev1.ServiceTypeClusterIP,
			Selector: Selector(c),
			Ports:    []corev1.ServicePort{port("client", ClientPort)},
		},
	}
}

func port(name string, number int32) corev1.ServicePort {
	return corev1.ServicePort{Name: name, Port: number, TargetPort: intstr.FromString(name), Protocol: corev1.ProtocolTCP}
}
