package main

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// askedFor is the environment variable that asks for the tests that bring real clusters up. They take a few
// minutes, root, and on a machine that never ran one the time to build Kubernetes.
const askedFor = "DEVCLUSTER_REAL"

const (
	probeImage = "raftsman.dev/devcluster-probe:test"
	dockerfile = "../../Dockerfile"
	settle     = 2 * time.Minute
)

// tool is the built command line with a cluster's name.
type tool struct {
	t    *testing.T
	bin  string
	name string
}

// in is the tool as a subtest uses it.
func (d tool) in(t *testing.T) tool { return tool{t, d.bin, d.name} }

// run runs the tool and returns what it prints on both streams.
func (d tool) run(args ...string) (string, error) {
	cmd := exec.Command(d.bin, append([]string{"--name", d.name}, args...)...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// must is run for what may not fail.
func (d tool) must(args ...string) string {
	d.t.Helper()
	out, err := d.run(args...)
	if err != nil {
		d.t.Fatalf("devcluster %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// await runs the tool until its output satisfies ok.
func (d tool) await(what string, ok func(out string, err error) bool, args ...string) string {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(d.t.Context(), settle)
	defer cancel()
	again := time.NewTicker(200 * time.Millisecond)
	defer again.Stop()
	for {
		out, err := d.run(args...)
		if ok(out, err) {
			return out
		}
		select {
		case <-ctx.Done():
			d.t.Fatalf("waited %s for %s; last: devcluster %s: %v\n%s", settle, what, strings.Join(args, " "), err, out)
		case <-again.C:
		}
	}
}

// TestReal takes a cluster through its whole life beside another one, with an unclean end in between, and
// compares the machine before and after.
func TestReal(t *testing.T) {
	if os.Getenv(askedFor) == "" {
		t.Skipf("NOT TESTED: whether a cluster comes up, works, is cleared after an unclean end, and leaves nothing. Set %s=1 to test it, as root on Linux", askedFor)
	}
	if os.Geteuid() != 0 {
		t.Fatalf("%s is set, but this is not root", askedFor)
	}
	bin := buildTool(t)
	a, b := tool{t, bin, "devtest-a"}, tool{t, bin, "devtest-b"}
	a.must("down")
	b.must("down")
	before := look(t, a.name, b.name)
	t.Cleanup(func() {
		a.must("down")
		b.must("down")
	})

	t.Log(a.must("up", "--nodes", "2"))
	if out := a.must("up"); !strings.Contains(out, "already runs") {
		t.Errorf("up of a running cluster says %q", out)
	}
	if out, err := a.run("up", "--nodes", "3"); err == nil {
		t.Errorf("up with another number of nodes succeeds: %s", out)
	}
	image := loadProbe(t, a)
	t.Run("image", func(t *testing.T) { testImage(t, a.in(t)) })
	t.Run("workload", func(t *testing.T) { testWorkload(t, a.in(t)) })
	t.Run("faults", func(t *testing.T) { testFaults(t, a.in(t)) })
	t.Run("two clusters", func(t *testing.T) { testTwo(t, a.in(t), b.in(t)) })
	t.Run("unclean end", func(t *testing.T) { testUnclean(t, a.in(t), image) })

	a.must("down")
	compare(t, before, look(t, a.name, b.name))
	if out := a.must("down"); !strings.Contains(out, "does not exist") {
		t.Errorf("down of nothing says %q", out)
	}
	if out, err := a.run("status"); err == nil {
		t.Errorf("status of nothing succeeds: %s", out)
	}
}

func buildTool(t *testing.T) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "devcluster")
	compile(t, bin, ".")
	return bin
}

func compile(t *testing.T, to, pkg string) {
	t.Helper()
	cmd := exec.Command("go", "build", "-o", to, pkg)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", pkg, err, out)
	}
}

// loadProbe makes an image from the repository's own Dockerfile, with the probe in the place of the binary,
// and loads it.
func loadProbe(t *testing.T, d tool) string {
	t.Helper()
	dir := t.TempDir()
	probe, file := filepath.Join(dir, "probe"), filepath.Join(dir, "probe.tar")
	compile(t, probe, "./testdata/probe")
	d.must("image", "--dockerfile", dockerfile, "--binary", probe, "--tag", probeImage, "--out", file)
	d.must("load", file)
	return file
}

// testImage takes the image back from a node and compares it with the Dockerfile's final stage, read in the
// plainest way.
func testImage(t *testing.T, d tool) {
	ctr, err := exec.Command(d.bin, "tool", "ctr").Output()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "exported.tar")
	d.must("exec", "--node", "1", "--", strings.TrimSpace(string(ctr)), "--namespace", "k8s.io", "images", "export", file, probeImage)
	tag, err := name.NewTag(probeImage)
	if err != nil {
		t.Fatal(err)
	}
	img, err := tarball.ImageFromPath(file, &tag)
	if err != nil {
		t.Fatal(err)
	}
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	user, entrypoint, ports, files := plainFinalStage(t)
	if config.Config.User != user {
		t.Errorf("user %q, the Dockerfile says %q", config.Config.User, user)
	}
	if !slices.Equal(config.Config.Entrypoint, entrypoint) {
		t.Errorf("entrypoint %q, the Dockerfile says %q", config.Config.Entrypoint, entrypoint)
	}
	if got := slices.Sorted(maps.Keys(config.Config.ExposedPorts)); !slices.Equal(got, ports) {
		t.Errorf("ports %q, the Dockerfile says %q", got, ports)
	}
	if got := filesOf(t, img); !slices.Equal(got, files) {
		t.Errorf("files %q, the Dockerfile says %q", got, files)
	}
}

// plainFinalStage reads what matters of the Dockerfile's last stage line by line. It understands no more
// than this Dockerfile needs, and shares nothing with the reader that made the image.
func plainFinalStage(t *testing.T) (user string, entrypoint, ports, files []string) {
	t.Helper()
	data, err := os.ReadFile(dockerfile)
	if err != nil {
		t.Fatal(err)
	}
	text := string(data)
	for _, line := range strings.Split(text[strings.LastIndex(text, "\nFROM "):], "\n") {
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		switch fields[0] {
		case "USER":
			user = fields[1]
		case "ENTRYPOINT":
			if err := json.Unmarshal([]byte(strings.TrimPrefix(line, "ENTRYPOINT")), &entrypoint); err != nil {
				t.Fatal(err)
			}
		case "EXPOSE":
			for _, p := range fields[1:] {
				ports = append(ports, p+"/tcp")
			}
		case "COPY":
			files = append(files, fields[len(fields)-1])
		}
	}
	if user == "" || len(entrypoint) == 0 || len(ports) == 0 || len(files) == 0 {
		t.Fatalf("the plain reader finds too little in %s: %q %q %q %q", dockerfile, user, entrypoint, ports, files)
	}
	slices.Sort(ports)
	slices.Sort(files)
	return user, entrypoint, ports, files
}

func filesOf(t *testing.T, img v1.Image) []string {
	t.Helper()
	content := mutate.Extract(img)
	defer content.Close()
	var files []string
	for r := tar.NewReader(content); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			slices.Sort(files)
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg {
			files = append(files, "/"+strings.TrimPrefix(h.Name, "/"))
		}
	}
}

