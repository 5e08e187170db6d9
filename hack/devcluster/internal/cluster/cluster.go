// Package cluster brings a dev cluster up, looks after it and takes it down.
//
// A cluster is a set of processes, nothing else: for each node a holder of its namespaces, containerd, the
// kubelet and kube-proxy; on the first node also etcd (or members of Raftsman), the API server, the controller
// manager, the scheduler and the volume provisioner; and one forwarder that makes the API server answer on the
// machine's loopback.
// All of them live below one control group, log into the cluster's directory and are recorded there. So a
// cluster of which only remains are left can always be told apart from everything else and cleared.
package cluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"raftsman.dev/hack/devcluster/internal/api"
	"raftsman.dev/hack/devcluster/internal/cgroup"
	"raftsman.dev/hack/devcluster/internal/layout"
	"raftsman.dev/hack/devcluster/internal/process"
	"raftsman.dev/hack/devcluster/internal/programs"
)

// State is what a cluster remembers of itself.
type State struct {
	Slot    int   `json:"slot"`
	Nodes   int   `json:"nodes"`
	Port    int   `json:"port"`    // of the API server on the machine's loopback
	Ready   bool  `json:"ready"`   // up has come to its end
	Stopped []int `json:"stopped"` // nodes that were stopped on purpose

	Store          string   `json:"store"`          // what the API server keeps its objects in
	MembersStopped []int    `json:"membersStopped"` // members of the store that were stopped on purpose
	APIServerFlags []string `json:"apiServerFlags"` // what the API server was given besides its own flags
}

// Cluster is one dev cluster, running or not.
type Cluster struct {
	layout.Cluster
	State State
	Out   io.Writer // progress, one line each
	Shelf programs.Shelf
	tree  cgroup.Tree
	store process.Store
}

// Open finds the cluster name. It need not exist: then its State is zero, and Exists says so.
func Open(name string, shelf programs.Shelf, out io.Writer) (*Cluster, error) {
	if err := layout.CheckName(name); err != nil {
		return nil, err
	}
	tree, err := cgroup.Find()
	if err != nil {
		return nil, err
	}
	c := &Cluster{Cluster: layout.Cluster{Base: layout.Root, Name: name}, Out: out, Shelf: shelf, tree: tree}
	c.store = process.Store{Records: c.Path("processes"), Logs: c.Path("log")}
	c.State, err = readState(c.stateFile())
	c.Slot = c.State.Slot
	return c, err
}

func (c *Cluster) stateFile() string { return c.Path("cluster.json") }

// readState reads a state file. A missing one, or one cut short by a power loss, is a cluster of nothing.
func readState(file string) (State, error) {
	var s State
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return s, err
	}
	if json.Unmarshal(data, &s) != nil {
		return State{}, nil
	}
	if s.Store == "" {
		s.Store = StoreEtcd // written before there was a choice
	}
	return s, nil
}

func (c *Cluster) saveState() error {
	data, err := json.MarshalIndent(c.State, "", "  ")
	if err != nil {
		return err
	}
	part := c.stateFile() + ".part"
	if err := os.WriteFile(part, data, 0o644); err != nil {
		return err
	}
	return os.Rename(part, c.stateFile())
}

// lock keeps others that would change any cluster out until the returned function is called, and reads the
// cluster's state afresh. It locks the
// directory of all clusters, which goes with the last of them; so after the wait it must still be the same.
func (c *Cluster) lock() (func(), error) {
	const tries = 100
	for range tries {
		if err := os.MkdirAll(c.Base, 0o755); err != nil {
			return nil, err
		}
		dir, err := os.Open(c.Base)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if err := syscall.Flock(int(dir.Fd()), syscall.LOCK_EX); err != nil {
			return nil, errors.Join(fmt.Errorf("lock %s: %w", c.Base, err), dir.Close())
		}
		locked, err1 := dir.Stat()
		present, err2 := os.Stat(c.Base)
		if err1 == nil && err2 == nil && os.SameFile(locked, present) {
			c.State, err = readState(c.stateFile()) // another may have changed it while we waited
			c.Slot = c.State.Slot
			return func() { _ = dir.Close() }, err
		}
		_ = dir.Close()
	}
	return nil, fmt.Errorf("lock %s: it is removed again and again by others", c.Base)
}

