package node

import (
	"context"
	"fmt"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// slowBeat is a group whose heartbeat is slow: many steps, each of which would take one if it were waited for, are to be
// through after few.
type slowBeat struct {
	*bench
	leader, follower *Member
	here, there      pb.KVClient // at the leader and at the follower
	steps            int
}

func newSlowBeat(t *testing.T) *slowBeat {
	b := newBench(t)
	b.group(func(c *Config) { c.HeartbeatInterval, c.ElectionTimeout = 500*time.Millisecond, 1500*time.Millisecond }, "a", "b", "c")
	leader := b.leader()
	follower := map[bool]string{true: "b", false: "a"}[leader == "a"]
	return &slowBeat{
		bench: b, leader: b.members[leader], follower: b.members[follower],
		here: pb.NewKVClient(b.dial(leader)), there: pb.NewKVClient(b.dial(follower)),
	}
}

// ticks takes so many steps, each with a key of its own, and counts heartbeats.
func (b *slowBeat) ticks(steps int, step func(key string)) uint64 {
	began := b.follower.facts.tick.Load()
	for range steps {
		b.steps++
		step(fmt.Sprint("k", b.steps))
	}
	return b.follower.facts.tick.Load() - began
}

func (b *slowBeat) soon(what string, step func(key string)) {
	b.t.Helper()
	const steps = 40
	if n := b.ticks(steps, step); n >= steps/2 {
		b.t.Errorf("%d times: %s: took %d heartbeats", steps, what, n)
	}
}

// What is asked through a follower, and what is watched or read there again and again, does not wait for the leader's
// heartbeat; where nobody asks and nobody looks, it does.
func TestFollowersAreToldWhatIsWaitedFor(t *testing.T) {
	b := newSlowBeat(t)
	b.soon("a get through a follower of what was just put at the leader", func(key string) {
		put(t, b.here, key, key)
		if got := get(t, b.there, key); got != key {
			t.Fatalf("%s is %q", key, got)
		}
	})
	b.soon("a put through a follower", func(key string) { put(t, b.there, key, key) })
	b.unasked()
	b.watching()
	b.wait("no watcher is left", func() error {
		if n := b.follower.hub.Watchers(); n > 0 {
			return fmt.Errorf("%d do", n)
		}
		return nil
	})
	b.unasked()
	b.soon("a serializable read at a follower of what was put at the leader", func(key string) {
		put(t, b.here, key, "v")
		b.wait("the read shows it", func() error { return b.glance(key) })
	})
	b.unasked()
	put(t, b.here, "first", "v")
	if err := b.glance("first"); err != nil {
		t.Errorf("the first serializable read in a while does not show what was put before: %v", err)
	}
	b.unasked()
	put(t, b.here, "second", "v")
	if there, here := b.hash(b.follower), b.hash(b.leader); there != here {
		t.Errorf("the first hash of a follower in a while is %x, that of the leader %x", there, here)
	}
	b.unasked()
	put(t, b.here, "k", "v")
	r, err := b.here.Compact(context.Background(), &pb.CompactionRequest{Revision: int64(b.leader.store.Revision())})
	if err != nil || !b.refused(b.follower) {
		t.Errorf("the first watcher in a while, of what was compacted before, is not refused by a follower (%v, %v)", r, err)
	}
}

// refused reports whether a member refuses a watcher from the first revision on, since it is compacted.
func (b *slowBeat) refused(m *Member) bool {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	stream, err := pb.NewWatchClient(b.dial(m.cfg.Name)).Watch(ctx)
	if err != nil {
		b.t.Fatal(err)
	}
	create := &pb.WatchRequest_CreateRequest{CreateRequest: &pb.WatchCreateRequest{Key: []byte("k"), StartRevision: 1}}
	if err := stream.Send(&pb.WatchRequest{RequestUnion: create}); err != nil {
		b.t.Fatal(err)
	}
	for range 2 { // as in etcd, it is told to be created first
		r, err := stream.Recv()
		if err != nil {
			b.t.Fatal(err)
		}
		if r.Canceled || len(r.Events) > 0 {
			return r.CompactRevision > 0
		}
	}
	return false
}

// hash asks a member, as a client does, for the hash of its state.
func (b *slowBeat) hash(m *Member) uint32 {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	r, err := pb.NewMaintenanceClient(b.dial(m.cfg.Name)).HashKV(ctx, &pb.HashKVRequest{})
	if err != nil {
		b.t.Fatal(err)
	}
	return r.Hash
}

// glance reads at the follower what it has by itself.
func (b *slowBeat) glance(key string) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	r, err := b.there.Range(ctx, &pb.RangeRequest{Key: []byte(key), Serializable: true})
	if err != nil || len(r.Kvs) == 0 {
		return fmt.Errorf("%v, %v", r, err)
	}
	return nil
}

// unasked puts at the leader, and looks where no client does, at the follower's facts.
func (b *slowBeat) unasked() {
	b.t.Helper()
	const few = 4
	began := b.follower.facts.tick.Load()
	b.wait("the follower has been asked whether anybody looks", func() error {
		if n := b.follower.facts.tick.Load() - began; n < 4 {
			return fmt.Errorf("%d heartbeats have passed", n)
		}
		return nil
	})
	n := b.ticks(few, func(key string) {
		put(b.t, b.here, key, key)
		last := b.leader.facts.applied.Load()
		b.wait("the follower has it", func() error {
			if at := b.follower.facts.applied.Load(); at < last {
				return fmt.Errorf("it has applied %d of %d", at, last)
			}
			return nil
		})
	})
	if n < few/2 {
		b.t.Errorf("a follower where nobody looks had %d puts after %d heartbeats: it was told at once", few, n)
	}
}

// watching watches at the follower what is put at the leader from then on.
func (b *slowBeat) watching() {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	s, err := pb.NewWatchClient(b.dial(b.follower.cfg.Name)).Watch(ctx)
	if err != nil {
		b.t.Fatal(err)
	}
	put(b.t, b.here, "k", "before")
	all := &pb.WatchCreateRequest{Key: []byte("k"), RangeEnd: []byte("l")}
	if err := s.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: all}}); err != nil {
		b.t.Fatal(err)
	}
	if r, err := s.Recv(); err != nil || !r.Created {
		b.t.Fatalf("create a watcher: %v, %v", r, err)
	}
	b.soon("a watcher at a follower sees a put at the leader", func(key string) {
		put(b.t, b.here, key, "v")
		if r, err := s.Recv(); err != nil || len(r.Events) != 1 || string(r.Events[0].Kv.Key) != key {
			b.t.Fatalf("after a put of %s: %v, %v", key, r, err)
		}
	})
}
