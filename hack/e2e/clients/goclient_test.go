package clients

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/kubernetes"
	"go.etcd.io/etcd/client/v3/leasing"
	"go.etcd.io/etcd/client/v3/mirror"
	"go.etcd.io/etcd/client/v3/namespace"
)

// session is the official client at work on a group.
type session struct {
	*testing.T
	g   *group
	c   *clientv3.Client
	ctx context.Context
}

// TestGo runs a session of the official Go client on etcd, which shows that the session asks for what etcd does, and on
// Raftsman.
func TestGo(t *testing.T) {
	p := need(t, etcd)
	t.Parallel()
	for _, system := range []string{etcd, raftsman} {
		t.Run(system, func(t *testing.T) {
			t.Parallel()
			began := time.Now()
			g := newGroup(t, system, p)
			up := time.Since(began)
			for _, part := range []struct {
				name string
				run  func(*session)
			}{
				{"kv", (*session).kv}, {"namespace", (*session).namespace}, {"kubernetes", (*session).kubernetes},
				{"leasing", (*session).leasing}, {"mirror", (*session).mirror}, {"compaction", (*session).compaction},
				{"watch across restarts", (*session).watch}, {"lease across a change of leader", (*session).lease},
				{"mutex", (*session).mutex}, {"election", (*session).election}, {"stm", (*session).stm}, {"recipes", (*session).recipes},
			} {
				t.Run(part.name, func(t *testing.T) {
					ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
					defer cancel()
					c := g.dial(g.members...)
					defer c.Close()
					part.run(&session{T: t, g: g, c: c, ctx: ctx})
				})
			}
			say("clients: Go: the session on %s: failed=%v in %v, of which %v until it was up", system, t.Failed(),
				time.Since(began).Round(100*time.Millisecond), up.Round(100*time.Millisecond))
		})
	}
}

// must ends the part at an error.
func (s *session) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

// is demands that something is as it is to be.
func is[V comparable](s *session, what string, got, want V) {
	s.Helper()
	if got != want {
		s.Fatalf("%s is %v, not %v", what, got, want)
	}
}

func (s *session) put(key, value string, opts ...clientv3.OpOption) *clientv3.PutResponse {
	s.Helper()
	r, err := s.c.Put(s.ctx, key, value, opts...)
	s.must(err)
	return r
}

// get is a key's value, or "-" if there is none.
func (s *session) get(key string) string {
	s.Helper()
	r, err := s.c.Get(s.ctx, key)
	s.must(err)
	if len(r.Kvs) == 0 {
		return "-"
	}
	return string(r.Kvs[0].Value)
}

func (s *session) kv() {
	first := s.put("kv/a", "1")
	second := s.put("kv/a", "2", clientv3.WithPrevKV())
	is(s, "the revision", second.Header.Revision, first.Header.Revision+1)
	is(s, "the previous value", string(second.PrevKv.Value), "1")
	old, err := s.c.Get(s.ctx, "kv/a", clientv3.WithRev(first.Header.Revision))
	s.must(err)
	is(s, "the old value", string(old.Kvs[0].Value), "1")
	is(s, "the revision of a read of the past", old.Header.Revision >= second.Header.Revision, true)
	for i := range 5 {
		s.put(fmt.Sprintf("kv/list/%d", i), strconv.Itoa(9-i))
	}
	page, err := s.c.Get(s.ctx, "kv/list/", clientv3.WithPrefix(), clientv3.WithLimit(2), clientv3.WithSort(clientv3.SortByValue, clientv3.SortAscend))
	s.must(err)
	is(s, "the first by value", string(page.Kvs[0].Key), "kv/list/4")
	is(s, "more and count", fmt.Sprint(page.More, page.Count, len(page.Kvs)), "true 5 2")
	stream, err := s.c.GetStream(s.ctx, "kv/list/", clientv3.WithPrefix())
	s.must(err)
	merged, err := clientv3.GetStreamToGetResponse(stream)
	s.must(err)
	is(s, "the stream's count", fmt.Sprint(merged.Count, len(merged.Kvs), merged.More), "5 5 false")
	// All compares are decided before anything is done.
	nested, err := s.c.Txn(s.ctx).If(clientv3.Compare(clientv3.Value("kv/a"), "=", "2")).Then(
		clientv3.OpPut("kv/b", "1"),
		clientv3.OpTxn([]clientv3.Cmp{clientv3.Compare(clientv3.Version("kv/b"), "=", 0)}, []clientv3.Op{clientv3.OpGet("kv/b")}, nil),
		clientv3.OpDelete("kv/list/", clientv3.WithPrefix(), clientv3.WithPrevKV()),
	).Commit()
	s.must(err)
	is(s, "the transaction", fmt.Sprint(nested.Succeeded, len(nested.Responses)), "true 3")
	inner := nested.Responses[1].GetResponseTxn()
	is(s, "what the inner transaction reads", fmt.Sprintf("%v %s", inner.GetSucceeded(), string(inner.GetResponses()[0].GetResponseRange().GetKvs()[0].GetValue())), "true 1")
	is(s, "how many are deleted", nested.Responses[2].GetResponseDeleteRange().GetDeleted(), 5)
	_, err = s.c.Put(s.ctx, "kv/none", "", clientv3.WithIgnoreValue())
	is(s, "the error", errors.Is(err, rpctypes.ErrKeyNotFound), true)
	_, err = s.c.Get(s.ctx, "kv/a", clientv3.WithRev(1<<40))
	is(s, "the error", errors.Is(err, rpctypes.ErrFutureRev), true)
}

