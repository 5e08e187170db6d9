package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"

	"github.com/spf13/cobra"

	"raftsman.dev/hack/devcluster/internal/cgroup"
	"raftsman.dev/hack/devcluster/internal/cluster"
	"raftsman.dev/hack/devcluster/internal/image"
	"raftsman.dev/hack/devcluster/internal/layout"
	"raftsman.dev/hack/devcluster/internal/machine"
	"raftsman.dev/hack/devcluster/internal/programs"
	"raftsman.dev/hack/devcluster/internal/space"
)

// view is what preflight sees of this machine.
func view() machine.View {
	missing := func() ([]string, error) {
		tree, err := cgroup.Find()
		if err != nil {
			return nil, err
		}
		return tree.Missing(), nil
	}
	return machine.Here(runtime.GOOS, missing, space.Probe)
}

func newUp(o *options) *cobra.Command {
	plan := cluster.Plan{Nodes: 3, Store: cluster.StoreEtcd}
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Start the cluster and wait until it can be used",
		Long: `Up checks the machine, installs the Debian packages that it lacks (as root, where apt-get is), builds the
programs that are not in the cache, starts the cluster and waits until all nodes are ready, names resolve
and a volume has been written by a Pod that is not root. The first build takes about ten minutes on two
cores; with a filled cache up takes seconds.

A cluster that runs is left alone. One that ended uncleanly is cleared first, and comes up with the store and
the API server's flags that it had, unless others are given.

With --store raftsman the API server keeps its objects in three members of Raftsman, which are built from the
repository or taken from --raftsman; members, stop-member and start-member are about them.`,
		Args: cobra.NoArgs,
	}
	f := cmd.Flags()
	f.StringVar(&plan.Store, "store", plan.Store, "what the API server keeps its objects in: etcd or raftsman")
	f.StringVar(&plan.Raftsman, "raftsman", "", "the `file` of Raftsman's binary, if it is not to be built")
	f.StringArrayVar(&plan.APIServerFlags, "api-server-flag", nil, "a `flag` more for the API server, such as --v=4; can be repeated")
	f.IntVar(&plan.Nodes, "nodes", plan.Nodes, fmt.Sprintf("how many `nodes`, 1 to %d; the first carries the control plane too", layout.MaxNodes))
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := errors.Join(plan.Check(), layout.CheckName(o.name)); err != nil {
			return err
		}
		if err := machine.Prepare(cmd.Context(), view(), os.Stderr); err != nil {
			return err
		}
		c, err := o.open()
		if err != nil {
			return err
		}
		if c.Running() && !f.Changed("nodes") {
			plan.Nodes = c.State.Nodes
		}
		if c.Exists() && !f.Changed("store") && c.State.Store != "" {
			plan.Store = c.State.Store
		}
		if c.Exists() && !f.Changed("api-server-flag") {
			plan.APIServerFlags = c.State.APIServerFlags
		}
		if err := cluster.NeedPrograms(cmd.Context(), c.Shelf); err != nil {
			return err
		}
		return c.Up(cmd.Context(), plan)
	}
	return cmd
}

func newDown(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "down",
		Short: "Remove the cluster and all that belongs to it",
		Long: `Down ends all processes of the cluster, however it is, and removes its control groups and files. Its
namespaces and mounts go with its processes. Only the cache of built programs stays.`,
		Args: cobra.NoArgs,
		RunE: o.on(func(ctx context.Context, c *cluster.Cluster, _ []string) error { return c.Down(ctx) }),
	}
}

func newStatus(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Say how the cluster is; fails where it is not well",
		Args:  cobra.NoArgs,
		RunE: o.on(func(ctx context.Context, c *cluster.Cluster, _ []string) error {
			c.Out = os.Stdout
			return c.Status(ctx)
		}),
	}
}

func newLoad(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "load IMAGE-TAR…",
		Short: "Load image archives (docker-archive or OCI) onto every node",
		Long: `Load imports image archives into the containerd of every node. Pods use such an image with
imagePullPolicy Never or IfNotPresent.`,
		Args: cobra.MinimumNArgs(1),
		RunE: o.on(func(ctx context.Context, c *cluster.Cluster, args []string) error {
			for _, file := range args {
				if err := c.Load(ctx, file); err != nil {
					return err
				}
			}
			return nil
		}),
	}
}

