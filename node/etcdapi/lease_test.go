package etcdapi

import (
	"context"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"raftsman.dev/node/kv"
)

// granting is a backend that grants leases and does nothing else.
type granting struct {
	Backend
	taken  map[int64]bool
	counts int
}

func (g *granting) Serving() error { return nil }
func (g *granting) MinTTL() int64  { return 2 }
func (g *granting) Header() Header { return Header{} }

func (g *granting) Grant(_ context.Context, l kv.Lease) (kv.Result, error) {
	if g.counts++; g.taken[l.ID] {
		return kv.Result{Err: kv.ErrLeaseExists}, nil
	}
	g.taken[l.ID] = true
	return kv.Result{}, nil
}

// TestChosenLeaseIDs: what the member chooses ascends, is positive, differs between members and starts, and passes over
// what is taken; what a client chooses is the client's.
func TestChosenLeaseIDs(t *testing.T) {
	now := time.UnixMilli(1_800_000_000_000)
	seen := map[int64]bool{}
	for _, start := range []struct {
		member uint64
		at     time.Time
	}{{1, now}, {1, now.Add(time.Millisecond)}, {2, now}, {1<<64 - 1, now}, {0, now}} {
		var ids leaseIDs
		ids.begin(start.member, start.at)
		for last, i := int64(0), 0; i < 256; i++ {
			id := ids.next()
			if id <= last || seen[id] {
				t.Fatalf("member %x: %x after %x, seen %v", start.member, id, last, seen[id])
			}
			last, seen[id] = id, true
		}
	}
	g := &granting{taken: map[int64]bool{}}
	s := &leaseServer{b: g}
	s.ids.begin(7, now)
	first := s.ids.last.Load() + 1
	g.taken[first], g.taken[first+1] = true, true
	if r, err := s.LeaseGrant(t.Context(), &pb.LeaseGrantRequest{TTL: 5}); err != nil || r.GetID() != first+2 {
		t.Fatalf("%v, %v", r, err)
	}
	if _, err := s.LeaseGrant(t.Context(), &pb.LeaseGrantRequest{TTL: 5, ID: first}); err == nil || g.counts != 4 {
		t.Fatalf("an ID that a client chose and that is taken: %v, after %d tries", err, g.counts)
	}
}

// TestLeaseIDsNeverEnd: at the end of the numbers they go on from the smallest, without 0.
func TestLeaseIDsNeverEnd(t *testing.T) {
	var ids leaseIDs
	ids.last.Store(1<<63 - 2)
	if a, b := ids.next(), ids.next(); a != 1<<63-1 || b != 1 {
		t.Fatalf("%x, %x", a, b)
	}
}