// workload is a Pod with a volume on each of two nodes, none of them root, a headless Service and an
// ordinary one.
const workload = `
apiVersion: v1
kind: Namespace
metadata: {name: probe, labels: {pod-security.kubernetes.io/enforce: restricted}}
---
apiVersion: v1
kind: Service
metadata: {name: each, namespace: probe}
spec: {clusterIP: None, publishNotReadyAddresses: true, selector: {app: probe}, ports: [{port: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: any, namespace: probe}
spec: {selector: {app: probe}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: probe, namespace: probe}
spec:
  serviceName: each
  replicas: 2
  podManagementPolicy: Parallel
  selector: {matchLabels: {app: probe}}
  template:
    metadata: {labels: {app: probe}}
    spec:
      terminationGracePeriodSeconds: 0
      topologySpreadConstraints:
      - {maxSkew: 1, topologyKey: kubernetes.io/hostname, whenUnsatisfiable: DoNotSchedule, labelSelector: {matchLabels: {app: probe}}}
      securityContext: {runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}}
      containers:
      - name: probe
        image: ` + probeImage + `
        imagePullPolicy: Never
        args: [serve, /data]
        readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}
        securityContext: {allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}
        volumeMounts: [{name: data, mountPath: /data}]
  volumeClaimTemplates:
  - metadata: {name: data}
    spec: {accessModes: [ReadWriteOncePod], resources: {requests: {storage: 1Mi}}}
`