func newKubeconfig(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "kubeconfig",
		Short: "Print the path of the administrator's kubeconfig",
		Args:  cobra.NoArgs,
		RunE: o.on(func(_ context.Context, c *cluster.Cluster, _ []string) error {
			if err := c.MustRun(); err != nil {
				return err
			}
			fmt.Println(c.Kubeconfig())
			return nil
		}),
	}
}

func newKubectl(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "kubectl [ARGS…]",
		Short: "Run kubectl on the cluster",
		Long: `Kubectl runs the kubectl of the cluster's own version with its kubeconfig. All arguments are kubectl's;
--name goes before the word kubectl.`,
		DisableFlagParsing: true,
		RunE: o.on(func(ctx context.Context, c *cluster.Cluster, args []string) error {
			if err := c.MustRun(); err != nil {
				return err
			}
			kubectl, err := c.Shelf.Tool(ctx, "kubectl")
			if err != nil {
				return err
			}
			return replace(append([]string{kubectl}, args...), "KUBECONFIG="+c.Kubeconfig())
		}),
	}
}

func newTool() *cobra.Command {
	return &cobra.Command{
		Use:   "tool NAME",
		Short: "Print the path of a program, built if it is not yet",
		Long: `Tool prints the path of a program in the cache, and builds it first where it is missing. Helm is taken
from PATH where it is.`,
		ValidArgs: programs.Tools(),
		Args:      cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			shelf, err := programs.Open(os.Stderr)
			if err != nil {
				return err
			}
			path, err := shelf.Tool(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			fmt.Println(path)
			return nil
		},
	}
}

func newImage() *cobra.Command {
	var dockerfile, tag, out string
	var binaries []string
	cmd := &cobra.Command{
		Use:   "image",
		Short: "Make an image archive from a Dockerfile's final stage, without a container engine",
		Long: `Image reads the final stage of a Dockerfile and makes the image that it describes. What the stage copies
from an earlier one is given with --binary: the file that was built outside. What it copies from the build
context is taken from the Dockerfile's directory. The final stage must be FROM scratch; an instruction that
is not known is refused, never skipped.`,
		Args: cobra.NoArgs,
		RunE: func(_ *cobra.Command, _ []string) error {
			stage, err := image.ReadDockerfile(dockerfile)
			if err != nil {
				return err
			}
			spec, err := stage.Spec(filepath.Dir(dockerfile), binaries)
			if err != nil {
				return err
			}
			img, err := spec.Build()
			if err != nil {
				return err
			}
			return image.Write(out, tag, img)
		},
	}
	f := cmd.Flags()
	f.StringVar(&dockerfile, "dockerfile", "", "the Dockerfile's `path`")
	f.StringArrayVar(&binaries, "binary", nil, "the `[SOURCE=]FILE` that an earlier stage would have made; SOURCE is its path in that stage and needed only where there are several")
	f.StringVar(&tag, "tag", "", "the image's `name`, with tag")
	f.StringVar(&out, "out", "", "the archive `file` to write")
	for _, name := range []string{"dockerfile", "tag", "out"} {
		if err := cmd.MarkFlagRequired(name); err != nil {
			panic(err) // only where the flag does not exist
		}
	}
	return cmd
}

func newStopNode(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "stop-node N",
		Short: "Let a node fail as if its power had gone",
		Args:  cobra.ExactArgs(1),
		RunE: o.on(func(ctx context.Context, c *cluster.Cluster, args []string) error {
			n, err := strconv.Atoi(args[0])
			if err != nil {
				return fmt.Errorf("node %q: give its number", args[0])
			}
			return c.StopNode(ctx, n)
		}),
	}
}

func newStartNode(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "start-node N",
		Short: "Start a stopped node again, with the disk it had, and wait until it is ready",
		Args:  cobra.ExactArgs(1),
		RunE: o.on(func(ctx context.Context, c *cluster.Cluster, args []string) error {
			n, err := strconv.Atoi(args[0])
			if err != nil {
				return fmt.Errorf("node %q: give its number", args[0])
			}
			return c.StartNode(ctx, n)
		}),
	}
}
