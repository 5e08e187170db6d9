package life

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	api "raftsman.dev/api/v1alpha1"
	"raftsman.dev/node/admin"
)

// makeClasses makes a default StorageClass whose volumes can grow and one whose volumes cannot.
func (s *suite) makeClasses(ctx context.Context) error {
	yes, no := true, false
	return errors.Join(
		s.api.Create(ctx, &storagev1.StorageClass{
			ObjectMeta:  metav1.ObjectMeta{Name: "elastic", Annotations: map[string]string{"storageclass.kubernetes.io/is-default-class": "true"}},
			Provisioner: "raftsman.dev/life", AllowVolumeExpansion: &yes,
		}),
		s.api.Create(ctx, &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: "rigid"}, Provisioner: "raftsman.dev/life", AllowVolumeExpansion: &no}))
}

// volume does what provisioner and resizer do for one claim: it is bound at once, and grows a little later.
func (w *world) volume(ctx context.Context, c *corev1.PersistentVolumeClaim) {
	size := c.Spec.Resources.Requests[corev1.ResourceStorage]
	has := c.Status.Capacity[corev1.ResourceStorage]
	w.mu.Lock()
	now := c.Status.Phase != corev1.ClaimBound || w.rng.IntN(4) == 0
	w.mu.Unlock()
	if c.DeletionTimestamp != nil || has.Cmp(size) >= 0 || !now {
		return
	}
	next := c.DeepCopy()
	next.Status = corev1.PersistentVolumeClaimStatus{
		Phase: corev1.ClaimBound, AccessModes: c.Spec.AccessModes, Capacity: corev1.ResourceList{corev1.ResourceStorage: size},
	}
	_ = w.api.Status().Update(ctx, next) // the next turn tries again
}

// uids are the UIDs of the Pods, by name.
func (c *cluster) uids(t *testing.T) map[string]types.UID {
	t.Helper()
	all := map[string]types.UID{}
	for name := range c.suite.world.ids(c.namespace) {
		all[name] = c.pod(t, name).UID
	}
	return all
}

// set is the StatefulSet as it is now; an empty one when there is none.
func (c *cluster) set(t *testing.T) *appsv1.StatefulSet {
	t.Helper()
	set := &appsv1.StatefulSet{}
	err := c.suite.api.Get(t.Context(), types.NamespacedName{Namespace: c.namespace, Name: c.name}, set)
	if err != nil && !apierrors.IsNotFound(err) {
		t.Error(err)
	}
	return set
}

// setSize is the size that the StatefulSet gives to new volumes.
func (c *cluster) setSize(t *testing.T) string {
	t.Helper()
	set := c.set(t)
	if len(set.Spec.VolumeClaimTemplates) == 0 {
		return ""
	}
	return set.Spec.VolumeClaimTemplates[0].Spec.Resources.Requests.Storage().String()
}