func deploy(t *testing.T, d tool) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "workload.yaml")
	if err := os.WriteFile(file, []byte(workload), 0o644); err != nil {
		t.Fatal(err)
	}
	d.must("kubectl", "apply", "-f", file)
	d.must("kubectl", "-n", "probe", "rollout", "status", "statefulset/probe", "--timeout=2m")
}

// get asks from inside Pod from what url answers.
func (d tool) get(from, url string) (string, error) {
	return d.run("kubectl", "-n", "probe", "exec", from, "--", "/raftsman", "get", url)
}

func testWorkload(t *testing.T, d tool) {
	deploy(t, d)
	nodes := strings.Fields(d.must("kubectl", "-n", "probe", "get", "pods", "-o", "jsonpath={.items[*].spec.nodeName}"))
	if len(nodes) != 2 || nodes[0] == nodes[1] {
		t.Fatalf("the Pods run on %v, want two nodes", nodes)
	}
	tokens := map[string]string{}
	for _, from := range []string{"probe-0", "probe-1"} {
		for _, to := range []string{"probe-0", "probe-1"} {
			out := d.await("an answer of "+to+" to "+from, func(out string, err error) bool { return err == nil && strings.HasPrefix(out, to+" ") },
				"kubectl", "-n", "probe", "exec", from, "--", "/raftsman", "get", "http://"+to+".each.probe.svc.dev.raftsman:8080/")
			tokens[to] = strings.Fields(out)[1]
			if uid := strings.Fields(out)[2]; uid != "65532" {
				t.Errorf("%s runs as user %s", to, uid)
			}
		}
		seen := map[string]bool{}
		d.await("both Pods behind the Service, from "+from, func(out string, err error) bool {
			seen[strings.Fields(out + " -")[0]] = err == nil
			return seen["probe-0"] && seen["probe-1"]
		}, "kubectl", "-n", "probe", "exec", from, "--", "/raftsman", "get", "http://any.probe/")
	}
	if out, err := d.get("probe-0", "http://example.com/"); err == nil {
		t.Errorf("the world outside answers: %s", out)
	}
	d.must("kubectl", "-n", "probe", "delete", "pod", "probe-0")
	d.await("the same token after the Pod came back", func(out string, err error) bool { return err == nil && strings.Contains(out, tokens["probe-0"]) },
		"kubectl", "-n", "probe", "exec", "probe-1", "--", "/raftsman", "get", "http://probe-0.each:8080/")
	if out := d.must("kubectl", "-n", "probe", "logs", "probe-1"); out != "" {
		t.Errorf("the Pod logs %q", out)
	}
}

