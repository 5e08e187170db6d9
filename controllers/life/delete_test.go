package life

import (
	"errors"
	"fmt"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	api "raftsman.dev/api/v1alpha1"
)

// TestDeleted deletes a RaftCluster: its objects go with it, and its volumes stay or go as the spec says.
func TestDeleted(t *testing.T) {
	for policy, left := range map[string]int{"Retain": 3, "Delete": 0} {
		t.Run(policy, func(t *testing.T) {
			c := newCluster(t, "{replicas: 3, storage: {retention: {whenDeleted: "+policy+"}}}")
			c.operated(t)
			id, born := c.ready(t).Status.ClusterID, c.suite.world.ids(c.namespace)
			c.kubectl(t, "delete", "raftcluster", "demo", "--wait=false")
			err := wait(t.Context(), patience, "everything gone", func() error { return c.gone(t) })
			if err != nil {
				t.Fatal(err)
			}
			c.tellsNot(t, api.EventQuorumLost)
			err = wait(t.Context(), patience, "the claims", func() error {
				if n := len(c.claims(t)); n != left {
					return fmt.Errorf("%d claims, want %d", n, left)
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			c.again(t, left > 0, id, born)
		})
	}
}

// again makes the RaftCluster anew. On volumes that were kept it is the same cluster, with the same members; without
// them it is another.
func (c *cluster) again(t *testing.T, kept bool, id string, born map[string]string) {
	t.Helper()
	if err := c.apply(t.Context(), "replicas: 3"); err != nil {
		t.Fatal(err)
	}
	now := c.ready(t).Status.ClusterID
	c.whole(t, 3)
	if (now == id) != kept {
		t.Errorf("volumes kept: %v; the cluster was %s and is %s", kept, id, now)
	}
	for name, is := range c.suite.world.ids(c.namespace) {
		if (born[name] == is) != kept {
			t.Errorf("volumes kept: %v; %s was %s and is %s", kept, name, born[name], is)
		}
	}
}

// tellsNot looks that no event of this reason was recorded.
func (c *cluster) tellsNot(t *testing.T, reason string) {
	t.Helper()
	list := &corev1.EventList{}
	if err := c.suite.api.List(t.Context(), list, client.InNamespace(c.namespace)); err != nil {
		t.Fatal(err)
	}
	for _, e := range list.Items {
		if e.Reason == reason {
			t.Errorf("event %s: %s", e.Reason, e.Message)
		}
	}
}

// gone names what is left of the operator's objects in the namespace.
func (c *cluster) gone(t *testing.T) error {
	for _, list := range []client.ObjectList{&appsv1.StatefulSetList{}, &corev1.PodList{}, &corev1.ServiceList{}, &policyv1.PodDisruptionBudgetList{}} {
		if err := c.suite.api.List(t.Context(), list, client.InNamespace(c.namespace)); err != nil {
			return err
		}
		if n := meta.LenList(list); n > 0 {
			return fmt.Errorf("%d of %T are left", n, list)
		}
	}
	return nil
}

// TestObjectsChangedByOthersComeBack: an edit of what the operator owns is undone, a deleted object comes back.
func TestObjectsChangedByOthersComeBack(t *testing.T) {
	c := newCluster(t, "replicas: 3")
	c.operated(t)
	c.ready(t)
	c.kubectl(t, "patch", "service", "demo-peer", "--type=merge", "-p", `{"spec":{"publishNotReadyAddresses":false}}`)
	c.kubectl(t, "delete", "pdb", "demo")
	c.kubectl(t, "delete", "statefulset", "demo", "--cascade=orphan")
	err := wait(t.Context(), patience, "all put right", func() error {
		peers, budget, set := &corev1.Service{}, &policyv1.PodDisruptionBudget{}, &appsv1.StatefulSet{}
		demo := client.ObjectKey{Namespace: c.namespace, Name: "demo"}
		err := errors.Join(
			c.suite.api.Get(t.Context(), client.ObjectKey{Namespace: c.namespace, Name: "demo-peer"}, peers),
			c.suite.api.Get(t.Context(), demo, budget), c.suite.api.Get(t.Context(), demo, set))
		if err != nil {
			return err
		}
		if !peers.Spec.PublishNotReadyAddresses || *set.Spec.Replicas != 3 || set.DeletionTimestamp != nil {
			return fmt.Errorf("the Service is %v, the StatefulSet has %d", peers.Spec.PublishNotReadyAddresses, *set.Spec.Replicas)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	c.ready(t)
	c.whole(t, 3)
}

// TestStatefulSetScaledByOthers: whoever scales the StatefulSet behind the operator's back takes no member away for
// long, and adds none.
func TestStatefulSetScaledByOthers(t *testing.T) {
	c := newCluster(t, "replicas: 3")
	c.operated(t)
	c.ready(t)
	born := c.suite.world.ids(c.namespace)
	for _, n := range []string{"1", "2", "5"} {
		version := c.get(t).ResourceVersion
		c.kubectl(t, "scale", "statefulset/demo", "--replicas="+n)
		c.reaches(t, "a reaction", func(r *api.RaftCluster) bool { return r.ResourceVersion != version })
		c.ready(t)
		c.whole(t, 3)
		for name, id := range c.suite.world.ids(c.namespace) {
			if born[name] != id {
				t.Errorf("after %s: %s was %s and is %s", n, name, born[name], id)
			}
		}
	}
}
