// Package resource builds the Kubernetes objects of a RaftCluster: pure functions, one file an object, of
// the RaftCluster and the sizes that the plan gives. No client, log or clock enters here.
package resource

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"

	quantity "k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	api "raftsman.dev/api/v1alpha1"
)

// Ports of a member.
const (
	ClientPort  = 2379
	PeerPort    = 2380
	MetricsPort = 2381
	AdminPort   = 2382
)

// Sizes are the numbers that come from the plan, never from the spec: scaling cannot jump.
type Sizes struct {
	// Replicas of the StatefulSet.
	Replicas int32
	// Guard is the disruption budget's minAvailable.
	Guard int32
	// Storage is the size of new volumes; zero means the spec's. A StatefulSet keeps the one it was made with.
	Storage quantity.Quantity
}

// Defaults are what the operator fills in where a RaftCluster says nothing.
type Defaults struct {
	// Image of the members.
	Image string
}

// All are the objects of a RaftCluster, in the order in which they are applied.
func All(c *api.RaftCluster, d Defaults, s Sizes) ([]client.Object, error) {
	objects := []client.Object{ServiceAccount(c), PeerService(c), ClientService(c), DisruptionBudget(c, s.Guard), StatefulSet(c, d, s)}
	for _, o := range objects {
		if err := sign(c, o); err != nil {
			return nil, err
		}
	}
	return objects, nil
}

// PeerServiceName is the name of the headless Service through which members find each other.
func PeerServiceName(c *api.RaftCluster) string { return c.Name + "-peer" }

// ClaimName is the name of a Pod's volume claim.
func ClaimName(pod string) string { return volume + "-" + pod }

// volume is the name of the claim template and of the volume in the Pod.
const volume = "data"

// PeerAddress is where other members reach a member. It names no DNS domain: the resolver's search path
// knows the cluster's.
func PeerAddress(c *api.RaftCluster, pod string) string {
	return fmt.Sprintf("%s.%s.%s.svc:%d", pod, PeerServiceName(c), c.Namespace, PeerPort)
}

// ClientURL is where clients inside Kubernetes reach one member.
func ClientURL(c *api.RaftCluster, pod string) string {
	return fmt.Sprintf("http://%s.%s.%s.svc:%d", pod, PeerServiceName(c), c.Namespace, ClientPort)
}

// Selector are the labels by which a RaftCluster's Pods are found. They never change.
func Selector(c *api.RaftCluster) map[string]string {
	return map[string]string{api.LabelCluster: c.Name, api.LabelInstance: c.Name}
}

// labels are the operator's own; they win over anybody's.
func labels(c *api.RaftCluster, others map[string]string) map[string]string {
	all := map[string]string{}
	maps.Copy(all, others)
	maps.Copy(all, map[string]string{
		api.LabelName:    "raftsman",
		api.LabelPart:    "member",
		api.LabelPartOf:  "raftsman",
		api.LabelManager: "raftsman-operator",
	})
	maps.Copy(all, Selector(c))
	return all
}

func meta(c *api.RaftCluster, name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Name: name, Namespace: c.Namespace, Labels: labels(c, nil),
		OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(c, api.GroupVersion().WithKind(api.Kind))},
	}
}

// sign writes a checksum of the object into it, so that a change of what is wanted is seen even where it
// only takes something away.
func sign(c *api.RaftCluster, o client.Object) error {
	text, err := json.Marshal(o)
	if err != nil {
		return fmt.Errorf("encode %s of RaftCluster %s/%s: %w", o.GetObjectKind().GroupVersionKind().Kind, c.Namespace, c.Name, err)
	}
	sum := sha256.Sum256(text)
	notes := maps.Clone(o.GetAnnotations())
	if notes == nil {
		notes = map[string]string{}
	}
	notes[api.AnnotationApplied] = hex.EncodeToString(sum[:8])
	o.SetAnnotations(notes)
	return nil
}
