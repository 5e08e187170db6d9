package e2e

import (
	"context"
	"fmt"
	"testing"
	"time"

	"raftsman.dev/node/admin"
)

const fresh = `apiVersion: v1
kind: Namespace
metadata:
  name: %[1]s
  labels: {pod-security.kubernetes.io/enforce: restricted}
---
apiVersion: raftsman.dev/v1alpha1
kind: RaftCluster
metadata: {name: %[2]s, namespace: %[1]s}
spec: %[3]s
`

// fresh makes a cluster of its own in a namespace of its own, which goes with the scenario.
func (s *suite) fresh(t *testing.T, namespace, name, spec string) cluster {
	t.Helper()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		defer cancel()
		if _, err := s.k.Run(ctx, s.k.Kubectl, "delete", "namespace", namespace, "--ignore-not-found", "--timeout=110s"); err != nil {
			t.Error(err)
		}
	})
	s.apply(t, fmt.Sprintf(fresh, namespace, name, spec))
	return cluster{s, namespace, name}
}

// sizeOne kills and deletes the only member: what it has acknowledged is there when it comes back.
func (s *suite) sizeOne(t *testing.T) {
	c := s.fresh(t, "size-one", "single", "{replicas: 1}")
	id := c.ready(t, 1).Status.ClusterID
	before := c.ids(t, 1)
	r := c.load(t)
	r.during(outage, "the only member killed", func() {
		c.kill(t, c.pod(0).Name)
		r.more(300)
	})
	c.ready(t, 1)
	r.during(outage, "the only Pod deleted", func() {
		c.deleteAll(t)
		r.more(300)
	})
	c.ready(t, 1)
	r.stop()
	c.oneCluster(t, 1, id)
	c.same(t, before)
}

func (s *suite) sizeFive(t *testing.T) { s.minority(t, 5) }

func (s *suite) sizeSeven(t *testing.T) { s.minority(t, 7) }

// minority kills as many members at once as a cluster of a size survives, the leader among them.
func (s *suite) minority(t *testing.T, size int32) {
	c := s.fresh(t, fmt.Sprintf("size-%d", size), "group", fmt.Sprintf("{replicas: %d}", size))
	id := c.ready(t, size).Status.ClusterID
	n := int(size)
	before := c.ids(t, n)
	r := c.load(t)
	r.during(lost, fmt.Sprintf("%d of %d killed at once", n/2, n), func() {
		victims := []string{c.leader(t)}
		for i := 0; len(victims) < n/2; i++ {
			if p := c.pod(i).Name; p != victims[0] {
				victims = append(victims, p)
			}
		}
		c.kill(t, victims...)
		r.more(600)
	})
	c.ready(t, size)
	r.steady(r.stop())
	c.oneCluster(t, n, id)
	c.same(t, before)
}

// sizes takes a cluster of one through 3 and 5 and back under load.
func (s *suite) sizes(t *testing.T) {
	c := s.fresh(t, "sizes", "elastic", "{replicas: 1}")
	id := c.ready(t, 1).Status.ClusterID
	r := c.load(t)
	was := int32(1)
	for _, to := range []int32{3, 5, 3, 1} {
		r.during(planned, fmt.Sprintf("from %d to %d", was, to), func() { c.resize(t, to) })
		r.more(200)
		was = to
	}
	r.steady(r.stop())
	c.oneCluster(t, 1, id)
	c.volumes(t, 1)
}

// volumesWiped empties the volume of pod-0 and then of another member under their feet, under load: each is replaced
// under a new ID, and pod-0 founds nothing.
func (s *suite) volumesWiped(t *testing.T) {
	c := s.demo()
	id := c.ready(t, 3).Status.ClusterID
	r := c.load(t)
	wipe := func(ordinal int) {
		old := c.members(t, 3, admin.StatusOptions{})[ordinal].MemberID
		c.wipe(t, ordinal)
		c.replaced(t, ordinal, old)
	}
	r.during(lost, "pod-0's volume wiped", func() { wipe(0) })
	r.during(lost, "another's volume wiped", func() { wipe(c.follower(t)) })
	r.more(300)
	r.stop()
	c.oneCluster(t, 3, id)
	c.equal(t, 3)
	c.volumes(t, 3)
}
