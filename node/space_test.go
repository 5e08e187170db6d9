package node

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"raftsman.dev/node/raft"
	"raftsman.dev/node/replica"
	"raftsman.dev/node/vfs"
)

// TestDiskBounds: the bounds leave a small volume most of its space and a large one enough for the store's own work,
// and nothing flickers at a bound.
func TestDiskBounds(t *testing.T) {
	const mib, gib = 1 << 20, 1 << 30
	c := &Config{}
	for _, v := range []struct{ size, low, out, segment int64 }{
		{256 * mib, 32 * mib, 8 * mib, 4 * mib}, {gib, 128 * mib, 32 * mib, 16 * mib},
		{4 * gib, 512 * mib, 128 * mib, 64 * mib}, {100 * gib, gib, 128 * mib, 64 * mib}, {32 * mib, 4 * mib, mib, mib},
	} {
		if low, out, segment := c.lowBound(v.size), c.outBound(v.size), diskUnit(v.size); low != v.low || out != v.out || segment != v.segment {
			t.Errorf("a volume of %d MiB: low at %d MiB, out at %d, segments of %d", v.size/mib, low/mib, out/mib, segment/mib)
		}
	}
	s, seen := raft.Space{}, ""
	for _, free := range []int64{200, 129, 127, 130, 159, 31, 39, 41, 161, 129} {
		s = c.judgeDisk(s, free*mib, gib)
		seen += fmt.Sprintf("%d %v, ", free, s)
	}
	const want = "200 has space, 129 has space, 127 low on space, 130 low on space, 159 low on space, 31 out of space, 39 out of space, 41 low on space, 161 has space, 129 has space, "
	if seen != want {
		t.Errorf("judged %s", seen)
	}
	own := &Config{LowSpaceBytes: 5, OutOfSpaceBytes: 3}
	if own.lowBound(gib) != 5 || own.outBound(gib) != 3 {
		t.Error("bounds that are given do not count")
	}
}

// volumes gives every member a volume of its own, of so many MiB.
type volumes struct {
	b *bench
	t *testing.T
}

func (v volumes) dir(name string) string { return filepath.Join(v.b.dir, "volume-"+name) }

func (v volumes) mount(name string, mib int) {
	v.t.Helper()
	if err := os.MkdirAll(v.dir(name), 0o700); err != nil {
		v.t.Fatal(err)
	}
	v.run("mount", "-t", "tmpfs", "-o", fmt.Sprintf("size=%dm", mib), "raftsman-test", v.dir(name))
}

func (v volumes) resize(name string, mib int) {
	v.run("mount", "-o", fmt.Sprintf("remount,size=%dm", mib), v.dir(name))
}

func (v volumes) run(command string, args ...string) {
	v.t.Helper()
	if out, err := exec.Command(command, args...).CombinedOutput(); err != nil {
		v.t.Fatalf("%s %v: %v: %s", command, args, err, out)
	}
}

// withVolumes is a group of three on small volumes; tests that need it are skipped where nothing may be mounted.
func withVolumes(t *testing.T, mib int) (*bench, volumes) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("NOT TESTED: a full disk needs a volume of its own, and only root may mount one")
	}
	b := &bench{t: t, dir: t.TempDir(), members: map[string]*Member{}, configs: map[string]Config{}}
	v := volumes{b, t}
	names := []string{"a", "b", "c"}
	t.Cleanup(func() {
		for _, c := range b.conns {
			c.Close()
		}
		for name := range b.members {
			b.stop(name)
		}
		for _, name := range names {
			v.run("umount", "-l", v.dir(name))
		}
	})
	for _, name := range names {
		v.mount(name, mib)
	}
	b.group(func(c *Config) { c.DataDir, c.KeepEntries = filepath.Join(v.dir(c.Name), "data"), 100 }, names...)
	return b, v
}

