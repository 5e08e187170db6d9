package e2e

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	api "raftsman.dev/api/v1alpha1"
	"raftsman.dev/hack/e2e/kube"
	"raftsman.dev/hack/e2e/load"
	"raftsman.dev/node/admin"
)

// install installs the operator by its chart, makes the sample cluster and follows it to Ready.
func (s *suite) install(t *testing.T) {
	c := s.demo()
	s.kubectl(t, "version") // the API answers
	if _, err := s.k.Run(t.Context(), s.k.Helm, "status", release, "-n", system); err != nil {
		s.helmInstall(t)
	}
	if text, err := s.k.Run(t.Context(), s.k.Kubectl, "get", "deployment", "-n", system, "-o", "jsonpath={.items[*].status.availableReplicas}"); err != nil || text != "1" {
		t.Errorf("helm install --wait came back and the operator is not available: %q %v", text, err)
	}
	if _, err := s.k.Run(t.Context(), s.k.Helm, "test", release, "-n", system, "--timeout", "2m"); err != nil {
		t.Error(err)
	}
	_, missing := s.k.Run(t.Context(), s.k.Kubectl, "get", "raftcluster", name)
	s.kubectl(t, "apply", "-f", filepath.Join(s.repo, "config/samples/demo.yaml"))
	s.kubectl(t, "wait", "--for=condition=Ready", "raftcluster/"+name, "--timeout=4m")
	live := c.get(t)
	if live.Status.VotingMembers != 3 || live.Status.ReadyReplicas != 3 {
		t.Errorf("kubectl wait came back, and the cluster is not ready: %s", kube.Brief(live))
	}
	if missing != nil {
		c.announced(t)
	} else {
		s.say("  the cluster is one of an earlier run: how it was born is not looked at")
	}
	s.kubectl(t, "wait", "--for=condition=Available", "raftcluster/"+name, "--timeout=30s")
	c.oneCluster(t, 3, live.Status.ClusterID)
}

// announced looks at every status that was ever written: the first says Reconciling, so that nobody takes the
// cluster for finished, and none says Ready while something is in flight.
func (c cluster) announced(t *testing.T) {
	t.Helper()
	all := slices.DeleteFunc(c.seen.Of(c.namespace, c.name, 0), func(r *api.RaftCluster) bool { return len(r.Status.Conditions) == 0 })
	if len(all) < 3 {
		t.Fatalf("only %d statuses were seen", len(all))
	}
	for i, r := range all {
		reconciling, ready := condition(r, api.ConditionReconciling), condition(r, api.ConditionReady)
		if i == 0 && reconciling.Status != "True" {
			t.Errorf("the first status does not say Reconciling: %s", kube.Brief(r))
		}
		if ready.Status == "True" && (reconciling.Type != "" || r.Status.Operation != nil) {
			t.Errorf("Ready while something is in flight: %s", kube.Brief(r))
		}
	}
}

func (s *suite) helmInstall(t *testing.T) {
	t.Helper()
	if _, err := s.k.Run(t.Context(), s.k.Helm, s.release("install", s.chart())...); err != nil {
		t.Fatal(err)
	}
}

// clients uses the cluster from a Pod in another namespace: by the Service's name with etcdctl and with the Go
// client, and at each member's own address, where followers pass writes on to the leader.
func (s *suite) clients(t *testing.T) {
	c := s.demo()
	c.ready(t, 3)
	s.client(t)
	etcdctl := func(endpoint string, args ...string) string {
		return s.kubectl(t, append([]string{"exec", "-n", elsewhere, "client", "--", "/etcdctl", "--endpoints=" + endpoint, "--command-timeout=10s"}, args...)...)
	}
	if got := etcdctl(c.service(), "put", "by/etcdctl", "hello"); got != "OK" {
		t.Errorf("etcdctl put: %q", got)
	}
	if got := etcdctl(c.service(), "get", "by/etcdctl", "--print-value-only"); got != "hello" {
		t.Errorf("etcdctl get: %q", got)
	}
	if a := s.one(t, load.One{Endpoints: []string{c.service()}, Key: "by/go", Value: "hello"}); a.Error != "" {
		t.Errorf("put with the Go client: %s", a.Error)
	}
	if a := s.one(t, load.One{Endpoints: []string{c.service()}, Key: "by/go"}); a.Value != "hello" {
		t.Errorf("get with the Go client: %+v", a)
	}
	before := c.members(t, 3, admin.StatusOptions{})
	for i := range 3 {
		key, value := fmt.Sprintf("at/%d", i), fmt.Sprint("value ", i)
		if a := s.one(t, load.One{Endpoints: []string{c.own(i)}, Key: key, Value: value}); a.Error != "" {
			t.Errorf("put at member %d: %s", i, a.Error)
		}
		for j := range 3 {
			if a := s.one(t, load.One{Endpoints: []string{c.own(j)}, Key: key}); a.Value != value {
				t.Errorf("get at member %d of what was put at %d: %+v", j, i, a)
			}
		}
		if got := etcdctl(c.own(i), "get", key, "--print-value-only"); got != value {
			t.Errorf("etcdctl get at member %d: %q", i, got)
		}
	}
	leaders := 0
	for i, after := range c.members(t, 3, admin.StatusOptions{}) {
		moved := after.Forwarded - before[i].Forwarded
		switch {
		case after.Role == admin.RoleLeader:
			leaders++
			if moved != 0 {
				t.Errorf("the leader %s passed %d writes on", after.Name, moved)
			}
		case moved == 0:
			t.Errorf("the follower %s took a write and passed none on", after.Name)
		}
	}
	if leaders != 1 {
		t.Errorf("%d members say that they lead", leaders)
	}
}

