package cluster

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"raftsman.dev/hack/devcluster/internal/layout"
)

// partition is the firewall table that keeps two nodes apart.
const partition = "devcluster_partition"

// partitionRules drop all traffic between a node, its Pods included, and others, that of open connections too.
func partitionRules(c layout.Cluster, others []int) string {
	var ranges []string
	for _, n := range others {
		ranges = append(ranges, c.NodeIP(n).String(), c.NodePodRange(n).String())
	}
	drop := fmt.Sprintf("ip saddr { %[1]s } drop; ip daddr { %[1]s } drop", strings.Join(ranges, ", "))
	text := healRules + fmt.Sprintf("table inet %s {\n", partition)
	for _, hook := range []string{"input", "forward", "output"} {
		text += fmt.Sprintf("\tchain %[1]s { type filter hook %[1]s priority -150; policy accept; %[2]s; }\n", hook, drop)
	}
	return text + "}\n"
}

// healRules take the table away, whether or not it is there.
const healRules = "table inet " + partition + " {}\ndelete table inet " + partition + "\n"

// Partition cuts a node off from others: the two sides, Pods included, neither hear nor reach each other until Heal.
// With the node of the control plane among the others the node is cut off from Kubernetes too. A second partition
// of the same node replaces the first.
func (c *Cluster) Partition(ctx context.Context, node int, others []int) error {
	if err := c.MustRun(); err != nil {
		return err
	}
	for _, n := range append([]int{node}, others...) {
		if n < 0 || n >= c.State.Nodes {
			return fmt.Errorf("node %d: cluster %s has the nodes 0 to %d", n, c.Name, c.State.Nodes-1)
		}
	}
	if len(others) == 0 || slices.Contains(others, node) {
		return errors.New("a partition needs a node and others than itself")
	}
	if err := c.nodeFirewall(ctx, node, partitionRules(c.Cluster, others)); err != nil {
		return err
	}
	fmt.Fprintf(c.Out, "%s is cut off from %v\n", layout.NodeName(node), others)
	return nil
}

// Heal ends all partitions of nodes.
func (c *Cluster) Heal(ctx context.Context) error {
	if err := c.MustRun(); err != nil {
		return err
	}
	for n := range c.State.Nodes {
		if err := c.nodeFirewall(ctx, n, healRules); err != nil {
			return err
		}
	}
	fmt.Fprintln(c.Out, "all nodes reach each other")
	return nil
}

// nodeFirewall applies rules in a node's network namespace.
func (c *Cluster) nodeFirewall(ctx context.Context, node int, rules string) error {
	enter, err := c.EnterArgs(node, false)
	if err != nil {
		return err
	}
	argv := append(enter, "--", "nft", "-f", "-")
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Stdin = strings.NewReader(rules)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("firewall of %s: %w: %s", layout.NodeName(node), err, out)
	}
	return nil
}

// Freeze holds one of the cluster's own processes still, or lets it go on: it answers nobody meanwhile, and its
// connections stay.
func (c *Cluster) Freeze(process string, still bool) error {
	if err := c.MustRun(); err != nil {
		return err
	}
	if expected := c.expected(); !slices.Contains(expected, process) {
		return fmt.Errorf("process %q: cluster %s has %s", process, c.Name, strings.Join(expected, ", "))
	}
	r, err := c.store.Get(process)
	if err != nil {
		return err
	}
	sig := syscall.SIGCONT
	if still {
		sig = syscall.SIGSTOP
	}
	if err := r.Signal(sig); err != nil {
		return fmt.Errorf("send %s to %s (process %d): %w", unix.SignalName(sig), r.Name, r.PID, err)
	}
	fmt.Fprintf(c.Out, "sent %s to %s, process %d\n", unix.SignalName(sig), r.Name, r.PID)
	return nil
}