// tryPut puts 64 KiB that do not compress.
func tryPut(kv pb.KVClient, key string) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	value := make([]byte, 64<<10)
	rand.Read(value)
	_, err := kv.Put(ctx, &pb.PutRequest{Key: []byte(key), Value: value})
	return err
}

func isNoSpace(err error) bool { return errors.Is(rpctypes.Error(err), rpctypes.ErrNoSpace) }

// fillUp puts until NOSPACE is answered for good, and returns how many puts were acknowledged. No other error may come.
// While the space that is left changes, a log is cut or a store compacted, which may make room again.
func (b *bench) fillUp(kv pb.KVClient) int {
	b.t.Helper()
	acked, refused, left := 0, 0, ""
	pause := time.NewTicker(100 * time.Millisecond)
	defer pause.Stop()
	for range 10_000 {
		switch err := tryPut(kv, fmt.Sprint("fill/", acked)); {
		case err == nil:
			acked++
			refused = 0
		case !isNoSpace(err):
			b.t.Fatalf("after %d puts: %v", acked, err)
		case refused == 40:
			return acked
		default:
			if now := b.left(); now != left {
				left, refused = now, 0
			}
			refused++
			<-pause.C
		}
	}
	b.t.Fatalf("after %d puts the disk is not full for good", acked)
	return acked
}

// left is the space that every member's volume has left.
func (b *bench) left() (all string) {
	b.t.Helper()
	for _, name := range slices.Sorted(maps.Keys(b.configs)) {
		free, _, err := vfs.OS().Free(b.configs[name].DataDir)
		if err != nil {
			b.t.Fatal(err)
		}
		all += fmt.Sprintln(name, free)
	}
	return all
}

// TestFullDisks: three members on small volumes are filled by puts until these are refused with NOSPACE, and never with
// anything else. Reads and deletes go on, at every member; the space shows in status; once the volumes are larger puts
// go on by themselves, and everything acknowledged is there.
func TestFullDisks(t *testing.T) {
	b, v := withVolumes(t, 64)
	names := []string{"a", "b", "c"}
	kvs := map[string]pb.KVClient{}
	for _, name := range names {
		kvs[name] = pb.NewKVClient(b.dial(name))
	}
	put(t, kvs["a"], "small", "value")
	acked := b.fillUp(kvs[b.leader()])
	t.Logf("%d puts of 64 KiB fit on 64 MiB", acked)
	if acked < 300 {
		t.Errorf("only %d puts of 64 KiB fit on 64 MiB", acked)
	}
	for _, name := range names {
		if err := tryPut(kvs[name], "no"); !isNoSpace(err) {
			t.Errorf("a put at %s: %v", name, err)
		}
		if got := get(t, kvs[name], "small"); got != "value" {
			t.Errorf("%s reads %q", name, got)
		}
		gone := "fill/" + map[string]string{"a": "1", "b": "2", "c": "3"}[name]
		b.wait("a delete at "+name, func() error { // a compaction may need what is left for a moment
			r, err := kvs[name].DeleteRange(context.Background(), &pb.DeleteRangeRequest{Key: []byte(gone)})
			if err == nil && r.Deleted != 1 {
				t.Errorf("a delete at %s deletes %d", name, r.Deleted)
			}
			return err
		})
		if s := b.status(name); !s.NoSpace || !s.Ready || s.Disk == nil || s.Disk.FreeBytes > s.Disk.SizeBytes || s.Disk.LowBytes <= 0 || s.Disk.LowBytes >= s.Disk.SizeBytes {
			t.Errorf("status of %s: no space %v, ready %v, disk %+v", name, s.NoSpace, s.Ready, s.Disk)
		}
	}
	for _, name := range names {
		v.resize(name, 256)
	}
	b.wait("puts again", func() error { return tryPut(kvs["a"], "again") })
	b.count("b", int64(acked)-3+2)
	b.equal()
}