func testFaults(t *testing.T, d tool) {
	answers := func(out string, err error) bool { return err == nil && strings.HasPrefix(out, "probe-1 ") }
	ask := []string{"kubectl", "-n", "probe", "exec", "probe-0", "--", "/raftsman", "get", "http://probe-1.each:8080/"}
	d.await("probe-1 to answer", answers, ask...)
	d.must("isolate", "-n", "probe", "probe-1")
	if out, err := d.run(ask...); err == nil {
		t.Errorf("an isolated Pod answers: %s", out)
	}
	if out, err := d.get("probe-1", "http://any.probe/"); err == nil {
		t.Errorf("an isolated Pod reaches a Service: %s", out)
	}
	d.must("rejoin", "-n", "probe", "probe-1")
	d.await("probe-1 to answer after rejoin", answers, ask...)

	d.must("signal", "-n", "probe", "probe-1", "STOP")
	if out, err := d.run(ask...); err == nil {
		t.Errorf("a stopped process answers: %s", out)
	}
	d.must("signal", "-n", "probe", "probe-1", "SIGCONT")
	d.await("probe-1 to answer after CONT", answers, ask...)
	d.must("signal", "-n", "probe", "probe-1", "KILL")
	d.await("a restart of probe-1", func(out string, err error) bool { return err == nil && out == "1" },
		"kubectl", "-n", "probe", "get", "pod", "probe-1", "-o", "jsonpath={.status.containerStatuses[0].restartCount}")
	d.await("probe-1 to answer after KILL", answers, ask...)

	node := d.must("kubectl", "-n", "probe", "get", "pod", "probe-1", "-o", "jsonpath={.spec.nodeName}")
	if node != "node-1" { // the first node cannot be stopped: turn to the Pod that is not on it
		ask = []string{"kubectl", "-n", "probe", "exec", "probe-1", "--", "/raftsman", "get", "http://probe-0.each:8080/"}
		answers = func(out string, err error) bool { return err == nil && strings.HasPrefix(out, "probe-0 ") }
	}
	d.must("stop-node", "1")
	if out, err := d.run(ask...); err == nil {
		t.Errorf("a Pod of a stopped node answers: %s", out)
	}
	d.must("start-node", "1")
	d.await("the Pod of node 1 to answer after its start", answers, ask...)
}

// testTwo brings a second cluster up and down beside the first, one on Raftsman, and sees that the first does not mind.
func testTwo(t *testing.T, a, b tool) {
	before := records(t, a.name)
	b.must("up", "--nodes", "1", "--store", "raftsman")
	testMembers(t, b)
	if one, two := a.must("status"), b.must("status"); fieldAfter(one, "API") == fieldAfter(two, "API") {
		t.Errorf("both clusters answer at the same address:\n%s\n%s", one, two)
	}
	if out, err := b.run("kubectl", "get", "namespace", "probe"); err == nil {
		t.Errorf("the second cluster shows what is in the first: %s", out)
	}
	b.must("down")
	a.must("status")
	if after := records(t, a.name); !maps.Equal(before, after) {
		t.Errorf("the first cluster's processes changed from %v to %v", before, after)
	}
}

// testMembers kills a member of the store and starts it again, while the cluster serves.
func testMembers(t *testing.T, d tool) {
	if out := d.must("up"); !strings.Contains(out, "already runs") {
		t.Errorf("up, without a word of the store, says %q", out)
	}
	if out, err := d.run("up", "--store", "etcd"); err == nil {
		t.Errorf("up with another store succeeds: %s", out)
	}
	if out := d.must("members"); strings.Count(out, "leader, ") != 1 || strings.Count(out, "follower, ") != 2 {
		t.Errorf("the members are:\n%s", out)
	}
	d.must("stop-member", "0")
	d.await("a leader beside the killed member", func(out string, err error) bool {
		return err == nil && strings.Contains(out, "stopped") && strings.Count(out, "leader, ") == 1
	}, "members")
	d.await("the API server to write without it", func(_ string, err error) bool { return err == nil }, "kubectl", "create", "namespace", "without-a-member")
	d.must("start-member", "0")
	if out := d.must("status"); strings.Contains(out, "stopped") || fieldAfter(out, "store") != "raftsman" {
		t.Errorf("status says:\n%s", out)
	}
	for args, says := range map[string]string{"start-member 0": "is not stopped", "stop-member 3": "0 to 2", "stop-member x": "number"} {
		if out, err := d.run(strings.Fields(args)...); err == nil || !strings.Contains(out, says) {
			t.Errorf("%s: %v: %s, want %q", args, err, out, says)
		}
	}
}

