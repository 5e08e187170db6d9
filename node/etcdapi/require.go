package etcdapi

import (
	"context"
	"sync"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
)

// LeaderGuard holds requests to a leader that is known, for clients that ask for it (metadata "hasleader: true", as
// etcd's clients send it): without a leader they are refused, and their open streams end when it has been missing for
// a while.
type LeaderGuard struct {
	known func() bool

	mu      sync.Mutex
	missed  int
	streams map[*context.CancelCauseFunc]struct{}
}

// missedLimit is how many looks in a row must find no leader until streams end, as in etcd.
const missedLimit = 3

// NewLeaderGuard makes a guard; known says whether this member knows a leader now.
func NewLeaderGuard(known func() bool) *LeaderGuard {
	return &LeaderGuard{known: known, streams: map[*context.CancelCauseFunc]struct{}{}}
}

// Look is to be called once an election timeout.
func (g *LeaderGuard) Look() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.known() {
		g.missed = 0
		return
	}
	if g.missed++; g.missed < missedLimit {
		return
	}
	for cancel := range g.streams {
		(*cancel)(rpctypes.ErrGRPCNoLeader)
	}
	clear(g.streams)
}

// wanted reports whether the client insists on a leader.
func wanted(ctx context.Context) bool {
	in, _ := metadata.FromIncomingContext(ctx)
	values := in.Get(rpctypes.MetadataRequireLeaderKey)
	return len(values) > 0 && values[0] == rpctypes.MetadataHasLeader
}

// Unary refuses requests that insist on a leader while none is known.
func (g *LeaderGuard) Unary(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
	if wanted(ctx) && !g.known() {
		return nil, rpctypes.ErrGRPCNoLeader
	}
	return handle(ctx, req)
}

// Stream does the same, and ends the stream when the leader is lost: its context's cause is etcd's error.
func (g *LeaderGuard) Stream(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handle grpc.StreamHandler) error {
	if !wanted(stream.Context()) {
		return handle(srv, stream)
	}
	if !g.known() {
		return rpctypes.ErrGRPCNoLeader
	}
	ctx, cancel := context.WithCancelCause(stream.Context())
	defer cancel(nil)
	g.mu.Lock()
	g.streams[&cancel] = struct{}{}
	g.mu.Unlock()
	defer func() {
		g.mu.Lock()
		delete(g.streams, &cancel)
		g.mu.Unlock()
	}()
	return handle(srv, guarded{stream, ctx})
}

// guarded is a stream with the guard's context.
type guarded struct {
	grpc.ServerStream
	ctx context.Context
}

// Context ends with the stream, or when the leader is lost.
func (s guarded) Context() context.Context { return s.ctx }
