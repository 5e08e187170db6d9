package clients

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"syscall"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// The bounds of what members are waited for.
const (
	size      = 3
	portsEach = 10
	patience  = time.Minute // for whatever is to come about
	pollEvery = 20 * time.Millisecond
)

// group is three members of etcd or Raftsman, each a process that the test starts and kills. Once it is up, members are
// in the order of their IDs.
type group struct {
	t       *testing.T
	system  string
	binary  string
	dir     string
	cluster uint64
	members []*member
}

// member is one of them. What it writes goes to its log.
type member struct {
	name, dir, log string
	client, peer   string // host:port
	id             uint64
	args           []string
	process        *os.Process
	ended          chan struct{} // closed when it has
}

// newGroup brings three members up, the first of which leads. They end with the test.
func newGroup(t *testing.T, system string, p programs) *group {
	t.Helper()
	g := &group{t: t, system: system, dir: t.TempDir(), binary: p.path(system)}
	base, err := freePorts()
	if err != nil {
		t.Fatal(err)
	}
	for i := range size {
		at := func(offset int) string { return fmt.Sprintf("127.0.0.1:%d", base+portsEach*i+offset) }
		name := fmt.Sprintf("m%d", i)
		g.members = append(g.members, &member{
			name: name, dir: filepath.Join(g.dir, name), log: filepath.Join(g.dir, name+".log"), client: at(0), peer: at(1),
		})
	}
	t.Cleanup(g.close)
	switch system {
	case etcd:
		g.etcdArgs()
	case raftsman:
		g.raftsmanArgs(base)
		g.form(base)
	}
	g.start(g.members...)
	g.identify()
	g.lead(g.members[0])
	return g
}

// etcdArgs are what each etcd is started with.
func (g *group) etcdArgs() {
	var all []string
	for _, m := range g.members {
		all = append(all, m.name+"=http://"+m.peer)
	}
	for _, m := range g.members {
		m.args = []string{
			"--name=" + m.name, "--data-dir=" + m.dir, "--unsafe-no-fsync", "--log-level=error",
			"--listen-client-urls=http://" + m.client, "--advertise-client-urls=http://" + m.client,
			"--listen-peer-urls=http://" + m.peer, "--initial-advertise-peer-urls=http://" + m.peer,
			"--initial-cluster=" + strings.Join(all, ","),
		}
	}
}

// raftsmanArgs are what each Raftsman member is started with, as `raftsman local` does.
func (g *group) raftsmanArgs(base int) {
	var peers []string
	for _, m := range g.members {
		peers = append(peers, m.peer)
	}
	for i, m := range g.members {
		m.args = []string{
			"node", "--name=" + m.name, "--data-dir=" + m.dir, "--listen-client=" + m.client, "--listen-peer=" + m.peer,
			fmt.Sprintf("--listen-metrics=127.0.0.1:%d", base+portsEach*i+2), fmt.Sprintf("--listen-admin=127.0.0.1:%d", base+portsEach*i+3),
			"--peers=" + strings.Join(peers, ","),
		}
	}
}

// form lets `raftsman local` bring the cluster about.
func (g *group) form(base int) {
	g.t.Helper()
	cmd := exec.CommandContext(g.t.Context(), g.binary, "local", "--members", fmt.Sprint(size), "--data-dir", g.dir, "--base-port", fmt.Sprint(base))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		g.t.Fatal(err)
	}
	ready := false
	lines := bufio.NewScanner(out)
	for !ready && lines.Scan() {
		ready = strings.HasPrefix(lines.Text(), "ready:")
	}
	err = cmd.Process.Signal(os.Interrupt)
	_, _ = io.Copy(io.Discard, out) // until it has ended
	if err = errors.Join(err, cmd.Wait()); err != nil || !ready {
		g.t.Fatalf("form a cluster: ready=%v: %v", ready, err)
	}
}

// identify learns who the members are, waits until each knows of all, and puts them into the order of their IDs.
func (g *group) identify() {
	g.t.Helper()
	for _, m := range g.members {
		g.until(m.name+" serves and knows all members", func(ctx context.Context) error {
			c := g.dial(m)
			defer c.Close()
			status, err := c.Status(ctx, m.client)
			if err != nil {
				return err
			}
			list, err := c.MemberList(ctx)
			if err != nil {
				return err
			}
			if status.StorageVersion == "" || slices.ContainsFunc(list.Members, func(o *pb.Member) bool { return o.Name == "" || o.IsLearner }) {
				return fmt.Errorf("storage version %q, members %v", status.StorageVersion, list.Members)
			}
			m.id, g.cluster = status.Header.GetMemberId(), status.Header.GetClusterId()
			_, err = c.Get(ctx, "ready")
			return err
		})
	}
	slices.SortFunc(g.members, func(a, b *member) int { return cmp.Compare(a.id, b.id) })
}