func fieldAfter(text, word string) string {
	for _, line := range strings.Split(text, "\n") {
		if f := strings.Fields(line); len(f) > 1 && f[0] == word {
			return f[1]
		}
	}
	return ""
}

// records are the PIDs of a cluster's processes by name.
func records(t *testing.T, cluster string) map[string]int {
	t.Helper()
	files, err := filepath.Glob("/var/lib/raftsman-devcluster/" + cluster + "/processes/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no processes of %s are recorded: %v", cluster, err)
	}
	pids := map[string]int{}
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		var r struct{ PID int }
		if err := json.Unmarshal(data, &r); err != nil {
			t.Fatal(err)
		}
		pids[strings.TrimSuffix(filepath.Base(f), ".json")] = r.PID
	}
	return pids
}

// testUnclean kills every process of the cluster that has a record, so that containers and their shims stay
// behind, damages a state file, and brings the cluster up again.
func testUnclean(t *testing.T, d tool, image string) {
	for name, pid := range records(t, d.name) {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			t.Fatalf("kill %s: %v", name, err)
		}
	}
	orphans := processesOf(t, d.name)
	if len(orphans) == 0 {
		t.Fatal("nothing outlived its cluster: this test checks nothing")
	}
	if out, err := d.run("kubectl", "get", "nodes"); err == nil || !strings.Contains(out, "run `up`") {
		t.Errorf("a command on a dead cluster says %q", out)
	}
	if out := d.must("up", "--nodes", "2"); !strings.Contains(out, "clearing what is left") {
		t.Errorf("up after an unclean end says %q", out)
	}
	now := processesOf(t, d.name)
	for pid, what := range orphans {
		// A process that was just ending then had lost its arguments already: that one is not there must not look the same.
		if still, there := now[pid]; there && still == what {
			t.Errorf("process %d outlived the clearing: %s", pid, what)
		}
	}
	d.must("load", image)
	deploy(t, d)
}

// machineState is what a cluster might leave behind on a machine.
type machineState struct {
	processes map[int]string
	lists     map[string][]string
}

