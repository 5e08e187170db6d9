package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	api "raftsman.dev/api/v1alpha1"
	"raftsman.dev/node/admin"
)

func splitWords(text string) []string { return strings.Fields(text) }

// leaderKilled kills the leader's container under load.
func (s *suite) leaderKilled(t *testing.T) {
	c := s.demo()
	kept := c.keeps(t, 3)
	r := c.load(t)
	r.during(lost, "leader's container killed", func() {
		c.killLeader(t)
		r.more(600)
	})
	c.ready(t, 3)
	r.steady(r.stop())
	kept()
}

// killLeader kills the container of the member that leads and waits until another boot of it answers.
func (c cluster) killLeader(t *testing.T) {
	t.Helper()
	c.kill(t, c.leader(t))
}

// kill kills the containers of some Pods in the same moment and waits until other boots of them answer.
func (c cluster) kill(t *testing.T, pods ...string) {
	t.Helper()
	boots := map[string]uint64{}
	for _, p := range pods {
		before, err := c.k.Member(t.Context(), c.named(p), admin.StatusOptions{})
		if err != nil {
			t.Fatal(err)
		}
		boots[p] = before.Boot
	}
	c.say("  SIGKILL to %v", pods)
	var all sync.WaitGroup
	for _, p := range pods {
		all.Go(func() {
			if err := c.dev.Signal(t.Context(), c.named(p), "KILL"); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	for _, p := range pods {
		c.until(t, p+" runs again", func(ctx context.Context) error { return c.rebooted(ctx, p, boots[p]) })
	}
}

// rebooted is nil when a member is in another boot than before.
func (c cluster) rebooted(ctx context.Context, pod string, before uint64) error {
	now, err := c.k.Member(ctx, c.named(pod), admin.StatusOptions{})
	if err == nil && now.Boot == before {
		err = fmt.Errorf("it is still in boot %d", now.Boot)
	}
	return err
}

// leader is the member that says itself that it leads, with a quorum behind it.
func (c cluster) leader(t *testing.T) string {
	t.Helper()
	leader := ""
	c.until(t, "a member leads", func(ctx context.Context) error {
		m, err := c.findLeader(ctx)
		leader = m.Name
		return err
	})
	return leader
}

// findLeader is what the leader says of itself.
func (c cluster) findLeader(ctx context.Context) (admin.Status, error) {
	pods, err := c.k.Pods(ctx, c.namespace, api.LabelCluster+"="+c.name)
	if err != nil {
		return admin.Status{}, err
	}
	for _, p := range pods {
		m, err := c.k.Member(ctx, c.named(p.Name), admin.StatusOptions{Quorum: true})
		if err == nil && m.Role == admin.RoleLeader && m.Quorate {
			return m, nil
		}
	}
	return admin.Status{}, fmt.Errorf("none of %d Pods leads", len(pods))
}

// allDeleted deletes all Pods at once under load.
func (s *suite) allDeleted(t *testing.T) {
	c := s.demo()
	kept := c.keeps(t, 3)
	r := c.load(t)
	c.deleteAll(t)
	r.more(300)
	c.ready(t, 3)
	r.stop()
	kept()
}

// allKilled kills the containers of all members in the same moment under load: nobody is left who could have been
// told anything, and all that was acknowledged must be on their disks.
func (s *suite) allKilled(t *testing.T) {
	c := s.demo()
	id := c.ready(t, 3).Status.ClusterID
	before := c.members(t, 3, admin.StatusOptions{})
	r := c.load(t)
	c.say("  SIGKILL to all members")
	var all sync.WaitGroup
	for i := range before {
		all.Go(func() {
			if err := c.dev.Signal(t.Context(), c.pod(i), "KILL"); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	r.more(300)
	c.ready(t, 3)
	r.stop()
	c.oneCluster(t, 3, id)
	for i, m := range c.members(t, 3, admin.StatusOptions{}) {
		if m.MemberID != before[i].MemberID || m.Boot <= before[i].Boot {
			t.Errorf("%s was member %s in boot %d, and is %s in boot %d", m.Name, before[i].MemberID, before[i].Boot, m.MemberID, m.Boot)
		}
	}
}

// ids are the member IDs, by ordinal.
func (c cluster) ids(t *testing.T, n int) []string {
	t.Helper()
	var all []string
	for _, m := range c.members(t, n, admin.StatusOptions{}) {
		all = append(all, m.MemberID)
	}
	return all
}

// same demands that all members are those that they were: none has lost its data.
func (c cluster) same(t *testing.T, before []string) {
	t.Helper()
	if now := c.ids(t, len(before)); !slices.Equal(now, before) {
		t.Errorf("the members are %v, they were %v: somebody has lost its data", now, before)
	}
}

// samePods demands that no Pod is another one than before.
func (c cluster) samePods(t *testing.T, before []string) {
	t.Helper()
	if now := c.uids(t); !slices.Equal(now, before) {
		t.Errorf("the Pods are %v, they were %v", now, before)
	}
}

// deleteAll deletes all Pods and waits until others run in their stead.
func (c cluster) deleteAll(t *testing.T) {
	t.Helper()
	before := c.uids(t)
	c.say("  deleting all Pods")
	c.kubectl(t, "delete", "pods", "-n", c.namespace, "-l", api.LabelCluster+"="+c.name, "--wait=false")
	c.until(t, "all Pods are new ones", func(context.Context) error {
		for _, uid := range c.uids(t) {
			if slices.Contains(before, uid) {
				return fmt.Errorf("an old one is left")
			}
		}
		return nil
	})
}

func (c cluster) uids(t *testing.T) []string {
	t.Helper()
	pods, err := c.k.Pods(t.Context(), c.namespace, api.LabelCluster+"="+c.name)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, p := range pods {
		all = append(all, string(p.UID))
	}
	return all
}

// volumeDeleted takes a member's Pod and its volume away under load: writes go on, and the member comes back
// under a new ID.
func (s *suite) volumeDeleted(t *testing.T) {
	c := s.demo()
	id := c.ready(t, 3).Status.ClusterID
	r := c.load(t)
	r.during(lost, "follower's volume deleted", func() { c.loseVolume(t, c.follower(t)) })
	r.steady(r.stop())
	c.oneCluster(t, 3, id)
}

// follower is the member with the highest ordinal that does not lead.
func (c cluster) follower(t *testing.T) int {
	t.Helper()
	if c.leader(t) == c.pod(2).Name {
		return 1
	}
	return 2
}

// loseVolume deletes a member's Pod and volume, and waits until it has been replaced.
func (c cluster) loseVolume(t *testing.T, ordinal int) {
	t.Helper()
	old := c.members(t, 3, admin.StatusOptions{})[ordinal].MemberID
	pod := c.pod(ordinal).Name
	c.say("  deleting %s and its volume", pod)
	c.kubectl(t, "delete", "pvc", "-n", c.namespace, "data-"+pod, "--wait=false")
	c.kubectl(t, "delete", "pod", "-n", c.namespace, pod, "--wait=false")
	c.replaced(t, ordinal, old)
}

// replaced waits until a member's place is taken by another ID, and its old one is gone from the membership.
func (c cluster) replaced(t *testing.T, ordinal int, old string) {
	t.Helper()
	pod := c.pod(ordinal).Name
	c.reaches(t, pod+" is another member", func(live *api.RaftCluster) error {
		for _, m := range live.Status.Members {
			if m.ID == old {
				return fmt.Errorf("member %s is still there", old)
			}
		}
		return nil
	})
	c.ready(t, 3)
	for _, m := range c.members(t, 3, admin.StatusOptions{}) {
		if m.Name == pod && m.MemberID == old {
			t.Errorf("%s has the ID of the member whose disk is lost", pod)
		}
		if m.Membership == nil || len(m.Membership.Members) != 3 {
			t.Errorf("%s knows the membership %+v: three were wanted", m.Name, m.Membership)
			continue
		}
		for _, x := range m.Membership.Members {
			if x.ID == old || x.Seat != admin.SeatVoter {
				t.Errorf("%s has %s (%s) as %s in its membership", m.Name, x.Name, x.ID, x.Seat)
			}
		}
	}
}

// founderLost takes pod-0 and its volume away, twice: alone, and together with all other Pods, so that an
// empty pod-0 starts beside members that nobody can reach yet.
func (s *suite) founderLost(t *testing.T) {
	c := s.demo()
	id := c.ready(t, 3).Status.ClusterID
	r := c.load(t)
	r.during(lost, "pod-0's volume deleted", func() { c.loseVolume(t, 0) })
	c.oneCluster(t, 3, id)
	old := c.members(t, 3, admin.StatusOptions{})[0].MemberID
	r.during(outage, "and again, with all Pods", func() {
		c.say("  deleting all Pods and pod-0's volume")
		c.kubectl(t, "delete", "pvc", "-n", c.namespace, "data-"+c.pod(0).Name, "--wait=false")
		c.deleteAll(t)
		c.replaced(t, 0, old)
		r.more(300)
	})
	r.stop()
	c.oneCluster(t, 3, id)
}
