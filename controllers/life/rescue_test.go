package life

import (
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	api "raftsman.dev/api/v1alpha1"
)

// replaced waits until a Pod's member has another ID than before and the cluster is whole again.
func (c *cluster) replaced(t *testing.T, pod, old string) {
	t.Helper()
	c.reaches(t, pod+" under a new ID", func(r *api.RaftCluster) bool {
		i := slices.IndexFunc(r.Status.Members, func(m api.MemberStatus) bool { return m.Name == pod })
		return i >= 0 && r.Status.Members[i].ID != old && r.Status.Members[i].Role != "unjoined" && condition(r, api.ConditionReady).Status == metav1.ConditionTrue
	})
}

// formed are the clusters that any member of this namespace was ever asked to form.
func (c *cluster) formed() []string {
	w := c.suite.world
	w.mu.Lock()
	defer w.mu.Unlock()
	var ids []string
	groups, _ := w.in(c.namespace)
	for id := range groups {
		ids = append(ids, id)
	}
	return ids
}

// TestLostDisks takes Pods and disks away, pod 0's among them: members are replaced under new IDs, one change each,
// and nothing founds a second cluster.
func TestLostDisks(t *testing.T) {
	c := newCluster(t, "replicas: 3")
	c.operated(t)
	id := c.ready(t).Status.ClusterID
	for _, pod := range []string{"demo-1", "demo-0"} {
		old, changes := c.suite.world.ids(c.namespace)[pod], len(c.changes())
		if err := c.suite.world.lose(t.Context(), c.namespace, pod); err != nil {
			t.Fatal(err)
		}
		c.replaced(t, pod, old)
		c.whole(t, 3)
		if now := c.changes()[changes:]; len(now) != 2 || !strings.Contains(now[1], "^"+pod) || !strings.Contains(now[1], "-"+pod) {
			t.Errorf("replacing %s took the changes %q: want one that adds, and one that promotes and removes", pod, now)
		}
	}
	if got := c.formed(); !slices.Equal(got, []string{id}) || c.get(t).Status.ClusterID != id {
		t.Errorf("clusters %v, status says %s; it was %s", got, c.get(t).Status.ClusterID, id)
	}
	if r := c.get(t); r.Status.Founder != "" && r.Status.Founder == c.suite.world.ids(c.namespace)["demo-0"] {
		t.Errorf("the new pod 0 is the founder: %s", brief(r))
	}
	c.announcedBeforeFinished(t)
}

// TestPodsDeleted deletes one Pod and then all at once: the members come back with their data.
func TestPodsDeleted(t *testing.T) {
	c := newCluster(t, "replicas: 3")
	c.operated(t)
	c.ready(t)
	born := c.suite.world.ids(c.namespace)
	for _, pods := range [][]string{{"demo-2"}, named(3)} {
		uids := map[string]types.UID{}
		for _, p := range pods {
			uids[p] = c.pod(t, p).UID
		}
		if err := c.suite.world.kill(t.Context(), c.namespace, pods...); err != nil {
			t.Fatal(err)
		}
		c.reaches(t, "other Pods", func(r *api.RaftCluster) bool {
			for name, old := range uids {
				if now := c.pod(t, name); now.UID == "" || now.UID == old {
					return false
				}
			}
			return r.Status.ReadyReplicas == 3 && condition(r, api.ConditionReady).Status == metav1.ConditionTrue
		})
		for name, id := range c.suite.world.ids(c.namespace) {
			if born[name] != id {
				t.Errorf("%s was %s and is %s", name, born[name], id)
			}
		}
	}
	c.whole(t, 3)
}

// pod is a Pod as it is now, empty when there is none.
func (c *cluster) pod(t *testing.T, name string) *corev1.Pod {
	t.Helper()
	p := &corev1.Pod{}
	_ = c.suite.api.Get(t.Context(), types.NamespacedName{Namespace: c.namespace, Name: name}, p)
	return p
}

// TestDamagedDisk replaces a member that reports damage.
func TestDamagedDisk(t *testing.T) {
	c := newCluster(t, "replicas: 3")
	c.operated(t)
	c.ready(t)
	old := c.suite.world.ids(c.namespace)["demo-1"]
	c.suite.world.look(c.namespace, func(_ *group, members map[string]*process) { members["demo-1"].member.disk.corrupt = true })
	c.replaced(t, "demo-1", old)
	c.whole(t, 3)
}

// TestQuorumLostAndBack cuts two of three members off: the loss is reported and nothing is touched; when they
// are back, so is the cluster.
func TestQuorumLostAndBack(t *testing.T) {
	c := newCluster(t, "replicas: 3")
	c.operated(t)
	c.ready(t)
	born := c.suite.world.ids(c.namespace)
	set := func(lost bool) {
		for _, pod := range []string{"demo-1", "demo-2"} {
			c.suite.world.silence(c.namespace, pod, lost)
		}
		c.suite.world.look(c.namespace, func(g *group, members map[string]*process) {
			for _, pod := range []string{"demo-1", "demo-2"} {
				members[pod].member.disk.removed = lost // it is up for nobody
			}
		})
	}
	set(true)
	lost := c.reaches(t, "QuorumLost", func(r *api.RaftCluster) bool {
		return condition(r, api.ConditionAvailable).Reason == api.ReasonQuorumLost && condition(r, api.ConditionAvailable).Status == metav1.ConditionFalse
	})
	if condition(lost, api.ConditionDegraded).Status != metav1.ConditionTrue || condition(lost, api.ConditionReady).Status == metav1.ConditionTrue {
		t.Errorf("without a quorum: %s", brief(lost))
	}
	c.reaches(t, "what is on every disk", func(r *api.RaftCluster) bool {
		says, told := condition(r, api.ConditionAvailable).Message, 0
		for _, m := range r.Status.Members {
			if strings.Contains(says, m.Name) && strings.Contains(says, "holds member "+born[m.Name]) && m.ID == born[m.Name] {
				told++
			}
		}
		left := slices.IndexFunc(r.Status.Members, func(m api.MemberStatus) bool { return m.Name == "demo-0" })
		return told == 3 && strings.Contains(says, "demo-2 does not answer") && left >= 0 && r.Status.Members[left].Remains != nil &&
			r.Status.Members[left].Remains.Boot > 0 && r.Status.Members[left].Remains.Term > 0 && r.Status.Members[left].Remains.LastIndex > 1
	})
	set(false)
	c.ready(t)
	c.whole(t, 3)
	for name, id := range c.suite.world.ids(c.namespace) {
		if born[name] != id {
			t.Errorf("%s was %s and is %s", name, born[name], id)
		}
	}
}

