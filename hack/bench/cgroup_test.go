package main

import (
	"math"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
)

func TestMemoryCgroup(t *testing.T) {
	const (
		v1     = "9:name=systemd:/\n4:cpu,memory:/a/b\n0::/\n"
		v2     = "0::/user.slice/x.scope\n"
		mounts = "30 29 0:27 / /sys/fs/cgroup/unified rw,nosuid shared:4 - cgroup2 cgroup2 rw\n" +
			"31 29 0:28 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n" +
			"35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n"
		inside = "35 31 0:32 /pod/c1 /sys/fs/cgroup rw - cgroup cgroup rw,memory\n"
	)
	for _, c := range []struct{ own, mounts, dir, peak string }{
		{v1, mounts, "/sys/fs/cgroup/memory/a/b", peakV1},
		{v2, mounts, "/sys/fs/cgroup/unified/user.slice/x.scope", peakV2},
		{"4:memory:/pod/c1/d\n", inside, "/sys/fs/cgroup/d", peakV1},
		{"4:memory:/\n", inside, "/sys/fs/cgroup", peakV1},
	} {
		dir, peak, err := memoryCgroup(c.own, c.mounts)
		if err != nil || dir != c.dir || peak != c.peak {
			t.Errorf("%q: %s, %s, %v; want %s, %s", c.own, dir, peak, err, c.dir, c.peak)
		}
	}
	for _, bad := range [][2]string{{"", mounts}, {v1, ""}, {v2, inside}} {
		if dir, _, err := memoryCgroup(bad[0], bad[1]); err == nil {
			t.Errorf("%q was found in %s", bad[0], dir)
		}
	}
}

// TestHold: the program is run by a shell that enters the group first; no group changes nothing.
func TestHold(t *testing.T) {
	plain := exec.Command("echo", "a b")
	path := plain.Path
	var none *cgroup
	none.hold(plain)
	if plain.Path != path || len(plain.Args) != 2 || !math.IsNaN(none.peakMiB()) || none.remove() != nil {
		t.Errorf("no group has made it %v", plain.Args)
	}
	dir := t.TempDir() // no control group, but one can write into its cgroup.procs
	held := exec.Command("echo", "a b")
	(&cgroup{dir: dir}).hold(held)
	if out, err := held.Output(); err != nil || string(out) != "a b\n" {
		t.Errorf("it said %q, %v", out, err)
	}
	if files, _ := filepath.Glob(filepath.Join(dir, "*")); !slices.Equal(files, []string{filepath.Join(dir, "cgroup.procs")}) {
		t.Errorf("there are %v", files)
	}
}
