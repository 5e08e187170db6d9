package node

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"raftsman.dev/node/admin"
)

func put(t *testing.T, kv pb.KVClient, key, value string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if _, err := kv.Put(ctx, &pb.PutRequest{Key: []byte(key), Value: []byte(value)}); err != nil {
		t.Fatalf("put %s: %v", key, err)
	}
}

func get(t *testing.T, kv pb.KVClient, key string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	r, err := kv.Range(ctx, &pb.RangeRequest{Key: []byte(key)})
	if err != nil {
		t.Fatalf("get %s: %v", key, err)
	}
	if len(r.Kvs) == 0 {
		return ""
	}
	return string(r.Kvs[0].Value)
}

// A group is formed and grown by the client API alone; every member takes writes and linearizable reads; all of
// it is there after all members were stopped and started again.
func TestGroup(t *testing.T) {
	b := newBench(t)
	names := []string{"a", "b", "c"}
	b.group(nil, names...)
	for i, name := range names {
		kv := pb.NewKVClient(b.dial(name))
		for j := range 20 {
			put(t, kv, fmt.Sprintf("%s/%d", name, j), fmt.Sprint(i, j))
			if got := get(t, kv, fmt.Sprintf("%s/%d", name, j)); got != fmt.Sprint(i, j) {
				t.Fatalf("%s reads %q after its own write", name, got)
			}
		}
	}
	leader := b.leader()
	for _, name := range names {
		s := b.status(name)
		if name == leader && s.Role != admin.RoleLeader || name != leader && s.Forwarded < 20 {
			t.Errorf("%s: role %s, forwarded %d; the leader is %s", name, s.Role, s.Forwarded, leader)
		}
	}
	b.equal()
	for _, name := range names {
		b.stop(name)
	}
	for _, name := range names {
		b.start(b.configs[name])
	}
	b.count("b", 60)
	b.equal()
}

// count waits until a linearizable read at that member sees so many keys.
func (b *bench) count(at string, want int64) {
	b.t.Helper()
	kv := pb.NewKVClient(b.dial(at))
	b.wait("a read after a restart", func() error {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		r, err := kv.Range(ctx, &pb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}, CountOnly: true})
		if err == nil && r.Count != want {
			b.t.Fatalf("%d of %d keys are there", r.Count, want)
		}
		return err
	})
}

// Every address in the membership is stale after a restart on other addresses: the members find each other by
// the name to discover alone, as by a headless service, and so does one of them alone.
func TestStaleAddresses(t *testing.T) {
	b := newBench(t)
	now := struct {
		sync.Mutex
		ips []string
	}{ips: []string{"127.0.0.11", "127.0.0.12", "127.0.0.13"}}
	lookup := func(_ context.Context, host string) ([]string, error) {
		now.Lock()
		defer now.Unlock()
		if host != "peers.test" {
			return nil, fmt.Errorf("unknown host %s", host)
		}
		return slices.Clone(now.ips), nil
	}
	port := freePort(t)
	at := map[string]string{"a": "127.0.0.11", "b": "127.0.0.12", "c": "127.0.0.13"}
	b.group(func(c *Config) {
		c.ListenPeer, c.Discover, c.LookupHost = net.JoinHostPort(at[c.Name], port), net.JoinHostPort("peers.test", port), lookup
	}, "a", "b", "c")
	put(t, pb.NewKVClient(b.dial("a")), "k", "v")
	for _, name := range []string{"a", "b", "c"} {
		b.stop(name)
	}
	now.Lock()
	now.ips = []string{"127.0.0.21", "127.0.0.22", "127.0.0.23"}
	now.Unlock()
	for i, name := range []string{"a", "b", "c"} {
		cfg := b.configs[name]
		cfg.ListenPeer = net.JoinHostPort(now.ips[i], port)
		b.start(cfg)
	}
	b.count("c", 1)
	for _, s := range b.status(b.leader()).Membership.Members {
		if !strings.HasPrefix(s.PeerAddress, "127.0.0.1") {
			t.Fatalf("%s has the address %s in the membership: it was to be stale", s.Name, s.PeerAddress)
		}
	}
	b.equal()
}