// lead makes a member the leader.
func (g *group) lead(m *member) {
	g.t.Helper()
	g.until(m.name+" leads", func(ctx context.Context) error {
		leader, err := g.leader(ctx)
		if err != nil || leader == m {
			return err
		}
		c := g.dial(leader)
		defer c.Close()
		_, err = c.MoveLeader(ctx, m.id)
		return errors.Join(errors.New("just asked"), err)
	})
}

// leader is the member that all members take for it.
func (g *group) leader(ctx context.Context) (*member, error) {
	var leader uint64
	for i, m := range g.members {
		c := g.dial(m)
		status, err := c.Status(ctx, m.client)
		if err = errors.Join(err, c.Close()); err != nil {
			return nil, err
		}
		if i > 0 && status.Leader != leader {
			return nil, fmt.Errorf("%s takes %x for the leader, others %x", m.name, status.Leader, leader)
		}
		leader = status.Leader
	}
	i := slices.IndexFunc(g.members, func(m *member) bool { return m.id == leader })
	if i < 0 {
		return nil, fmt.Errorf("%x leads, which is no member", leader)
	}
	return g.members[i], nil
}

// dial connects to members; whoever calls closes it.
func (g *group) dial(members ...*member) *clientv3.Client {
	g.t.Helper()
	c, err := clientv3.New(clientv3.Config{Endpoints: addresses(members), DialTimeout: 2 * time.Second, Logger: zap.NewNop()})
	if err != nil {
		g.t.Fatal(err)
	}
	return c
}

func addresses(members []*member) []string {
	var all []string
	for _, m := range members {
		all = append(all, m.client)
	}
	return all
}

// revive starts a member that does not run, and returns once it serves.
func (g *group) revive(m *member) {
	g.t.Helper()
	g.start(m)
	g.until(m.name+" serves again", func(ctx context.Context) error {
		c := g.dial(m)
		defer c.Close()
		_, err := c.Get(ctx, "ready")
		return err
	})
}

// start starts members that do not run.
func (g *group) start(members ...*member) {
	g.t.Helper()
	for _, m := range members {
		if err := m.launch(g.binary); err != nil {
			g.t.Fatal(err)
		}
	}
}

func (m *member) launch(binary string) error {
	log, err := os.OpenFile(m.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(binary, m.args...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", m.name, err)
	}
	ended := make(chan struct{})
	m.process, m.ended = cmd.Process, ended
	go func() {
		_ = cmd.Wait() // how it ended stands in its log
		close(ended)
	}()
	return nil
}

// kill ends members at once.
func (g *group) kill(members ...*member) {
	for _, m := range members {
		if m.process == nil {
			continue
		}
		if err := m.process.Signal(syscall.SIGKILL); err != nil && !errors.Is(err, os.ErrProcessDone) {
			g.t.Error(err)
		}
		select {
		case <-m.ended:
		case <-time.After(patience):
			g.t.Errorf("%s does not end", m.name)
		}
		m.process = nil
	}
}

// close ends the group; after a failure it shows the last words of its members.
func (g *group) close() {
	g.kill(g.members...)
	if !g.t.Failed() {
		return
	}
	for _, m := range g.members {
		text, err := os.ReadFile(m.log)
		g.t.Logf("last words of %s's %s (%v):\n%s", g.system, m.name, err, text[max(0, len(text)-2000):])
	}
}

// freePorts finds room for a group below the ports that the system gives to clients.
func freePorts() (int, error) {
	var last error
	for range 50 {
		base := 20_000 + rand.IntN(1_000)*portsEach
		if last = listenAll(base); last == nil {
			return base, nil
		}
	}
	return 0, fmt.Errorf("no free ports: %w", last)
}

func listenAll(base int) error {
	for port := base; port < base+size*portsEach; port++ {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			return err
		}
		if err := l.Close(); err != nil {
			return err
		}
	}
	return nil
}

// until waits for what is to come about, and fails the test when it does not.
func (g *group) until(what string, is func(context.Context) error) {
	g.t.Helper()
	ctx, cancel := context.WithTimeout(g.t.Context(), patience)
	defer cancel()
	if err := poll(ctx, is); err != nil {
		g.t.Fatalf("%s: not so after %v: %s: %v", g.system, patience, what, err)
	}
}

// poll asks until the answer is nil, each time for a bounded while; at the end of ctx it returns the last one.
func poll(ctx context.Context, is func(context.Context) error) error {
	const each = 3 * time.Second
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		once, cancel := context.WithTimeout(ctx, each)
		err := is(once)
		cancel()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-tick.C:
		}
	}
}
