package main

import (
	"context"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"raftsman.dev/hack/devcluster/internal/cluster"
)

func newPartition(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "partition NODE OTHER…",
		Short: "Cut a node and its Pods off from other nodes and theirs",
		Long: `Partition drops all traffic between a node and others, that of their Pods and of open connections too, until
heal. With node 0 among the others the node is cut off from Kubernetes as well. Nothing ends on any node.`,
		Args: cobra.MinimumNArgs(2),
		RunE: o.on(func(ctx context.Context, c *cluster.Cluster, args []string) error {
			var nodes []int
			for _, a := range args {
				n, err := strconv.Atoi(a)
				if err != nil {
					return fmt.Errorf("node %q: give its number", a)
				}
				nodes = append(nodes, n)
			}
			return c.Partition(ctx, nodes[0], nodes[1:])
		}),
	}
}

func newHeal(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "heal",
		Short: "Undo every partition",
		Args:  cobra.NoArgs,
		RunE:  o.on(func(ctx context.Context, c *cluster.Cluster, _ []string) error { return c.Heal(ctx) }),
	}
}

func newFreeze(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "freeze PROCESS",
		Short: "Hold one of the cluster's own processes still, such as kube-apiserver",
		Long: `Freeze stops a process of the cluster itself (kube-apiserver, kube-controller-manager, kubelet-node-1, …), so
that it answers nobody, until thaw. While kube-apiserver is still, only thaw, freeze, partition, heal and down work.`,
		Args: cobra.ExactArgs(1),
		RunE: o.on(func(_ context.Context, c *cluster.Cluster, args []string) error { return c.Freeze(args[0], true) }),
	}
}

func newThaw(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "thaw PROCESS",
		Short: "Undo freeze",
		Args:  cobra.ExactArgs(1),
		RunE:  o.on(func(_ context.Context, c *cluster.Cluster, args []string) error { return c.Freeze(args[0], false) }),
	}
}
