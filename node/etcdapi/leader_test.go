package etcdapi

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// follower is a backend that knows only where the leader is.
type follower struct {
	Backend
	urls atomic.Pointer[[]string]
}

func newFollower(urls ...string) *follower {
	f := &follower{}
	f.lead(urls...)
	return f
}

func (f *follower) lead(urls ...string)          { f.urls.Store(&urls) }
func (f *follower) LeaderURLs() []string         { return *f.urls.Load() }
func (f *follower) MemberTLS(string) *tls.Config { return &tls.Config{MinVersion: tls.VersionTLS12} }

// leading is a leader that answers a promotion with its name, once it is let.
type leading struct {
	pb.UnimplementedClusterServer
	name    string
	arrived chan struct{}
	let     chan struct{}
	accepts atomic.Int64 // connections
	sentOn  atomic.Int64 // requests that bear the mark
}

// counted counts the connections that it accepts.
type counted struct {
	net.Listener
	n *atomic.Int64
}

func (c counted) Accept() (net.Conn, error) {
	conn, err := c.Listener.Accept()
	if err == nil {
		c.n.Add(1)
	}
	return conn, err
}

func (l *leading) MemberPromote(ctx context.Context, _ *pb.MemberPromoteRequest) (*pb.MemberPromoteResponse, error) {
	if in, _ := metadata.FromIncomingContext(ctx); len(in.Get(passedOn)) > 0 {
		l.sentOn.Add(1)
	}
	l.arrived <- struct{}{}
	select {
	case <-l.let:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return &pb.MemberPromoteResponse{Members: []*pb.Member{{Name: l.name}}}, nil
}

func newLeading(t *testing.T, name string) (*leading, string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s, lead := grpc.NewServer(), &leading{name: name, arrived: make(chan struct{}, 100), let: make(chan struct{})}
	pb.RegisterClusterServer(s, lead)
	var wg sync.WaitGroup
	wg.Go(func() { _ = s.Serve(counted{l, &lead.accepts}) })
	t.Cleanup(func() { s.Stop(); wg.Wait() })
	return lead, "http://" + l.Addr().String()
}

func promote(ctx context.Context, l *leaderConn) (string, error) {
	r, err := onLeader(ctx, l, &pb.MemberPromoteRequest{}, pb.NewClusterClient, pb.ClusterClient.MemberPromote)
	if err != nil {
		return "", err
	}
	return r.Members[0].Name, nil
}

// Requests to one leader share a connection; another leader's URL makes another one, and what was on its way to the
// leader before is told that the leader has changed: nobody canceled it.
func TestLeaderConn(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	a, urlA := newLeading(t, "a")
	b, urlB := newLeading(t, "b")
	f := newFollower(urlA)
	l := &leaderConn{b: f}
	defer l.close()
	close(b.let)

	type answer struct {
		name string
		err  error
	}
	answers := make(chan answer, 10)
	for range 10 {
		go func() {
			name, err := promote(ctx, l)
			answers <- answer{name, err}
		}()
	}
	for range 10 {
		<-a.arrived
	}
	for range 9 {
		a.let <- struct{}{}
		if got := <-answers; got.name != "a" || got.err != nil {
			t.Fatal(got)
		}
	}
	if n, m := a.accepts.Load(), a.sentOn.Load(); n != 1 || m != 10 {
		t.Fatalf("%d connections, %d marked requests", n, m)
	}
	f.lead(urlB)
	if name, err := promote(ctx, l); name != "b" || err != nil {
		t.Fatal(name, err)
	}
	if got := <-answers; !errors.Is(got.err, rpctypes.ErrGRPCLeaderChanged) {
		t.Fatalf("a request to the leader before ended with %q, %v", got.name, got.err)
	}
	f.lead()
	if _, err := promote(ctx, l); !errors.Is(err, rpctypes.ErrGRPCNoLeader) {
		t.Fatal(err)
	}
	f.lead(urlB)
	if name, err := promote(ctx, l); name != "b" || err != nil || b.accepts.Load() != 1 {
		t.Fatal(name, err, b.accepts.Load())
	}
}

// A request is sent on one step only; a client that goes away is not told of a leader; nothing is sent after the end.
func TestLeaderConnRefuses(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	a, url := newLeading(t, "a")
	f := newFollower(url)
	l := &leaderConn{b: f}
	marked := metadata.NewIncomingContext(ctx, metadata.Pairs(passedOn, "1"))
	if _, err := promote(marked, l); !errors.Is(err, rpctypes.ErrGRPCNotLeader) {
		t.Fatal(err)
	}
	gone, leave := context.WithCancel(ctx)
	answer := make(chan error, 1)
	go func() {
		_, err := promote(gone, l)
		answer <- err
	}()
	<-a.arrived
	leave()
	if err := <-answer; status.Code(err) != codes.Canceled {
		t.Fatal(err)
	}
	for _, bad := range []string{"127.0.0.1:2379", "", "http://", "http://%zz"} {
		f.lead(bad)
		if _, err := promote(ctx, l); status.Code(err) != codes.Unavailable {
			t.Errorf("leader's URL %q: %v", bad, err)
		}
	}
	f.lead(url)
	go func() {
		_, err := promote(ctx, l)
		answer <- err
	}()
	<-a.arrived
	l.close()
	l.close()
	if err := <-answer; status.Code(err) != codes.Unavailable {
		t.Fatal(err)
	}
	if _, err := promote(ctx, l); !errors.Is(err, rpctypes.ErrGRPCStopped) {
		t.Fatal(err)
	}
}

// A leader that was away and is back at its address is reached again soon.
func TestLeaderConnComesBack(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	listener.Close()
	l := &leaderConn{b: newFollower("http://" + address)}
	defer l.close()
	if _, err := promote(ctx, l); status.Code(err) != codes.Unavailable {
		t.Fatal(err)
	}
	if listener, err = net.Listen("tcp", address); err != nil {
		t.Skip("somebody else has taken the port: ", err)
	}
	s, lead := grpc.NewServer(), &leading{name: "back", arrived: make(chan struct{}, 1000), let: make(chan struct{})}
	close(lead.let)
	pb.RegisterClusterServer(s, lead)
	go func() { _ = s.Serve(listener) }()
	defer s.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		name, err := promote(ctx, l)
		if name == "back" {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatal(err)
		}
	}
}
