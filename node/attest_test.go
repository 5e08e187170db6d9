package node

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"raftsman.dev/node/kv"
)

// load puts the keys n times each by transactions, so that points of attestation are passed.
func load(t *testing.T, client pb.KVClient, n int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	errs := make(chan error, n)
	for i := range n {
		go func() {
			_, err := client.Put(ctx, &pb.PutRequest{Key: fmt.Appendf(nil, "key%d", i%50), Value: fmt.Append(nil, i)})
			errs <- err
		}()
	}
	for range n {
		if err := <-errs; err != nil {
			t.Fatalf("put: %v", err)
		}
	}
}

// alter changes the store of a stopped member behind its back: it applies one command that no log holds, in the place
// of a later entry, and takes the place back.
func (b *bench) alter(name string) {
	b.t.Helper()
	dir := filepath.Join(b.dir, name, "store")
	s, err := kv.Open(dir, kv.Options{})
	if err != nil {
		b.t.Fatal(err)
	}
	at := s.Applied()
	c := kv.Command{ID: kv.CommandID{Origin: 1, Boot: 1, Seq: 1}, Floor: 1, Txn: kv.Txn{Success: []kv.Op{{Put: &kv.PutRequest{Key: []byte("key7"), Value: []byte("wrong")}}}}}
	if _, err := s.Apply([]kv.Entry{{Index: at.Index + 1, Term: at.Term, Command: c.AppendTo(nil)}}, 0, nil); err != nil {
		b.t.Fatal(err)
	}
	if err := s.Flush(); err != nil {
		b.t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		b.t.Fatal(err)
	}
}

// TestAttestation: the store of one of three members is changed behind its back. It is found at the next point, named by
// the leader, and answers nobody; the others serve on. Started again, it has their state.
func TestAttestation(t *testing.T) {
	b := newBench(t)
	b.group(nil, "a", "b", "c")
	leader := b.leader()
	victim := map[bool]string{true: "b", false: "c"}[leader != "b"]
	client := pb.NewKVClient(b.dial(leader))
	load(t, client, 100)
	b.equal()
	b.stop(victim)
	load(t, client, 3) // the entries in whose place something else stands in the store
	b.alter(victim)
	b.start(b.configs[victim])
	load(t, client, kv.PointEvery+10)
	found := func(victim string) func() error {
		return func() error {
			s, l := b.status(victim), b.status(b.leader())
			if s.Diverged == nil || s.Ready || s.Diverged.Sum == s.Diverged.Majority {
				return fmt.Errorf("%s: diverged %+v, ready %v", victim, s.Diverged, s.Ready)
			}
			for _, p := range l.Progress {
				if p.ID == s.MemberID && p.Diverged != nil && l.Attested >= s.Diverged.Index {
					return nil
				}
			}
			return fmt.Errorf("%s does not name %s: %+v", l.Name, victim, l.Progress)
		}
	}
	b.wait("the victim is found", found(victim))
	refuses := func() {
		t.Helper()
		at := pb.NewKVClient(b.dial(victim))
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		_, read := at.Range(ctx, &pb.RangeRequest{Key: []byte("key1"), Serializable: true})
		_, write := at.Put(ctx, &pb.PutRequest{Key: []byte("key1")})
		if status.Code(read) != codes.Unavailable || status.Code(write) != codes.Unavailable {
			t.Errorf("a read at %s: %v; a write: %v", victim, read, write)
		}
	}
	refuses()
	put(t, client, "after", "all")
	for _, name := range []string{"a", "b", "c"} {
		if name != victim {
			if s := b.status(name); s.Diverged != nil || !s.Ready {
				t.Errorf("%s: diverged %+v, ready %v", name, s.Diverged, s.Ready)
			}
		}
	}
	b.stop(victim)
	b.start(b.configs[victim])
	b.wait("the victim has the others' state", func() error {
		if s := b.status(victim); s.Diverged != nil || !s.Ready {
			return fmt.Errorf("%s: diverged %+v, ready %v", victim, s.Diverged, s.Ready)
		}
		return nil
	})
	b.equal()
}
