package space

import (
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
)

// TestKept shows which directories must be bound into a node's own ones, and that others need nothing.
func TestKept(t *testing.T) {
	n := Node{Dir: "/var/lib/clusters/a/node-1", Keep: []string{"/var/lib/clusters", "/root/.cache/programs", "/run/user/0/cache", "/var/library", "/var/lib"}}
	want := map[string]string{
		"/var/lib/clusters": "/var/lib/clusters/a/node-1/var-lib/clusters",
		"/run/user/0/cache": "/var/lib/clusters/a/node-1/run/user/0/cache",
	}
	if got := n.kept(); !maps.Equal(got, want) {
		t.Errorf("kept %v, want %v", got, want)
	}
}

func TestLookPath(t *testing.T) {
	dir := t.TempDir()
	for name, mode := range map[string]os.FileMode{"tool": 0o755, "text": 0o644} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, mode); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", "/nowhere:"+dir)
	if got, err := lookPath("tool"); err != nil || got != filepath.Join(dir, "tool") {
		t.Errorf("tool is found at %q, %v", got, err)
	}
	for _, name := range []string{"text", "none"} {
		if got, err := lookPath(name); err == nil {
			t.Errorf("%s is found at %q", name, got)
		}
	}
	if got, err := lookPath("/any/path"); err != nil || got != "/any/path" {
		t.Errorf("a path becomes %q, %v", got, err)
	}
}

func TestPort(t *testing.T) {
	p, err := NewPort(7, "172.29.1.10/24", netip.MustParsePrefix("10.64.0.0/24"))
	if err != nil || ipNet(p.Address).String() != "172.29.1.10/24" || ipNet(p.Pods).String() != "10.64.0.0/24" {
		t.Errorf("port %+v, %v", p, err)
	}
	if _, err := NewPort(7, "172.29.1.10", netip.Prefix{}); err == nil {
		t.Error("an address without a length is taken")
	}
}

// TestJoin writes this process into a file that stands for a control group's.
func TestJoin(t *testing.T) {
	file := filepath.Join(t.TempDir(), "cgroup.procs")
	if err := Join(""); err != nil {
		t.Error(err)
	}
	if err := Join(file); err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(file); err != nil || len(data) == 0 {
		t.Errorf("the group holds %q, %v", data, err)
	}
	if err := Join(filepath.Join(t.TempDir(), "none", "cgroup.procs")); err == nil {
		t.Error("a group that is not there was joined")
	}
}
