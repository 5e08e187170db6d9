package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"raftsman.dev/hack/devcluster/internal/process"
	"raftsman.dev/hack/devcluster/internal/space"
)

// The stores that an API server can keep its objects in.
const (
	StoreEtcd     = "etcd"     // one etcd, without fsync
	StoreRaftsman = "raftsman" // three members of Raftsman, as anyone would run them
)

// The members of a Raftsman store listen on the first node's loopback: the first at etcd's own port, the
// next ten further.
const (
	members         = 3
	firstClientPort = 2379
	portsEach       = 10
	formWait        = 2 * time.Minute
	memberWait      = time.Minute
)

// forming is the process that forms the members' cluster and then ends.
const forming = "raftsman-forming"

// CheckStore refuses a store that is not known.
func CheckStore(store string) error {
	if store != StoreEtcd && store != StoreRaftsman {
		return fmt.Errorf("store %q: choose %s or %s", store, StoreEtcd, StoreRaftsman)
	}
	return nil
}

func memberName(member int) string { return fmt.Sprintf("raftsman-%d", member) }

// memberAddress is where a member listens: for clients, peers, metrics and admin at the offsets 0 to 3.
func memberAddress(member, offset int) string {
	return fmt.Sprintf("127.0.0.1:%d", firstClientPort+portsEach*member+offset)
}

// storeProcesses are the processes that the store must have.
func (c *Cluster) storeProcesses() []string {
	if c.State.Store != StoreRaftsman {
		return []string{"etcd"}
	}
	var names []string
	for m := range members {
		if !slices.Contains(c.State.MembersStopped, m) {
			names = append(names, memberName(m))
		}
	}
	return names
}

// storeURLs are the addresses that the API server is given.
func (c *Cluster) storeURLs() string {
	if c.State.Store != StoreRaftsman {
		return "http://" + memberAddress(0, 0)
	}
	var urls []string
	for m := range members {
		urls = append(urls, "http://"+memberAddress(m, 0))
	}
	return strings.Join(urls, ",")
}

// raftsman is the copy of Raftsman's binary that belongs to the cluster.
func (c *Cluster) raftsman() string { return c.Path("bin", "raftsman") }

// provideRaftsman copies the binary that was named, or else builds the repository's own.
func (c *Cluster) provideRaftsman(ctx context.Context, named string) error {
	if named != "" {
		return copyProgram(named, c.raftsman())
	}
	repo := filepath.Join(c.Shelf.Source, "..", "..", "..")
	if mod, err := os.ReadFile(filepath.Join(repo, "go.mod")); err != nil || !strings.HasPrefix(string(mod), "module raftsman.dev\n") {
		return fmt.Errorf("the source of Raftsman is not found in %s: name a built binary with --raftsman", repo)
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-o", c.raftsman(), "./cmd/raftsman")
	cmd.Dir = repo
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build Raftsman (or name a built binary with --raftsman): %w\n%s", err, text)
	}
	return nil
}

