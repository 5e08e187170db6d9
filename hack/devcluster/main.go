// Command devcluster runs a real Kubernetes on one Linux machine, for development and for end-to-end tests:
// several nodes, each with its own containerd, kubelet and kube-proxy, in network and mount namespaces of
// their own. It needs root and Go, no container engine and no registry of images.
//
//	go run . up                     # build what is missing, start, wait until it can be used
//	export KUBECONFIG=$(go run . kubeconfig)
//	go run . image --dockerfile ../../Dockerfile --binary ../../bin/raftsman --tag NAME --out image.tar
//	go run . load image.tar
//	go run . up --store raftsman    # the API server keeps its objects in three members of Raftsman
//	go run . down                   # leaves nothing but the cache of built programs
//
// Package internal/cluster says how it is made; internal/layout where everything lies.
package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"raftsman.dev/hack/devcluster/internal/cluster"
	"raftsman.dev/hack/devcluster/internal/programs"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	root := newRoot()
	if err := root.ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "devcluster:", err)
		os.Exit(1)
	}
}

// options are the flags of all commands.
type options struct {
	name string
}

// open finds the cluster that --name means.
func (o *options) open() (*cluster.Cluster, error) {
	shelf, err := programs.Open(os.Stderr)
	if err != nil {
		return nil, err
	}
	return cluster.Open(o.name, shelf, os.Stderr)
}

// on makes the action of a command that works on a cluster.
func (o *options) on(do func(ctx context.Context, c *cluster.Cluster, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		c, err := o.open()
		if err != nil {
			return err
		}
		return do(cmd.Context(), c, args)
	}
}

func newRoot() *cobra.Command {
	o := &options{}
	root := &cobra.Command{
		Use:   "devcluster",
		Short: "A real Kubernetes on one Linux machine",
		Long: `devcluster runs a real Kubernetes ` + programs.KubernetesVersion + ` on one Linux machine: etcd (or
three members of Raftsman: up --store raftsman), API server, controller manager, scheduler, and on each node
containerd, kubelet and kube-proxy; CoreDNS for the domain dev.raftsman; and a default StorageClass whose
volumes a Pod that is not root can write. It needs root, Go and, on Debian, a few packages that it installs
itself. The programs are built once into the user's cache directory.

Everything lives in namespaces and control groups of its own. Only the API server can be reached from the
machine, on its loopback; nothing in the cluster can reach the world outside. Images are loaded from files.
Clusters with different names run side by side.`,
		SilenceUsage:     true,
		SilenceErrors:    true,
		TraverseChildren: true, // so that --name is read before the word kubectl too, whose flags are not ours
	}
	root.PersistentFlags().StringVar(&o.name, "name", "raftsman", "the cluster's `name`")
	root.AddCommand(newUp(o), newDown(o), newStatus(o), newLoad(o), newKubeconfig(o), newKubectl(o), newTool(), newImage())
	root.AddCommand(newSignal(o), newIsolate(o), newRejoin(o), newStopNode(o), newStartNode(o), newExec(o))
	root.AddCommand(newPartition(o), newHeal(o), newFreeze(o), newThaw(o))
	root.AddCommand(newMembers(o), newStopMember(o), newStartMember(o), newHold(), newEnter(), newForward())
	return root
}

// replace turns this process into another program, so that terminals, signals and exit codes are its own.
func replace(argv []string, env ...string) error {
	path, err := exec.LookPath(argv[0])
	if err != nil {
		return err
	}
	return fmt.Errorf("run %s: %w", path, syscall.Exec(path, argv, append(os.Environ(), env...)))
}
