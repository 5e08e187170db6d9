package etcdapi

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/url"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// passedOn marks a request that a member has sent on to the leader, so that it goes one step only.
const passedOn = "raftsman-passed-on"

// onLeader sends a request on to the leader's client address, as etcd does by its log.
func onLeader[Q, R, C any](ctx context.Context, l *leaderConn, q Q, client func(grpc.ClientConnInterface) C, call func(C, context.Context, Q, ...grpc.CallOption) (R, error)) (R, error) {
	var none R
	conn, err := l.get(ctx)
	if err != nil {
		return none, toStatus(err)
	}
	r, err := call(client(conn), metadata.AppendToOutgoingContext(ctx, passedOn, "1"), q)
	return r, unlessClosed(ctx, err)
}

// unlessClosed is the error of a call over the leader's connection. If the connection was closed under it, gRPC says
// "canceled", which nobody did: the leader has changed, and what the call did is unknown.
func unlessClosed(ctx context.Context, err error) error {
	if status.Code(err) == codes.Canceled && ctx.Err() == nil {
		return toStatus(ErrLeaderChanged)
	}
	return err
}

// leaderConn is the one connection over which this member sends requests on to the leader.
type leaderConn struct {
	b Backend

	mu     sync.Mutex
	url    string // of conn
	conn   *grpc.ClientConn
	closed bool
}

// get returns the connection to the leader, for a request that has not been sent on already. It is shared: the caller
// does not close it. It closes, and ends what runs over it, once the leader's URL is another one, and at close. Errors:
// ErrNotLeader for a request that was sent on, ErrNoLeader, ErrStopped, or what is wrong with the leader's URL.
func (l *leaderConn) get(ctx context.Context) (*grpc.ClientConn, error) {
	if in, _ := metadata.FromIncomingContext(ctx); len(in.Get(passedOn)) > 0 {
		return nil, ErrNotLeader
	}
	conn, old, err := l.swap()
	if old != nil {
		_ = old.Close() // there is nothing to learn from it
	}
	return conn, err
}

// swap returns the connection to the leader as it is now and, if that is a new one, the one that it replaces. Connecting
// itself takes place later, in gRPC.
func (l *leaderConn) swap() (conn, old *grpc.ClientConn, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, nil, ErrStopped
	}
	// Asked under the lock: whoever had an older answer would put the older leader's connection back.
	urls := l.b.LeaderURLs()
	if len(urls) == 0 {
		return nil, nil, ErrNoLeader
	}
	if l.conn != nil && l.url == urls[0] {
		return l.conn, nil, nil
	}
	if conn, err = dialMember(urls[0], l.b.MemberTLS); err != nil {
		return nil, nil, err
	}
	old, l.conn, l.url = l.conn, conn, urls[0]
	return conn, old, nil
}

// close closes the connection for good; closing twice is harmless.
func (l *leaderConn) close() {
	l.mu.Lock()
	conn := l.conn
	l.conn, l.closed = nil, true
	l.mu.Unlock()
	if conn != nil {
		_ = conn.Close()
	}
}

// How a connection to another member is kept: a leader that comes back is tried again soon, and one that vanished
// without a word is noticed while requests wait for it. gRPC's servers take a ping in 5 s at most, its clients send one
// in 10 s at most.
const (
	retryFirst  = 100 * time.Millisecond
	retryMost   = 2 * time.Second
	connectMost = 5 * time.Second
	pingAfter   = 10 * time.Second
	pingAnswer  = 5 * time.Second
)

// dialMember prepares a connection to another member's client port: with TLS where its URL is https.
func dialMember(raw string, trust func(host string) *tls.Config) (*grpc.ClientConn, error) {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" {
		return nil, fmt.Errorf("the leader's client URL is %q: start it with --advertise-client as http://host:port or https://host:port", raw)
	}
	secure := insecure.NewCredentials()
	if u.Scheme == "https" {
		secure = credentials.NewTLS(trust(u.Hostname()))
	}
	pace := backoff.DefaultConfig
	pace.BaseDelay, pace.MaxDelay = retryFirst, retryMost
	return grpc.NewClient("dns:///"+u.Host,
		grpc.WithTransportCredentials(secure),
		grpc.WithNoProxy(),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: pace, MinConnectTimeout: connectMost}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: pingAfter, Timeout: pingAnswer}),
	)
}
