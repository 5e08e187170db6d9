package main

import (
	"maps"
	"math"
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// maxStreams is how many streams are open at once.
const maxStreams = 4

// stream draws an open stream, or opens one.
func (g *generator) stream() (int, *stream) {
	open := slices.Sorted(maps.Keys(g.oracle.streams))
	if len(open) < maxStreams && (len(open) == 0 || g.rarely(3)) {
		g.opened++
		return g.opened, nil
	}
	n := pick(g, open...)
	return n, g.oracle.streams[n]
}

// watcher draws a watcher's id: one that is there, or any.
func (g *generator) watcher(w *stream) int64 {
	if w != nil && len(w.live) > 0 && !g.rarely(5) {
		return pick(g, slices.Sorted(maps.Keys(w.live))...)
	}
	return pick(g, int64(0), 1, 2, 7, 8, -1, -5, math.MaxInt64)
}

// maxWatchers is how many watchers one stream has.
const maxWatchers = 8

func (g *generator) createWatch() op {
	n, w := g.stream()
	if w != nil && len(w.live) >= maxWatchers {
		return g.closing(n)
	}
	r := &pb.WatchCreateRequest{
		Key: g.key(), PrevKv: g.rarely(2), Fragment: g.rarely(4), ProgressNotify: g.rarely(4), StartRevision: g.start(),
	}
	r.RangeEnd = g.end(r.Key, 2)
	if g.rarely(3) {
		r.WatchId = g.watcher(w)
	}
	for range g.IntN(3) {
		if g.rarely(3) {
			r.Filters = append(r.Filters, pick(g, pb.WatchCreateRequest_NOPUT, pb.WatchCreateRequest_NODELETE))
		}
	}
	if g.rarely(100) {
		r.Filters = append(r.Filters, 7)
	}
	return op{Kind: "Watch", Stream: n, Req: &pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: r}}}
}

// start draws a watcher's first revision: often none, else mostly one that can be read, and some in a future that
// comes or does not.
func (g *generator) start() int64 {
	switch {
	case g.rarely(2):
		return 0
	case g.rarely(8):
		return g.oracle.head + 1 + g.Int64N(30)
	case g.rarely(12):
		return pick[int64](g, -1, math.MinInt64, -7)
	}
	return g.revision(1)
}

func (g *generator) cancelWatch() op {
	n, w := g.stream()
	return op{Kind: "Watch", Stream: n, Req: cancelRequest(g.watcher(w))}
}

func (g *generator) progressWatch() op {
	n, _ := g.stream()
	return op{Kind: "Watch", Stream: n, Req: &pb.WatchRequest{RequestUnion: &pb.WatchRequest_ProgressRequest{ProgressRequest: &pb.WatchProgressRequest{}}}}
}

func (g *generator) closeWatch() op {
	n, _ := g.stream()
	return g.closing(n)
}

func (g *generator) closing(n int) op {
	return op{Kind: "CloseWatch", Stream: n, Req: &pb.WatchRequest{}}
}

// leaseIDs are the leases that are granted by these ids.
func leaseIDs() []int64 { return []int64{1, 2, 3, 4, 5, -7, math.MaxInt64, 1 << 40} }

// lease draws an id: mostly one that may be there.
func (g *generator) lease() int64 {
	if g.rarely(20) {
		return pick(g, int64(0), 999, -1, math.MinInt64)
	}
	return pick(g, leaseIDs()...)
}

func (g *generator) grantOp() op {
	r := &pb.LeaseGrantRequest{ID: g.lease(), TTL: 3600 + g.Int64N(10000)}
	switch g.IntN(20) {
	case 0:
		r.TTL = pick(g, int64(0), 1, -1, math.MinInt64, 59)
		r.ID = pick(g, r.ID, 100+g.Int64N(5))
	case 1:
		r.TTL = pick(g, int64(9_000_000_001), math.MaxInt64)
	case 2:
		r.TTL = 9_000_000_000
	}
	return op{Kind: "LeaseGrant", Req: r}
}

func (g *generator) revokeOp() op {
	return op{Kind: "LeaseRevoke", Req: &pb.LeaseRevokeRequest{ID: g.lease()}}
}

func (g *generator) keepAliveOp() op {
	return op{Kind: "LeaseKeepAlive", Req: &pb.LeaseKeepAliveRequest{ID: g.lease()}}
}

func (g *generator) timeToLiveOp() op {
	return op{Kind: "LeaseTimeToLive", Req: &pb.LeaseTimeToLiveRequest{ID: g.lease(), Keys: g.rarely(2)}}
}

func (g *generator) leasesOp() op { return op{Kind: "LeaseLeases", Req: &pb.LeaseLeasesRequest{}} }
