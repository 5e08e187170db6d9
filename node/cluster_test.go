package node

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/go-logr/logr/testr"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"raftsman.dev/node/admin"
)

// patience bounds every wait of these tests; it is never slept through.
const patience = 30 * time.Second

// bench is a group of real members in this process: real disks, real sockets on loopback.
type bench struct {
	t       *testing.T
	dir     string
	members map[string]*Member
	configs map[string]Config
	conns   []*grpc.ClientConn
}

func newBench(t *testing.T) *bench {
	// The directory first: cleanups run in reverse, and members must be stopped before it goes.
	b := &bench{t: t, dir: t.TempDir(), members: map[string]*Member{}, configs: map[string]Config{}}
	t.Cleanup(func() {
		for _, c := range b.conns {
			c.Close()
		}
		for name := range b.members {
			b.stop(name)
		}
	})
	return b
}

// config is a member's with every port chosen by the system.
func (b *bench) config(name string) Config {
	return Config{
		Name: name, DataDir: filepath.Join(b.dir, name),
		ListenClient: "127.0.0.1:0", ListenPeer: "127.0.0.1:0", ListenMetrics: "127.0.0.1:0", ListenAdmin: "127.0.0.1:0",
		ElectionTimeout: 400 * time.Millisecond, HeartbeatInterval: 40 * time.Millisecond,
		Log: testr.New(b.t),
	}
}

func (b *bench) start(cfg Config) *Member {
	b.t.Helper()
	m, err := Start(cfg)
	if err != nil {
		b.t.Fatalf("start %s: %v", cfg.Name, err)
	}
	// The next start takes the same ports, and founds nothing.
	cfg.Form = false
	cfg.ListenClient, cfg.ListenPeer = m.ClientAddress(), m.ports.peer.Addr().String()
	cfg.ListenMetrics, cfg.ListenAdmin = m.ports.metrics.Addr().String(), m.AdminAddress()
	b.members[cfg.Name], b.configs[cfg.Name] = m, cfg
	return m
}

func (b *bench) stop(name string) {
	b.t.Helper()
	m := b.members[name]
	if m == nil {
		return
	}
	delete(b.members, name)
	if err := m.Stop(context.Background()); err != nil {
		b.t.Errorf("stop %s: %v", name, err)
	}
}

// wait polls until the condition holds; what says why it does not.
func (b *bench) wait(what string, holds func() error) {
	b.t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := holds()
		if err == nil {
			return
		}
		select {
		case <-deadline:
			b.t.Fatalf("%s: not within %v: %v", what, patience, err)
		case <-tick.C:
		}
	}
}

func (b *bench) status(name string) admin.Status {
	b.t.Helper()
	s, err := admin.Client{}.Status(context.Background(), "http://"+b.members[name].AdminAddress(), admin.StatusOptions{Hash: true})
	if err != nil {
		b.t.Fatalf("status of %s: %v", name, err)
	}
	return s
}

func (b *bench) dial(name string) *grpc.ClientConn {
	b.t.Helper()
	c, err := grpc.NewClient(b.members[name].ClientAddress(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		b.t.Fatal(err)
	}
	b.conns = append(b.conns, c)
	return c
}

// leader waits for a member that leads.
func (b *bench) leader() (found string) {
	b.t.Helper()
	b.wait("a leader", func() error {
		for name, m := range b.members {
			if m.facts.leads() {
				found = name
				return nil
			}
		}
		return fmt.Errorf("none of %d leads", len(b.members))
	})
	return found
}

// group forms a cluster of the named members: the first founds it, the others are added as learners by the
// client API and promoted one by one.
func (b *bench) group(change func(*Config), names ...string) {
	b.t.Helper()
	for i, name := range names {
		cfg := b.config(name)
		cfg.Form = i == 0
		if change != nil {
			change(&cfg)
		}
		b.start(cfg)
	}
	cluster := pb.NewClusterClient(b.dial(names[0]))
	for _, name := range names[1:] {
		b.join(cluster, name)
	}
	b.wait("every member ready", func() error {
		for _, name := range names {
			if why := b.members[name].unready(); why != "" {
				return fmt.Errorf("%s: %s", name, why)
			}
		}
		return nil
	})
}

// join adds a running, unjoined member and promotes it.
func (b *bench) join(cluster pb.ClusterClient, name string) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	url := "http://" + b.members[name].cfg.AdvertisePeer
	added, err := cluster.MemberAdd(ctx, &pb.MemberAddRequest{PeerURLs: []string{url}, IsLearner: true})
	if err != nil {
		b.t.Fatalf("add %s: %v", name, err)
	}
	b.wait("promotion of "+name, func() error {
		_, err := cluster.MemberPromote(ctx, &pb.MemberPromoteRequest{ID: added.Member.ID})
		return err
	})
}

// equal waits until every member's store has the same state at the same index.
func (b *bench) equal() {
	b.t.Helper()
	b.wait("equal states", func() error {
		var first *admin.Status
		for name := range b.members {
			s := b.status(name)
			if first == nil {
				first = &s
			} else if s.StateHash != first.StateHash || s.HashIndex != first.HashIndex {
				return fmt.Errorf("%s has %s at %d, %s has %s at %d", first.Name, first.StateHash, first.HashIndex, s.Name, s.StateHash, s.HashIndex)
			}
		}
		return nil
	})
}
