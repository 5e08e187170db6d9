package e2e

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"raftsman.dev/hack/e2e/kube"
	"raftsman.dev/hack/e2e/load"
	"raftsman.dev/node/admin"
)

// lone is a way to a member that goes by its own node, so that it stays when the member is cut off from all Pods.
type lone struct {
	client *clientv3.Client
	report string // the URL of its status
	asked  int
}

func (c cluster) lone(t *testing.T, pod kube.Pod) *lone {
	t.Helper()
	reach := func(port int) string {
		address, stop, err := c.k.Forward(pod, port)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(stop)
		return "http://" + address
	}
	l := &lone{report: reach(2382)}
	var err error
	if l.client, err = load.Dial([]string{reach(clientPort)}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.client.Close() }) // its server may be gone
	return l
}

func (l *lone) status(ctx context.Context) (admin.Status, error) {
	return admin.Client{}.Status(ctx, l.report, admin.StatusOptions{})
}

// ask writes and reads once, and says what was answered.
func (l *lone) ask(t *testing.T) (written, read bool) {
	t.Helper()
	l.asked++
	try := func(do func(context.Context) error) bool {
		once, cancel := context.WithTimeout(t.Context(), opLimit)
		defer cancel()
		return do(once) == nil
	}
	written = try(func(ctx context.Context) error {
		_, err := l.client.Put(ctx, fmt.Sprintf("isolated/%d", l.asked), "v")
		return err
	})
	read = try(func(ctx context.Context) error {
		_, err := l.client.Get(ctx, "isolated/1")
		return err
	})
	return written, read
}

// refused demands that a member which is cut off answers nothing.
func (l *lone) refused(t *testing.T) {
	t.Helper()
	if written, read := l.ask(t); written || read {
		t.Errorf("attempt %d after the cut: the write was acknowledged: %v, the read was answered: %v", l.asked, written, read)
	}
}

// serves waits until the member takes writes and reads on this way.
func (c cluster) serves(t *testing.T, l *lone) {
	t.Helper()
	c.until(t, "the member serves on the way past all Pods", func(context.Context) error {
		if written, read := l.ask(t); !written || !read {
			return fmt.Errorf("written %v, read %v", written, read)
		}
		return nil
	})
}

// isolatedLeader cuts the leader off from everybody and keeps asking it: nothing that begins after the cut is
// acknowledged, and its status tells that it has stepped down.
func (s *suite) isolatedLeader(t *testing.T) {
	c := s.demo()
	id := c.ready(t, 3).Status.ClusterID
	r := c.load(t)
	leader := c.named(c.leader(t))
	l := c.lone(t, leader)
	before, err := l.status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c.serves(t, l)
	c.say("  isolating %s", leader.Name)
	if err := c.dev.Isolate(t.Context(), leader); err != nil {
		t.Fatal(err)
	}
	rejoin := sync.OnceFunc(func() {
		if err := c.dev.Rejoin(context.Background(), leader); err != nil {
			t.Error(err)
		}
	})
	defer rejoin()
	l.refused(t)
	c.until(t, leader.Name+" steps down", func(ctx context.Context) error {
		l.refused(t)
		now, err := l.status(ctx)
		switch {
		case err != nil:
			return err
		case now.Role == admin.RoleLeader || now.StepDowns <= before.StepDowns || now.LastStepDown == "":
			return fmt.Errorf("role %s, %d step-downs, the last %q", now.Role, now.StepDowns, now.LastStepDown)
		}
		t.Logf("%s stepped down: %s", leader.Name, now.LastStepDown)
		return nil
	})
	for range 3 {
		l.refused(t)
	}
	if other := c.leader(t); other == leader.Name {
		t.Errorf("%s leads on though nobody hears it", other)
	}
	r.more(300) // the others go on
	rejoin()
	c.serves(t, l) // so the way was open all the time
	c.ready(t, 3)
	r.steady(r.stop())
	c.oneCluster(t, 3, id)
}

// stopFor holds a member's process still while something happens.
func (c cluster) stopFor(t *testing.T, ordinal int, during func()) {
	t.Helper()
	if err := c.dev.Signal(t.Context(), c.pod(ordinal), "STOP"); err != nil {
		t.Fatal(err)
	}
	c.say("  SIGSTOP to %s", c.pod(ordinal).Name)
	defer func() {
		c.say("  SIGCONT to %s", c.pod(ordinal).Name)
		if err := c.dev.Signal(context.Background(), c.pod(ordinal), "CONT"); err != nil {
			t.Error(err)
		}
	}()
	during()
}

