package main

import (
	"context"
	"fmt"
	"os"
	"strconv"

	"github.com/spf13/cobra"

	"raftsman.dev/hack/devcluster/internal/cluster"
)

func newMembers(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "members",
		Short: "List the members of a Raftsman store: role, process, client URL, log",
		Args:  cobra.NoArgs,
		RunE: o.on(func(ctx context.Context, c *cluster.Cluster, _ []string) error {
			if err := c.MustRun(); err != nil {
				return err
			}
			return c.Members(ctx, os.Stdout)
		}),
	}
}

func newStopMember(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "stop-member N",
		Short: "Kill a member of a Raftsman store",
		Args:  cobra.ExactArgs(1),
		RunE:  o.onMember((*cluster.Cluster).StopMember),
	}
}

func newStartMember(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "start-member N",
		Short: "Start a stopped member again, with the data it had, and wait until it serves",
		Args:  cobra.ExactArgs(1),
		RunE:  o.onMember((*cluster.Cluster).StartMember),
	}
}

// onMember makes the action of a command whose argument is a member's number.
func (o *options) onMember(do func(*cluster.Cluster, context.Context, int) error) func(*cobra.Command, []string) error {
	return o.on(func(ctx context.Context, c *cluster.Cluster, args []string) error {
		m, err := strconv.Atoi(args[0])
		if err != nil {
			return fmt.Errorf("member %q: give its number", args[0])
		}
		return do(c, ctx, m)
	})
}
