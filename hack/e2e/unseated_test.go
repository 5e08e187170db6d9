package e2e

import (
	"context"
	"fmt"
	"testing"
	"time"

	"raftsman.dev/hack/e2e/kube"
	"raftsman.dev/node/admin"
)

// mostUnseated bounds how often the leader is killed in one scenario: the kubelet waits longer each time before it
// starts a container again, and two of three that wait are a lost quorum.
const mostUnseated = 2

// unseated performs an order while the leader's container is killed at new steps of it.
func (c cluster) unseated(t *testing.T, order func()) {
	t.Helper()
	c.struck(t, mostUnseated, false, order, c.killLeaderAt)
}

// killLeaderAt kills the leader's container, where there is a leader, and waits until that member is ready again.
func (c cluster) killLeaderAt(ctx context.Context, moment string) (bool, error) {
	leader, err := c.findLeader(ctx)
	if err != nil {
		return false, ctx.Err() // nobody leads just now
	}
	c.say("  SIGKILL to the leader %s: %s", leader.Name, moment)
	if err := c.dev.Signal(ctx, c.named(leader.Name), "KILL"); err != nil {
		c.say("  it was not running: %v", err) // it was being replaced
		return false, ctx.Err()
	}
	// A Pod that goes in the meantime is not waited for.
	const enough = 40 * time.Second
	err = kube.Until(ctx, enough, c.out, leader.Name+" is ready again", func(ctx context.Context) error {
		now, err := c.k.Member(ctx, c.named(leader.Name), admin.StatusOptions{})
		if err == nil && (now.Boot == leader.Boot && now.MemberID == leader.MemberID || !now.Ready) {
			err = fmt.Errorf("boot %d, ready %v", now.Boot, now.Ready)
		}
		return err
	})
	if err != nil {
		c.say("  %v", err)
	}
	return true, ctx.Err()
}

func (s *suite) growUnseated(t *testing.T) {
	c := s.demo()
	id := c.ready(t, 3).Status.ClusterID
	r := c.load(t)
	r.during(lost, "grow 3 to 5, leader killed", func() { c.unseated(t, func() { c.resize(t, 5) }) })
	r.more(300)
	r.stop()
	c.oneCluster(t, 5, id)
	c.volumes(t, 5)
}

// shrinkUnseated begins with what growUnseated has left, or grows first.
func (s *suite) shrinkUnseated(t *testing.T) {
	c := s.demo()
	if *c.get(t).Spec.Replicas != 5 {
		c.resize(t, 5)
	}
	id := c.ready(t, 5).Status.ClusterID
	c.lead(t, 4)
	r := c.load(t)
	r.during(lost, "shrink 5 to 3, leader killed", func() { c.unseated(t, func() { c.resize(t, 3) }) })
	r.more(300)
	r.stop()
	c.oneCluster(t, 3, id)
	c.volumes(t, 3)
}

func (s *suite) rollUnseated(t *testing.T) {
	c := s.demo()
	kept := c.keeps(t, 3)
	r := c.load(t)
	r.during(outage, "roll, leader killed", func() {
		c.unseated(t, func() { c.rolled(t, fmt.Sprintf("unseated-%d", c.runs)) })
	})
	r.more(300)
	r.stop()
	kept()
}

func (s *suite) rollWithoutOperator(t *testing.T) {
	c := s.demo()
	kept := c.keeps(t, 3)
	r := c.load(t)
	r.during(planned, "roll, operator killed", func() {
		c.disturbed(t, false, func() { c.rolled(t, fmt.Sprintf("disturbed-%d", c.runs)) })
	})
	r.steady(r.stop())
	kept()
}