// pass lets time pass, where time itself is what is tried.
func pass(t *testing.T, long time.Duration) {
	t.Helper()
	timer := time.NewTimer(long)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-t.Context().Done():
		t.Fatal(t.Context().Err())
	}
}

// stoppedBriefly stops a follower for ten seconds under load: it catches up from the log, in the same boot and
// without a snapshot.
func (s *suite) stoppedBriefly(t *testing.T) {
	const long = 10 * time.Second
	c := s.demo()
	c.ready(t, 3)
	victim := c.follower(t)
	before := c.members(t, 3, admin.StatusOptions{})[victim]
	r := c.load(t)
	r.during(lost, "follower stopped for 10 s", func() { c.stopFor(t, victim, func() { pass(t, long) }) })
	c.ready(t, 3)
	r.more(300)
	r.steady(r.stop())
	after := c.equal(t, 3)[victim]
	if after.Boot != before.Boot || after.Snapshots != before.Snapshots {
		t.Errorf("%s went from boot %d with %d snapshots to boot %d with %d: it should have caught up from the log",
			after.Name, before.Boot, before.Snapshots, after.Boot, after.Snapshots)
	}
	if after.Applied <= before.Applied {
		t.Errorf("%s has applied nothing since: %d, then %d", after.Name, before.Applied, after.Applied)
	}
}

// stoppedLong stops a follower until the leader has cut its log past it: then only a snapshot helps.
func (s *suite) stoppedLong(t *testing.T) {
	const batch, most = 6000, 20
	c := s.demo()
	c.ready(t, 3)
	c.client(t)
	victim := c.follower(t)
	before := c.members(t, 3, admin.StatusOptions{})[victim]
	leader := c.named(c.leader(t))
	running := slices.Delete([]string{c.own(0), c.own(1), c.own(2)}, victim, victim+1) // a connection to the victim would hang
	c.stopFor(t, victim, func() {
		for i := range most {
			first := c.logStart(t, leader.Name)
			if first > before.Last+1 {
				c.say("  the leader's log begins at %d, %s has it up to %d", first, c.pod(victim).Name, before.Last)
				return
			}
			job := load.Job{Endpoints: running, Prefix: fmt.Sprintf("fill/%d/%d", time.Now().UnixNano(), i), Keys: batch}
			began := time.Now()
			if _, err := c.order(t.Context(), "POST", "/fill", job); err != nil {
				t.Fatal(err)
			}
			c.say("  %d writes in %v", batch, time.Since(began).Round(time.Millisecond))
		}
		t.Fatalf("after %d writes the leader's log is not cut", batch*most)
	})
	c.ready(t, 3)
	after := c.equal(t, 3)[victim]
	// The kubelet may have lost patience with the process and restarted it: then the log before tells.
	received := 0
	for _, e := range c.logs(t, c.pod(victim)) {
		if e.Message == "snapshot ends" && e.Direction == string(admin.Receiving) && e.Error == "" && e.Index > before.Last {
			received++
		}
	}
	if received == 0 || after.MemberID != before.MemberID || after.First <= before.Last {
		t.Errorf("%s took in %d snapshots behind index %d; it was member %s and is %s, its log begins at %d", after.Name, received, before.Last, before.MemberID, after.MemberID, after.First)
	}
}

// logStart is the first index of a member's log.
func (c cluster) logStart(t *testing.T, pod string) uint64 {
	t.Helper()
	m, err := c.k.Member(t.Context(), c.named(pod), admin.StatusOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return m.First
}

// equal waits until all members have applied the same index, and demands that their states are equal there.
func (c cluster) equal(t *testing.T, n int) []admin.Status {
	t.Helper()
	var all []admin.Status
	c.until(t, "all members have applied the same", func(ctx context.Context) error {
		all = nil
		for i := range n {
			m, err := c.k.Member(ctx, c.pod(i), admin.StatusOptions{Hash: true})
			if err != nil {
				return err
			}
			all = append(all, m)
		}
		if slices.ContainsFunc(all, func(m admin.Status) bool { return m.HashIndex != all[0].HashIndex }) {
			return fmt.Errorf("they are at %d, %d and %d", all[0].HashIndex, all[1].HashIndex, all[2].HashIndex)
		}
		return nil
	})
	for _, m := range all {
		if m.StateHash == "" || m.StateHash != all[0].StateHash || m.Revision != all[0].Revision {
			t.Errorf("at index %d %s has state %s at revision %d, %s has %s at %d", m.HashIndex, m.Name, m.StateHash, m.Revision, all[0].Name, all[0].StateHash, all[0].Revision)
		}
	}
	return all
}
