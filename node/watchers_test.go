package node

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// The numbers of the test of many watchers: streams times watchers each, and writes that each is seen by a few of them.
const (
	crowdStreams  = 50 / crowdShare
	crowdWatchers = 200
	crowdKeys     = 500
	crowdWrites   = 3000 / crowdShare
)

// ledger is what was written, as the writers were told: the truth that watchers are held against.
type ledger struct {
	mu     sync.Mutex
	writes map[int64]string // by revision: the key, "-" before it for a deletion
	last   int64
}

func (l *ledger) note(revision int64, what string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.writes[revision] = what
	l.last = max(l.last, revision)
}

// crowd is many watchers on one stream, which moves to another member when its own goes away.
type crowd struct {
	t      *testing.T
	sites  *sites
	home   int
	slow   bool
	rng    *rand.Rand
	keys   [][2]int // ranges of keys, one for each watcher
	next   []int64  // where each goes on
	seen   []map[int64]string
	moved  int
	cut    int           // watchers that had to jump over a compaction
	finish *atomic.Int64 // the last revision that was written, once it is known
	jumped []int64       // up to which revision a watcher has missed what was compacted
}

// sites are where the members listen, which stays so when they start again, and a connection to each.
type sites struct {
	names     []string
	addresses map[string]string
	conns     map[string]*grpc.ClientConn
}

func (b *bench) sites(names []string) *sites {
	s := &sites{names: names, addresses: map[string]string{}, conns: map[string]*grpc.ClientConn{}}
	for _, name := range names {
		s.addresses[name], s.conns[name] = b.members[name].ClientAddress(), b.dial(name)
	}
	return s
}

func (s *sites) kv(name string) pb.KVClient { return pb.NewKVClient(s.conns[name]) }

func crowdKey(i int) string { return fmt.Sprintf("crowd/%04d", i) }

// follow watches until every watcher has everything up to the last write.
func (c *crowd) follow(ctx context.Context) error {
	for !c.done() {
		err := c.session(ctx, c.sites.names[(c.home+c.moved)%len(c.sites.names)])
		if ctx.Err() != nil {
			return fmt.Errorf("a crowd of %d watchers is at %v of %d: %w", len(c.next), c.next[:3], c.finish.Load(), ctx.Err())
		}
		if err != nil {
			c.moved++
		}
	}
	return nil
}

func (c *crowd) done() bool {
	last := c.finish.Load()
	for _, next := range c.next {
		if last == 0 || next <= last {
			return false
		}
	}
	return true
}

// session is one stream: all watchers are created where they were, and what comes is noted.
func (c *crowd) session(ctx context.Context, member string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	conn, err := grpc.NewClient(c.sites.addresses[member], grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer conn.Close()
	s, err := pb.NewWatchClient(conn).Watch(ctx)
	if err != nil {
		return err
	}
	go func() { // what is asked must not wait for what is answered
		for i := range c.keys {
			r := &pb.WatchCreateRequest{Key: []byte(crowdKey(c.keys[i][0])), WatchId: int64(i + 1), StartRevision: c.next[i], ProgressNotify: true}
			if c.keys[i][1] > c.keys[i][0]+1 {
				r.RangeEnd = []byte(crowdKey(c.keys[i][1]))
			}
			if s.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: r}}) != nil {
				return
			}
		}
		tick := time.NewTicker(300 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			if s.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_ProgressRequest{ProgressRequest: &pb.WatchProgressRequest{}}}) != nil {
				return
			}
		}
	}()
	return c.hear(s)
}

func (c *crowd) hear(s pb.Watch_WatchClient) error {
	created := 0
	for !c.done() {
		r, err := s.Recv()
		if err != nil {
			return err
		}
		switch i := int(r.WatchId) - 1; {
		case r.Canceled && r.CompactRevision > 0:
			c.jump(r.CompactRevision)
			return errors.New("compacted") // and begin anew from there
		case r.Canceled:
			return fmt.Errorf("watcher %d: %s", i, r.CancelReason)
		case r.Created:
			created++
		case r.WatchId == -1:
			if created < len(c.keys) {
				return fmt.Errorf("progress after %d of %d watchers were created", created, len(c.keys))
			}
			for i := range c.next { // all before was sent
				c.next[i] = max(c.next[i], r.Header.Revision+1)
			}
		default:
			c.take(i, r)
		}
		if c.slow && c.rng.IntN(4) == 0 {
			pause := time.NewTimer(20 * time.Millisecond) // a client that is busy with something else
			<-pause.C
		}
	}
	return nil
}

// jump moves every watcher that is behind a compaction past it: one would be cut off after the other, a stream each.
func (c *crowd) jump(compacted int64) {
	for i := range c.next {
		if c.next[i] < compacted {
			c.cut++
			c.next[i], c.jumped[i] = compacted, compacted
		}
	}
}

func (c *crowd) take(i int, r *pb.WatchResponse) {
	for _, e := range r.Events {
		at := e.Kv.ModRevision
		what := string(e.Kv.Key)
		if e.Type == mvccpb.Event_DELETE {
			what = "-" + what
		}
		if at < c.next[i] {
			c.t.Errorf("watcher %d of stream %d: event of revision %d after it had all before %d", i, c.home, at, c.next[i])
		}
		c.seen[i][at] = what
		c.next[i] = at + 1
	}
}