// TestFullDiskOfOne: somebody else fills the volume of one follower to the last byte. Its process stays up, the others
// take puts, and when the space is back it catches up by itself. Then that of the leader: leadership moves, puts go on.
func TestFullDiskOfOne(t *testing.T) {
	b, v := withVolumes(t, 64)
	leader := b.leader()
	follower := map[bool]string{true: "a", false: "b"}[leader != "a"]
	for _, victim := range []string{follower, leader} {
		filler := filepath.Join(v.dir(victim), "filler")
		stuff(t, filler)
		b.wait(victim+" is out of space", func() error {
			if s := b.status(victim); !s.Disk.Out {
				return fmt.Errorf("disk %+v", s.Disk)
			}
			return nil
		})
		at := "c"
		if victim == at {
			at = follower
		}
		kv := pb.NewKVClient(b.dial(at))
		for i := range 60 {
			b.wait("a put while "+victim+" is full", func() error { return tryPut(kv, fmt.Sprint(victim, i)) })
		}
		if victim == leader && b.leader() == leader {
			t.Errorf("%s leads with a full disk", leader)
		}
		select {
		case err := <-b.members[victim].Failed():
			t.Fatalf("%s: %v", victim, err)
		default:
		}
		if err := os.Remove(filler); err != nil {
			t.Fatal(err)
		}
		b.equal()
	}
	b.count("c", 120)
}

// TestStopWhileTheStoreIsHeldBack: a member stops in bounded time while a write to its store never returns; what waits
// for space hears of the end at once, and is slowed down after it; what was acknowledged is there after the next start.
func TestStopWhileTheStoreIsHeldBack(t *testing.T) {
	b := newBench(t)
	cfg := b.config("a")
	cfg.Form, cfg.DrainTimeout = true, time.Second
	m := b.start(cfg)
	put(t, pb.NewKVClient(b.dial("a")), "k", "v")
	store, held, release := m.store, make(chan error, 1), make(chan struct{})
	m.inStore.Go(func() {
		for {
			if err := m.holdStore(syscall.ENOSPC); err != nil {
				held <- err
				break
			}
		}
		<-release
	})
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		b.stop("a")
	}()
	select {
	case <-stopped:
	case <-time.After(patience):
		t.Fatal("a member whose store is held back does not stop")
	}
	select {
	case err := <-held:
		if !errors.Is(err, replica.ErrStopped) || !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("what waited ends with: %v", err)
		}
	default:
		t.Error("what waits for space does not hear of the end")
	}
	if began := time.Now(); m.holdStore(syscall.ENOSPC) == nil || time.Since(began) < endPause {
		t.Error("after the end the store is not held back")
	}
	close(release)
	m.inStore.Wait()
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	m = b.start(b.configs["a"])
	b.wait("ready again", func() error {
		if why := m.unready(); why != "" {
			return errors.New(why)
		}
		return nil
	})
	if got := get(t, pb.NewKVClient(b.dial("a")), "k"); got != "v" {
		t.Errorf("after the next start k is %q", got)
	}
}

// TestLogIsTriedAgainOnlyWhenItWaits: a measure of the disk wakes the log writer only if something waits for space.
func TestLogIsTriedAgainOnlyWhenItWaits(t *testing.T) {
	m := &Member{writerReady: make(chan struct{}, 1)}
	for _, c := range []struct{ kept, full, wakes bool }{{false, false, false}, {true, false, true}, {false, true, true}} {
		m.disk.kept.Store(c.kept)
		m.disk.full.Store(c.full)
		m.retryLog()
		select {
		case <-m.writerReady:
			if !c.wakes {
				t.Error("the log writer is woken for nothing")
			}
		default:
			if c.wakes {
				t.Errorf("the log writer is not woken: %+v", c)
			}
		}
	}
}

// stuff writes a file until nothing more fits.
func stuff(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for size := 1 << 20; size > 0; {
		if _, err := f.Write(make([]byte, size)); err != nil {
			size /= 2
		}
	}
}
