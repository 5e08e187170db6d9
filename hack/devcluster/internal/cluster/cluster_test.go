package cluster

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"raftsman.dev/hack/devcluster/internal/cgroup"
	"raftsman.dev/hack/devcluster/internal/layout"
	"raftsman.dev/hack/devcluster/internal/process"
)

// on makes a cluster whose files and control groups are ordinary directories.
func on(t *testing.T, base, name string) (*Cluster, *bytes.Buffer) {
	t.Helper()
	var out bytes.Buffer
	c := &Cluster{Cluster: layout.Cluster{Base: base, Name: name}, Out: &out}
	c.tree = cgroup.Tree{{Dir: filepath.Join(t.TempDir()), Controllers: []string{"pids"}}}
	c.store = process.Store{Records: c.Path("processes"), Logs: c.Path("log")}
	return c, &out
}

// TestClearAfterUncleanEnd leaves what a killed cluster leaves: a process that still runs, a record of one
// that ended, one cut short, groups and files. Down must find and remove all of it, and nothing else.
func TestClearAfterUncleanEnd(t *testing.T) {
	base := filepath.Join(t.TempDir(), "clusters")
	c, out := on(t, base, "a")
	for _, dir := range []string{"processes", "log", "node-0/run", "../b"} {
		if err := os.MkdirAll(c.Path(dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.tree.Create(c.SystemCgroup(0)); err != nil {
		t.Fatal(err)
	}
	ours, err := c.store.Start("etcd", []string{"/bin/sleep", "600"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	stranger := exec.Command("/bin/sleep", "600")
	if err := stranger.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = ours.Signal(syscall.SIGKILL)
		_ = stranger.Process.Kill()
		_ = stranger.Wait()
	})
	// A record whose PID now belongs to somebody else.
	record, err := json.Marshal(process.Record{Name: "kubelet-node-0", PID: stranger.Process.Pid, Start: 1, Boot: ours.Boot})
	if err != nil {
		t.Fatal(err)
	}
	for file, text := range map[string]string{"processes/kubelet-node-0.json": string(record), "processes/cut.json": `{"pid":`, "cluster.json": `{"slot": 3, "nod`} {
		if err := os.WriteFile(c.Path(file), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if !c.Exists() || c.Running() || c.MustRun() == nil {
		t.Fatal("a dead cluster is taken for a running one, or for none")
	}
	if err := c.Down(t.Context()); err != nil {
		t.Fatal(err)
	}
	if ours.Alive() {
		t.Error("its process still runs")
	}
	if r, err := process.Look("stranger", stranger.Process.Pid); err != nil || !r.Alive() {
		t.Error("a process of somebody else was ended")
	}
	if c.Exists() || c.tree.Exists("/raftsman-devcluster") {
		t.Error("files or groups are left")
	}
	if _, err := os.Stat(filepath.Join(base, "b")); err != nil {
		t.Errorf("the other cluster is gone too: %v", err)
	}
	if err := c.Down(t.Context()); err != nil || !strings.Contains(out.String(), "does not exist") {
		t.Errorf("down of nothing: %v, %q", err, out)
	}
}

func TestMountsBelow(t *testing.T) {
	const table = `1 0 8:1 / / rw - ext4 /dev/a rw
2 1 0:5 / /var/lib/x rw - tmpfs t rw
3 1 0:6 / /var/lib/x/with\040space rw shared:1 - tmpfs t rw
4 1 0:7 / /var/lib/xy rw - tmpfs t rw
5 3 0:8 / /var/lib/x/with\040space/deep rw - tmpfs t rw
`
	got, err := mountsBelow(strings.NewReader(table), "/var/lib/x")
	want := []string{"/var/lib/x", "/var/lib/x/with space", "/var/lib/x/with space/deep"}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("mounts %q, %v; want %q", got, err, want)
	}
}

// TestSlots lets clusters be begun one after the other and ended in another order.
func TestSlots(t *testing.T) {
	base := t.TempDir()
	for i, name := range []string{"a", "b", "c"} {
		c, _ := on(t, base, name)
		if err := os.MkdirAll(c.Dir(), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := c.takeSlot(); err != nil || c.Slot != i {
			t.Fatalf("%s gets slot %d, %v; want %d", name, c.Slot, err, i)
		}
		if err := c.saveState(); err != nil {
			t.Fatal(err)
		}
		if s, err := readState(c.stateFile()); err != nil || s.Slot != i {
			t.Fatalf("the state of %s comes back as %+v, %v", name, s, err)
		}
	}
	if err := os.RemoveAll(filepath.Join(base, "b")); err != nil {
		t.Fatal(err)
	}
	c, _ := on(t, base, "d")
	if err := c.takeSlot(); err != nil || c.Slot != 1 {
		t.Errorf("d gets slot %d, %v; want 1, which b had", c.Slot, err)
	}
}

// TestLockExcludes holds the lock in one cluster and wants it in another.
func TestLockExcludes(t *testing.T) {
	base := filepath.Join(t.TempDir(), "clusters")
	a, _ := on(t, base, "a")
	b, _ := on(t, base, "b")
	unlock, err := a.lock()
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan error, 1)
	go func() {
		second, err := b.lock()
		if err == nil {
			second()
		}
		got <- err
	}()
	select {
	case err := <-got:
		t.Fatalf("two hold the lock at once (%v)", err)
	case <-time.After(100 * time.Millisecond):
	}
	if err := os.Remove(base); err != nil { // as the end of the last cluster does
		t.Fatal(err)
	}
	unlock()
	if err := <-got; err != nil {
		t.Error(err)
	}
}

func TestNodeListReady(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 600, time.UTC)
	var l nodeList
	text := `{"items":[
{"metadata":{"name":"node-0"},"status":{"conditions":[{"type":"MemoryPressure","status":"False"},{"type":"Ready","status":"True","lastHeartbeatTime":"2026-01-02T03:04:05Z"}]}},
{"metadata":{"name":"node-1"},"status":{"conditions":[{"type":"Ready","status":"False","message":"no network"}]}}]}`
	if err := json.Unmarshal([]byte(text), &l); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name  string
		since time.Time
		ok    bool
		why   string
	}{
		{"node-0", time.Time{}, true, ""},
		{"node-0", now, true, ""},
		{"node-0", now.Add(time.Second), false, "not reported"},
		{"node-1", time.Time{}, false, "no network"},
		{"node-2", time.Time{}, false, "has not registered"},
	} {
		if ok, why := l.ready(c.name, c.since); ok != c.ok || !strings.Contains(why, c.why) {
			t.Errorf("%s since %s: %v, %q; want %v, %q", c.name, c.since, ok, why, c.ok, c.why)
		}
	}
}

func TestParseSignal(t *testing.T) {
	for text, want := range map[string]syscall.Signal{"KILL": syscall.SIGKILL, "sigstop": syscall.SIGSTOP, "SIGCONT": syscall.SIGCONT, "15": syscall.SIGTERM} {
		if got, err := ParseSignal(text); err != nil || got != want {
			t.Errorf("%s is %v, %v; want %v", text, got, err, want)
		}
	}
	for _, bad := range []string{"", "0", "-9", "999", "FOO", "9x"} {
		if got, err := ParseSignal(bad); err == nil {
			t.Errorf("%q is taken for %v", bad, got)
		}
	}
}

// TestOtherNodesOnly refuses to stop what carries the control plane, and what is not there.
func TestOtherNodesOnly(t *testing.T) {
	c, _ := on(t, t.TempDir(), "a")
	c.State.Nodes = 3
	for node, ok := range map[int]bool{-1: false, 0: false, 1: true, 2: true, 3: false} {
		if err := c.checkOther(node); (err == nil) != ok {
			t.Errorf("node %d: %v", node, err)
		}
	}
}