func (s *session) namespace() {
	kv, watcher := namespace.NewKV(s.c.KV, "ns/"), namespace.NewWatcher(s.c.Watcher, "ns/")
	r, err := kv.Put(s.ctx, "a", "1")
	s.must(err)
	is(s, "the key with its prefix", s.get("ns/a"), "1")
	w := <-watcher.Watch(s.ctx, "a", clientv3.WithRev(r.Header.Revision))
	s.must(w.Err())
	is(s, "the key without its prefix", string(w.Events[0].Kv.Key), "a")
}

// kubernetes uses the interface that kube-apiserver's storage uses.
func (s *session) kubernetes() {
	k, err := kubernetes.New(clientv3.Config{Endpoints: addresses(s.g.members), DialTimeout: 2 * time.Second})
	s.must(err)
	defer k.Client.Close()
	created, err := k.Kubernetes.OptimisticPut(s.ctx, "k8s/a", []byte("1"), 0, kubernetes.PutOptions{})
	s.must(err)
	is(s, "the creation", created.Succeeded, true)
	again, err := k.Kubernetes.OptimisticPut(s.ctx, "k8s/a", []byte("2"), 0, kubernetes.PutOptions{GetOnFailure: true})
	s.must(err)
	is(s, "the second creation", fmt.Sprintf("%v %s", again.Succeeded, again.KV.Value), "false 1")
	changed, err := k.Kubernetes.OptimisticPut(s.ctx, "k8s/a", []byte("2"), created.Revision, kubernetes.PutOptions{})
	s.must(err)
	list, err := k.Kubernetes.List(s.ctx, "k8s/", kubernetes.ListOptions{Limit: 1})
	s.must(err)
	is(s, "the list", fmt.Sprintf("%d %s", list.Count, list.Kvs[0].Value), "1 2")
	n, err := k.Kubernetes.Count(s.ctx, "k8s/", kubernetes.CountOptions{})
	s.must(err)
	is(s, "the count", n, 1)
	gone, err := k.Kubernetes.OptimisticDelete(s.ctx, "k8s/a", changed.Revision, kubernetes.DeleteOptions{})
	s.must(err)
	is(s, "the deletion", gone.Succeeded, true)
}

// leasing caches keys under leases; another client's write takes them back.
func (s *session) leasing() {
	cached, done, err := leasing.NewKV(s.c, "leasing/")
	s.must(err)
	defer done()
	s.put("cached", "1")
	for range 2 {
		r, err := cached.Get(s.ctx, "cached")
		s.must(err)
		is(s, "the cached value", string(r.Kvs[0].Value), "1")
	}
	other, done, err := leasing.NewKV(s.c, "leasing/")
	s.must(err)
	defer done()
	_, err = other.Put(s.ctx, "cached", "2")
	s.must(err)
	r, err := cached.Get(s.ctx, "cached")
	s.must(err)
	is(s, "the value after another's write", string(r.Kvs[0].Value), "2")
}

// mirror copies a prefix and follows it.
func (s *session) mirror() {
	const n = 50
	for i := range n {
		s.put(fmt.Sprintf("mirror/%03d", i), "x")
	}
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	syncer := mirror.NewSyncer(s.c, "mirror/", 0)
	base, failed := syncer.SyncBase(ctx)
	keys := 0
	for r := range base {
		keys += len(r.Kvs)
	}
	s.must(<-failed)
	is(s, "how many keys are copied", keys, n)
	updates := syncer.SyncUpdates(ctx)
	s.put("mirror/later", "y")
	u := <-updates
	s.must(u.Err())
	is(s, "the update", string(u.Events[0].Kv.Key), "mirror/later")
}

