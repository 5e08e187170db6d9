package clients

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"raftsman.dev/hack/e2e/members"
)

// The bounds of what members are waited for.
const (
	size     = members.Size
	patience = time.Minute     // for whatever is to come about
	each     = 3 * time.Second // for one question
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
	members.Place
	id      uint64
	args    []string
	process *members.Process // nil while it does not run
}

// newGroup brings three members up, the first of which leads. They end with the test.
func newGroup(t *testing.T, system string, p programs) *group {
	t.Helper()
	g := &group{t: t, system: system, dir: t.TempDir(), binary: p.path(system)}
	ports, err := members.Reserve()
	if err != nil {
		t.Fatal(err)
	}
	for _, place := range ports.Places(g.dir) {
		g.members = append(g.members, &member{Place: place})
	}
	t.Cleanup(func() { g.close(ports) })
	switch system {
	case etcd:
		g.etcdArgs()
	case raftsman:
		g.raftsmanArgs()
		if err := ports.Form(t.Context(), g.binary, g.dir); err != nil {
			t.Fatal(err)
		}
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
		all = append(all, m.Name+"=http://"+m.Peer)
	}
	for _, m := range g.members {
		m.args = []string{
			"--name=" + m.Name, "--data-dir=" + m.Dir, "--unsafe-no-fsync", "--log-level=error",
			"--listen-client-urls=http://" + m.Client, "--advertise-client-urls=http://" + m.Client,
			"--listen-peer-urls=http://" + m.Peer, "--initial-advertise-peer-urls=http://" + m.Peer,
			"--initial-cluster=" + strings.Join(all, ","),
		}
	}
}

// raftsmanArgs are what each Raftsman member is started with, as `raftsman local` does.
func (g *group) raftsmanArgs() {
	var peers []string
	for _, m := range g.members {
		peers = append(peers, m.Peer)
	}
	for _, m := range g.members {
		m.args = m.NodeArgs(peers)
	}
}

// identify learns who the members are, waits until each knows of all, and puts them into the order of their IDs.
func (g *group) identify() {
	g.t.Helper()
	for _, m := range g.members {
		g.until(m.Name+" serves and knows all members", func(ctx context.Context) error {
			c := g.dial(m)
			defer c.Close()
			status, err := c.Status(ctx, m.Client)
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
	g.until(m.Name+" leads", func(ctx context.Context) error {
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
		status, err := c.Status(ctx, m.Client)
		if err = errors.Join(err, c.Close()); err != nil {
			return nil, err
		}
		if i > 0 && status.Leader != leader {
			return nil, fmt.Errorf("%s takes %x for the leader, others %x", m.Name, status.Leader, leader)
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
		all = append(all, m.Client)
	}
	return all
}

// revive starts a member that does not run, and returns once it serves.
func (g *group) revive(m *member) {
	g.t.Helper()
	g.start(m)
	g.until(m.Name+" serves again", func(ctx context.Context) error {
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
		var err error
		if m.process, err = m.Start(g.binary, m.args...); err != nil {
			g.t.Fatal(err)
		}
	}
}

// kill ends members at once.
func (g *group) kill(members ...*member) {
	for _, m := range members {
		if m.process == nil {
			continue
		}
		if err := m.process.Signal(syscall.SIGKILL); err != nil {
			g.t.Errorf("%s: %v", m.Name, err)
		}
		select {
		case <-m.process.Ended():
		case <-time.After(patience):
			g.t.Errorf("%s does not end", m.Name)
		}
		m.process = nil
	}
}

// close ends the group; after a failure it shows the last words of its members.
func (g *group) close(ports *members.Ports) {
	g.kill(g.members...)
	if err := ports.Release(); err != nil {
		g.t.Error(err)
	}
	if !g.t.Failed() {
		return
	}
	for _, m := range g.members {
		g.t.Logf("last words of %s's %s:\n%s", g.system, m.Name, m.LastWords(2000))
	}
}

// until waits for what is to come about, and fails the test when it does not.
func (g *group) until(what string, is func(context.Context) error) {
	g.t.Helper()
	ctx, cancel := context.WithTimeout(g.t.Context(), patience)
	defer cancel()
	if err := members.Poll(ctx, each, is); err != nil {
		g.t.Fatalf("%s: not so after %v: %s: %v", g.system, patience, what, err)
	}
}
