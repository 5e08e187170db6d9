package main

import (
	"context"
	"os"

	"github.com/spf13/cobra"

	"raftsman.dev/hack/devcluster/internal/cluster"
	"raftsman.dev/hack/devcluster/internal/forward"
	"raftsman.dev/hack/devcluster/internal/space"
)

func newSignal(o *options) *cobra.Command {
	var namespace, container string
	cmd := &cobra.Command{
		Use:   "signal POD SIGNAL",
		Short: "Send a signal to the main process of a Pod's container",
		Long: `Signal sends a signal (KILL, STOP, CONT, …) straight to the main process of a container. Kubernetes learns
of it only by what follows.`,
		Args: cobra.ExactArgs(2),
		RunE: o.on(func(ctx context.Context, c *cluster.Cluster, args []string) error {
			sig, err := cluster.ParseSignal(args[1])
			if err != nil {
				return err
			}
			return c.Signal(ctx, namespace, args[0], container, sig)
		}),
	}
	namespaceFlag(cmd, &namespace)
	cmd.Flags().StringVarP(&container, "container", "c", "", "the `container`, if not the first")
	return cmd
}

func namespaceFlag(cmd *cobra.Command, to *string) {
	cmd.Flags().StringVarP(to, "namespace", "n", "default", "the Pod's `namespace`")
}

func newIsolate(o *options) *cobra.Command {
	var namespace string
	cmd := &cobra.Command{
		Use:   "isolate POD",
		Short: "Cut a Pod off from all others",
		Long: `Isolate drops all traffic from and to a Pod, that of open connections too. Its own node still reaches it,
so the kubelet's probes pass and kubectl exec and port-forward work. It holds until rejoin or the end of the
Pod; a restart of its containers does not end it.`,
		Args: cobra.ExactArgs(1),
		RunE: o.on(func(ctx context.Context, c *cluster.Cluster, args []string) error {
			return c.Isolate(ctx, namespace, args[0])
		}),
	}
	namespaceFlag(cmd, &namespace)
	return cmd
}

func newRejoin(o *options) *cobra.Command {
	var namespace string
	cmd := &cobra.Command{
		Use:   "rejoin POD",
		Short: "Undo isolate",
		Args:  cobra.ExactArgs(1),
		RunE: o.on(func(ctx context.Context, c *cluster.Cluster, args []string) error {
			return c.Rejoin(ctx, namespace, args[0])
		}),
	}
	namespaceFlag(cmd, &namespace)
	return cmd
}

func newExec(o *options) *cobra.Command {
	var node int
	cmd := &cobra.Command{
		Use:   "exec [--node N] -- COMMAND [ARGS…]",
		Short: "Run a command of this machine inside a node, where Pod addresses and Service names work",
		Long: `Exec runs a command of this machine in the namespaces of a node. There it reaches Pods, Services and, by
their names, what the cluster's DNS knows. It sees the machine's files, but for /run, /var/lib and /var/log,
which are the node's own.`,
		Args: cobra.MinimumNArgs(1),
		RunE: o.on(func(_ context.Context, c *cluster.Cluster, args []string) error {
			if err := c.MustRun(); err != nil {
				return err
			}
			argv, err := c.EnterArgs(node, true)
			if err != nil {
				return err
			}
			return replace(append(append(argv, "--"), args...))
		}),
	}
	cmd.Flags().IntVar(&node, "node", 0, "the node's `number`")
	return cmd
}

// newHold, newEnter and newForward are this program's own other processes.
func newHold() *cobra.Command {
	var n space.Node
	var procs string
	cmd := &cobra.Command{
		Use:    "hold",
		Short:  "Hold a node's namespaces (started by up)",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if err := space.Join(procs); err != nil {
				return err
			}
			const readyFD = 3
			return space.Hold(n, os.NewFile(readyFD, "ready"))
		},
	}
	cmd.Flags().StringArrayVar(&n.Keep, "keep", nil, "a directory that stays visible")
	cmd.Flags().StringVar(&n.Dir, "dir", "", "the node's directory")
	cmd.Flags().StringVar(&n.DNS, "dns", "", "the address of the DNS service")
	cmd.Flags().StringVar(&n.Domain, "domain", "", "the DNS domain")
	cmd.Flags().StringVar(&procs, "cgroup", "", "the cgroup.procs file to join")
	return cmd
}

func newEnter() *cobra.Command {
	var e space.Entry
	cmd := &cobra.Command{
		Use:    "enter --pid PID -- COMMAND [ARGS…]",
		Short:  "Run a command in the namespaces of a process",
		Hidden: true,
		Args:   cobra.MinimumNArgs(1),
		RunE:   func(_ *cobra.Command, args []string) error { return space.Enter(e, args) },
	}
	cmd.Flags().IntVar(&e.PID, "pid", 0, "a process inside")
	cmd.Flags().BoolVar(&e.Mount, "mount", false, "enter the mount namespace too")
	cmd.Flags().StringVar(&e.Procs, "cgroup", "", "the cgroup.procs file to join")
	return cmd
}

func newForward() *cobra.Command {
	return &cobra.Command{
		Use:    "forward TARGET",
		Short:  "Pass connections of the socket at descriptor 3 to an address",
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			const listenerFD = 3
			return forward.Serve(cmd.Context(), os.NewFile(listenerFD, "listener"), args[0])
		},
	}
}