// Others lists the names of all clusters of the machine that have state, this one left out.
func (c *Cluster) Others() ([]string, error) {
	entries, err := os.ReadDir(c.Base)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() && e.Name() != c.Name {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// takeSlot chooses a slot that no other cluster has.
func (c *Cluster) takeSlot() error {
	others, err := c.Others()
	if err != nil {
		return err
	}
	taken := map[int]bool{}
	for _, name := range others {
		s, err := readState(filepath.Join(c.Base, name, "cluster.json"))
		if err != nil {
			return err
		}
		taken[s.Slot] = true
	}
	c.Slot, err = layout.FreeSlot(taken)
	c.State.Slot = c.Slot
	return err
}

// Exists says whether anything of the cluster is there: files, processes or control groups.
func (c *Cluster) Exists() bool {
	_, err := os.Stat(c.Dir())
	return err == nil || c.tree.Exists(c.Cgroup())
}

// expected are the processes that a running cluster must have.
func (c *Cluster) expected() []string {
	names := append(c.storeProcesses(), "kube-apiserver", "kube-controller-manager", "kube-scheduler", "provisioner", "forwarder")
	for n := range c.State.Nodes {
		names = append(names, holderName(n))
		if !slices.Contains(c.State.Stopped, n) {
			names = append(names, nodeProcesses(n)...)
		}
	}
	return names
}

func holderName(node int) string { return "holder-" + layout.NodeName(node) }

// nodeProcesses are the processes that make a node, in the order they are started.
func nodeProcesses(node int) []string {
	n := layout.NodeName(node)
	return []string{"containerd-" + n, "kubelet-" + n, "kube-proxy-" + n}
}

// dead lists the expected processes that do not run.
func (c *Cluster) dead() []string {
	var dead []string
	for _, name := range c.expected() {
		if r, err := c.store.Get(name); err != nil || !r.Alive() {
			dead = append(dead, name)
		}
	}
	return dead
}

// Running says whether the cluster came up and all its processes still run.
func (c *Cluster) Running() bool { return c.State.Ready && len(c.dead()) == 0 }

// MustRun is the error of a command that needs a running cluster and has none.
func (c *Cluster) MustRun() error {
	if !c.Exists() {
		return fmt.Errorf("cluster %s does not exist: run `up` first", c.Name)
	}
	if !c.State.Ready {
		return fmt.Errorf("cluster %s did not come up to the end: run `up` again, which clears it first", c.Name)
	}
	if dead := c.dead(); len(dead) > 0 {
		return fmt.Errorf("cluster %s does not run (%s ended): run `up`, which clears it and starts afresh", c.Name, strings.Join(dead, ", "))
	}
	return nil
}

// server is the API server's URL on the machine's loopback.
func (c *Cluster) server() string { return fmt.Sprintf("https://127.0.0.1:%d", c.State.Port) }

// client makes a client of the API server with the administrator's certificate.
func (c *Cluster) client() (*api.Client, error) {
	return api.New(c.server(), c.Path("pki", "ca.crt"), c.Path("pki", "admin.crt"), c.Path("pki", "admin.key"))
}

// self is the copy of this program that belongs to the cluster: it runs for as long as the cluster does,
// whatever becomes of the file that was called.
func (c *Cluster) self() string { return c.Path("bin", "devcluster") }

// EnterArgs is the command line that runs a command inside a node's namespaces.
func (c *Cluster) EnterArgs(node int, mount bool) ([]string, error) {
	holder, err := c.store.Get(holderName(node))
	if err != nil {
		return nil, err
	}
	args := []string{c.self(), "enter", "--pid", fmt.Sprint(holder.PID)}
	if mount {
		args = append(args, "--mount")
	}
	return args, nil
}
