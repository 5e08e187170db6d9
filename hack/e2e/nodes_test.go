package e2e

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	api "raftsman.dev/api/v1alpha1"
	"raftsman.dev/hack/e2e/kube"
)

// nodes of the dev cluster. Node 0 carries the control plane and the clients and is never taken away.
const nodes = 3

func nodeName(n int) string { return fmt.Sprintf("node-%d", n) }

// node is the number of the node that a Pod runs on.
func (s *suite) node(t *testing.T, p kube.Pod) int {
	t.Helper()
	name := s.kubectl(t, "get", "pod", "-n", p.Namespace, p.Name, "-o", "jsonpath={.spec.nodeName}")
	for n := range nodes {
		if nodeName(n) == name {
			return n
		}
	}
	t.Fatalf("%s runs on %q", p.Name, name)
	return 0
}

// on is the ordinal of the member on a node. Members that share a node would make a scenario another one.
func (c cluster) on(t *testing.T, node int) int {
	t.Helper()
	var here []int
	for i := range 3 {
		if c.node(t, c.pod(i)) == node {
			here = append(here, i)
		}
	}
	if len(here) != 1 {
		t.Fatalf("on %s are the members %v: one was wanted", nodeName(node), here)
	}
	return here[0]
}

// expendable is a node without control plane, clients and operator.
func (s *suite) expendable(t *testing.T) int {
	t.Helper()
	pods, err := s.k.Pods(t.Context(), system, api.LabelPart+"=operator")
	if err != nil {
		t.Fatal(err)
	}
	for n := nodes - 1; n > 0; n-- {
		if !slices.ContainsFunc(pods, func(p corev1.Pod) bool { return p.Spec.NodeName == nodeName(n) }) {
			return n
		}
	}
	t.Fatal("operators are on all nodes")
	return 0
}

// drain is kubectl drain of the cluster's Pods on a node, begun in the background.
func (c cluster) drain(t *testing.T, node int) func() {
	t.Helper()
	done := make(chan error, 1)
	c.say("  draining %s", nodeName(node))
	go func() {
		_, err := c.k.Run(t.Context(), c.k.Kubectl, "drain", nodeName(node), "--pod-selector="+api.LabelCluster+"="+c.name, "--ignore-daemonsets", "--timeout=3m")
		done <- err
	}()
	t.Cleanup(func() { // however the scenario ends
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		_, _ = c.k.Run(ctx, c.k.Kubectl, "uncordon", nodeName(node))
	})
	return sync.OnceFunc(func() {
		t.Helper()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		c.say("  %s is drained", nodeName(node))
	})
}

// drained drains the leader's node and lets it be used again.
func (s *suite) drained(t *testing.T) {
	c := s.demo()
	kept := c.keeps(t, 3)
	r := c.load(t)
	r.during(planned, "drain of the leader's node", func() {
		node := c.node(t, c.named(c.leader(t)))
		c.drain(t, node)()
		r.more(300)
		s.kubectl(t, "uncordon", nodeName(node))
		c.ready(t, 3)
	})
	r.steady(r.stop())
	kept()
}

// drainedTwice drains two nodes at once. The volumes are on the nodes, so a drained member cannot come back before its
// node may be used again: the budget lets the second one go only then.
func (s *suite) drainedTwice(t *testing.T) {
	c := s.demo()
	kept := c.keeps(t, 3)
	from := len(s.seen.Of(home, name, 0))
	r := c.load(t)
	r.during(planned, "drain of two nodes at once", func() {
		pair := [2]int{1, 2}
		waits := [2]func(){c.drain(t, pair[0]), c.drain(t, pair[1])}
		first := -1
		c.until(t, "one of two drained members has gone", func(ctx context.Context) error {
			pods, err := c.k.Pods(ctx, home, api.LabelCluster+"="+name)
			if err != nil {
				return err
			}
			for i, node := range pair {
				if !slices.ContainsFunc(pods, func(p corev1.Pod) bool { return p.Spec.NodeName == nodeName(node) }) {
					first = i
					return nil
				}
			}
			return errors.New("both are there")
		})
		waits[first]()
		r.more(1000) // for longer than kubectl waits before it asks again
		if pods, err := c.k.Pods(t.Context(), home, api.LabelCluster+"="+name); err != nil || !slices.ContainsFunc(pods, func(p corev1.Pod) bool { return p.Spec.NodeName == nodeName(pair[1-first]) }) {
			t.Errorf("both members are gone at once: %v", err)
		}
		s.kubectl(t, "uncordon", nodeName(pair[first]))
		waits[1-first]()
		s.kubectl(t, "uncordon", nodeName(pair[1-first]))
		c.ready(t, 3)
	})
	r.steady(r.stop())
	for _, live := range s.seen.Of(home, name, from) {
		if live.Status.ReadyReplicas < 2 {
			t.Errorf("only %d members were ready while draining", live.Status.ReadyReplicas)
		}
	}
	kept()
}

func (s *suite) nodeOff(t *testing.T) { s.off(t, false) }

func (s *suite) leaderNodeOff(t *testing.T) { s.off(t, true) }

