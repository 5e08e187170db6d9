package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"raftsman.dev/hack/devcluster/internal/layout"
	"raftsman.dev/hack/devcluster/internal/process"
	"raftsman.dev/hack/devcluster/internal/space"
)

// Load gives an image archive to every node that runs.
func (c *Cluster) Load(ctx context.Context, file string) error {
	if err := c.MustRun(); err != nil {
		return err
	}
	for n := range c.State.Nodes {
		if slices.Contains(c.State.Stopped, n) {
			fmt.Fprintf(c.Out, "%s is stopped and gets no image; load it again after start-node\n", layout.NodeName(n))
			continue
		}
		if err := c.importImage(ctx, n, file); err != nil {
			return err
		}
		fmt.Fprintf(c.Out, "loaded %s on %s\n", file, layout.NodeName(n))
	}
	return nil
}

// importImage gives an archive to the containerd of one node, in the namespace that the kubelet looks into.
// It goes through a pipe, because the file need not be visible on the node.
func (c *Cluster) importImage(ctx context.Context, node int, file string) error {
	in, err := os.Open(file)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := c.ctr(ctx, node, in, "images", "import", "--local", "-")
	if err != nil {
		return fmt.Errorf("import %s on %s: %w: %s", file, layout.NodeName(node), err, out)
	}
	return nil
}

// ctr runs containerd's own client on a node and returns all that it prints.
func (c *Cluster) ctr(ctx context.Context, node int, in io.Reader, args ...string) (string, error) {
	bin, err := c.binary("ctr")
	if err != nil {
		return "", err
	}
	enter, err := c.EnterArgs(node, true)
	if err != nil {
		return "", err
	}
	argv := append(append(enter, "--", bin, "--namespace", "k8s.io"), args...)
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Stdin = in
	out, err := cmd.CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

// checkOther refuses a node that cannot be stopped or started: the first carries the control plane.
func (c *Cluster) checkOther(node int) error {
	if node == 0 {
		return errors.New("node 0 carries the control plane and stays: choose another")
	}
	if node < 0 || node >= c.State.Nodes {
		return fmt.Errorf("node %d: cluster %s has the nodes 0 to %d", node, c.Name, c.State.Nodes-1)
	}
	return nil
}

// StopNode lets a node fail as if its power had gone: its link falls, and all its processes and containers
// end at once. Its disk stays.
func (c *Cluster) StopNode(ctx context.Context, node int) error {
	unlock, err := c.lock()
	if err != nil {
		return err
	}
	defer unlock()
	if err := errors.Join(c.MustRun(), c.checkOther(node)); err != nil {
		return err
	}
	if slices.Contains(c.State.Stopped, node) {
		return fmt.Errorf("node %d is stopped already", node)
	}
	c.State.Stopped = append(c.State.Stopped, node)
	if err := c.saveState(); err != nil {
		return err
	}
	if err := c.setLink(node, false); err != nil {
		return err
	}
	if err := c.endNode(ctx, node); err != nil {
		return err
	}
	fmt.Fprintf(c.Out, "%s is stopped; Kubernetes notices in a little less than a minute\n", layout.NodeName(node))
	return nil
}

// endNode ends all processes of a node but the holder, which keeps its namespaces.
func (c *Cluster) endNode(ctx context.Context, node int) error {
	holder, err := c.store.Get(holderName(node))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, clearTimeout)
	defer cancel()
	for _, group := range []string{c.PodsCgroup(node), c.SystemCgroup(node)} {
		if err := c.tree.Kill(ctx, group, holder.PID); err != nil {
			return err
		}
	}
	for _, name := range nodeProcesses(node) {
		if err := c.store.Forget(name); err != nil {
			return err
		}
	}
	return nil
}

func (c *Cluster) setLink(node int, up bool) error {
	first, err := c.store.Get(holderName(0))
	if err != nil {
		return err
	}
	return space.SetPort(first.PID, node, up)
}

// StartNode starts a stopped node again, with the disk it had, and waits until it is ready.
func (c *Cluster) StartNode(ctx context.Context, node int) error {
	unlock, err := c.lock()
	if err != nil {
		return err
	}
	defer unlock()
	if err := errors.Join(c.MustRun(), c.checkOther(node)); err != nil {
		return err
	}
	if !slices.Contains(c.State.Stopped, node) {
		return fmt.Errorf("node %d is not stopped", node)
	}
	began := time.Now()
	running, err := c.startStopped(ctx, node)
	if err != nil {
		return err
	}
	client, err := c.client()
	if err != nil {
		return err
	}
	name := layout.NodeName(node)
	return c.step(name+" ready", func() error {
		return c.wait(ctx, readyWait, name, running, func(ctx context.Context) (string, error) {
			var nodes nodeList
			if err := client.Get(ctx, "/api/v1/nodes", &nodes); err != nil {
				return c.store.Log("kube-apiserver"), err
			}
			if ok, why := nodes.ready(name, began); !ok {
				return c.store.Log(nodeProcesses(node)[1]), errors.New(why)
			}
			return "", nil
		})
	})
}

// startStopped raises the link of a stopped node and starts its processes.
func (c *Cluster) startStopped(ctx context.Context, node int) ([]*process.Process, error) {
	if err := c.setLink(node, true); err != nil {
		return nil, err
	}
	containerd, err := c.startContainerd(node)
	if err != nil {
		return nil, err
	}
	if err := c.awaitContainerd(ctx, node, []*process.Process{containerd}); err != nil {
		return nil, err
	}
	running, err := c.startNode(node)
	if err != nil {
		return nil, err
	}
	c.State.Stopped = slices.DeleteFunc(c.State.Stopped, func(n int) bool { return n == node })
	return append([]*process.Process{containerd}, running...), c.saveState()
}
