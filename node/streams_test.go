package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
)

// limited is a context that ends with the test's patience.
func limited(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// watching is one watch stream of a test's client.
type watching struct {
	t      *testing.T
	stream pb.Watch_WatchClient
}

func (b *bench) watching(ctx context.Context, name string) *watching {
	b.t.Helper()
	s, err := pb.NewWatchClient(b.dial(name)).Watch(ctx)
	if err != nil {
		b.t.Fatal(err)
	}
	return &watching{b.t, s}
}

func (w *watching) next() *pb.WatchResponse {
	w.t.Helper()
	r, err := w.stream.Recv()
	if err != nil {
		w.t.Fatalf("watch: %v", err)
	}
	return r
}

func (w *watching) create(r *pb.WatchCreateRequest) *pb.WatchResponse {
	w.t.Helper()
	if err := w.stream.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: r}}); err != nil {
		w.t.Fatal(err)
	}
	return w.next()
}

// events takes so many events and shows them.
func (w *watching) events(n int) []string {
	w.t.Helper()
	var all []string
	for len(all) < n {
		for _, e := range w.next().GetEvents() {
			line := fmt.Sprintf("%s %s=%s@%d", e.Type, e.Kv.Key, e.Kv.Value, e.Kv.ModRevision)
			if e.PrevKv != nil {
				line += fmt.Sprintf(" was %s@%d", e.PrevKv.Value, e.PrevKv.ModRevision)
			}
			all = append(all, line)
		}
	}
	return all
}

// History is read, watched, streamed and compacted through every member alike.
func TestHistory(t *testing.T) {
	b := newBench(t)
	names := []string{"a", "b", "c"}
	b.group(nil, names...)
	kv, ctx := pb.NewKVClient(b.dial("a")), limited(t)
	put(t, kv, "k", "1")
	put(t, kv, "k", "2")
	if _, err := kv.DeleteRange(ctx, &pb.DeleteRangeRequest{Key: []byte("k")}); err != nil {
		t.Fatal(err)
	}
	put(t, kv, "k", "3")
	want := []string{"PUT k=1@2", "PUT k=2@3 was 1@2", "DELETE k=@4 was 2@3", "PUT k=3@5"}
	for _, name := range names {
		w := b.watching(ctx, name)
		if r := w.create(&pb.WatchCreateRequest{Key: []byte("k"), StartRevision: 2, PrevKv: true}); !r.Created || r.Canceled {
			t.Fatalf("%s: created %v", name, r)
		}
		if got := w.events(4); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
		r, err := pb.NewKVClient(b.dial(name)).Range(ctx, &pb.RangeRequest{Key: []byte("k"), Revision: 3})
		if err != nil || len(r.Kvs) != 1 || string(r.Kvs[0].Value) != "2" || r.Header.Revision != 5 {
			t.Errorf("%s: at revision 3: %v, %v", name, r, err)
		}
	}
	if _, err := pb.NewKVClient(b.dial("c")).Compact(ctx, &pb.CompactionRequest{Revision: 4, Physical: true}); err != nil {
		t.Fatal(err)
	}
	if _, err := kv.Range(ctx, &pb.RangeRequest{Key: []byte("k"), Revision: 3}); !errors.Is(err, rpctypes.ErrGRPCCompacted) {
		t.Errorf("read behind the compaction: %v", err)
	}
	w := b.watching(ctx, "b")
	b.wait("the compaction everywhere", func() error {
		r, err := pb.NewMaintenanceClient(b.dial("b")).HashKV(ctx, &pb.HashKVRequest{})
		if err != nil || r.CompactRevision != 4 {
			return fmt.Errorf("%v, %v", r, err)
		}
		return nil
	})
	w.create(&pb.WatchCreateRequest{Key: []byte("k"), StartRevision: 3})
	if r := w.next(); !r.Canceled || r.CompactRevision != 4 {
		t.Errorf("a watch behind the compaction: %v", r)
	}
	b.equal()
}

// A range of many chunks is what one range answers, also at an earlier revision.
func TestRangeStream(t *testing.T) {
	b := newBench(t)
	b.group(func(c *Config) { c.Limits.RequestBytes = 2000 }, "a")
	kv, ctx := pb.NewKVClient(b.dial("a")), limited(t)
	for i := range 100 {
		put(t, kv, fmt.Sprintf("k%03d", i), fmt.Sprintf("%0100d", i))
	}
	for _, q := range []*pb.RangeRequest{
		{Key: []byte("k"), RangeEnd: []byte("l")}, {Key: []byte("k"), RangeEnd: []byte("l"), Limit: 55}, {Key: []byte("k050"), RangeEnd: []byte{0}, Revision: 80},
		{Key: []byte("k"), RangeEnd: []byte("l"), CountOnly: true}, {Key: []byte("k"), RangeEnd: []byte("l"), KeysOnly: true}, {Key: []byte("k007")}, {Key: []byte("none")},
	} {
		want, err := kv.Range(ctx, q)
		if err != nil {
			t.Fatal(err)
		}
		stream, err := kv.RangeStream(ctx, q)
		if err != nil {
			t.Fatal(err)
		}
		got, chunks := &pb.RangeResponse{}, 0
		for {
			part, err := stream.Recv()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			got.Kvs = append(got.Kvs, part.RangeResponse.Kvs...)
			got.Header, got.More, got.Count = part.RangeResponse.Header, part.RangeResponse.More, part.RangeResponse.Count
			chunks++
		}
		if got.String() != want.String() {
			t.Errorf("%v:\n have %v\n want %v", q, got, want)
		}
		if len(want.Kvs) > 50 && !q.KeysOnly && chunks < 3 {
			t.Errorf("%v: %d chunks", q, chunks)
		}
	}
}