func copyProgram(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// startStore starts what the API server keeps its objects in.
func (c *Cluster) startStore(ctx context.Context, raftsman string) ([]*process.Process, error) {
	if c.State.Store != StoreRaftsman {
		p, err := c.startEtcd()
		return []*process.Process{p}, err
	}
	if err := c.step("Raftsman's binary", func() error { return c.provideRaftsman(ctx, raftsman) }); err != nil {
		return nil, err
	}
	if err := c.step("Raftsman's members", func() error { return c.form(ctx) }); err != nil {
		return nil, err
	}
	var all []*process.Process
	for m := range members {
		p, err := c.startMember(m)
		if err != nil {
			return nil, err
		}
		all = append(all, p)
	}
	return all, nil
}

// form makes three members a cluster, with the command that does so for everybody, and stops them: from then on
// each is a process of its own that can be stopped and started alone.
func (c *Cluster) form(ctx context.Context) error {
	p, err := c.launch(0, forming, c.raftsman(), "local", fmt.Sprintf("--members=%d", members),
		"--data-dir="+c.Path("raftsman"), fmt.Sprintf("--base-port=%d", firstClientPort))
	if err != nil {
		return err
	}
	err = c.wait(ctx, formWait, "the members to form a cluster", []*process.Process{p}, func(context.Context) (string, error) {
		text, err := os.ReadFile(p.Log)
		if err == nil && !strings.Contains("\n"+string(text), "\nready:") {
			err = errors.New("it is not formed yet")
		}
		return p.Log, err
	})
	if err != nil {
		return err
	}
	if err := p.Signal(syscall.SIGINT); err != nil {
		return fmt.Errorf("stop the members that were formed: %w", err)
	}
	select {
	case <-p.Done():
		return c.store.Forget(forming)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// memberArgs is the command line of a member; it is the same at every start.
func (c *Cluster) memberArgs(member int) []string {
	var peers []string
	for m := range members {
		peers = append(peers, memberAddress(m, 1))
	}
	name := fmt.Sprintf("m%d", member) // as it was formed
	return []string{
		c.raftsman(), "node", "--name=" + name, "--data-dir=" + c.Path("raftsman", name),
		"--listen-client=" + memberAddress(member, 0), "--listen-peer=" + memberAddress(member, 1),
		"--listen-metrics=" + memberAddress(member, 2), "--listen-admin=" + memberAddress(member, 3),
		"--peers=" + strings.Join(peers, ","),
	}
}

func (c *Cluster) startMember(member int) (*process.Process, error) {
	return c.launch(0, memberName(member), c.memberArgs(member)...)
}

// checkMember refuses a member that is not there.
func (c *Cluster) checkMember(member int) error {
	if c.State.Store != StoreRaftsman {
		return fmt.Errorf("cluster %s keeps its objects in %s, which has no members: `up --store %s` makes one that has", c.Name, c.State.Store, StoreRaftsman)
	}
	if member < 0 || member >= members {
		return fmt.Errorf("member %d: the members are 0 to %d", member, members-1)
	}
	return nil
}

// StopMember kills a member of the store. Its data stays.
func (c *Cluster) StopMember(ctx context.Context, member int) error {
	unlock, err := c.lock()
	if err != nil {
		return err
	}
	defer unlock()
	if err := errors.Join(c.MustRun(), c.checkMember(member)); err != nil {
		return err
	}
	if slices.Contains(c.State.MembersStopped, member) {
		return fmt.Errorf("member %d is stopped already", member)
	}
	r, err := c.store.Get(memberName(member))
	if err != nil {
		return err
	}
	c.State.MembersStopped = append(c.State.MembersStopped, member)
	if err := c.saveState(); err != nil {
		return err
	}
	if err := r.Signal(syscall.SIGKILL); err != nil {
		return fmt.Errorf("kill %s (process %d): %w", r.Name, r.PID, err)
	}
	if err := process.AwaitEnd(ctx, []process.Record{r}); err != nil {
		return err
	}
	fmt.Fprintf(c.Out, "%s, process %d, was killed\n", r.Name, r.PID)
	return c.store.Forget(r.Name)
}

// StartMember starts a stopped member again, with the data it had, and waits until it serves clients.
func (c *Cluster) StartMember(ctx context.Context, member int) error {
	unlock, err := c.lock()
	if err != nil {
		return err
	}
	defer unlock()
	if err := errors.Join(c.MustRun(), c.checkMember(member)); err != nil {
		return err
	}
	if !slices.Contains(c.State.MembersStopped, member) {
		return fmt.Errorf("member %d is not stopped", member)
	}
	p, err := c.startMember(member)
	if err != nil {
		return err
	}
	c.State.MembersStopped = slices.DeleteFunc(c.State.MembersStopped, func(m int) bool { return m == member })
	if err := c.saveState(); err != nil {
		return err
	}
	return c.step(p.Name+" serves", func() error {
		return c.wait(ctx, memberWait, p.Name, []*process.Process{p}, func(ctx context.Context) (string, error) {
			s, err := c.askMember(ctx, member)
			if err == nil && !s.Ready {
				err = errors.New("it does not serve clients yet")
			}
			return p.Log, err
		})
	})
}

// memberStatus is the part of what a member says of itself that is looked at.
type memberStatus struct {
	Role     string
	Ready    bool
	Revision int64
}

// askMember asks a member how it is.
func (c *Cluster) askMember(ctx context.Context, member int) (memberStatus, error) {
	var s memberStatus
	holder, err := c.store.Get(holderName(0))
	if err != nil {
		return s, err
	}
	inside := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, address string) (net.Conn, error) {
		return space.Dial(ctx, holder.PID, address)
	}}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+memberAddress(member, 3)+"/v1/status", nil)
	if err != nil {
		return s, err
	}
	const patience = 2 * time.Second
	response, err := (&http.Client{Transport: inside, Timeout: patience}).Do(request)
	if err != nil {
		return s, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return s, fmt.Errorf("%s answers %s", memberName(member), response.Status)
	}
	return s, json.NewDecoder(response.Body).Decode(&s)
}

// Members prints a line for each member of the store: its name, what it is (leader, follower, stopped, or silent
// when it does not answer), its process, its client URL, its log.
func (c *Cluster) Members(ctx context.Context, out io.Writer) error {
	if err := c.checkMember(0); err != nil {
		return err
	}
	for m := range members {
		name := memberName(m)
		r, err := c.store.Get(name)
		if errors.Is(err, fs.ErrNotExist) && slices.Contains(c.State.MembersStopped, m) {
			fmt.Fprintf(out, "%-11s stopped\n", name)
			continue
		}
		if err != nil {
			return err
		}
		s, err := c.askMember(ctx, m)
		word := s.Role
		if err != nil {
			word = "silent"
		} else if !s.Ready {
			word += ", not ready"
		}
		fmt.Fprintf(out, "%-11s %s, process %d, http://%s, log %s\n", name, word, r.PID, memberAddress(m, 0), c.store.Log(name))
	}
	return nil
}
