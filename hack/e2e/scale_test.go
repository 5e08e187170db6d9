package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	api "raftsman.dev/api/v1alpha1"
	"raftsman.dev/hack/e2e/kube"
	"raftsman.dev/node/admin"
)

// scale grows the cluster to five and shrinks it to three under load.
func (s *suite) scale(t *testing.T) {
	c := s.demo()
	id := c.ready(t, 3).Status.ClusterID
	before := c.members(t, 3, admin.StatusOptions{})
	r := c.load(t)
	r.during(planned, "grow 3 to 5", func() { c.resize(t, 5) })
	r.more(300)
	grown := c.joints(t, 5, before[0].Membership.Index)
	if len(grown) != 1 {
		t.Errorf("growing took the joint changes at %v: it must be one", grown)
	}
	r.during(planned, "transfer to the last", func() { c.lead(t, 4) }) // so that leadership must be handed over before the change
	now := c.members(t, 5, admin.StatusOptions{})
	r.during(planned, "shrink 5 to 3, the leader leaves", func() { c.resize(t, 3) })
	r.more(300)
	if shrunk := c.joints(t, 3, now[0].Membership.Index); len(shrunk) != 1 {
		t.Errorf("shrinking took the joint changes at %v: it must be one", shrunk)
	}
	r.steady(r.stop())
	c.oneCluster(t, 3, id)
	c.volumes(t, 3)
}

// resize scales as a person does, waits as a person does, and holds kubectl wait to its word: when it comes back,
// the cluster has that size. Nothing of it may rest on a status that is older than the order.
func (c cluster) resize(t *testing.T, to int32) {
	t.Helper()
	c.kubectl(t, "scale", "-n", c.namespace, "raftcluster/"+c.name, fmt.Sprintf("--replicas=%d", to))
	c.kubectl(t, "wait", "-n", c.namespace, "--for=condition=Ready", "raftcluster/"+c.name, "--timeout=4m")
	if live := c.get(t); live.Status.VotingMembers != to || live.Status.Replicas != to {
		t.Errorf("kubectl wait came back, and the cluster is not Ready with %d voters: %s", to, kube.Brief(live))
	}
	c.ready(t, to)
}

// lead moves leadership to a member.
func (c cluster) lead(t *testing.T, ordinal int) {
	t.Helper()
	to := c.members(t, ordinal+1, admin.StatusOptions{})[ordinal]
	c.until(t, to.Name+" leads", func(ctx context.Context) error {
		leader := c.leader(t)
		if leader == to.Name {
			return nil
		}
		request := admin.TransferRequest{ClusterID: to.ClusterID, To: to.MemberID}
		if err := (admin.Client{HTTP: c.k.HTTP()}).Transfer(ctx, c.k.URL(c.named(leader), 2382), request); err != nil {
			return err
		}
		return fmt.Errorf("%s leads", leader)
	})
}

// volumes waits until so many volumes are there: those of members that have gone go too, no others.
func (c cluster) volumes(t *testing.T, want int) {
	t.Helper()
	c.until(t, fmt.Sprintf("%d volumes are left", want), func(ctx context.Context) error {
		text, err := c.k.Run(ctx, c.k.Kubectl, "get", "pvc", "-n", c.namespace, "-l", api.LabelCluster+"="+c.name, "-o", "jsonpath={.items[*].metadata.name}")
		if err == nil && len(slices.DeleteFunc(splitWords(text), func(s string) bool { return s == "" })) != want {
			err = fmt.Errorf("there are %s", text)
		}
		return err
	})
}

// joints are the log indexes, behind a given one, at which members' logs tell of a joint membership.
func (c cluster) joints(t *testing.T, n int, behind uint64) []uint64 {
	t.Helper()
	var at []uint64
	heard := false
	for i := range n {
		for _, entry := range c.logs(t, c.pod(i)) {
			if entry.Message != "membership changed" || entry.Index <= behind {
				continue
			}
			heard = true
			if entry.Joint && !slices.Contains(at, entry.Index) {
				at = append(at, entry.Index)
			}
		}
	}
	if !heard {
		t.Errorf("no member's log tells of a membership behind index %d", behind)
	}
	return at
}

// entry is what is read of a line of a member's log.
type entry struct {
	Message   string `json:"msg"`
	Direction string `json:"direction"`
	Index     uint64 `json:"index"`
	Joint     bool   `json:"joint"`
	Error     string `json:"error"`
}

// logs are the lines of a Pod's log that members write.
func (s *suite) logs(t *testing.T, p kube.Pod) []entry {
	t.Helper()
	lines, err := s.k.Logs(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	var all []entry
	for _, line := range lines {
		var e entry
		if json.Unmarshal([]byte(line), &e) == nil {
			all = append(all, e)
		}
	}
	return all
}
