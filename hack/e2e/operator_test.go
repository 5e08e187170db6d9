package e2e

import (
	"context"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	api "raftsman.dev/api/v1alpha1"
	"raftsman.dev/hack/e2e/kube"
)

// mostKills bounds how often the operator, or the leader, is killed in one scenario: each time the operator's successor
// waits for the lease to run out, and a container that ends often is started again later each time.
const mostKills = 4

// strike kills somebody at a moment of an operation. It returns false where there was nobody.
type strike func(ctx context.Context, moment string) (bool, error)

// disturbed performs a fault, or an order, while the operator is killed: right before it, where that is asked for,
// and whenever the operator says something new about what it does. Nobody is left to finish what was begun but
// the next operator, from what it finds.
func (c cluster) disturbed(t *testing.T, before bool, fault func()) {
	t.Helper()
	c.struck(t, mostKills, before, fault, func(ctx context.Context, moment string) (bool, error) {
		return true, c.killOperator(ctx, moment)
	})
}

// struck performs a fault, or an order, while somebody is killed whenever the operator says something new, most times
// at most.
func (c cluster) struck(t *testing.T, most int, before bool, fault func(), hit strike) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	seen, kills := len(c.seen.Of(c.namespace, c.name, 0)), 0
	if before {
		kills++
		if _, err := hit(ctx, "before anything"); err != nil {
			t.Fatal(err)
		}
	}
	go func() { done <- c.killAtSteps(ctx, seen, most, &kills, hit) }()
	fault()
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	t.Logf("killed %d times", kills)
	if kills == 0 {
		t.Error("nobody was ever killed: nothing is proven")
	}
}

// killAtSteps kills somebody at every new step of an operation until ctx ends.
func (c cluster) killAtSteps(ctx context.Context, from, most int, kills *int, hit strike) error {
	known := map[string]bool{}
	for {
		changed := c.seen.Changed()
		fresh := c.seen.Of(c.namespace, c.name, from)
		from += len(fresh)
		at := ""
		for _, live := range fresh {
			if step := stepOf(live); step != "" && !known[step] {
				known[step], at = true, step
			}
		}
		if at != "" && *kills < most {
			did, err := hit(ctx, at)
			if err != nil && ctx.Err() == nil {
				return err
			}
			if did {
				*kills++
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
	}
}

// stepOf names what a status says is being done or waited for, or nothing when all is well.
func stepOf(c *api.RaftCluster) string {
	ready := condition(c, api.ConditionReady)
	if ready.Status == "True" {
		return ""
	}
	step := ready.Reason
	if op := c.Status.Operation; op != nil {
		step = fmt.Sprintf("%s: %s (%s)", op.Type, op.Step, step)
	}
	return step
}

// killOperator kills the operator's process and its Pod, without a word. Another Pod takes its place.
func (s *suite) killOperator(ctx context.Context, moment string) error {
	pods, err := s.k.Pods(ctx, system, api.LabelPart+"=operator")
	if err != nil {
		return err
	}
	for _, p := range pods {
		if p.Status.Phase != corev1.PodRunning || p.DeletionTimestamp != nil {
			continue
		}
		s.say("  SIGKILL to the operator: %s", moment)
		// A process that has just ended by itself is dead enough.
		if err := s.dev.Signal(ctx, kube.Pod{Namespace: p.Namespace, Name: p.Name}, "KILL"); err != nil && ctx.Err() == nil {
			s.say("  it was not running: %v", err)
		}
		now := int64(0)
		if err := s.k.Core.CoreV1().Pods(p.Namespace).Delete(ctx, p.Name, metav1.DeleteOptions{GracePeriodSeconds: &now}); err != nil {
			return err
		}
	}
	return nil
}

func (s *suite) leaderKilledWithoutOperator(t *testing.T) {
	c := s.demo()
	kept := c.keeps(t, 3)
	r := c.load(t)
	r.during(lost, "leader killed, and the operator", func() {
		c.disturbed(t, true, func() {
			c.killLeader(t)
			r.more(600)
			c.ready(t, 3)
		})
	})
	r.steady(r.stop())
	kept()
}

func (s *suite) scaleWithoutOperator(t *testing.T) {
	c := s.demo()
	id := c.ready(t, 3).Status.ClusterID
	r := c.load(t)
	r.during(planned, "grow 3 to 5, operator killed", func() { c.disturbed(t, false, func() { c.resize(t, 5) }) })
	c.oneCluster(t, 5, id)
	c.lead(t, 4)
	r.during(planned, "shrink 5 to 3, operator killed", func() { c.disturbed(t, false, func() { c.resize(t, 3) }) })
	r.steady(r.stop())
	c.oneCluster(t, 3, id)
	c.volumes(t, 3)
}

func (s *suite) allDeletedWithoutOperator(t *testing.T) {
	c := s.demo()
	kept := c.keeps(t, 3)
	r := c.load(t)
	c.disturbed(t, false, func() {
		c.deleteAll(t)
		c.ready(t, 3)
	})
	r.stop()
	kept()
}

func (s *suite) volumeDeletedWithoutOperator(t *testing.T) {
	c := s.demo()
	id := c.ready(t, 3).Status.ClusterID
	r := c.load(t)
	r.during(lost, "follower's volume deleted, operator killed", func() {
		c.disturbed(t, false, func() { c.loseVolume(t, c.follower(t)) })
	})
	r.steady(r.stop())
	c.oneCluster(t, 3, id)
}

func (s *suite) founderLostWithoutOperator(t *testing.T) {
	c := s.demo()
	id := c.ready(t, 3).Status.ClusterID
	r := c.load(t)
	r.during(lost, "pod-0's volume deleted, operator killed", func() {
		c.disturbed(t, true, func() { c.loseVolume(t, 0) })
	})
	r.steady(r.stop())
	c.oneCluster(t, 3, id)
}