// freePort is a port that was free on loopback a moment ago.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// A member that was away for a few entries catches up from the log; one that was away until the log was cut past
// it catches up by a snapshot. Either way the states are equal.
func TestCatchUp(t *testing.T) {
	for _, c := range []struct {
		name      string
		keep      uint64
		writes    int
		snapshots uint64
	}{{"from the log", 10_000, 300, 0}, {"by a snapshot", 20, 700, 1}} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t)
			b.group(func(cfg *Config) { cfg.KeepEntries = c.keep }, "a", "b", "c")
			away := "c"
			if b.leader() == away {
				away = "b"
			}
			last := b.status(away).Last
			b.stop(away)
			kv := pb.NewKVClient(b.dial(b.leader()))
			n := 0
			for ; n < c.writes; n++ {
				put(t, kv, fmt.Sprint("k", n%50), fmt.Sprint("v", n))
			}
			b.wait("a log that begins where this test needs it", func() error {
				first := b.status(b.leader()).First
				if (first > last+1) == (c.snapshots > 0) {
					return nil
				}
				n++
				put(t, kv, fmt.Sprint("k", n%50), fmt.Sprint("v", n))
				return fmt.Errorf("the leader's log begins at %d, %s ends at %d", first, away, last)
			})
			b.start(b.configs[away])
			b.equal()
			b.installed(away, c.snapshots)
			// And it goes on as a member like any other.
			put(t, pb.NewKVClient(b.dial(away)), "after", "wards")
			b.equal()
		})
	}
}

// installed demands that a member has installed so many snapshots; the count follows the state by a moment.
func (b *bench) installed(at string, want uint64) {
	b.t.Helper()
	b.wait("the count of snapshots", func() error {
		if got := b.status(at).Snapshots; got < want {
			return fmt.Errorf("%s has installed %d, expected %d", at, got, want)
		} else if got > want {
			b.t.Fatalf("%s has installed %d snapshots, expected %d", at, got, want)
		}
		return nil
	})
}

// A leader that stops hands its leadership over first, and writes go on.
func TestStopHandsOver(t *testing.T) {
	b := newBench(t)
	b.group(nil, "a", "b", "c")
	old := b.leader()
	term := b.status(old).Term
	b.stop(old)
	next := b.leader()
	if got := b.status(next).Term; got != term+1 {
		t.Errorf("term %d follows %d: leadership was not handed over, it was fought for", got, term)
	}
	put(t, pb.NewKVClient(b.dial(next)), "k", "v")
}

