package node

import (
	"context"
	"fmt"
	"net"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

// A member that is away is told of at another address, by way of any member; it comes back there and is found. What is
// no address, or another's, is refused.
func TestMemberMoves(t *testing.T) {
	b := newBench(t)
	b.group(nil, "a", "b", "c")
	put(t, pb.NewKVClient(b.dial("a")), "k", "v")
	mover := b.follower()
	asked := b.leader()
	for name := range b.members {
		if name != mover && name != asked {
			asked = name // a follower, which has to pass it on
		}
	}
	cluster, id, old := pb.NewClusterClient(b.dial(asked)), uint64(b.members[mover].id.Member), b.configs[mover].ListenPeer
	b.stop(mover)
	there := net.JoinHostPort("127.0.0.1", freePort(t))
	move := func(id uint64, urls ...string) error {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		_, err := cluster.MemberUpdate(ctx, &pb.MemberUpdateRequest{ID: id, PeerURLs: urls})
		return err
	}
	for _, x := range []struct {
		what string
		err  error
		want error
	}{
		{"a stranger", move(12345, peerURL(there)), rpctypes.ErrGRPCMemberNotFound},
		{"nowhere", move(id), rpctypes.ErrGRPCMemberBadURLs},
		{"two places", move(id, peerURL(there), peerURL(old)), rpctypes.ErrGRPCMemberBadURLs},
		{"no port", move(id, "http://127.0.0.1"), rpctypes.ErrGRPCMemberBadURLs},
		{"another's place", move(id, peerURL(b.configs[asked].ListenPeer)), rpctypes.ErrGRPCPeerURLExist},
		{"where it is", move(id, peerURL(old)), nil},
		{"another place", move(id, peerURL(there)), nil},
	} {
		if (x.err == nil) != (x.want == nil) || x.err != nil && x.err.Error() != x.want.Error() {
			t.Errorf("%s: %v, want %v", x.what, x.err, x.want)
		}
	}
	cfg := b.configs[mover]
	cfg.ListenPeer = there
	b.start(cfg)
	b.awaitReady(mover)
	b.count(mover, 1)
	for name, m := range b.members {
		b.wait(name+" knows of the move", func() error {
			for _, x := range m.Members() {
				if x.ID == id && x.PeerURLs[0] != peerURL(there) {
					return fmt.Errorf("it lists %s", x.PeerURLs[0])
				}
			}
			return nil
		})
	}
	b.equal()
}
