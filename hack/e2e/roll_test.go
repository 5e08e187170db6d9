package e2e

import (
	"fmt"
	"slices"
	"testing"

	api "raftsman.dev/api/v1alpha1"
	"raftsman.dev/hack/e2e/load"
	"raftsman.dev/node/admin"
)

// roll changes the members' template under load: every Pod is replaced, one after the other and the leader last, and
// clients notice little of it.
func (s *suite) roll(t *testing.T) {
	c := s.demo()
	id := c.ready(t, 3).Status.ClusterID
	before, pods, leader := c.ids(t, 3), c.uids(t), c.leader(t)
	from := len(s.seen.Of(home, name, 0))
	mark := fmt.Sprintf("%d", from)
	r := c.load(t)
	r.during(planned, "roll", func() { c.rolled(t, mark) })
	r.steady(r.stop())
	now, err := s.k.Pods(t.Context(), home, api.LabelCluster+"="+name)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range now {
		if p.Annotations["e2e.raftsman.dev/roll"] != mark || slices.Contains(pods, string(p.UID)) {
			t.Errorf("kubectl wait came back, and %s is still of the old template", p.Name)
		}
	}
	var order []string
	for _, live := range s.seen.Of(home, name, from) {
		op := live.Status.Operation
		if op != nil && op.Type == api.OperationRoll && op.Step == "Evict" && !slices.Contains(order, op.Member) {
			order = append(order, op.Member)
		}
		if live.Status.ReadyReplicas < 2 {
			t.Errorf("only %d members were ready while rolling", live.Status.ReadyReplicas)
		}
	}
	if len(order) != 3 || order[2] != leader {
		t.Errorf("%s led, and the order of rolling was %v: three members were to be evicted, the leader last", leader, order)
	}
	c.oneCluster(t, 3, id)
	c.same(t, before)
}

// rolled changes an annotation of the template and waits, as a person does, until all Pods have it.
func (c cluster) rolled(t *testing.T, mark string) {
	t.Helper()
	c.patch(t, `{"spec":{"annotations":{"e2e.raftsman.dev/roll":"`+mark+`"}}}`)
	c.kubectl(t, "wait", "-n", c.namespace, "--for=condition=Ready", "raftcluster/"+c.name, "--timeout=4m")
	c.ready(t, 3)
}

// patch merges something into the RaftCluster.
func (c cluster) patch(t *testing.T, text string) {
	t.Helper()
	c.kubectl(t, "patch", "raftcluster", "-n", c.namespace, c.name, "--type=merge", "-p", text)
}

// defaultImage takes the spec's image back.
func (c cluster) defaultImage(t *testing.T) {
	t.Helper()
	c.kubectl(t, "patch", "raftcluster", "-n", c.namespace, c.name, "--type=json", "-p", `[{"op":"remove","path":"/spec/image"}]`)
}

// hibernate scales to none and back: Pods stop, membership and data stay.
func (s *suite) hibernate(t *testing.T) {
	c := s.demo()
	id := c.ready(t, 3).Status.ClusterID
	s.client(t)
	before := c.ids(t, 3)
	if a := s.one(t, load.One{Endpoints: []string{c.service()}, Key: "winter", Value: "sleep"}); a.Error != "" {
		t.Fatal(a.Error)
	}
	s.kubectl(t, "scale", "raftcluster/"+name, "--replicas=0")
	c.reaches(t, "hibernated", func(live *api.RaftCluster) error {
		ready := condition(live, api.ConditionReady)
		if ready.Reason != api.ReasonHibernated || ready.Status != "True" || live.Status.Replicas != 0 {
			return fmt.Errorf("Ready is %q because of %s", ready.Status, ready.Reason)
		}
		return nil
	})
	s.gone(t, "no Pod is left", home, api.LabelCluster+"="+name)
	c.volumes(t, 3)
	c.resize(t, 3)
	c.oneCluster(t, 3, id)
	c.same(t, before)
	if a := s.one(t, load.One{Endpoints: []string{c.service()}, Key: "winter"}); a.Value != "sleep" {
		t.Errorf("what was written before hibernation reads %+v", a)
	}
	for _, m := range c.members(t, 3, admin.StatusOptions{}) {
		if m.Membership == nil || len(m.Membership.Members) != 3 {
			t.Errorf("%s woke up in the membership %+v", m.Name, m.Membership)
		}
	}
}
