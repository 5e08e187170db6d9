package e2e

import (
	"context"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"raftsman.dev/hack/e2e/kube"
)

// TestQuickstartLeavesNothing runs `make quickstart` and `make quickstart-down` and compares the machine before
// and after: processes, mounts, control groups, namespaces of every kind, network links and state directories.
func TestQuickstartLeavesNothing(t *testing.T) {
	if os.Getenv("RAFTSMAN_E2E") == "" {
		t.Skip("NOT RUN: this needs root and Linux, and makes a Kubernetes on this machine: `make real` runs it")
	}
	if runtime.GOOS != "linux" || os.Geteuid() != 0 {
		t.Fatal("this needs Linux and root: run `sudo make real`")
	}
	before := machineNow(t, nil)
	down := func(ctx context.Context) (string, error) { return makeTarget(ctx, "quickstart-down") }
	began := time.Now()
	text, err := makeTarget(t.Context(), "quickstart")
	if err != nil {
		_, again := down(context.Background())
		t.Fatalf("make quickstart: %v (and down: %v)\n%s", err, again, text)
	}
	t.Logf("make quickstart took %v", time.Since(began).Round(time.Second))
	if !strings.Contains(text, "read back: agreed on by three members") {
		t.Errorf("make quickstart does not end with the value read back:\n%s", text)
	}
	during := machineNow(t, before.processes)
	for kind, here := range during.things {
		if kind != "network links" && len(news(before.things[kind], here)) == 0 {
			t.Errorf("while the quickstart's cluster is up no new %s are seen: this test sees nothing", kind)
		}
	}
	if text, err := down(t.Context()); err != nil {
		t.Fatalf("make quickstart-down: %v\n%s", err, text)
	}
	if err := kube.Until(t.Context(), 20*time.Second, os.Stderr, "the machine is as before", func(context.Context) error {
		after := machineNow(t, before.processes)
		var left []string
		for kind, here := range after.things {
			if more := news(before.things[kind], here); len(more) > 0 {
				left = append(left, fmt.Sprintf("new %s: %v", kind, more))
			}
			if kind == "processes" || kind == "namespaces" || kind == "mounts" {
				continue // other processes may end while this runs, and take theirs with them
			}
			if less := news(here, before.things[kind]); len(less) > 0 {
				left = append(left, fmt.Sprintf("%s gone: %v", kind, less))
			}
		}
		if len(left) > 0 {
			return fmt.Errorf("%s", lines(left))
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
}

// makeTarget runs make in the repository for a cluster of the test's own, whatever KUBECONFIG says.
func makeTarget(ctx context.Context, target string) (string, error) {
	cmd := exec.CommandContext(ctx, "make", "-C", "../..", target, "CLUSTER=e2e-quickstart")
	cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "KUBECONFIG=") })
	text, err := cmd.CombinedOutput()
	return string(text), err
}

// machine is what can be left behind on a machine.
type machine struct {
	processes map[int]process
	things    map[string][]string // by kind
}

type process struct {
	parent  int
	started string
	command string
}

// machineNow takes stock. Processes that descend from those known before are somebody else's work and left out;
// what outlives its parent goes to the first process and is not.
func machineNow(t *testing.T, known map[int]process) machine {
	t.Helper()
	m := machine{processes: processes(t), things: map[string][]string{}}
	counted := m.processes
	if known != nil {
		counted = maps.Clone(m.processes)
		maps.DeleteFunc(counted, func(pid int, _ process) bool { return foreign(m.processes, known, pid) })
	}
	namespaces, mounts := map[string]bool{}, map[string]int{} // a process in each mount namespace
	for pid, p := range counted {
		m.things["processes"] = append(m.things["processes"], fmt.Sprintf("%d since %s: %s", pid, p.started, p.command))
		links, _ := filepath.Glob(fmt.Sprintf("/proc/%d/ns/*", pid)) // none where the process has just ended
		for _, link := range links {
			if target, err := os.Readlink(link); err == nil {
				namespaces[target] = true
				if strings.HasPrefix(target, "mnt:") {
					mounts[target] = pid
				}
			}
		}
	}
	m.things["namespaces"] = slices.Collect(maps.Keys(namespaces))
	for _, pid := range mounts {
		text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/mountinfo", pid)) // nothing where the process has just ended
		for _, line := range strings.Split(strings.TrimSpace(string(text)), "\n") {
			if fields := strings.Fields(line); len(fields) > 2 {
				m.things["mounts"] = append(m.things["mounts"], strings.Join(fields[2:], " "))
			}
		}
	}
	m.things["control groups"] = directories(t, "/sys/fs/cgroup")
	m.things["state directories"] = directories(t, "/var/lib/raftsman-devcluster")
	m.things["network links"] = children(t, "/sys/class/net")
	return m
}

// foreign says whether a process descends from one that was there before, other than the first.
func foreign(now, known map[int]process, pid int) bool {
	for range 64 {
		p, ok := now[pid]
		if !ok || p.parent <= 1 || p.parent == os.Getpid() {
			return false
		}
		if old, ok := known[p.parent]; ok && old.started == now[p.parent].started {
			return true
		}
		pid = p.parent
	}
	return false
}

func processes(t *testing.T) map[int]process {
	t.Helper()
	all := map[int]process{}
	for _, entry := range children(t, "/proc") {
		pid, err := strconv.Atoi(entry)
		if err != nil {
			continue
		}
		stat, err := os.ReadFile("/proc/" + entry + "/stat")
		if err != nil {
			continue // it has ended
		}
		name, rest, _ := strings.Cut(string(stat[strings.IndexByte(string(stat), '(')+1:]), ") ")
		fields := strings.Fields(rest)
		parent, err := strconv.Atoi(fields[1])
		if err != nil || parent == 2 || pid == 2 { // the kernel's own
			continue
		}
		command, _ := os.ReadFile("/proc/" + entry + "/cmdline") // empty where it has ended
		all[pid] = process{parent: parent, started: fields[19], command: name + " " + strings.ReplaceAll(string(command), "\x00", " ")}
	}
	return all
}

func children(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// directories are all directories below one, which need not exist.
func directories(t *testing.T, top string) []string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			all = append(all, path)
		}
		if os.IsNotExist(err) {
			return nil // it has gone while we looked
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// news are the elements of now that were not there before, each as often as it is new.
func news(before, now []string) []string {
	count := map[string]int{}
	for _, x := range before {
		count[x]++
	}
	var more []string
	for _, x := range now {
		if count[x]--; count[x] < 0 {
			more = append(more, x)
		}
	}
	return more
}

func TestNews(t *testing.T) {
	if got := news([]string{"a", "b", "b"}, []string{"b", "b", "b", "c"}); !slices.Equal(got, []string{"b", "c"}) {
		t.Errorf("got %v", got)
	}
}
