// Package cgroup makes, fills and clears control groups in every hierarchy of the machine, be it the
// many of version 1 or the one of version 2. A dev cluster keeps all its processes below one group, which
// is how a cluster that ended uncleanly is found again: whatever is in there is its, and nothing else is.
package cgroup

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Hierarchy is one mounted control group tree.
type Hierarchy struct {
	Dir         string   // where it is mounted
	Controllers []string // of version 1: cpu, memory, name=systemd …
	V2          bool
}

// Tree is all hierarchies of a machine.
type Tree []Hierarchy

// Find reads the machine's own hierarchies.
func Find() (Tree, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	t, err := Parse(f)
	if err == nil && len(t) == 0 {
		err = errors.New("no control groups are mounted: mount them at /sys/fs/cgroup")
	}
	return t, err
}

// Parse reads hierarchies from a mountinfo file (see proc_pid_mountinfo(5)).
func Parse(r io.Reader) (Tree, error) {
	var t Tree
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		before, after, ok := strings.Cut(lines.Text(), " - ")
		left, right := strings.Fields(before), strings.Fields(after)
		if !ok || len(left) < 5 || len(right) < 3 {
			continue
		}
		h := Hierarchy{Dir: left[4], V2: right[0] == "cgroup2"}
		if right[0] != "cgroup" && !h.V2 || left[3] != "/" {
			continue
		}
		for _, option := range strings.Split(right[2], ",") {
			if !h.V2 && option != "rw" && option != "ro" {
				h.Controllers = append(h.Controllers, option)
			}
		}
		if !slices.ContainsFunc(t, func(o Hierarchy) bool { return o.Dir == h.Dir }) {
			t = append(t, h)
		}
	}
	return t, lines.Err()
}

// Missing names the controllers that Kubernetes needs and the machine lacks.
func (t Tree) Missing() []string {
	have := map[string]bool{}
	for _, h := range t {
		for _, c := range h.Controllers {
			have[c] = true
		}
		if h.V2 {
			data, _ := os.ReadFile(filepath.Join(h.Dir, "cgroup.controllers"))
			for _, c := range strings.Fields(string(data)) {
				have[c] = true
			}
		}
	}
	var missing []string
	for _, c := range []string{"cpu", "cpuset", "memory", "pids"} {
		if !have[c] {
			missing = append(missing, c)
		}
	}
	return missing
}

// tracker is the hierarchy whose membership says which processes are a group's: one is enough.
func (t Tree) tracker() Hierarchy {
	for _, h := range t {
		if slices.Contains(h.Controllers, "pids") {
			return h
		}
	}
	for _, h := range t {
		if h.V2 {
			return h
		}
	}
	return t[0]
}

// ProcsFile is the file to write a PID into in order to put its process under group.
func (t Tree) ProcsFile(group string) string {
	return filepath.Join(t.tracker().Dir, group, "cgroup.procs")
}

// Create makes group, with all above it, in every hierarchy, ready to hold processes.
func (t Tree) Create(group string) error {
	for _, h := range t {
		dir := h.Dir
		for _, part := range strings.Split(strings.Trim(group, "/"), "/") {
			parent := dir
			dir = filepath.Join(dir, part)
			if err := h.open(parent); err != nil {
				return err
			}
			if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
				return fmt.Errorf("make control group: %w", err)
			}
			if err := h.inherit(parent, dir); err != nil {
				return err
			}
		}
	}
	return nil
}

// open lets the children of parent have its controllers, which version 2 wants to be asked for. Not every
// controller can be given on, so each is asked for alone.
func (h Hierarchy) open(parent string) error {
	if !h.V2 {
		return nil
	}
	data, err := os.ReadFile(filepath.Join(parent, "cgroup.controllers"))
	if err != nil {
		return fmt.Errorf("read controllers: %w", err)
	}
	for _, c := range strings.Fields(string(data)) {
		err := os.WriteFile(filepath.Join(parent, "cgroup.subtree_control"), []byte("+"+c), 0)
		if err != nil && slices.Contains([]string{"cpu", "cpuset", "memory", "pids"}, c) {
			return fmt.Errorf("give controller %s to the groups below %s: %w", c, parent, err)
		}
	}
	return nil
}