func (s *session) compaction() {
	first := s.put("compact", "1").Header.Revision
	last := s.put("compact", "2").Header.Revision
	_, err := s.c.Compact(s.ctx, last, clientv3.WithCompactPhysical())
	s.must(err)
	_, err = s.c.Get(s.ctx, "compact", clientv3.WithRev(first))
	is(s, "the error", errors.Is(err, rpctypes.ErrCompacted), true)
	w := <-s.c.Watch(s.ctx, "compact", clientv3.WithRev(first))
	is(s, "the watch", fmt.Sprint(w.Canceled, w.CompactRevision == last, errors.Is(w.Err(), rpctypes.ErrCompacted)), "true true true")
}

// watch sees every write once and in order, while each member is killed and comes back.
func (s *session) watch() {
	const each = 40
	watching := s.c.Watch(clientv3.WithRequireLeader(s.ctx), "watch/", clientv3.WithPrefix(), clientv3.WithCreatedNotify(), clientv3.WithPrevKV())
	created := <-watching
	s.must(created.Err())
	next := 0
	expect := func(upTo int) {
		s.Helper()
		for next < upTo {
			w, ok := <-watching
			if !ok || w.Err() != nil {
				s.Fatalf("the watch ends at %d: %v", next, w.Err())
			}
			for _, e := range w.Events {
				is(s, "the next event", fmt.Sprint(e.Type, " ", string(e.Kv.Key), "=", string(e.Kv.Value)), fmt.Sprintf("PUT watch/key=%d", next))
				is(s, "its version", e.Kv.Version, int64(next+1))
				if next > 0 {
					is(s, "what was before", string(e.PrevKv.GetValue()), strconv.Itoa(next-1))
				}
				next++
			}
		}
	}
	written := 0
	write := func() {
		s.Helper()
		for range each {
			// A write whose outcome is not known is followed by one that settles it.
			s.g.until("a write is acknowledged", func(ctx context.Context) error {
				_, err := s.c.Txn(ctx).If(clientv3.Compare(clientv3.Version("watch/key"), "=", int64(written))).
					Then(clientv3.OpPut("watch/key", strconv.Itoa(written))).Commit()
				return err
			})
			written++
		}
	}
	write()
	for _, m := range s.g.members {
		expect(written)
		s.g.kill(m)
		write()
		s.g.revive(m)
		write()
	}
	expect(written)
	s.must(s.c.RequestProgress(clientv3.WithRequireLeader(s.ctx)))
	for w := range watching {
		s.must(w.Err())
		if w.IsProgressNotify() {
			return
		}
	}
	s.Fatal("no progress is told")
}

// lease is kept alive while the leader changes by request and by force; let go, it ends, and its key with it.
func (s *session) lease() {
	const seconds = 5
	granted, err := s.c.Grant(s.ctx, seconds)
	s.must(err)
	is(s, "the time granted", granted.TTL, seconds)
	s.put("lease/key", "held", clientv3.WithLease(granted.ID))
	keeping, letGo := context.WithCancel(s.ctx)
	defer letGo()
	beats, err := s.c.KeepAlive(keeping, granted.ID)
	s.must(err)
	beat := func(d time.Duration) {
		s.Helper()
		for over := time.After(d); ; {
			select {
			case b, ok := <-beats:
				if !ok {
					s.Fatal("the lease is not kept alive any more")
				}
				is(s, "the time of a beat", b.TTL, seconds)
			case <-over:
				return
			}
		}
	}
	beat(time.Second)
	other := s.g.members[(indexOf(s.g, leaderOf(s.g))+1)%size]
	s.g.lead(other)
	beat((seconds + 1) * time.Second)
	is(s, "the key after a change of leader", s.get("lease/key"), "held")
	s.g.kill(other)
	defer s.g.revive(other)
	beat((seconds + 1) * time.Second)
	is(s, "the key after the leader's death", s.get("lease/key"), "held")
	left, err := s.c.TimeToLive(s.ctx, granted.ID, clientv3.WithAttachedKeys())
	s.must(err)
	is(s, "the lease", fmt.Sprintf("%d %s", left.GrantedTTL, left.Keys), fmt.Sprintf("%d [lease/key]", seconds))
	ends := s.c.Watch(s.ctx, "lease/key", clientv3.WithRev(granted.Revision))
	letGo()
	for w := range ends {
		s.must(w.Err())
		for _, e := range w.Events {
			if e.Type == mvccpb.DELETE {
				is(s, "the key after its lease", s.get("lease/key"), "-")
				return
			}
		}
	}
	s.Fatal("the lease does not end")
}
