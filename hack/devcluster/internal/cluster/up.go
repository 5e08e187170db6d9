package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"raftsman.dev/hack/devcluster/internal/api"
	"raftsman.dev/hack/devcluster/internal/image"
	"raftsman.dev/hack/devcluster/internal/layout"
	"raftsman.dev/hack/devcluster/internal/process"
	"raftsman.dev/hack/devcluster/internal/programs"
	"raftsman.dev/hack/devcluster/internal/space"
)

const (
	poll         = 100 * time.Millisecond
	holderWait   = 30 * time.Second
	apiWait      = 3 * time.Minute
	runtimeWait  = 2 * time.Minute
	readyWait    = 3 * time.Minute
	unixPathMax  = 107
	clearTimeout = time.Minute
)

// Plan is what a cluster is to be like.
type Plan struct {
	Nodes          int
	Store          string   // StoreEtcd or StoreRaftsman
	Raftsman       string   // the file of Raftsman's binary; empty: it is built from the repository
	APIServerFlags []string // given to the API server besides its own, and winning over them
}

// Check refuses a plan that cannot be carried out.
func (p Plan) Check() error {
	return errors.Join(layout.CheckNodes(p.Nodes), CheckStore(p.Store))
}

// Up brings the cluster up as planned, and returns when it can be used. Programs must have been built. What an
// unclean end has left is cleared first. A cluster that runs is left alone.
func (c *Cluster) Up(ctx context.Context, plan Plan) error {
	if err := plan.Check(); err != nil {
		return err
	}
	unlock, err := c.lock()
	if err != nil {
		return err
	}
	defer unlock()
	if c.Running() {
		fmt.Fprintf(c.Out, "cluster %s already runs with %d nodes; nothing to do\n", c.Name, c.State.Nodes)
		return c.differs(plan)
	}
	if c.Exists() {
		fmt.Fprintf(c.Out, "cluster %s ended uncleanly; clearing what is left of it\n", c.Name)
		if err := c.clear(ctx); err != nil {
			return err
		}
	}
	began := time.Now()
	if err := c.begin(ctx, plan); err != nil {
		return fmt.Errorf("%w\n(all logs are in %s; `down` removes what was begun)", err, c.Path("log"))
	}
	c.State.Ready = true
	if err := c.saveState(); err != nil {
		return err
	}
	fmt.Fprintf(c.Out, "cluster %s is ready after %s: %d nodes, API at %s\n", c.Name, time.Since(began).Round(100*time.Millisecond), plan.Nodes, c.server())
	return nil
}

// differs says what of a plan a running cluster does not fulfil.
func (c *Cluster) differs(plan Plan) error {
	if plan.Nodes != c.State.Nodes {
		return fmt.Errorf("cluster %s has %d nodes, not %d: run `down` first to change that", c.Name, c.State.Nodes, plan.Nodes)
	}
	if plan.Store != c.State.Store {
		return fmt.Errorf("cluster %s keeps its objects in %s, not in %s: run `down` first to change that", c.Name, c.State.Store, plan.Store)
	}
	if !slices.Equal(plan.APIServerFlags, c.State.APIServerFlags) {
		return fmt.Errorf("cluster %s has an API server with the flags %q, not %q: run `down` first to change that", c.Name, c.State.APIServerFlags, plan.APIServerFlags)
	}
	return nil
}

// begin starts everything, in the order in which one thing needs another.
func (c *Cluster) begin(ctx context.Context, plan Plan) error {
	c.State = State{Nodes: plan.Nodes, Store: plan.Store, APIServerFlags: plan.APIServerFlags}
	if err := c.takeSlot(); err != nil {
		return err
	}
	listener, err := c.lay()
	if err != nil {
		return err
	}
	defer listener.Close()
	if err := c.step("namespaces and network", func() error { return c.spaces(ctx) }); err != nil {
		return err
	}
	control, err := c.startStore(ctx, plan.Raftsman)
	if err != nil {
		return err
	}
	server, err := c.startControlPlane(listener)
	if err != nil {
		return err
	}
	control = append(control, server...)
	client, err := c.client()
	if err != nil {
		return err
	}
	err = c.step(c.State.Store+" and API server", func() error {
		return c.wait(ctx, apiWait, "the API server to be ready", control, func(ctx context.Context) (string, error) {
			return "", client.Get(ctx, "/readyz", nil)
		})
	})
	if err != nil {
		return err
	}
	return c.populate(ctx, client, control)
}

