package node

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"raftsman.dev/node/admin"
	"raftsman.dev/node/datadir"
	"raftsman.dev/node/transport"
	"raftsman.dev/node/vfs"
)

// swap puts another directory in the place of one, and returns where the one lies now.
func swap(t *testing.T, dir, other string) (now string) {
	t.Helper()
	now = filepath.Join(t.TempDir(), "volume")
	if err := errors.Join(os.Rename(dir, now), os.CopyFS(dir, os.DirFS(other))); err != nil {
		t.Fatal(err)
	}
	return now
}

// copyOf copies a stopped member's directory.
func copyOf(t *testing.T, dir string) (copied string) {
	t.Helper()
	copied = filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	return copied
}

// boots lets a directory count that many boots of the member.
func boots(t *testing.T, name, dir string, n int) {
	t.Helper()
	for range n {
		d, err := datadir.Open(vfs.OS(), dir, name, draw)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(d.CountBoot(), d.Close()); err != nil {
			t.Fatal(err)
		}
	}
}

// follower is a member that does not lead.
func (b *bench) follower() string {
	leader := b.leader()
	for name := range b.members {
		if name != leader {
			return name
		}
	}
	return ""
}

// awaitReady waits until a member serves.
func (b *bench) awaitReady(name string) {
	b.t.Helper()
	b.wait(name+" ready", func() error {
		if why := b.members[name].unready(); why != "" {
			return errors.New(why)
		}
		return nil
	})
}

// awaitMet waits until every other member knows of this life of one.
func (b *bench) awaitMet(name string) {
	b.t.Helper()
	id := b.members[name].id.Member
	b.wait(name+" connected", func() error {
		for _, p := range b.members[name].transport.Peers() {
			if !p.Connected {
				return fmt.Errorf("not to %v", p.ID)
			}
		}
		for other, m := range b.members {
			for _, p := range m.transport.Peers() {
				if p.ID == id && !p.Connected {
					return fmt.Errorf("not from %s", other)
				}
			}
		}
		return nil
	})
}

// awaitRefused waits until a member stops for being an older copy, and for that reason.
func (b *bench) awaitRefused(m *Member, says string) {
	b.t.Helper()
	select {
	case err := <-m.Failed():
		if !errors.Is(err, transport.ErrRolledBack) || !errors.Is(err, datadir.ErrCorrupt) || !strings.Contains(err.Error(), says) {
			b.t.Errorf("not for %q: %v", says, err)
		}
	case <-time.After(patience):
		b.t.Errorf("it goes on, in spite of %q", says)
	}
}

// anotherStart is what is said to a member in whose boot another start was heard.
const anotherStart = "another start with this very boot"

// An older copy in the place of a member's volume is found out by its peers, whether its boot is older, the same, or
// newer because the copy was started elsewhere; the cluster goes on, the directory is not used again, and the right
// volume is as good as before.
//
// But where the copy's boot is the one that the right volume has next, one peer may have accepted the copy before
// another refuted it. The copy has acted then, in that boot, and who knows what it promised: the right volume is
// refused in that boot, and only for that reason.
func TestRolledBackVolume(t *testing.T) {
	for name, c := range map[string]struct {
		boots int // that the copy has counted elsewhere
		says  string
		heard bool // the copy may have been heard in the boot that the right volume has next
	}{
		"an older boot": {0, "has been seen, and this is boot", false},
		"the same boot": {1, anotherStart, false},
		"a newer boot":  {2, "acknowledged committed entry", true},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.group(nil, "a", "b", "c")
			victim := b.follower()
			b.stop(victim)
			dir := b.configs[victim].DataDir
			old := copyOf(t, dir)
			for range 2 { // of two boots the copy knows nothing
				b.start(b.configs[victim])
				b.awaitReady(victim)
				b.awaitMet(victim)
				put(t, pb.NewKVClient(b.dial(victim)), "later", "v")
				b.stop(victim)
			}
			boots(t, victim, old, c.boots)
			right := swap(t, dir, old)
			b.awaitRefused(b.start(b.configs[victim]), c.says)
			b.stop(victim)
			put(t, pb.NewKVClient(b.dial(b.follower())), "on", "v")
			if _, err := Start(b.configs[victim]); !errors.Is(err, datadir.ErrCorrupt) || !strings.Contains(err.Error(), c.says) {
				t.Fatalf("started again: %v", err)
			}
			b.corrupt(victim, c.says)
			swap(t, dir, right)
			b.comesBack(victim, c.heard)
			b.equal()
		})
	}
}