// off takes the power of a node, whose member leads or does not, until Kubernetes has noticed, and gives it back.
func (s *suite) off(t *testing.T, leads bool) {
	c := s.demo()
	kept := c.keeps(t, 3)
	node := s.expendable(t)
	victim := c.on(t, node)
	what := "follower's node powered off"
	if leads {
		what = "leader's node powered off"
		c.lead(t, victim)
	} else {
		c.lead(t, c.on(t, 0))
	}
	r := c.load(t)
	back := undo(t, func() error { return s.dev.StartNode(context.Background(), node) })
	defer back()
	r.during(lost, what, func() {
		if err := s.dev.StopNode(t.Context(), node); err != nil {
			t.Fatal(err)
		}
		r.more(600)
		c.reaches(t, "the lost member is told", func(live *api.RaftCluster) error {
			if is := condition(live, api.ConditionReady); is.Status != "False" {
				return fmt.Errorf("Ready is %s", is.Status)
			}
			return nil
		})
		r.more(600)
	})
	back()
	c.ready(t, 3)
	r.more(300)
	r.stop()
	kept()
}

// apart cuts a node off from others while something happens.
func (s *suite) apart(t *testing.T, node int, others []int, during func()) {
	t.Helper()
	s.say("  cutting %s off from %v", nodeName(node), others)
	heal := undo(t, func() error { return s.dev.Heal(context.Background()) })
	defer heal()
	if err := s.dev.Partition(t.Context(), node, others...); err != nil {
		t.Fatal(err)
	}
	during()
}

// partition cuts the leader's node off from one follower's: both still reach the third, so the leader has a quorum,
// and the follower that hears no leader must not unseat it.
func (s *suite) partition(t *testing.T) {
	const long = 20 * time.Second
	c := s.demo()
	kept := c.keeps(t, 3)
	leads := c.on(t, 1)
	c.lead(t, leads)
	r := c.load(t)
	r.during(lost, "partition between leader and follower", func() {
		s.apart(t, 1, []int{2}, func() { pass(t, long) })
	})
	r.during(lost, "partition healed", func() {
		c.ready(t, 3)
		r.more(300)
	})
	r.stop()
	kept()
}

// leaderNodeCutOff cuts the leader's node off from all others, Kubernetes included, until the kubelet is given up.
func (s *suite) leaderNodeCutOff(t *testing.T) {
	c := s.demo()
	kept := c.keeps(t, 3)
	node := s.expendable(t)
	c.lead(t, c.on(t, node))
	var others []int
	for n := range nodes {
		if n != node {
			others = append(others, n)
		}
	}
	r := c.load(t)
	r.during(lost, "leader's node cut off", func() {
		s.apart(t, node, others, func() {
			r.more(600)
			c.until(t, "Kubernetes has given the node up", func(ctx context.Context) error {
				text, err := s.k.Run(ctx, s.k.Kubectl, "get", "node", nodeName(node), "-o", `jsonpath={.status.conditions[?(@.type=="Ready")].status}`)
				if err == nil && text == "True" {
					err = errors.New("it is ready")
				}
				return err
			})
		})
	})
	c.ready(t, 3)
	r.more(300)
	r.stop()
	kept()
}

// withoutDNS takes the DNS away for a minute.
func (s *suite) withoutDNS(t *testing.T) {
	c := s.demo()
	kept := c.keeps(t, 3)
	r := c.load(t)
	scale := func(n int) error {
		_, err := s.k.Run(context.Background(), s.k.Kubectl, "scale", "-n", "kube-system", "deployment/coredns", fmt.Sprintf("--replicas=%d", n))
		return err
	}
	back := undo(t, func() error { return scale(1) })
	defer back()
	r.during(lost, "DNS down for a minute, then a follower killed", func() {
		if err := scale(0); err != nil {
			t.Fatal(err)
		}
		s.gone(t, "no DNS is left", "kube-system", "k8s-app=kube-dns")
		pass(t, time.Minute)
		c.kill(t, c.pod(c.follower(t)).Name) // it must be found, and find the others, without names
		r.more(600)
	})
	back()
	s.kubectl(t, "rollout", "status", "-n", "kube-system", "deployment/coredns", "--timeout=2m")
	c.ready(t, 3)
	r.more(300)
	r.stop()
	kept()
}

// withoutAPI holds the API server still for a minute: nobody can be asked for anything meanwhile, the clients' Pod
// neither, but what they do goes on.
func (s *suite) withoutAPI(t *testing.T) {
	const server = "kube-apiserver"
	c := s.demo()
	kept, pods := c.keeps(t, 3), c.uids(t)
	r := c.load(t)
	thaw := undo(t, func() error { return s.dev.Thaw(context.Background(), server) })
	defer thaw()
	r.during(lost, "API server down for a minute", func() {
		s.say("  %s is still", server)
		if err := s.dev.Freeze(t.Context(), server); err != nil {
			t.Fatal(err)
		}
		pass(t, time.Minute)
		thaw()
		s.until(t, "the API server answers", func(ctx context.Context) error {
			ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
			defer cancel()
			_, err := s.k.Run(ctx, s.k.Kubectl, "get", "--raw", "/readyz")
			var gone *exec.ExitError
			if errors.As(err, &gone) {
				err = fmt.Errorf("it does not: %s", strings.TrimSpace(gone.Error()))
			}
			return err
		})
		c.ready(t, 3)
		r.more(300)
	})
	r.steady(r.stop())
	kept()
	c.samePods(t, pods)
}