// A range that would take more memory than all of them may is refused, and costs nothing afterwards; in chunks it is
// answered.
func TestRangesAreBounded(t *testing.T) {
	b := newBench(t)
	b.group(func(c *Config) { c.Limits.RangeBytes = 100_000 }, "a")
	kv, ctx := pb.NewKVClient(b.dial("a")), limited(t)
	for i := range 100 {
		put(t, kv, fmt.Sprintf("k%03d", i), fmt.Sprintf("%02000d", i))
	}
	all := &pb.RangeRequest{Key: []byte("k"), RangeEnd: []byte("l")}
	for range 3 {
		if _, err := kv.Range(ctx, all); !errors.Is(err, rpctypes.ErrGRPCRequestTooManyRequests) {
			t.Errorf("a range of 200 kB: %v", err)
		}
		if r, err := kv.Range(ctx, &pb.RangeRequest{Key: []byte("k"), RangeEnd: []byte("l"), Limit: 30}); err != nil || len(r.Kvs) != 30 || r.Count != 100 {
			t.Errorf("a range of 60 kB: %v", err)
		}
	}
	stream, err := kv.RangeStream(ctx, all)
	for keys := 0; err == nil; {
		var part *pb.RangeStreamResponse
		if part, err = stream.Recv(); err == nil {
			keys += len(part.RangeResponse.Kvs)
		} else if errors.Is(err, io.EOF) && keys != 100 {
			t.Errorf("%d keys came in chunks", keys)
		}
	}
	if !errors.Is(err, io.EOF) {
		t.Error(err)
	}
}

// keepAlive renews once, and demands that the member that was asked answers, whoever renewed.
func (b *bench) keepAlive(ctx context.Context, name string, id int64) int64 {
	b.t.Helper()
	s, err := pb.NewLeaseClient(b.dial(name)).LeaseKeepAlive(ctx)
	if err != nil {
		b.t.Fatal(err)
	}
	if err := s.Send(&pb.LeaseKeepAliveRequest{ID: id}); err != nil {
		b.t.Fatal(err)
	}
	r, err := s.Recv()
	if err != nil {
		b.t.Fatal(err)
	}
	status, err := pb.NewMaintenanceClient(b.dial(name)).Status(ctx, &pb.StatusRequest{})
	if err != nil {
		b.t.Fatal(err)
	}
	if of, own := r.Header.MemberId, status.Header.MemberId; of != own {
		b.t.Errorf("%s is %x, and a renewal through it was answered by %x", name, own, of)
	}
	return r.TTL
}

// A lease lives while it is renewed, through whichever member, and a change of leader does not end it early; when nobody
// renews it any more it goes with its keys, and watchers hear of it.
func TestLeases(t *testing.T) {
	b := newBench(t)
	names := []string{"a", "b", "c"}
	b.group(nil, names...)
	ctx := limited(t)
	kv, leases := pb.NewKVClient(b.dial("a")), pb.NewLeaseClient(b.dial("b"))
	granted, err := leases.LeaseGrant(ctx, &pb.LeaseGrantRequest{TTL: 2})
	if err != nil || granted.ID == 0 || granted.TTL != 2 {
		t.Fatalf("%v, %v", granted, err)
	}
	if _, err := leases.LeaseGrant(ctx, &pb.LeaseGrantRequest{ID: granted.ID, TTL: 5}); !errors.Is(err, rpctypes.ErrGRPCLeaseExist) {
		t.Errorf("granted twice: %v", err)
	}
	if _, err := kv.Put(ctx, &pb.PutRequest{Key: []byte("leased"), Lease: granted.ID}); err != nil {
		t.Fatal(err)
	}
	w := b.watching(ctx, "c")
	w.create(&pb.WatchCreateRequest{Key: []byte("leased"), Filters: []pb.WatchCreateRequest_FilterType{pb.WatchCreateRequest_NOPUT}})
	began := time.Now()
	for i := 0; time.Since(began) < 5*time.Second; i++ {
		if ttl := b.keepAlive(ctx, names[i%3], granted.ID); ttl != 2 {
			t.Fatalf("after %v: renewed for %d", time.Since(began), ttl)
		}
		if i == 2 {
			b.members[b.leader()].transfer(ctx, 0)
		}
		b.wait("a moment", tickOnce())
	}
	for _, name := range names {
		left, err := pb.NewLeaseClient(b.dial(name)).LeaseTimeToLive(ctx, &pb.LeaseTimeToLiveRequest{ID: granted.ID, Keys: true})
		if err != nil || left.GrantedTTL != 2 || left.TTL > 2 || left.TTL < 0 || len(left.Keys) != 1 || string(left.Keys[0]) != "leased" {
			t.Errorf("%s: %v, %v", name, left, err)
		}
	}
	renewed := time.Now()
	b.keepAlive(ctx, "a", granted.ID)
	r := w.next()
	if len(r.Events) != 1 || r.Events[0].Type != mvccpb.Event_DELETE || time.Since(renewed) < 2*time.Second {
		t.Errorf("after %v: %v", time.Since(renewed), r)
	}
	if ttl := b.keepAlive(ctx, "b", granted.ID); ttl != 0 {
		t.Errorf("a lease that is gone was renewed for %d", ttl)
	}
	if left, err := leases.LeaseTimeToLive(ctx, &pb.LeaseTimeToLiveRequest{ID: granted.ID}); err != nil || left.TTL != -1 {
		t.Errorf("a lease that is gone: %v, %v", left, err)
	}
	if _, err := leases.LeaseRevoke(ctx, &pb.LeaseRevokeRequest{ID: granted.ID}); !errors.Is(err, rpctypes.ErrGRPCLeaseNotFound) {
		t.Errorf("a lease that is gone was revoked: %v", err)
	}
	b.equal()
}