// TestMajorityOfDisksLost stalls: a majority's data is gone, and nothing is repaired by itself.
func TestMajorityOfDisksLost(t *testing.T) {
	c := newCluster(t, "replicas: 3")
	c.operated(t)
	id := c.ready(t).Status.ClusterID
	if err := c.suite.world.lose(t.Context(), c.namespace, "demo-1", "demo-2"); err != nil {
		t.Fatal(err)
	}
	r := c.reaches(t, "Stalled by QuorumLost", func(r *api.RaftCluster) bool {
		return condition(r, api.ConditionStalled).Reason == api.ReasonQuorumLost
	})
	if condition(r, api.ConditionReconciling).Type != "" || r.Status.ClusterID != id {
		t.Errorf("stalled: %s", brief(r))
	}
	if got := c.formed(); !slices.Equal(got, []string{id}) {
		t.Errorf("clusters: %v", got)
	}
}

// TestAllDisksLost stalls for good: a cluster that has served never begins anew by itself.
func TestAllDisksLost(t *testing.T) {
	c := newCluster(t, "replicas: 3")
	c.operated(t)
	id := c.ready(t).Status.ClusterID
	if err := c.suite.world.lose(t.Context(), c.namespace, named(3)...); err != nil {
		t.Fatal(err)
	}
	r := c.reaches(t, "AllMembersLost", func(r *api.RaftCluster) bool {
		return condition(r, api.ConditionStalled).Reason == api.ReasonAllMembersLost
	})
	c.stays(t, 3e9, r.ResourceVersion)
	if got := c.formed(); len(got) != 0 || r.Status.ClusterID != id {
		t.Errorf("clusters %v, status: %s", got, brief(r))
	}
}

// TestStranger stalls when a Pod comes up with the data of another cluster, and goes on when it is gone.
func TestStranger(t *testing.T) {
	c := newCluster(t, "replicas: 3")
	c.operated(t)
	id := c.ready(t).Status.ClusterID
	stray := func(cluster string) {
		c.suite.world.look(c.namespace, func(_ *group, members map[string]*process) { members["demo-1"].member.disk.cluster = cluster })
	}
	stray("00000000deadbeef")
	c.reaches(t, "ClusterIDMismatch", func(r *api.RaftCluster) bool {
		return condition(r, api.ConditionStalled).Reason == api.ReasonClusterIDMismatch
	})
	stray(id)
	c.ready(t)
	c.whole(t, 3)
}

// TestOneMemberDown is reported and served around.
func TestOneMemberDown(t *testing.T) {
	c := newCluster(t, "replicas: 3")
	c.operated(t)
	c.ready(t)
	c.suite.world.look(c.namespace, func(g *group, members map[string]*process) {
		for name, p := range members {
			if p.member.disk.member != g.leader && name != "demo-0" {
				p.member.disk.removed = true
				return
			}
		}
	})
	r := c.reaches(t, "Degraded", func(r *api.RaftCluster) bool {
		return condition(r, api.ConditionDegraded).Status == metav1.ConditionTrue && condition(r, api.ConditionDegraded).Reason == api.ReasonMemberUnhealthy
	})
	if condition(r, api.ConditionAvailable).Status != metav1.ConditionTrue {
		t.Errorf("one member down: %s", brief(r))
	}
}

// TestClaimDeletedUnderARunningMember: Kubernetes keeps a claim as long as its Pod, and deletes it at the next restart.
// The member is replaced before that comes at a bad moment; with a single member nothing is touched.
func TestClaimDeletedUnderARunningMember(t *testing.T) {
	c := newCluster(t, "replicas: 3")
	c.operated(t)
	id := c.ready(t).Status.ClusterID
	for _, pod := range []string{"demo-2", "demo-0"} {
		old := c.suite.world.ids(c.namespace)[pod]
		c.kubectl(t, "delete", "pvc", "data-"+pod, "--wait=false")
		c.replaced(t, pod, old)
		c.whole(t, 3)
	}
	if got := c.formed(); !slices.Equal(got, []string{id}) {
		t.Errorf("clusters %v; it was %s", got, id)
	}
	c.scale(t, 1)
	c.ready(t)
	c.whole(t, 1)
	c.kubectl(t, "delete", "pvc", "data-demo-0", "--wait=false")
	before := c.suite.world.ids(c.namespace)
	if err := c.apply(t.Context(), "{replicas: 1, annotations: {note: new}}"); err != nil {
		t.Fatal(err)
	}
	c.reaches(t, "a warning", func(r *api.RaftCluster) bool {
		return strings.Contains(condition(r, api.ConditionReady).Message, "volume data-demo-0 is being deleted and goes with its Pod")
	})
	if now := c.suite.world.ids(c.namespace); now["demo-0"] != before["demo-0"] {
		t.Errorf("the only member was %v and is %v", before, now)
	}
}
