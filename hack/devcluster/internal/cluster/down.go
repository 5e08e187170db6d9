package cluster

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"raftsman.dev/hack/devcluster/internal/layout"
	"raftsman.dev/hack/devcluster/internal/process"
)

// Down ends the cluster and removes all of it. Only the cache of built programs stays.
func (c *Cluster) Down(ctx context.Context) error {
	unlock, err := c.lock()
	if err != nil {
		return err
	}
	defer unlock()
	if !c.Exists() {
		c.removeParents()
		fmt.Fprintf(c.Out, "cluster %s does not exist; nothing to do\n", c.Name)
		return nil
	}
	if err := c.clear(ctx); err != nil {
		return err
	}
	c.removeParents()
	fmt.Fprintf(c.Out, "cluster %s is gone\n", c.Name)
	return nil
}

// clear removes everything of the cluster, whatever state it is in: first processes, because they keep
// namespaces and mounts alive, then what is left of mounts and control groups, files last.
func (c *Cluster) clear(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, clearTimeout)
	defer cancel()
	if err := c.endProcesses(ctx); err != nil {
		return err
	}
	if err := c.unmountAll(); err != nil {
		return err
	}
	if err := c.tree.Remove(ctx, c.Cgroup()); err != nil {
		return err
	}
	if err := c.removeFiles(ctx); err != nil {
		return err
	}
	c.State = State{}
	return nil
}

// endProcesses ends what was recorded and what lives in the cluster's control group, and waits for the end.
func (c *Cluster) endProcesses(ctx context.Context) error {
	records, err := c.store.All()
	if err != nil {
		return err
	}
	members, err := c.tree.Pids(c.Cgroup())
	if err != nil {
		return err
	}
	for _, pid := range members {
		if r, err := process.Look(fmt.Sprintf("process %d of %s", pid, c.Cgroup()), pid); err == nil {
			records = append(records, r)
		}
	}
	for _, r := range records {
		if err := r.Signal(syscall.SIGKILL); err != nil && !errors.Is(err, os.ErrProcessDone) && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("end %s (process %d): %w", r.Name, r.PID, err)
		}
	}
	if err := c.tree.Kill(ctx, c.Cgroup()); err != nil {
		return err
	}
	return process.AwaitEnd(ctx, records)
}

// unmountAll removes mounts below the cluster's directory from the machine's own mount table. The cluster
// makes none there; somebody who looked into it may have.
func (c *Cluster) unmountAll() error {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	defer f.Close()
	points, err := mountsBelow(f, c.Dir())
	if err != nil {
		return err
	}
	for _, p := range slices.Backward(points) { // a later mount may lie on an earlier one
		if err := unix.Unmount(p, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) {
			return fmt.Errorf("unmount %s: %w", p, err)
		}
	}
	return nil
}

// mountsBelow lists the mount points at or below dir of a mountinfo file, in the order of mounting.
func mountsBelow(mountinfo io.Reader, dir string) ([]string, error) {
	unescape := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
	var points []string
	lines := bufio.NewScanner(mountinfo)
	for lines.Scan() {
		const pointField = 4
		fields := strings.Fields(lines.Text())
		if len(fields) <= pointField {
			continue
		}
		point := unescape.Replace(fields[pointField])
		if point == dir || strings.HasPrefix(point, dir+"/") {
			points = append(points, point)
		}
	}
	return points, lines.Err()
}

// removeFiles removes the cluster's directory. Mounts of a namespace whose last process has just ended go a
// moment later and may keep a file busy until then.
func (c *Cluster) removeFiles(ctx context.Context) error {
	again := time.NewTicker(poll)
	defer again.Stop()
	for {
		err := os.RemoveAll(c.Dir())
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("remove %s: %w", c.Dir(), err)
		case <-again.C:
		}
	}
}

// removeParents removes what all clusters share, if this was the last.
func (c *Cluster) removeParents() {
	c.tree.RemoveIfEmpty(layout.CgroupParent())
	_ = os.Remove(c.Base) // fails as long as another cluster has its directory there
}
