package e2e

import (
	"os"
	"path/filepath"
	"testing"

	api "raftsman.dev/api/v1alpha1"
	"raftsman.dev/node/admin"
)

// impossible gives orders that cannot be carried out, under load: each is told by its own name, costs nothing that was
// there, and taken back it is as if it had never been given.
func (s *suite) impossible(t *testing.T) {
	c := s.fresh(t, "impossible", "patient", "{replicas: 3, progressDeadlineSeconds: 30}")
	kept, pods := c.keeps(t, 3), c.uids(t)
	r := c.load(t)
	r.during(planned, "limit below the request, taken back", func() {
		c.patch(t, `{"spec":{"resources":{"requests":{"memory":"2Gi"},"limits":{"memory":"1Gi"}}}}`)
		c.stalled(t, api.ReasonInvalidSpec, "memory")
		c.patch(t, `{"spec":{"resources":null}}`)
		c.ready(t, 3)
	})
	r.during(planned, "a version far ahead, taken back", func() {
		c.patch(t, `{"spec":{"image":"raftsman.dev/raftsman:99.0.0"}}`)
		c.stalled(t, api.ReasonUnsupportedUpgradePath, "99.0.0 is refused")
		c.defaultImage(t)
		c.ready(t, 3)
	})
	c.samePods(t, pods)
	r.during(planned, "an image nobody has, past the deadline, taken back", func() {
		c.patch(t, `{"spec":{"image":"raftsman.dev/nobody-has-this:1"}}`)
		c.stalled(t, api.ReasonDeadlineExceeded, "has made no progress for 30s")
		c.defaultImage(t)
		c.ready(t, 3)
	})
	r.steady(r.stop())
	kept()
}

// foreignVolume gives a member the data of another cluster's, under load: it is told, nobody is served from it, and
// with its own data the member is back.
func (s *suite) foreignVolume(t *testing.T) {
	const same = "mine"
	c, other := s.fresh(t, "ours", same, "{replicas: 3}"), s.fresh(t, "theirs", same, "{replicas: 3}")
	kept := c.keeps(t, 3)
	theirs := other.ready(t, 3).Status.ClusterID
	other.put(t, "of/theirs", "v")
	other.patch(t, `{"spec":{"replicas":0}}`)
	other.gone(t, "the other cluster sleeps", other.namespace, api.LabelCluster+"="+other.name)
	r := c.load(t)
	at := c.follower(t)
	stash := c.disk(t, at) + ".kept"
	if err := os.Mkdir(stash, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(stash); err != nil {
			t.Error(err)
		}
	})
	r.during(lost, "a follower with another cluster's volume", func() {
		c.altered(t, func(_ int, dir string) {
			move(t, dir, stash)
			move(t, other.disk(t, at), dir)
		}, at)
		c.stalled(t, api.ReasonClusterIDMismatch, "is a member of cluster "+theirs)
		r.more(1000)
		c.altered(t, func(_ int, dir string) {
			move(t, dir, other.disk(t, at))
			move(t, stash, dir)
		}, at)
		c.ready(t, 3)
	})
	r.steady(r.stop())
	kept()
	if got := c.read(t, "of/theirs"); got != "" {
		t.Errorf("what the other cluster holds reads %q here", got)
	}
}

// allDisksLost wipes every volume at once: that is told, and neither this operator nor its successor founds a cluster
// in the place of the one that is lost.
func (s *suite) allDisksLost(t *testing.T) {
	c := s.fresh(t, "ashes", "lost", "{replicas: 3}")
	id := c.ready(t, 3).Status.ClusterID
	c.wipe(t, 0, 1, 2)
	c.stalled(t, api.ReasonAllMembersLost, "no Pod holds data of cluster "+id)
	if err := s.killOperator(t.Context(), "when all is lost"); err != nil {
		t.Fatal(err)
	}
	c.patch(t, `{"spec":{"progressDeadlineSeconds":900}}`) // for the successor to see
	live := c.stalled(t, api.ReasonAllMembersLost, "no Pod holds data of cluster "+id)
	if live.Status.ClusterID != id {
		t.Errorf("status speaks of cluster %s, it was %s", live.Status.ClusterID, id)
	}
	for _, m := range c.members(t, 3, admin.StatusOptions{}) {
		if m.State != admin.StateUnjoined {
			t.Errorf("%s is %s, of cluster %s", m.Name, m.State, m.ClusterID)
		}
	}
}

// disk is where on this machine the volume of a member lies.
func (c cluster) disk(t *testing.T, ordinal int) string {
	t.Helper()
	volume := c.kubectl(t, "get", "pvc", "-n", c.namespace, "data-"+c.pod(ordinal).Name, "-o", "jsonpath={.spec.volumeName}")
	return c.kubectl(t, "get", "pv", volume, "-o", "jsonpath={.spec.local.path}")
}

// altered changes the volumes of some members while these are held still, and then kills their containers, which find
// what was made of their disks when they start again.
func (c cluster) altered(t *testing.T, change func(ordinal int, dir string), ordinals ...int) {
	t.Helper()
	for _, signal := range []string{"STOP", "KILL"} {
		for _, o := range ordinals {
			if err := c.dev.Signal(t.Context(), c.pod(o), signal); err != nil {
				t.Fatal(err)
			}
		}
		if signal == "STOP" { // or they would write meanwhile
			for _, o := range ordinals {
				change(o, c.disk(t, o))
			}
		}
	}
}

// wipe empties the volumes of some members under their feet, all before any of them starts again.
func (c cluster) wipe(t *testing.T, ordinals ...int) {
	t.Helper()
	c.altered(t, func(ordinal int, dir string) {
		c.say("  wiping the volume of %s", c.pod(ordinal).Name)
		for _, name := range entries(t, dir) {
			if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
		}
	}, ordinals...)
}

// move takes all that is in a directory to another one of the same file system.
func move(t *testing.T, from, to string) {
	t.Helper()
	for _, name := range entries(t, from) {
		if err := os.Rename(filepath.Join(from, name), filepath.Join(to, name)); err != nil {
			t.Fatal(err)
		}
	}
}

// entries are the names in a directory, of which there must be some.
func entries(t *testing.T, dir string) []string {
	t.Helper()
	names := children(t, dir)
	if len(names) == 0 {
		t.Fatalf("%s is empty", dir)
	}
	return names
}
