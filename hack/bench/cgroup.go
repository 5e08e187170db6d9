package main

import (
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// cgroup is a control group of our own, which counts the memory of the processes in it: also what the kernel and the
// page cache use for them.
type cgroup struct {
	dir  string
	peak string // the file, in dir, that tells the largest memory ever in use
}

// The files that tell it, in both versions of control groups.
const (
	peakV1 = "memory.max_usage_in_bytes"
	peakV2 = "memory.peak"
)

// enter puts the shell into the control group that $0 names, and makes it the program that follows.
const enter = `echo $$ > "$0" && exec "$@"`

// newCgroup makes one below this process's own, or beside it where that cannot have any below it (in version 2, one
// with processes in it). It fails where none can be made that counts memory and takes processes.
func newCgroup(name string) (*cgroup, error) {
	own, err := os.ReadFile("/proc/self/cgroup")
	mounts, merr := os.ReadFile("/proc/self/mountinfo")
	if err := errors.Join(err, merr); err != nil {
		return nil, err
	}
	dir, peak, err := memoryCgroup(string(own), string(mounts))
	if err != nil {
		return nil, err
	}
	below, err := makeCgroup(filepath.Join(dir, name), peak)
	if err == nil {
		return below, nil
	}
	beside, berr := makeCgroup(filepath.Join(filepath.Dir(dir), name), peak)
	if berr == nil {
		return beside, nil
	}
	return nil, errors.Join(err, berr)
}

func makeCgroup(dir, peak string) (*cgroup, error) {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make a control group: %w", err)
	}
	c := &cgroup{dir: dir, peak: peak}
	_, err := c.peakBytes()
	if err == nil {
		probe := exec.Command("true")
		c.hold(probe)
		if err = probe.Run(); err != nil {
			err = fmt.Errorf("run a program in %s: %w", dir, err)
		}
	}
	if err != nil {
		return nil, errors.Join(err, c.remove())
	}
	return c, nil
}

// memoryCgroup finds where this process's control group for memory lies, from /proc/self/cgroup and
// /proc/self/mountinfo, and the name of the file that tells the peak.
func memoryCgroup(own, mounts string) (dir, peak string, err error) {
	unified := ""
	for line := range strings.Lines(own) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		switch {
		case len(parts) != 3:
		case slices.Contains(strings.Split(parts[1], ","), "memory"):
			dir, err = mountedAt(mounts, "cgroup", "memory", parts[2])
			return dir, peakV1, err
		case parts[1] == "":
			unified = parts[2]
		}
	}
	if unified == "" {
		return "", "", errors.New("/proc/self/cgroup names no control group")
	}
	dir, err = mountedAt(mounts, "cgroup2", "", unified)
	return dir, peakV2, err
}

// mountedAt finds the directory of a control group in a mounted file system of that type, with that option if one
// is given.
func mountedAt(mounts, kind, option, path string) (string, error) {
	for line := range strings.Lines(mounts) {
		before, after, _ := strings.Cut(strings.TrimSpace(line), " - ")
		mount, system := strings.Fields(before), strings.Fields(after)
		if len(mount) < 5 || len(system) < 3 || system[0] != kind {
			continue
		}
		if option != "" && !slices.Contains(strings.Split(system[2], ","), option) {
			continue
		}
		below, err := filepath.Rel(mount[3], path)
		if err != nil || strings.HasPrefix(below, "..") {
			below = "." // a mount of something else than we are in, as in a container: its root is all that we see
		}
		return filepath.Join(mount[4], below), nil
	}
	return "", fmt.Errorf("no file system of type %s with memory is mounted", kind)
}

// hold makes the command, which has not been started, run in the control group from its first moment. A nil group
// leaves it alone.
func (c *cgroup) hold(cmd *exec.Cmd) {
	if c == nil {
		return
	}
	cmd.Args = append([]string{"sh", "-c", enter, filepath.Join(c.dir, "cgroup.procs"), cmd.Path}, cmd.Args[1:]...)
	cmd.Path = "/bin/sh"
}

// peakBytes is the largest memory that was in use in it.
func (c *cgroup) peakBytes() (int64, error) {
	text, err := os.ReadFile(filepath.Join(c.dir, c.peak))
	if err != nil {
		return 0, fmt.Errorf("peak of a control group: %w", err)
	}
	return strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
}

// peakMiB is the same in MiB, not a number where there is no group to ask.
func (c *cgroup) peakMiB() float64 {
	if c == nil {
		return math.NaN()
	}
	n, err := c.peakBytes()
	if err != nil {
		return math.NaN()
	}
	return mebibytes(n)
}

// remove removes it; its processes have been ended, and may take a moment to be gone.
func (c *cgroup) remove() error {
	if c == nil {
		return nil
	}
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for began := time.Now(); ; <-tick.C {
		err := os.Remove(c.dir)
		if err == nil || time.Since(began) > stopPatience {
			return err
		}
	}
}