// grown demands that all volumes have a size, and that the Pods, which belong to the StatefulSet, are those that they were.
func (c *cluster) grown(t *testing.T, n int, size string, before map[string]types.UID) {
	t.Helper()
	claims := c.claims(t)
	if len(claims) != n {
		t.Errorf("%d claims", len(claims))
	}
	for _, claim := range claims {
		asks, has := claim.Spec.Resources.Requests.Storage().String(), claim.Status.Capacity.Storage().String()
		if asks != size || has != size {
			t.Errorf("%s asks for %s and has %s, want %s", claim.Name, asks, has, size)
		}
	}
	if now := c.uids(t); !maps.Equal(now, before) {
		t.Errorf("the Pods are %v, they were %v", now, before)
	}
	set := c.set(t)
	err := wait(t.Context(), patience, "the StatefulSet has its Pods", func() error {
		for name := range before {
			if owner := metav1.GetControllerOf(c.pod(t, name)); owner == nil || owner.UID != set.UID {
				return fmt.Errorf("%s belongs to %v", name, owner)
			}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// TestVolumesGrow raises storage.size: the volumes grow, no Pod is touched, and new members get the new size.
func TestVolumesGrow(t *testing.T) {
	c := newCluster(t, "{replicas: 3, storage: {size: 1Gi, retention: {whenDeleted: Delete}}}")
	c.operated(t)
	c.ready(t)
	before, set, changes := c.uids(t), c.set(t).UID, len(c.changes())
	if err := c.apply(t.Context(), "{replicas: 3, storage: {size: 2Gi, retention: {whenDeleted: Delete}}}"); err != nil {
		t.Fatal(err)
	}
	r := c.ready(t)
	c.grown(t, 3, "2Gi", before)
	c.whole(t, 3)
	if c.setSize(t) != "2Gi" || c.set(t).UID == set {
		t.Errorf("the StatefulSet gives %s and is the old one: %v", c.setSize(t), c.set(t).UID == set)
	}
	if r.Status.VolumeSize == nil || r.Status.VolumeSize.String() != "2Gi" || len(c.changes()) != changes {
		t.Errorf("%d membership changes, %s", len(c.changes())-changes, brief(r))
	}
	c.scale(t, 5)
	c.ready(t)
	c.grown(t, 5, "2Gi", c.uids(t))
	c.whole(t, 5)
	c.announcedBeforeFinished(t)
}

// TestVolumesThatCannotGrow says what to do and touches nothing; everything else goes on, and the edit can be taken back.
func TestVolumesThatCannotGrow(t *testing.T) {
	spec := func(replicas int, size string) string {
		return fmt.Sprintf("{replicas: %d, storage: {className: rigid, size: %s}}", replicas, size)
	}
	c := newCluster(t, spec(3, "1Gi"))
	c.operated(t)
	c.ready(t)
	before, set := c.uids(t), c.set(t).UID
	if err := c.apply(t.Context(), spec(3, "2Gi")); err != nil {
		t.Fatal(err)
	}
	refused := func(r *api.RaftCluster) bool {
		return condition(r, api.ConditionStalled).Reason == api.ReasonVolumeExpansionRefused && r.Status.ObservedGeneration == r.Generation
	}
	r := c.reaches(t, "VolumeExpansionRefused", refused)
	if says := condition(r, api.ConditionStalled).Message; !strings.Contains(says, "set storage.size to 1Gi again") || !strings.Contains(says, "allowVolumeExpansion") ||
		condition(r, api.ConditionAvailable).Status != metav1.ConditionTrue || condition(r, api.ConditionReady).Status == metav1.ConditionTrue {
		t.Errorf("refused: %s", brief(r))
	}
	c.stays(t, 4*time.Second, r.ResourceVersion)
	c.grown(t, 3, "1Gi", before)
	if c.set(t).UID != set {
		t.Error("the StatefulSet is another one")
	}
	if err := c.apply(t.Context(), spec(5, "2Gi")); err != nil {
		t.Fatal(err)
	}
	c.reaches(t, "five voters, and still refused", func(r *api.RaftCluster) bool {
		return refused(r) && r.Status.VotingMembers == 5 && r.Status.ReadyReplicas == 5
	})
	if err := c.apply(t.Context(), spec(5, "512Mi")); !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), "storage may not shrink") {
		t.Errorf("a size below the volumes': %v", err)
	}
	if err := c.apply(t.Context(), spec(5, "1Gi")); err != nil {
		t.Fatalf("the edit cannot be taken back: %v", err)
	}
	c.ready(t)
	c.whole(t, 5)
}

// TestDiskFillsUp tells of a member's disk before writes are refused, once, and takes it back.
func TestDiskFillsUp(t *testing.T) {
	c := newCluster(t, "replicas: 3")
	c.operated(t)
	c.ready(t)
	leave := func(free int64, low bool) {
		c.suite.world.look(c.namespace, func(_ *group, members map[string]*process) {
			members["demo-1"].member.disk.space = &admin.Disk{FreeBytes: free, SizeBytes: 1000, LowBytes: 100, Low: low}
		})
	}
	degraded := func(says string) func(*api.RaftCluster) bool {
		return func(r *api.RaftCluster) bool {
			is := condition(r, api.ConditionDegraded)
			return is.Status == metav1.ConditionTrue && is.Reason == api.ReasonLowDiskSpace && strings.Contains(is.Message, says)
		}
	}
	leave(150, false)
	r := c.reaches(t, "the disk fills up", degraded("demo-1 is filling"))
	if condition(r, api.ConditionReady).Status != metav1.ConditionTrue {
		t.Errorf("a disk that fills up makes the cluster unready: %s", brief(r))
	}
	version := c.settled(t).ResourceVersion
	leave(140, false)
	c.stays(t, 3*time.Second, version)
	leave(50, true)
	c.reaches(t, "the disk is low", degraded("demo-1 is low"))
	leave(900, false)
	c.reaches(t, "the disk has space", func(r *api.RaftCluster) bool {
		return condition(r, api.ConditionDegraded).Status == metav1.ConditionFalse
	})
}

// TestReplacedAsAnnotated has a member replaced, the one that leads: under a new ID, on another volume, and only it.
func TestReplacedAsAnnotated(t *testing.T) {
	c := newCluster(t, "replicas: 3")
	c.operated(t)
	leader := c.ready(t).Status.Leader
	born, claims := c.suite.world.ids(c.namespace), map[string]types.UID{}
	for _, claim := range c.claims(t) {
		claims[claim.Name] = claim.UID
	}
	c.kubectl(t, "annotate", "raftcluster/"+c.name, api.AnnotationReplace+"="+born[leader])
	c.replaced(t, leader, born[leader])
	c.whole(t, 3)
	for name, id := range c.suite.world.ids(c.namespace) {
		if (id == born[name]) == (name == leader) {
			t.Errorf("%s was %s and is %s", name, born[name], id)
		}
	}
	for _, claim := range c.claims(t) {
		if (claim.UID == claims[claim.Name]) == (claim.Name == "data-"+leader) {
			t.Errorf("%s was %s and is %s", claim.Name, claims[claim.Name], claim.UID)
		}
	}
	c.stays(t, 3*time.Second, c.settled(t).ResourceVersion) // the annotation says nothing any more
}