// look records the machine's state. Of processes only those count that have to do with the clusters named:
// others come and go. So do other dev clusters, whose namespaces and control groups do not count.
func look(t *testing.T, clusters ...string) machineState {
	t.Helper()
	s := machineState{processes: map[int]string{}, lists: map[string][]string{}}
	for _, c := range clusters {
		maps.Copy(s.processes, processesOf(t, c))
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	s.lists["mounts"] = strings.Split(strings.TrimSpace(string(mounts)), "\n")
	s.lists["network namespaces"] = namespaces(t, clusters)
	s.lists["links"] = interfaces(t)
	s.lists["control groups"] = slices.DeleteFunc(under(t, "/sys/fs/cgroup"), func(dir string) bool {
		_, name, ok := strings.Cut(dir, "raftsman-devcluster")
		name, _, _ = strings.Cut(strings.TrimPrefix(name, "/"), "/")
		return ok && !slices.Contains(clusters, name)
	})
	s.lists["state"] = stateOf(clusters)
	for _, dir := range []string{"/run", "/etc/netns", "/etc/cni", "/var/lib/cni", "/var/lib/kubelet", "/var/lib/containerd", "/var/log/pods", "/var/log/containers", "/opt/containerd", "/opt/cni", "/usr/libexec/kubernetes"} {
		if _, err := os.Stat(dir); err == nil {
			s.lists["files"] = append(s.lists["files"], under(t, dir)...)
		}
	}
	for k := range s.lists {
		slices.Sort(s.lists[k])
	}
	return s
}

// namespaces are the network namespaces of the machine, by their numbers.
func namespaces(t *testing.T, clusters []string) []string {
	t.Helper()
	out, err := exec.Command("lsns", "--noheadings", "--raw", "-t", "net", "-o", "NS,PID").Output()
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, line := range strings.Split(strings.TrimSpace(string(out)), "\n") {
		ns, pid, _ := strings.Cut(line, " ")
		groups, _ := os.ReadFile("/proc/" + pid + "/cgroup")
		_, name, other := strings.Cut(string(groups), "raftsman-devcluster/")
		name, _, _ = strings.Cut(name, "/")
		if !other || slices.Contains(clusters, name) {
			found = append(found, ns)
		}
	}
	return found
}

// under lists what lies below dir, the nearest four levels. Something may go while it looks.
func under(t *testing.T, dir string) []string {
	t.Helper()
	const levels = 4
	var found []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil
		}
		found = append(found, path)
		if d.IsDir() && strings.Count(strings.TrimPrefix(path, dir), "/") >= levels {
			return fs.SkipDir
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func stateOf(clusters []string) []string {
	var found []string
	for _, c := range clusters {
		if _, err := os.Stat("/var/lib/raftsman-devcluster/" + c); err == nil {
			found = append(found, c)
		}
	}
	return found
}

func interfaces(t *testing.T) []string {
	t.Helper()
	entries, err := os.ReadDir("/sys/class/net")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// processesOf finds the processes that belong to a cluster by what they are rather than by what the tool
// knows: their arguments, their files or their control group name it.
func processesOf(t *testing.T, cluster string) map[int]string {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	mark := []byte("raftsman-devcluster/" + cluster)
	found := map[int]string{}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() || ended(pid) {
			continue
		}
		dir := filepath.Join("/proc", e.Name())
		args, _ := os.ReadFile(filepath.Join(dir, "cmdline"))
		groups, _ := os.ReadFile(filepath.Join(dir, "cgroup"))
		mounts, _ := os.ReadFile(filepath.Join(dir, "mountinfo"))
		if bytes.Contains(args, mark) || bytes.Contains(groups, mark) || bytes.Contains(mounts, mark) {
			found[pid] = string(bytes.ReplaceAll(args, []byte{0}, []byte{' '}))
		}
	}
	return found
}

// ended says whether a process has ended to its last thread and only waits to be reaped. When that happens is up to
// its parent: for what has lost its own that is the machine's first process, which may take its time.
func ended(pid int) bool {
	dir := filepath.Join("/proc", strconv.Itoa(pid))
	status, err := os.ReadFile(filepath.Join(dir, "stat"))
	if err != nil {
		return true
	}
	threads, err := os.ReadDir(filepath.Join(dir, "task"))
	const afterName = 2 // the state stands behind the name's parenthesis and a blank
	state := status[bytes.LastIndexByte(status, ')')+afterName]
	return err != nil || len(threads) <= 1 && (state == 'Z' || state == 'X')
}

func compare(t *testing.T, before, after machineState) {
	t.Helper()
	for pid, what := range after.processes {
		if before.processes[pid] != what {
			t.Errorf("process left: %d %s", pid, what)
		}
	}
	for kind, list := range after.lists {
		for _, entry := range list {
			if !slices.Contains(before.lists[kind], entry) {
				t.Errorf("%s: left behind: %s", kind, entry)
			}
		}
		for _, entry := range before.lists[kind] {
			if !slices.Contains(list, entry) {
				t.Errorf("%s: gone with the cluster: %s", kind, entry)
			}
		}
	}
	fmt.Fprintf(os.Stderr, "compared before and after: %d mounts, %d network namespaces, %d control groups, %d files\n",
		len(after.lists["mounts"]), len(after.lists["network namespaces"]), len(after.lists["control groups"]), len(after.lists["files"]))
}
