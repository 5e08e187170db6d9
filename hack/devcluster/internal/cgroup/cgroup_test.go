package cgroup

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

const version1 = `21 1 254:0 / / rw,relatime - ext4 /dev/vda rw
30 21 0:26 / /sys/fs/cgroup rw,relatime - tmpfs cgroup rw,mode=755
31 30 0:27 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu
32 30 0:28 / /sys/fs/cgroup/cpuset rw,relatime - cgroup cgroup rw,cpuset
33 30 0:29 / /sys/fs/cgroup/memory rw,relatime shared:7 - cgroup cgroup rw,memory
34 30 0:30 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
35 30 0:31 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids
36 30 0:32 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
37 30 0:31 /some/group /elsewhere rw,relatime - cgroup cgroup rw,pids
`

func TestParse(t *testing.T) {
	tree, err := Parse(strings.NewReader(version1))
	if err != nil || len(tree) != 6 {
		t.Fatalf("%d hierarchies in %+v, %v; want 6", len(tree), tree, err)
	}
	if missing := tree.Missing(); len(missing) != 0 {
		t.Errorf("missing %v", missing)
	}
	if got := tree.ProcsFile("/a/b"); got != "/sys/fs/cgroup/pids/a/b/cgroup.procs" {
		t.Errorf("processes are tracked at %s", got)
	}
	if missing := tree[:2].Missing(); !slices.Equal(missing, []string{"memory", "pids"}) {
		t.Errorf("missing %v, want memory and pids", missing)
	}
	two, err := Parse(strings.NewReader("1 2 0:1 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n"))
	if err != nil || len(two) != 1 || !two[0].V2 || two.ProcsFile("/x") != "/sys/fs/cgroup/x/cgroup.procs" {
		t.Errorf("version 2 is read as %+v, %v", two, err)
	}
}

// TestTreeOfFiles lets the package work on ordinary directories, where a hierarchy's files are plain ones.
func TestTreeOfFiles(t *testing.T) {
	tree := Tree{
		{Dir: t.TempDir(), Controllers: []string{"pids"}},
		{Dir: t.TempDir(), Controllers: []string{"memory"}},
	}
	if err := tree.Create("/p/c/node-0/deep"); err != nil {
		t.Fatal(err)
	}
	if err := tree.Create("/p/c/node-1"); err != nil {
		t.Fatal(err)
	}
	write := func(h Hierarchy, group, text string) string {
		file := filepath.Join(h.Dir, group, "cgroup.procs")
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return file
	}
	files := []string{write(tree[0], "/p/c/node-0/deep", "7\n5\n"), write(tree[1], "/p/c", "7\n9\n"), write(tree[0], "/p", "1\n")}
	if pids, err := tree.Pids("/p/c"); err != nil || !slices.Equal(pids, []int{5, 7, 9}) {
		t.Errorf("processes %v, %v; want 5, 7 and 9", pids, err)
	}
	if pids, err := tree.Pids("/other"); err != nil || len(pids) != 0 {
		t.Errorf("a group that is not there has %v, %v", pids, err)
	}
	if found, err := tree.Find("/p", "deep"); err != nil || found != "/p/c/node-0/deep" {
		t.Errorf("found %q, %v", found, err)
	}
	if found, err := tree.Find("/p", "none"); err == nil {
		t.Errorf("found %q where nothing is", found)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := tree.Remove(ctx, "/p/c"); err == nil {
		t.Error("a group that is not empty was removed")
	}
	for _, f := range files {
		if err := os.Remove(f); err != nil {
			t.Fatal(err)
		}
	}
	if err := tree.Remove(t.Context(), "/p/c"); err != nil {
		t.Error(err)
	}
	if tree.Exists("/p/c") || !tree.Exists("/p") {
		t.Error("too little or too much was removed")
	}
	tree.RemoveIfEmpty("/p")
	if tree.Exists("/p") {
		t.Error("an empty group was left")
	}
}

// TestCpusetIsInherited shows the one thing a group of version 1 does not get by itself.
func TestCpusetIsInherited(t *testing.T) {
	h := Hierarchy{Dir: t.TempDir(), Controllers: []string{"cpuset"}}
	child := filepath.Join(h.Dir, "a")
	if err := os.Mkdir(child, 0o755); err != nil {
		t.Fatal(err)
	}
	for file, text := range map[string]string{"cpuset.cpus": "0-1\n", "cpuset.mems": "0\n", "a/cpuset.cpus": "\n", "a/cpuset.mems": "1\n"} {
		if err := os.WriteFile(filepath.Join(h.Dir, file), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := (Tree{h}).Create("/a"); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{"cpuset.cpus": "0-1\n", "cpuset.mems": "1\n"} {
		if got, err := os.ReadFile(filepath.Join(child, file)); err != nil || string(got) != want {
			t.Errorf("%s is %q, %v; want %q", file, got, err, want)
		}
	}
}
