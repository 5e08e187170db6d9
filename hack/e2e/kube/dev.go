// Package kube is the end-to-end tests' hand on a real Kubernetes: the dev cluster's command line, the API
// server with everything that is reached through it, and a record of all that was seen of RaftClusters.
package kube

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Dev is the dev cluster of one name.
type Dev struct {
	Repo string // the repository's top
	Bin  string // the built command
	Name string
	Out  io.Writer // progress
}

// BuildDev builds the dev cluster's command into a directory.
func BuildDev(ctx context.Context, repo, dir, name string, out io.Writer) (Dev, error) {
	d := Dev{Repo: repo, Bin: filepath.Join(dir, "devcluster"), Name: name, Out: out}
	return d, Build(ctx, filepath.Join(repo, "hack/devcluster"), ".", d.Bin)
}

// Build compiles a static program of a module. Nothing of the commit goes into it: a change of the tests alone leaves
// the product what it was, and what has passed with it counts.
func Build(ctx context.Context, module, pkg, to string, ldflags ...string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-buildvcs=false", "-ldflags", strings.Join(append([]string{"-s", "-w"}, ldflags...), " "), "-o", to, pkg)
	cmd.Dir = module
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s of %s: %w\n%s", pkg, module, err, text)
	}
	return nil
}

// Run runs a command of the dev cluster and returns what it prints. Its progress goes to Out.
func (d Dev) Run(ctx context.Context, args ...string) (string, error) {
	cmd := d.Command(ctx, args...)
	var out, progress bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, io.MultiWriter(d.Out, &progress)
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("devcluster %s: %w\n%s%s", strings.Join(args, " "), err, progress.String(), out.String())
	}
	return strings.TrimSpace(out.String()), nil
}

// Command is a command of the dev cluster, yet to be started. It is asked to end before it is killed.
func (d Dev) Command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, d.Bin, append([]string{"--name", d.Name}, args...)...)
	cmd.Dir = d.Repo
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 30 * time.Second
	return cmd
}

// Image makes an image from a Dockerfile and programs that were built outside, and loads it on every node.
// Each program is SOURCE=FILE, its place in the Dockerfile's earlier stage and on this machine.
func (d Dev) Image(ctx context.Context, dockerfile, tag, archive string, programs ...string) error {
	args := []string{"image", "--dockerfile", dockerfile, "--tag", tag, "--out", archive}
	for _, p := range programs {
		args = append(args, "--binary", p)
	}
	_, err := d.Run(ctx, args...)
	if err == nil {
		_, err = d.Run(ctx, "load", archive)
	}
	return err
}

// Pod is a Pod's name in its namespace.
type Pod struct{ Namespace, Name string }

// Signal sends a signal to the main process of a Pod.
func (d Dev) Signal(ctx context.Context, p Pod, signal string) error {
	_, err := d.Run(ctx, "signal", "-n", p.Namespace, p.Name, signal)
	return err
}

// Isolate cuts a Pod off from all others, until Rejoin.
func (d Dev) Isolate(ctx context.Context, p Pod) error {
	_, err := d.Run(ctx, "isolate", "-n", p.Namespace, p.Name)
	return err
}

// Rejoin undoes Isolate.
func (d Dev) Rejoin(ctx context.Context, p Pod) error {
	_, err := d.Run(ctx, "rejoin", "-n", p.Namespace, p.Name)
	return err
}

// StopNode lets a node fail as if its power had gone, until StartNode.
func (d Dev) StopNode(ctx context.Context, node int) error {
	_, err := d.Run(ctx, "stop-node", strconv.Itoa(node))
	return err
}

// StartNode starts a stopped node again and waits until it is ready.
func (d Dev) StartNode(ctx context.Context, node int) error {
	_, err := d.Run(ctx, "start-node", strconv.Itoa(node))
	return err
}

// Partition cuts a node and its Pods off from other nodes and theirs, until Heal.
func (d Dev) Partition(ctx context.Context, node int, others ...int) error {
	args := []string{"partition", strconv.Itoa(node)}
	for _, n := range others {
		args = append(args, strconv.Itoa(n))
	}
	_, err := d.Run(ctx, args...)
	return err
}

// Heal undoes every partition.
func (d Dev) Heal(ctx context.Context) error {
	_, err := d.Run(ctx, "heal")
	return err
}

// Freeze holds a process of Kubernetes itself still, such as kube-apiserver, until Thaw.
func (d Dev) Freeze(ctx context.Context, process string) error {
	_, err := d.Run(ctx, "freeze", process)
	return err
}

// Thaw undoes Freeze.
func (d Dev) Thaw(ctx context.Context, process string) error {
	_, err := d.Run(ctx, "thaw", process)
	return err
}

// Until asks again and again until an error is gone, and says every now and then what it is waiting for.
func Until(ctx context.Context, limit time.Duration, out io.Writer, what string, check func(context.Context) error) error {
	const pause, progress = 200 * time.Millisecond, 15 * time.Second
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(pause)
	defer tick.Stop()
	began, said := time.Now(), time.Now()
	var last error
	for {
		err := check(ctx)
		if err == nil {
			return nil
		}
		if last == nil || !errors.Is(err, context.DeadlineExceeded) { // a reason says more than the end of patience
			last = err
		}
		if time.Since(said) > progress {
			said = time.Now()
			fmt.Fprintf(out, "  waiting for %ds: %s (%v)\n", int(time.Since(began).Seconds()), what, last)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: not so after %v: %w", what, time.Since(began).Round(time.Second), last)
		case <-tick.C:
		}
	}
}
