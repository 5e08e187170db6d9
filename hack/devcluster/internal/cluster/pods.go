package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"raftsman.dev/hack/devcluster/internal/layout"
)

// isolation is the firewall table that cuts a Pod off.
const isolation = "devcluster_isolation"

// pod is the part of a Pod that is looked at.
type pod struct {
	Metadata struct{ UID string }
	Spec     struct{ NodeName string }
	Status   struct {
		ContainerStatuses []struct{ Name, ContainerID string }
	}
}

func (c *Cluster) pod(ctx context.Context, namespace, name string) (pod, int, error) {
	var p pod
	if err := c.MustRun(); err != nil {
		return p, 0, err
	}
	client, err := c.client()
	if err != nil {
		return p, 0, err
	}
	if err := client.Get(ctx, "/api/v1/namespaces/"+namespace+"/pods/"+name, &p); err != nil {
		return p, 0, fmt.Errorf("pod %s/%s: %w", namespace, name, err)
	}
	if p.Spec.NodeName == "" {
		return p, 0, fmt.Errorf("pod %s/%s runs on no node yet", namespace, name)
	}
	node, err := layout.NodeNumber(p.Spec.NodeName)
	return p, node, err
}

// ParseSignal reads a signal by name, with or without SIG, or by number.
func ParseSignal(text string) (syscall.Signal, error) {
	name := strings.ToUpper(text)
	if !strings.HasPrefix(name, "SIG") {
		name = "SIG" + name
	}
	if s := unix.SignalNum(name); s != 0 {
		return s, nil
	}
	if n, err := strconv.Atoi(text); err == nil && n > 0 && unix.SignalName(syscall.Signal(n)) != "" {
		return syscall.Signal(n), nil
	}
	return 0, fmt.Errorf("signal %q is not known: use a name such as KILL, STOP or CONT", text)
}

// Signal sends a signal to the main process of a Pod's container, the first where container is empty. The
// Pod learns of it from nobody else: this is how a crash or a pause comes about.
func (c *Cluster) Signal(ctx context.Context, namespace, name, container string, sig syscall.Signal) error {
	p, node, err := c.pod(ctx, namespace, name)
	if err != nil {
		return err
	}
	pid, err := c.mainPID(p, node, container)
	if err != nil {
		return fmt.Errorf("pod %s/%s: %w", namespace, name, err)
	}
	if err := syscall.Kill(pid, sig); err != nil {
		return fmt.Errorf("send %s to process %d of pod %s/%s: %w", unix.SignalName(sig), pid, namespace, name, err)
	}
	fmt.Fprintf(c.Out, "sent %s to process %d of Pod %s/%s\n", unix.SignalName(sig), pid, namespace, name)
	return nil
}

// mainPID finds a container's main process: the shim has written it down, and its control group must still
// be the container's, or it is another process by now.
func (c *Cluster) mainPID(p pod, node int, container string) (int, error) {
	var names []string
	for _, s := range p.Status.ContainerStatuses {
		names = append(names, s.Name)
		if container != "" && s.Name != container {
			continue
		}
		_, id, ok := strings.Cut(s.ContainerID, "://")
		if !ok {
			return 0, fmt.Errorf("container %s does not run", s.Name)
		}
		file := filepath.Join(c.NodeDir(node), "run/containerd/io.containerd.runtime.v2.task/k8s.io", id, "init.pid")
		data, err := os.ReadFile(file)
		if err != nil {
			return 0, fmt.Errorf("container %s does not run: %w", s.Name, err)
		}
		pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
		if err != nil {
			return 0, fmt.Errorf("%s: %w", file, err)
		}
		groups, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
		if err != nil || !strings.Contains(string(groups), id) {
			return 0, fmt.Errorf("container %s has ended", s.Name)
		}
		return pid, nil
	}
	return 0, fmt.Errorf("it has no container %q; it has %s", container, strings.Join(names, ", "))
}

// sandboxPID finds any process of a Pod: all share its network namespace.
func (c *Cluster) sandboxPID(p pod, node int) (int, error) {
	dir, err := c.tree.Find(c.PodsCgroup(node), "pod"+p.Metadata.UID)
	if err != nil {
		return 0, err
	}
	pids, err := c.tree.Pids(dir)
	if err != nil {
		return 0, err
	}
	if len(pids) == 0 {
		return 0, errors.New("no process of it runs")
	}
	return pids[0], nil
}

// Isolate drops all traffic of a Pod but that with its own node's gateway address, so that the kubelet's
// probes still pass. It holds, for connections that exist too, until Rejoin or the Pod's end; a restart of
// its containers does not end it.
func (c *Cluster) Isolate(ctx context.Context, namespace, name string) error {
	_, node, err := c.pod(ctx, namespace, name)
	if err != nil {
		return err
	}
	rules := fmt.Sprintf(`table inet %[1]s {}
delete table inet %[1]s
table inet %[1]s {
	chain in {
		type filter hook input priority -300; policy drop;
		iifname "lo" accept
		ip saddr %[2]s accept
	}
	chain out {
		type filter hook output priority -300; policy drop;
		oifname "lo" accept
		ip daddr %[2]s accept
	}
}
`, isolation, c.Gateway(node))
	if err := c.firewall(ctx, namespace, name, rules); err != nil {
		return err
	}
	fmt.Fprintf(c.Out, "Pod %s/%s is isolated\n", namespace, name)
	return nil
}

// Rejoin undoes Isolate. A Pod that is not isolated stays so.
func (c *Cluster) Rejoin(ctx context.Context, namespace, name string) error {
	rules := fmt.Sprintf("table inet %[1]s {}\ndelete table inet %[1]s\n", isolation)
	if err := c.firewall(ctx, namespace, name, rules); err != nil {
		return err
	}
	fmt.Fprintf(c.Out, "Pod %s/%s is joined\n", namespace, name)
	return nil
}

// firewall applies rules in a Pod's own network namespace.
func (c *Cluster) firewall(ctx context.Context, namespace, name, rules string) error {
	p, node, err := c.pod(ctx, namespace, name)
	if err != nil {
		return err
	}
	pid, err := c.sandboxPID(p, node)
	if err != nil {
		return fmt.Errorf("pod %s/%s: %w", namespace, name, err)
	}
	argv := slices.Concat([]string{c.self(), "enter", "--pid", strconv.Itoa(pid), "--"}, []string{"nft", "-f", "-"})
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Stdin = strings.NewReader(rules)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("firewall of pod %s/%s: %w: %s", namespace, name, err, out)
	}
	return nil
}