// A member that the others cannot be reached from acknowledges nothing, steps down, and says so.
func TestIsolatedLeaderStepsDown(t *testing.T) {
	b := newBench(t)
	b.group(nil, "a", "b", "c")
	leader := b.leader()
	kv := pb.NewKVClient(b.dial(leader))
	put(t, kv, "k", "before")
	for name := range maps.Clone(b.members) {
		if name != leader {
			b.stop(name)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	if _, err := kv.Put(ctx, &pb.PutRequest{Key: []byte("k"), Value: []byte("after")}); err == nil {
		t.Fatal("a write was acknowledged without a quorum")
	}
	b.wait("the step-down", func() error {
		if s := b.status(leader); s.Role == admin.RoleLeader || s.StepDowns == 0 || s.LastStepDown == "" {
			return fmt.Errorf("role %s, %d step-downs, last %q", s.Role, s.StepDowns, s.LastStepDown)
		}
		return nil
	})
	if _, err := pb.NewKVClient(b.dial(leader)).Range(ctx, &pb.RangeRequest{Key: []byte("k")}); err == nil {
		t.Error("a linearizable read was answered without a quorum")
	}
}

// Whatever is wrong at the start: one error that names the thing and the remedy, and the disk as it was.
func TestRefusals(t *testing.T) {
	b := newBench(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	foreign := t.TempDir()
	if err := os.WriteFile(filepath.Join(foreign, "thesis.txt"), []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	other := b.config("other")
	other.Form = true
	b.start(other)
	b.stop("other")
	for _, c := range []struct {
		name   string
		change func(*Config)
		says   []string
	}{
		{"no name", func(c *Config) { c.Name = "" }, []string{"--name"}},
		{"no directory", func(c *Config) { c.DataDir = "" }, []string{"--data-dir"}},
		{"form under an operator", func(c *Config) { c.Form, c.Managed = true, true }, []string{"--form", "--managed", "contradict"}},
		{"heartbeat too long", func(c *Config) { c.HeartbeatInterval = c.ElectionTimeout }, []string{"--election-timeout", "three heartbeat"}},
		{"address without port", func(c *Config) { c.ListenPeer = "127.0.0.1" }, []string{"--listen-peer", "host:port"}},
		{"nobody's address", func(c *Config) { c.AdvertisePeer = "0.0.0.0:2380" }, []string{"--advertise-peer"}},
		{"client URL", func(c *Config) { c.AdvertiseClient = []string{"ftp://x"} }, []string{"--advertise-client", "http://host:port"}},
		{"port in use", func(c *Config) { c.ListenClient = taken.Addr().String() }, []string{"--listen-client", taken.Addr().String(), "another address"}},
		{"unresolvable peer", func(c *Config) { c.Peers = []string{"nowhere.invalid:2380"} }, []string{"nowhere.invalid:2380", "--peers"}},
		{"foreign directory", func(c *Config) { c.DataDir = foreign }, []string{foreign, "thesis.txt"}},
		{"another member's directory", func(c *Config) { c.DataDir = b.configs["other"].DataDir }, []string{`"other"`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := b.config("x")
			cfg.LookupHost = func(_ context.Context, host string) ([]string, error) {
				return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
			}
			c.change(&cfg)
			before := tree(t, cfg.DataDir)
			m, err := Start(cfg)
			if err == nil {
				t.Error("started", m.Stop(context.Background()))
			}
			for _, word := range c.says {
				if !strings.Contains(fmt.Sprint(err), word) {
					t.Errorf("the error does not say %q: %v", word, err)
				}
			}
			if after := tree(t, cfg.DataDir); after != before {
				t.Errorf("the disk has changed from\n%s\nto\n%s", before, after)
			}
		})
	}
}

// tree renders a directory's names and contents.
func tree(t *testing.T, dir string) string {
	t.Helper()
	var all strings.Builder
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		fmt.Fprintf(&all, "%s %d %x\n", path, len(content), sha256.Sum256(content))
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return all.String()
}

// A damaged log: without an operator the process refuses to start and changes nothing; under one it stays up on
// its admin port and says what is damaged.
func TestDamage(t *testing.T) {
	b := newBench(t)
	cfg := b.config("a")
	cfg.Form = true
	b.start(cfg)
	put(t, pb.NewKVClient(b.dial("a")), "k", "v")
	b.stop("a")
	cfg = b.configs["a"]
	damage(t, cfg.DataDir)
	if err := os.RemoveAll(filepath.Join(cfg.DataDir, "store")); err != nil { // what it holds, the log need not
		t.Fatal(err)
	}
	// The store is opened first, and a new one is made.
	kept := func() string {
		return tree(t, filepath.Join(cfg.DataDir, "log")) + tree(t, filepath.Join(cfg.DataDir, "identity"))
	}
	before := kept()
	if _, err := Start(cfg); err == nil || !strings.Contains(err.Error(), "log") {
		t.Fatalf("a damaged log was accepted: %v", err)
	}
	if after := kept(); after != before {
		t.Errorf("the disk has changed from\n%s\nto\n%s", before, after)
	}
	cfg.Managed = true
	b.start(cfg)
	if s := b.status("a"); s.State != admin.StateCorrupt || !strings.Contains(s.Problem, "log") {
		t.Errorf("state %s, problem %q", s.State, s.Problem)
	}
}

// damage flips one bit in the first entry of the log.
func damage(t *testing.T, dir string) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "log", "*.log"))
	if err != nil || len(names) == 0 {
		t.Fatalf("no segments: %v", err)
	}
	content, err := os.ReadFile(names[0])
	if err != nil {
		t.Fatal(err)
	}
	clear(content[40 : len(bytes.TrimRight(content, "\x00"))/2]) // more than what the rest still tells of
	if err := os.WriteFile(names[0], content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// A disk that fails under the store stops the member with a reason, and stopping it does not hang.
func TestStoreFailureIsFinal(t *testing.T) {
	b := newBench(t)
	cfg := b.config("a")
	cfg.Form = true
	m := b.start(cfg)
	if err := os.RemoveAll(filepath.Join(cfg.DataDir, "store")); err != nil {
		t.Fatal(err)
	}
	put(t, pb.NewKVClient(b.dial("a")), "k", "v")
	go func() { _ = m.store.Flush() }() // it may never come back: the database tries again for ever
	select {
	case err := <-m.Failed():
		if !strings.Contains(err.Error(), "store") {
			t.Errorf("the reason does not name the store: %v", err)
		}
	case <-time.After(patience):
		t.Fatal("the member goes on although its store cannot be written")
	}
}

// A founder whose disk was lost does not found a second cluster beside the one that its peers have.
func TestFormRefusesASecondCluster(t *testing.T) {
	b := newBench(t)
	b.group(nil, "a", "b", "c")
	hints := []string{b.configs["b"].ListenPeer, b.configs["c"].ListenPeer}
	b.stop("a")
	cfg := b.configs["a"]
	cfg.DataDir, cfg.Form, cfg.Peers = filepath.Join(b.dir, "new"), true, hints
	m, err := Start(cfg)
	if err == nil {
		t.Fatal("a second cluster was founded", m.Stop(context.Background()))
	}
	if !strings.Contains(err.Error(), "belongs to cluster") || !strings.Contains(err.Error(), "--form") {
		t.Errorf("the error does not say what to do: %v", err)
	}
}