// The leader lists leases in the order in which they will run out, whatever their ids.
func TestLeasesAreListedSoonestFirst(t *testing.T) {
	b := newBench(t)
	b.group(nil, "a")
	ctx, leases := limited(t), pb.NewLeaseClient(b.dial("a"))
	for id, ttl := range map[int64]int64{5: 3000, 6: 1000, 7: 2000} {
		if _, err := leases.LeaseGrant(ctx, &pb.LeaseGrantRequest{ID: id, TTL: ttl}); err != nil {
			t.Fatal(err)
		}
	}
	r, err := leases.LeaseLeases(ctx, &pb.LeaseLeasesRequest{})
	if err != nil {
		t.Fatal(err)
	}
	var ids []int64
	for _, l := range r.Leases {
		ids = append(ids, l.ID)
	}
	if !slices.Equal(ids, []int64{6, 7, 5}) {
		t.Errorf("listed as %v", ids)
	}
}

// tickOnce is a condition that holds when it is looked at again.
func tickOnce() func() error {
	looks := 0
	return func() error {
		if looks++; looks < 10 {
			return errors.New("not yet")
		}
		return nil
	}
}

// A client that insists on a leader is turned away, and its streams end, where there is none; streams of a member that
// stops end so that their clients go elsewhere.
func TestStreamsEnd(t *testing.T) {
	b := newBench(t)
	b.group(nil, "a", "b", "c")
	ctx := limited(t)
	insisting := metadata.AppendToOutgoingContext(ctx, rpctypes.MetadataRequireLeaderKey, rpctypes.MetadataHasLeader)
	w, patient := b.watching(insisting, "a"), b.watching(ctx, "a")
	w.create(&pb.WatchCreateRequest{Key: []byte("k")})
	patient.create(&pb.WatchCreateRequest{Key: []byte("k")})
	health := healthpb.NewHealthClient(b.dial("a"))
	b.wait("healthy", func() error { return serving(ctx, health, healthpb.HealthCheckResponse_SERVING) })
	b.stop("b")
	b.stop("c")
	b.wait("not healthy", func() error { return serving(ctx, health, healthpb.HealthCheckResponse_NOT_SERVING) })
	if _, err := w.stream.Recv(); !errors.Is(err, rpctypes.ErrGRPCNoLeader) {
		t.Errorf("without a leader: %v", err)
	}
	if s, err := pb.NewWatchClient(b.dial("a")).Watch(insisting); err != nil {
		t.Fatal(err)
	} else if _, err := s.Recv(); !errors.Is(err, rpctypes.ErrGRPCNoLeader) {
		t.Errorf("begun without a leader: %v", err)
	}
	b.stop("a")
	if _, err := patient.stream.Recv(); !errors.Is(err, rpctypes.ErrGRPCStopped) {
		t.Errorf("of a member that stops: %v", err)
	}
}

// A client that has no more to ask still hears of what its watchers wait for, as from etcd.
func TestWatchersOutliveRequests(t *testing.T) {
	b := newBench(t)
	b.group(nil, "a")
	w := b.watching(limited(t), "a")
	w.create(&pb.WatchCreateRequest{Key: []byte("k")})
	if err := w.stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	for _, value := range []string{"1", "2"} {
		put(t, pb.NewKVClient(b.dial("a")), "k", value)
	}
	if got, want := w.events(2), []string{"PUT k=1@2", "PUT k=2@3"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func serving(ctx context.Context, c healthpb.HealthClient, want healthpb.HealthCheckResponse_ServingStatus) error {
	r, err := c.Check(ctx, &healthpb.HealthCheckRequest{})
	if err == nil && r.Status != want {
		err = fmt.Errorf("it is %v", r.Status)
	}
	return err
}
