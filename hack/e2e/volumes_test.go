package e2e

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	api "raftsman.dev/api/v1alpha1"
	"raftsman.dev/hack/e2e/load"
	"raftsman.dev/node/admin"
)

// reportedWithin is how soon status must tell of a lost quorum, from the moment in which nobody is left.
const reportedWithin = 30 * time.Second

// growVolumes raises storage.size under load: all volumes grow, and no Pod is another one or restarted.
func (s *suite) growVolumes(t *testing.T) {
	c := s.demo()
	id := c.ready(t, 3).Status.ClusterID
	before, boots := c.uids(t), c.boots(t, 3)
	size := c.get(t).Spec.Storage.Size
	was := size.String()
	size.Add(size)
	want := size.String()
	r := c.load(t)
	r.during(planned, fmt.Sprintf("storage.size from %s to %s", was, want), func() {
		c.patch(t, fmt.Sprintf(`{"spec":{"storage":{"size":%q}}}`, want))
		c.kubectl(t, "wait", "-n", c.namespace, "--for=condition=Ready", "raftcluster/"+c.name, "--timeout=4m")
	})
	c.until(t, "all volumes and the StatefulSet's template have "+want, func(ctx context.Context) error {
		text, err := c.k.Run(ctx, c.k.Kubectl, "get", "pvc", "-n", c.namespace, "-l", api.LabelCluster+"="+c.name, "-o", "jsonpath={.items[*].status.capacity.storage}")
		set, failed := c.k.Run(ctx, c.k.Kubectl, "get", "statefulset", "-n", c.namespace, c.name, "-o", "jsonpath={.spec.volumeClaimTemplates[0].spec.resources.requests.storage}")
		if err = errors.Join(err, failed); err == nil && (text != strings.Join([]string{want, want, want}, " ") || set != want) {
			err = fmt.Errorf("volumes %q, template %q", text, set)
		}
		return err
	})
	r.more(300)
	c.ready(t, 3)
	r.steady(r.stop())
	c.samePods(t, before)
	c.sameBoots(t, boots)
	c.oneCluster(t, 3, id)
	c.resize(t, 5) // the StatefulSet that was made anew still makes Pods, and with the new size
	c.volumes(t, 5)
	c.resize(t, 3)
	c.volumes(t, 3)
}

// boots are the members' boots, by ID.
func (c cluster) boots(t *testing.T, n int) map[string]uint64 {
	t.Helper()
	all := map[string]uint64{}
	for _, m := range c.members(t, n, admin.StatusOptions{}) {
		all[m.MemberID] = m.Boot
	}
	return all
}

// sameBoots demands that all members are those of before, and none has been restarted.
func (c cluster) sameBoots(t *testing.T, before map[string]uint64) {
	t.Helper()
	if now := c.boots(t, len(before)); !maps.Equal(now, before) {
		t.Errorf("the members are in the boots %v, they were in %v", now, before)
	}
}

// volumesDamaged destroys the identity on the volume of pod-0 and then of another member, under load: each is
// replaced under a new ID, and pod-0 founds nothing.
func (s *suite) volumesDamaged(t *testing.T) {
	c := s.demo()
	id := c.ready(t, 3).Status.ClusterID
	r := c.load(t)
	for _, ordinal := range []int{0, c.follower(t)} {
		old := c.members(t, 3, admin.StatusOptions{})[ordinal].MemberID
		r.during(lost, fmt.Sprintf("identity of %s damaged", c.pod(ordinal).Name), func() {
			c.damage(t, ordinal)
			c.replaced(t, ordinal, old)
		})
	}
	r.more(300)
	r.stop()
	c.oneCluster(t, 3, id)
	c.volumes(t, 3)
}