// populate turns a running control plane into a cluster that can be used.
func (c *Cluster) populate(ctx context.Context, client *api.Client, running []*process.Process) error {
	if err := c.step("objects", func() error { return c.applyAll(ctx, client, c.manifests()) }); err != nil {
		return err
	}
	for _, start := range []func() (*process.Process, error){c.startControllerManager, c.startScheduler, c.startProvisioner} {
		p, err := start()
		if err != nil {
			return err
		}
		running = append(running, p)
	}
	err := c.step("containerd and system images", func() error { return c.loadSystemImages(ctx, running) })
	if err != nil {
		return err
	}
	for n := range c.State.Nodes {
		started, err := c.startNode(n)
		if err != nil {
			return err
		}
		running = append(running, started...)
	}
	for _, s := range c.checks(client) {
		if err := c.step(s.name, func() error { return c.wait(ctx, readyWait, s.name, running, s.ok) }); err != nil {
			return err
		}
	}
	for _, o := range storageCheck() {
		if err := client.Delete(ctx, o.path); err != nil {
			return err
		}
	}
	return nil
}

// step runs one step of coming up and says how long it took.
func (c *Cluster) step(name string, do func() error) error {
	began := time.Now()
	if err := do(); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	fmt.Fprintf(c.Out, "  %-32s %5.1fs\n", name, time.Since(began).Seconds())
	return nil
}

// wait asks again and again until ok gives no error, for at most a time. ok may name the log file in which
// the reason stands. The end of one of the running processes ends the wait.
func (c *Cluster) wait(ctx context.Context, limit time.Duration, what string, running []*process.Process, ok func(context.Context) (log string, err error)) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	again := time.NewTicker(poll)
	defer again.Stop()
	for {
		log, err := ok(ctx)
		if err == nil {
			return nil
		}
		for _, p := range running {
			select {
			case <-p.Done():
				return p.Failure()
			default:
			}
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return fmt.Errorf("interrupted while waiting for %s: %w", what, ctx.Err())
			}
			if log == "" && len(running) > 0 {
				log = running[len(running)-1].Log
			}
			return fmt.Errorf("waited %s for %s: %w; %s", limit, what, err, process.Tail(log))
		}
	}
}

// lay makes the cluster's files and takes its port.
func (c *Cluster) lay() (*os.File, error) {
	if len(c.Path(layout.NodeName(layout.MaxNodes), "run", "containerd", "containerd.sock.ttrpc")) > unixPathMax {
		return nil, fmt.Errorf("the path %s is too long for the sockets in it", c.Dir())
	}
	for _, dir := range []string{"log", "processes", "bin", c.State.Store, "volumes", "no-plugins"} {
		if err := os.MkdirAll(c.Path(dir), 0o755); err != nil {
			return nil, err
		}
	}
	if err := os.Chmod(c.Path(c.State.Store), 0o700); err != nil { // etcd insists
		return nil, err
	}
	if err := os.WriteFile(c.Path("no-resolv.conf"), nil, 0o644); err != nil {
		return nil, err
	}
	listener, err := c.listen()
	if err != nil {
		return nil, err
	}
	if err := errors.Join(c.saveState(), c.copySelf(), c.issue()); err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	for n := range c.State.Nodes {
		if err := c.writeNode(n); err != nil {
			return nil, errors.Join(err, listener.Close())
		}
	}
	return listener, nil
}