// comesBack starts a member on its right volume, and waits until it serves, or is refused because a copy was heard.
func (b *bench) comesBack(name string, heard bool) {
	b.t.Helper()
	m := b.start(b.configs[name])
	refused := false
	b.wait(name+" ready, or refused", func() error {
		why := m.unready()
		if refused = m.forgetful.is.Load(); why == "" || refused {
			return nil
		}
		return errors.New(why)
	})
	switch {
	case refused && heard:
		b.awaitRefused(m, anotherStart)
		b.stop(name)
	case refused:
		b.t.Errorf("refused on its own volume: %v", <-m.Failed())
	}
}

// corrupt starts a member as under an operator, sees it on its admin port only, and stops it.
func (b *bench) corrupt(name, says string) {
	b.t.Helper()
	cfg, plain := b.configs[name], b.configs[name]
	cfg.Managed = true
	b.start(cfg)
	if s := b.status(name); s.State != admin.StateCorrupt || !strings.Contains(s.Problem, says) {
		b.t.Errorf("state %s, problem %q", s.State, s.Problem)
	}
	b.stop(name)
	b.configs[name] = plain
}

// Under an operator the process itself goes on, on its admin port; with another member's volume too.
func TestRolledBackVolumeUnderAnOperator(t *testing.T) {
	b := newBench(t)
	b.group(nil, "a", "b", "c")
	victim := b.follower()
	b.stop(victim)
	cfg := b.configs[victim]
	old := copyOf(t, cfg.DataDir)
	b.start(cfg)
	b.awaitReady(victim)
	b.stop(victim)
	swap(t, cfg.DataDir, old)
	cfg.Managed = true
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- Run(ctx, cfg) }()
	b.wait("the report", func() error {
		s, err := admin.Client{}.Status(ctx, "http://"+cfg.ListenAdmin, admin.StatusOptions{})
		if err == nil && (s.State != admin.StateCorrupt || !strings.Contains(s.Problem, anotherStart)) {
			err = fmt.Errorf("state %s, problem %q", s.State, s.Problem)
		}
		return err
	})
	cancel()
	if err := <-done; err != nil {
		t.Errorf("run: %v", err)
	}
	other := b.follower()
	b.stop(other)
	swap(t, cfg.DataDir, b.configs[other].DataDir)
	b.corrupt(victim, fmt.Sprintf("belongs to member %q", other))
}

// However members are stopped and started while messages fly, none is refused on its own volume.
func TestRestartsAreNoRollback(t *testing.T) {
	b := newBench(t)
	names := []string{"a", "b", "c"}
	b.group(nil, names...)
	ctx, cancel := context.WithCancel(context.Background())
	var clients sync.WaitGroup
	for _, name := range names {
		kv := pb.NewKVClient(b.dial(name))
		clients.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				within, done := context.WithTimeout(ctx, time.Second)
				_, err := kv.Put(within, &pb.PutRequest{Key: []byte(name), Value: []byte(fmt.Sprint(i))})
				if err != nil {
					<-within.Done() // the member is down: no busy loop
				}
				done()
			}
		})
	}
	rng := rand.New(rand.NewPCG(5, 6))
	sound := func() {
		t.Helper()
		for name, m := range b.members {
			if m.forgetful.is.Load() {
				t.Fatalf("%s is refused on its own volume: %v", name, <-m.Failed())
			}
		}
	}
	for restarts := 0; restarts < 20; {
		var down []string
		for _, name := range names {
			if rng.IntN(3) == 0 || len(down) == 0 && name == "c" {
				down = append(down, name)
				b.stop(name)
			}
		}
		for _, name := range down {
			b.start(b.configs[name])
			restarts++
		}
		if rng.IntN(2) == 0 {
			b.leader()
		}
		sound()
	}
	for _, name := range names {
		b.awaitReady(name)
	}
	sound()
	cancel()
	clients.Wait()
	b.equal()
}
