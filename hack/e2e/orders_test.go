package e2e

import (
	"fmt"
	"testing"
)

func (s *suite) followerKilled(t *testing.T) {
	c := s.demo()
	kept := c.keeps(t, 3)
	r := c.load(t)
	r.during(lost, "follower's container killed", func() {
		c.kill(t, c.pod(c.follower(t)).Name)
		r.more(600)
	})
	c.ready(t, 3)
	r.steady(r.stop())
	kept()
}

// transfer moves leadership to every member in turn, and to the first again.
func (s *suite) transfer(t *testing.T) {
	c := s.demo()
	id := c.ready(t, 3).Status.ClusterID
	r := c.load(t)
	for _, to := range []int{0, 1, 2, 0} {
		r.during(planned, fmt.Sprintf("transfer to member %d", to), func() {
			c.lead(t, to)
			r.more(200)
		})
	}
	r.steady(r.stop())
	c.ready(t, 3)
	c.oneCluster(t, 3, id)
}

// leaderDeleted deletes the leader's Pod in the ordinary way, three times: a member that is told to stop hands over.
func (s *suite) leaderDeleted(t *testing.T) {
	c := s.demo()
	kept := c.keeps(t, 3)
	r := c.load(t)
	for range 3 {
		r.during(planned, "leader's Pod deleted", func() {
			leader := c.leader(t)
			c.say("  deleting %s", leader)
			c.kubectl(t, "delete", "pod", "-n", c.namespace, leader)
			c.ready(t, 3)
		})
	}
	r.steady(r.stop())
	kept()
}