// check holds what every watcher has seen against what was written.
func (c *crowd) check(l *ledger) {
	for i := range c.keys {
		lo, hi := crowdKey(c.keys[i][0]), crowdKey(c.keys[i][1])
		in := func(what string) bool {
			key := what
			if key[0] == '-' {
				key = key[1:]
			}
			return key >= lo && key < hi
		}
		for at, what := range l.writes {
			if in(what) && c.seen[i][at] != what && at >= c.jumped[i] {
				c.t.Fatalf("watcher %d of stream %d (moved %d times): has %q at revision %d, %q was written", i, c.home, c.moved, c.seen[i][at], at, what)
			}
		}
		for at, what := range c.seen[i] {
			if l.writes[at] != what {
				c.t.Fatalf("watcher %d of stream %d: saw %q at revision %d, where %q was written", i, c.home, what, at, l.writes[at])
			}
		}
	}
}

// Ten thousand watchers, slow ones among them, miss, repeat and reorder nothing while members restart, the leader changes
// and history is compacted.
func TestManyWatchers(t *testing.T) {
	b := newBench(t)
	names := []string{"a", "b", "c"}
	b.group(nil, names...)
	ctx, cancel := context.WithTimeout(context.Background(), 6*patience) // it takes half a patience on an idle machine
	defer cancel()
	at := b.sites(names)
	l, finish := &ledger{writes: map[int64]string{}}, &atomic.Int64{}
	var crowds []*crowd
	var followers sync.WaitGroup
	for n := range crowdStreams {
		c := newCrowd(t, at, n, finish)
		crowds = append(crowds, c)
		followers.Go(func() {
			if err := c.follow(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	upset := b.writeAndUpset(ctx, l, at)
	finish.Store(l.last)
	followers.Wait()
	moved, cut := 0, 0
	for _, c := range crowds {
		moved, cut = moved+c.moved, cut+c.cut
		c.check(l)
	}
	t.Logf("%d watchers on %d streams saw %d writes through %s; streams moved %d times, %d watchers were cut off by a compaction", crowdStreams*crowdWatchers, crowdStreams, len(l.writes), upset, moved, cut)
	if moved < crowdStreams/2 {
		t.Errorf("only %d streams moved: nothing was upset", moved)
	}
}

func newCrowd(t *testing.T, at *sites, n int, finish *atomic.Int64) *crowd {
	rng := rand.New(rand.NewPCG(uint64(n), 1))
	c := &crowd{t: t, sites: at, home: n, slow: n%5 == 0, rng: rng, finish: finish, jumped: make([]int64, crowdWatchers)}
	for range crowdWatchers {
		from := rng.IntN(crowdKeys)
		c.keys = append(c.keys, [2]int{from, from + 1 + rng.IntN(2)*rng.IntN(5)})
		c.next = append(c.next, 2)
		c.seen = append(c.seen, map[int64]string{})
	}
	return c
}

// writeAndUpset writes, and meanwhile restarts members, moves the leader and compacts. Every write is noted under the
// revision that it was answered with; one whose outcome is not known is looked up.
func (b *bench) writeAndUpset(ctx context.Context, l *ledger, s *sites) (did string) {
	rng := rand.New(rand.NewPCG(7, 7))
	restarts, transfers, compactions := 0, 0, 0
	member := 0
	for i := range crowdWrites {
		s.writeOne(ctx, b.t, l, rng, &member, i)
		switch {
		case i%(1000/crowdShare) == 700/crowdShare:
			name := s.names[rng.IntN(3)]
			b.stop(name)
			b.start(b.configs[name])
			restarts++
		case i%(500/crowdShare) == 300/crowdShare:
			_ = b.members[b.leader()].transfer(ctx, 0) // that it may fail is part of it
			transfers++
		case i%400 == 399:
			if _, err := s.kv(s.names[member]).Compact(ctx, &pb.CompactionRequest{Revision: l.last - 200}); err == nil {
				compactions++
			}
		}
	}
	return fmt.Sprintf("%d restarts, %d transfers and %d compactions", restarts, transfers, compactions)
}

// writeOne puts or deletes a key, again and elsewhere until it is certain that it was done once: every value is another.
func (s *sites) writeOne(ctx context.Context, t *testing.T, l *ledger, rng *rand.Rand, member *int, i int) {
	key := crowdKey(rng.IntN(crowdKeys))
	value := fmt.Sprint(i)
	for ctx.Err() == nil {
		kv := s.kv(s.names[*member])
		once := &pb.TxnRequest{ // the first try that gets through writes the token with the key, and no other one does
			Compare: []*pb.Compare{{Key: []byte("token"), Target: pb.Compare_VALUE, Result: pb.Compare_EQUAL, TargetUnion: &pb.Compare_Value{Value: []byte(value)}}},
			Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestRange{RequestRange: &pb.RangeRequest{Key: []byte("token")}}}},
			Failure: []*pb.RequestOp{opPut("token", value), opPut(key, value)},
		}
		deletes := i%7 == 6
		if deletes {
			once.Failure[1] = opDelete(key, "")
		}
		r, err := kv.Txn(ctx, once)
		if err != nil {
			*member = (*member + 1) % len(s.names)
			continue
		}
		at, gone := r.Header.Revision, int64(0)
		if r.Succeeded { // an earlier try had got through
			at = r.Responses[0].GetResponseRange().Kvs[0].ModRevision
			gone = s.deletedAt(ctx, t, key, at)
		} else if deletes {
			gone = r.Responses[1].GetResponseDeleteRange().Deleted
		}
		switch {
		case !deletes:
			l.note(at, key)
		case gone > 0:
			l.note(at, "-"+key)
		}
		return
	}
}

// deletedAt reports 1 if a key was there just before a revision.
func (s *sites) deletedAt(ctx context.Context, t *testing.T, key string, at int64) int64 {
	for _, m := range s.names {
		r, err := s.kv(m).Range(ctx, &pb.RangeRequest{Key: []byte(key), Revision: at - 1})
		if err == nil {
			return r.Count
		}
		if errors.Is(err, rpctypes.ErrGRPCCompacted) {
			t.Fatalf("revision %d is compacted already", at)
		}
	}
	return 0
}