// damage writes garbage over a member's identity and kills its container.
func (c cluster) damage(t *testing.T, ordinal int) {
	t.Helper()
	file := filepath.Join(c.disk(t, ordinal), "identity")
	c.say("  damaging %s of %s", file, c.pod(ordinal).Name)
	if err := os.WriteFile(file, []byte("this was an identity once"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := c.dev.Signal(t.Context(), c.pod(ordinal), "KILL"); err != nil {
		t.Fatal(err)
	}
}

// tight are volumes of 96 MiB, one on each node, in a cluster of their own.
const tight = `apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {name: tight}
provisioner: kubernetes.io/no-provisioner
volumeBindingMode: WaitForFirstConsumer
---
apiVersion: raftsman.dev/v1alpha1
kind: RaftCluster
metadata: {name: tight, namespace: tight}
spec:
  replicas: 3
  storage: {className: tight, size: 96Mi}
`

const tightVolume = `apiVersion: v1
kind: PersistentVolume
metadata: {name: tight-%[1]d}
spec:
  capacity: {storage: 96Mi}
  accessModes: [ReadWriteOnce]
  persistentVolumeReclaimPolicy: Retain
  storageClassName: tight
  local: {path: /var/lib/tight}
  nodeAffinity: {required: {nodeSelectorTerms: [{matchExpressions: [{key: kubernetes.io/hostname, operator: In, values: [node-%[1]d]}]}]}}
---
`

// diskFull lets the volumes of a cluster fill up: it is told before anything is refused; then writes are refused and
// reads are not; and with space all is well again. The StorageClass lets no volume grow: to ask for it is told too.
func (s *suite) diskFull(t *testing.T) {
	s.client(t)
	s.restrict(t, "tight")
	text := ""
	for n := range 3 {
		s.onNode(t, n, "mkdir -p /var/lib/tight && mount -t tmpfs -o size=96m,mode=0777 tight /var/lib/tight")
		text += fmt.Sprintf(tightVolume, n)
	}
	c := cluster{s, "tight", "tight"}
	t.Cleanup(func() { c.loosen(t) })
	s.apply(t, text+tight)
	c.ready(t, 3)
	put := func(key string) string {
		return s.one(t, load.One{Endpoints: []string{c.service()}, Key: key, Value: "v"}).Error
	}
	leave := func(mib int) { // so much is left on every volume
		for n := range 3 {
			s.onNode(t, n, fmt.Sprintf("cd /var/lib/tight; rm -f ballast; free=$(df --output=avail -m . | tail -1); head -c $(( (free-%d)*1048576 )) /dev/zero > ballast", mib))
		}
	}
	degraded := func(what, message string) {
		c.reaches(t, what, func(live *api.RaftCluster) error {
			is := condition(live, api.ConditionDegraded)
			if is.Status != "True" || is.Reason != api.ReasonLowDiskSpace || !strings.Contains(is.Message, message) {
				return fmt.Errorf("Degraded is %s, %s: %s", is.Status, is.Reason, is.Message)
			}
			return nil
		})
	}
	leave(17)
	degraded("the disks fill up", "filling")
	if e := put("while/filling"); e != "" {
		t.Errorf("a put while nothing is refused yet: %s", e)
	}
	leave(6)
	degraded("writes are refused", "and writes are refused")
	if e := put("while/full"); !strings.Contains(e, "space") {
		t.Errorf("a put without space: %q", e)
	}
	if a := s.one(t, load.One{Endpoints: []string{c.service()}, Key: "while/filling"}); a.Value != "v" {
		t.Errorf("a get without space: %+v", a)
	}
	c.patch(t, `{"spec":{"storage":{"size":"192Mi"}}}`)
	c.reaches(t, "the volumes cannot grow", func(live *api.RaftCluster) error {
		if is := condition(live, api.ConditionStalled); is.Reason != api.ReasonVolumeExpansionRefused {
			return fmt.Errorf("Stalled is %q: %s", is.Reason, is.Message)
		}
		return nil
	})
	c.patch(t, `{"spec":{"storage":{"size":"96Mi"}}}`)
	for n := range 3 {
		s.onNode(t, n, "rm -f /var/lib/tight/ballast")
	}
	c.ready(t, 3)
	c.reaches(t, "not degraded", func(live *api.RaftCluster) error {
		if is := condition(live, api.ConditionDegraded); is.Status != "False" {
			return fmt.Errorf("%s: %s", is.Reason, is.Message)
		}
		return nil
	})
	if e := put("with/space"); e != "" {
		t.Errorf("a put with space: %s", e)
	}
}

// loosen takes the cluster of tight volumes away.
func (c cluster) loosen(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	for _, args := range [][]string{{"namespace", c.namespace}, {"pv", "tight-0", "tight-1", "tight-2"}, {"storageclass", "tight"}} {
		if _, err := c.k.Run(ctx, c.k.Kubectl, append([]string{"delete", "--ignore-not-found", "--timeout=90s"}, args...)...); err != nil {
			t.Error(err)
		}
	}
	for n := range 3 {
		if _, err := c.dev.Run(ctx, "exec", "--node", fmt.Sprint(n), "--", "umount", "-l", "/var/lib/tight"); err != nil {
			t.Error(err)
		}
	}
}

// onNode runs a line of shell in a node's own view of its files.
func (s *suite) onNode(t *testing.T, node int, line string) {
	t.Helper()
	if text, err := s.dev.Run(t.Context(), "exec", "--node", fmt.Sprint(node), "--", "sh", "-ec", line); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
}

// quorumLost stops two of three members, the leader among them: status tells in seconds what is on every disk, nothing
// is repaired, and when they go on so does the cluster.
func (s *suite) quorumLost(t *testing.T) {
	c := s.demo()
	id := c.ready(t, 3).Status.ClusterID
	before := c.ids(t, 3)
	leader, other := c.leader(t), c.pod(c.follower(t)).Name
	left := slices.IndexFunc([]int{0, 1, 2}, func(i int) bool { n := c.pod(i).Name; return n != leader && n != other })
	stopped := []string{leader, other}
	c.say("  SIGSTOP to %v", stopped)
	for _, p := range stopped {
		if err := c.dev.Signal(t.Context(), c.named(p), "STOP"); err != nil {
			t.Fatal(err)
		}
	}
	began := time.Now()
	c.reaches(t, "QuorumLost", func(live *api.RaftCluster) error {
		is := condition(live, api.ConditionAvailable)
		if is.Status != "False" || is.Reason != api.ReasonQuorumLost {
			return fmt.Errorf("Available is %s, %s", is.Status, is.Reason)
		}
		return c.disksTold(live, left, before, stopped)
	})
	took := time.Since(began).Round(100 * time.Millisecond)
	c.say("  told after %v", took)
	if took > reportedWithin {
		t.Errorf("the lost quorum was told after %v, within %v was promised", took, reportedWithin)
	}
	for _, p := range stopped {
		if err := c.dev.Signal(t.Context(), c.named(p), "CONT"); err != nil {
			c.say("  %s has been restarted meanwhile: %v", p, err) // its liveness probe has found it silent
		}
	}
	c.ready(t, 3)
	c.oneCluster(t, 3, id)
	c.same(t, before)
	for _, m := range c.get(t).Status.Members {
		if m.Remains != nil {
			t.Errorf("%s still has remains in status", m.Name)
		}
	}
}

// disksTold says what is missing of the report on all disks.
func (c cluster) disksTold(live *api.RaftCluster, left int, ids, stopped []string) error {
	says := condition(live, api.ConditionAvailable).Message
	for i, id := range ids {
		if !strings.Contains(says, "holds member "+id) {
			return fmt.Errorf("%s of %s is missing in %q", id, c.pod(i).Name, says)
		}
	}
	for _, p := range stopped {
		if !strings.Contains(says, p+" does not answer") {
			return fmt.Errorf("%s is silent, says nothing of %q", p, says)
		}
	}
	i := slices.IndexFunc(live.Status.Members, func(m api.MemberStatus) bool { return m.Name == c.pod(left).Name })
	if i < 0 {
		return fmt.Errorf("%s is not in status", c.pod(left).Name)
	}
	if r := live.Status.Members[i].Remains; r == nil || r.Boot < 1 || r.Term < 1 || r.LastIndex < 1 || r.CommitIndex > r.LastIndex {
		return fmt.Errorf("%s has the remains %+v", c.pod(left).Name, r)
	}
	return nil
}