// columns compares what kubectl prints with status.
func (s *suite) columns(t *testing.T) {
	live := s.demo().ready(t, 3)
	rows := strings.Split(s.kubectl(t, "get", "raft", name, "-o", "wide"), "\n")
	if len(rows) != 2 {
		t.Fatalf("kubectl get raft: %q", rows)
	}
	head, row := strings.Fields(rows[0]), strings.Fields(rows[1])
	want := map[string]string{
		"NAME": name, "DESIRED": "3", "READY": "3", "LEADER": live.Status.Leader, "VERSION": s.version, "AVAILABLE": "True",
		"REASON": api.ReasonQuorumHealthy, "AGE": "", "CLUSTERID": live.Status.ClusterID, "LEARNERS": "0", "UPDATED": "3",
	}
	if len(head) != len(want) || len(row) != len(want) {
		t.Fatalf("columns %v, row %v", head, row)
	}
	for i, column := range head {
		value, known := want[column]
		if !known || value != "" && row[i] != value {
			t.Errorf("column %s shows %q, it should be %q", column, row[i], value)
		}
		s.seen.Note(kube.WordColumn + column)
	}
	if all := s.kubectl(t, "get", "all"); !strings.Contains(all, "raftcluster.raftsman.dev/"+name) {
		t.Errorf("kubectl get all does not list it:\n%s", all)
	}
	var scale struct {
		Status struct {
			Replicas int
			Selector string
		}
	}
	text := s.kubectl(t, "get", "--raw", fmt.Sprintf("/apis/%s/namespaces/%s/raftclusters/%s/scale", api.GroupVersion(), home, name))
	if err := json.Unmarshal([]byte(text), &scale); err != nil || scale.Status.Replicas != 3 {
		t.Errorf("the scale subresource: %v %s", err, text)
	}
	pods, err := s.k.Pods(t.Context(), home, scale.Status.Selector)
	if err != nil || len(pods) != 3 {
		t.Errorf("the scale subresource's selector %q finds %d Pods: %v", scale.Status.Selector, len(pods), err)
	}
}

// manifest removes the release, installs the operator from the one-file manifest, and makes a cluster with it.
// The cluster that the chart's operator has made is looked after by the new one.
func (s *suite) manifest(t *testing.T) {
	old := s.demo()
	id := old.ready(t, 3).Status.ClusterID
	file := filepath.Join(s.dir, "install.yaml")
	if _, err := s.k.Run(t.Context(), "make", "-C", s.repo, "install-manifest", "IMG="+s.image, "DIST="+s.dir); err != nil {
		t.Fatal(err)
	}
	s.uninstall(t)
	old.oneCluster(t, 3, id) // the clusters outlive their operator
	s.kubectl(t, "apply", "--server-side", "--force-conflicts", "-f", file)
	s.kubectl(t, "wait", "-n", system, "--for=condition=Available", "deployment", "--all", "--timeout=3m")
	c := cluster{s, "manifest", "second"}
	s.apply(t, `apiVersion: v1
kind: Namespace
metadata:
  name: manifest
  labels: {pod-security.kubernetes.io/enforce: restricted}
---
apiVersion: raftsman.dev/v1alpha1
kind: RaftCluster
metadata: {name: second, namespace: manifest}
spec: {replicas: 3}
`)
	s.kubectl(t, "wait", "-n", c.namespace, "--for=condition=Ready", "raftcluster/"+c.name, "--timeout=4m")
	if a := s.one(t, load.One{Endpoints: []string{c.service()}, Key: "k", Value: "v"}); a.Error != "" {
		t.Errorf("put: %s", a.Error)
	}
	if a := s.one(t, load.One{Endpoints: []string{c.service()}, Key: "k"}); a.Value != "v" {
		t.Errorf("get: %+v", a)
	}
	s.kubectl(t, "delete", "raftcluster", "-n", c.namespace, c.name, "--timeout=60s")
	s.gone(t, "the Pods of a deleted cluster are gone", c.namespace, "")
	// The new operator works for the old cluster.
	old.resize(t, 5)
	old.oneCluster(t, 5, id)
	old.resize(t, 3)
}