// listen takes the first free one of the cluster's ports on the machine's loopback.
func (c *Cluster) listen() (*os.File, error) {
	var failed error
	for _, port := range c.Ports() {
		l, err := net.Listen("tcp4", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		c.State.Port = port
		f, err := l.(*net.TCPListener).File() // a duplicate, which stays when l is closed
		return f, errors.Join(err, l.Close())
	}
	return nil, fmt.Errorf("none of the cluster's ports is free: %w", failed)
}

// copySelf keeps this very program with the cluster.
func (c *Cluster) copySelf() error { return copyProgram("/proc/self/exe", c.self()) }

// spaces starts the holders and joins them.
func (c *Cluster) spaces(ctx context.Context) error {
	var ports []space.Port
	for n := range c.State.Nodes {
		for _, group := range []string{c.SystemCgroup(n), c.PodsCgroup(n)} {
			if err := c.tree.Create(group); err != nil {
				return err
			}
		}
		p, err := c.startHolder(ctx, n)
		if err != nil {
			return err
		}
		address := fmt.Sprintf("%s/%d", c.NodeIP(n), c.NodeRange().Bits())
		port, err := space.NewPort(p.PID, address, c.NodePodRange(n))
		if err != nil {
			return err
		}
		ports = append(ports, port)
	}
	return space.Wire(ports, c.ServiceRange())
}

// startHolder starts the process that holds a node's namespaces and waits until they are made.
func (c *Cluster) startHolder(ctx context.Context, node int) (*process.Process, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	argv := []string{c.self(), "hold", "--cgroup", c.tree.ProcsFile(c.SystemCgroup(node)),
		"--keep", c.Base, "--keep", c.Shelf.Dir, "--dir", c.NodeDir(node), "--dns", c.DNS().String(), "--domain", layout.Domain}
	p, err := c.store.StartAs(space.Attributes(), holderName(node), argv, nil, w)
	if err := errors.Join(err, w.Close()); err != nil {
		return nil, err
	}
	if err := r.SetReadDeadline(time.Now().Add(holderWait)); err != nil {
		return nil, err
	}
	line := make([]byte, len("ready\n"))
	if _, err := io.ReadFull(r, line); err != nil {
		select {
		case <-p.Done():
			return nil, p.Failure()
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(time.Second):
			return nil, fmt.Errorf("%s does not become ready: %w; %s", p.Name, err, process.Tail(p.Log))
		}
	}
	return p, nil
}

// startControlPlane starts the API server and what makes it answer, and every node's containerd beside it.
func (c *Cluster) startControlPlane(listener *os.File) ([]*process.Process, error) {
	starts := []func() (*process.Process, error){
		c.startAPIServer,
		func() (*process.Process, error) { return c.startForwarder(listener) },
	}
	for n := range c.State.Nodes {
		starts = append(starts, func() (*process.Process, error) { return c.startContainerd(n) })
	}
	var all []*process.Process
	for _, start := range starts {
		p, err := start()
		if err != nil {
			return nil, err
		}
		all = append(all, p)
	}
	return all, nil
}

func (c *Cluster) applyAll(ctx context.Context, client *api.Client, objects []object) error {
	for _, o := range objects {
		if err := client.Apply(ctx, o.path, o.yaml); err != nil {
			return err
		}
	}
	return nil
}

// systemImage writes the archive of an image that holds one of our programs, and returns its path.
func (c *Cluster) systemImage(program, ref string) (string, error) {
	bin, err := c.binary(program)
	if err != nil {
		return "", err
	}
	spec := image.Spec{Files: []image.File{{Path: "/" + program, Source: bin}}, User: "65532:65532", Entrypoint: []string{"/" + program}}
	img, err := spec.Build()
	if err != nil {
		return "", err
	}
	file := c.Path(program + ".tar")
	return file, image.Write(file, ref, img)
}

// loadSystemImages waits for each containerd and gives it what its node needs before anything can be
// loaded by others. CoreDNS runs on the first node only.
func (c *Cluster) loadSystemImages(ctx context.Context, running []*process.Process) error {
	pause, err := c.systemImage("pause", pauseImage)
	if err != nil {
		return err
	}
	coredns, err := c.systemImage("coredns", corednsImage)
	if err != nil {
		return err
	}
	for n := range c.State.Nodes {
		if err := c.awaitContainerd(ctx, n, running); err != nil {
			return err
		}
		if err := c.importImage(ctx, n, pause); err != nil {
			return err
		}
	}
	return c.importImage(ctx, 0, coredns)
}

func (c *Cluster) awaitContainerd(ctx context.Context, node int, running []*process.Process) error {
	socket := filepath.Join(c.NodeDir(node), "run", "containerd", "containerd.sock")
	return c.wait(ctx, runtimeWait, "containerd on "+layout.NodeName(node), running, func(context.Context) (string, error) {
		conn, err := net.Dial("unix", socket)
		if err != nil {
			return c.store.Log(nodeProcesses(node)[0]), err
		}
		return "", conn.Close()
	})
}

// NeedPrograms builds what is missing of the programs of a cluster.
func NeedPrograms(ctx context.Context, shelf programs.Shelf) error {
	missing, err := shelf.Missing(programs.Node())
	if err != nil {
		return err
	}
	if len(missing) > 0 {
		fmt.Fprintf(shelf.Out, "building %d programs into %s: %s\n", len(missing), shelf.Dir, strings.Join(missing, ", "))
	}
	return shelf.Need(ctx, programs.Node()...)
}