// inherit copies what version 1's cpuset does not inherit by itself, without which a group can hold no
// process.
func (h Hierarchy) inherit(parent, dir string) error {
	if !slices.Contains(h.Controllers, "cpuset") {
		return nil
	}
	for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
		own, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			return err
		}
		if strings.TrimSpace(string(own)) != "" {
			continue
		}
		value, err := os.ReadFile(filepath.Join(parent, file))
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, file), value, 0o644); err != nil {
			return fmt.Errorf("copy %s: %w", file, err)
		}
	}
	return nil
}

// Pids lists the processes of group and of all groups below it, in every hierarchy. A group that does not
// exist has none.
func (t Tree) Pids(group string) ([]int, error) {
	seen := map[int]bool{}
	var pids []int
	for _, h := range t {
		err := filepath.WalkDir(filepath.Join(h.Dir, group), func(path string, d fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return nil // it went while we looked
			}
			if err != nil || !d.IsDir() {
				return err
			}
			data, err := os.ReadFile(filepath.Join(path, "cgroup.procs"))
			if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENODEV) {
				return err
			}
			for _, field := range strings.Fields(string(data)) {
				pid, err := strconv.Atoi(field)
				if err == nil && pid > 0 && !seen[pid] {
					seen[pid] = true
					pids = append(pids, pid)
				}
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	slices.Sort(pids)
	return pids, nil
}

// Find is the path of the group called name at any depth below group, as a path from a hierarchy's root.
func (t Tree) Find(group, name string) (string, error) {
	top := t.tracker().Dir
	found := ""
	err := filepath.WalkDir(filepath.Join(top, group), func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // it went while we looked
		}
		if err == nil && d.IsDir() && d.Name() == name {
			found = strings.TrimPrefix(path, top)
			return fs.SkipAll
		}
		return err
	})
	if err == nil && found == "" {
		err = fmt.Errorf("no control group %s below %s", name, group)
	}
	return found, err
}

// Kill ends every process of group but those to be spared, with SIGKILL, and returns when none is left.
// Those that are frozen are thawed first, since a frozen process does not die.
func (t Tree) Kill(ctx context.Context, group string, spare ...int) error {
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for {
		pids, err := t.Pids(group)
		pids = slices.DeleteFunc(pids, func(pid int) bool { return slices.Contains(spare, pid) })
		if err != nil || len(pids) == 0 {
			return err
		}
		t.thaw(group)
		for _, pid := range pids {
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
				return fmt.Errorf("kill process %d of control group %s: %w", pid, group, err)
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("processes %v of control group %s do not end: %w", pids, group, ctx.Err())
		case <-again.C:
		}
	}
}

// thaw wakes what was frozen. Where nothing is frozen, or no such file is, there is nothing to do.
func (t Tree) thaw(group string) {
	for _, h := range t {
		file, awake := "freezer.state", "THAWED"
		if h.V2 {
			file, awake = "cgroup.freeze", "0"
		} else if !slices.Contains(h.Controllers, "freezer") {
			continue
		}
		_ = filepath.WalkDir(filepath.Join(h.Dir, group), func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				_ = os.WriteFile(filepath.Join(path, file), []byte(awake), 0)
			}
			return nil
		})
	}
}

// Exists says whether any hierarchy has group.
func (t Tree) Exists(group string) bool {
	return slices.ContainsFunc(t, func(h Hierarchy) bool {
		_, err := os.Stat(filepath.Join(h.Dir, group))
		return err == nil
	})
}

// Remove removes group and all below it, in every hierarchy. They must hold no process; the kernel lets a
// group go a moment after its last process, so it is tried until ctx ends.
func (t Tree) Remove(ctx context.Context, group string) error {
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for {
		err := t.removeOnce(group)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("remove control group %s: %w", group, err)
		case <-again.C:
		}
	}
}

func (t Tree) removeOnce(group string) error {
	for _, h := range t {
		var dirs []string
		err := filepath.WalkDir(filepath.Join(h.Dir, group), func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				dirs = append(dirs, path)
			}
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			return err
		})
		if err != nil {
			return err
		}
		for _, dir := range slices.Backward(dirs) { // children come after their parents in a walk
			if err := syscall.Rmdir(dir); err != nil && !errors.Is(err, syscall.ENOENT) {
				return fmt.Errorf("%s: %w", dir, err)
			}
		}
	}
	return nil
}

// RemoveIfEmpty removes group where nothing is left in it, and leaves it alone otherwise.
func (t Tree) RemoveIfEmpty(group string) {
	for _, h := range t {
		_ = syscall.Rmdir(filepath.Join(h.Dir, group))
	}
}
