package etcdapi

import (
	"context"
	"errors"
	"io"
	"math"
	"sync/atomic"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/metadata"

	"raftsman.dev/node/kv"
)

// maxTTL is etcd's bound of a lease, in seconds.
const maxTTL = 9_000_000_000

type leaseServer struct {
	pb.UnimplementedLeaseServer
	b      Backend
	leader *leaderConn
	ids    leaseIDs
}

// leaseIDs are those of leases whose clients leave the choice to the member. They ascend, so that leases that are granted
// one after the other, and often end so, are neighbours in the store. As etcd's they are, from the highest bits on, 15
// of the member's ID, 40 of the time at the start in ms, and a counter that goes on into that: a process would have to
// grant 256 in every ms of its life for the next one to meet its IDs.
type leaseIDs struct{ last atomic.Int64 }

func (i *leaseIDs) begin(member uint64, now time.Time) {
	i.last.Store(int64(member&(1<<15-1)<<48 | uint64(now.UnixMilli())<<8&(1<<48-1)))
}

func (i *leaseIDs) next() int64 {
	for {
		if id := i.last.Add(1) & math.MaxInt64; id != 0 {
			return id
		}
	}
}

// LeaseGrant gives out a lease; an ID of 0 is chosen here.
func (s *leaseServer) LeaseGrant(ctx context.Context, r *pb.LeaseGrantRequest) (*pb.LeaseGrantResponse, error) {
	if err := s.b.Serving(); err != nil {
		return nil, toStatus(err)
	}
	if r.GetTTL() > maxTTL {
		return nil, rpctypes.ErrGRPCLeaseTTLTooLarge
	}
	l := kv.Lease{ID: r.GetID(), TTL: max(r.GetTTL(), s.b.MinTTL())}
	res, err := s.grant(ctx, &l)
	if err != nil {
		return nil, toStatus(err)
	}
	return &pb.LeaseGrantResponse{Header: header(s.b, res.Revision), ID: l.ID, TTL: l.TTL}, nil
}

// grant chooses another ID as long as the one it chose is taken: by a client, or another member.
func (s *leaseServer) grant(ctx context.Context, l *kv.Lease) (kv.Result, error) {
	for choose := l.ID == 0; ; {
		if choose {
			l.ID = s.ids.next()
		}
		res, err := s.b.Grant(ctx, *l)
		if err == nil {
			err = res.Err
		}
		if !choose || !errors.Is(err, kv.ErrLeaseExists) {
			return res, err
		}
	}
}

// LeaseRevoke takes a lease away, with its keys.
func (s *leaseServer) LeaseRevoke(ctx context.Context, r *pb.LeaseRevokeRequest) (*pb.LeaseRevokeResponse, error) {
	if err := s.b.Serving(); err != nil {
		return nil, toStatus(err)
	}
	res, err := s.b.Revoke(ctx, r.GetID())
	if err == nil {
		err = res.Err
	}
	if err != nil {
		return nil, toStatus(err)
	}
	return &pb.LeaseRevokeResponse{Header: header(s.b, res.Revision)}, nil
}

// LeaseLeases lists the leases that this member knows of.
func (s *leaseServer) LeaseLeases(ctx context.Context, _ *pb.LeaseLeasesRequest) (*pb.LeaseLeasesResponse, error) {
	if err := s.b.Serving(); err != nil && err != ErrLearner {
		return nil, toStatus(err)
	}
	s.b.Glance(ctx)
	v := s.b.View()
	defer v.Close()
	var ids []int64
	err := v.Leases(func(l kv.Lease) bool {
		ids = append(ids, l.ID)
		return true
	})
	if err != nil {
		return nil, toStatus(err)
	}
	s.b.SoonestFirst(ids)
	out := &pb.LeaseLeasesResponse{Header: header(s.b, v.Revision())}
	for _, id := range ids {
		out.Leases = append(out.Leases, &pb.LeaseStatus{ID: id})
	}
	return out, nil
}

// LeaseTimeToLive says how much is left of a lease, -1 if it is not there. The leader knows.
func (s *leaseServer) LeaseTimeToLive(ctx context.Context, r *pb.LeaseTimeToLiveRequest) (*pb.LeaseTimeToLiveResponse, error) {
	if err := s.b.Serving(); err != nil && err != ErrLearner {
		return nil, toStatus(err)
	}
	granted, left, err := s.b.TimeLeft(ctx, r.GetID())
	if errors.Is(err, ErrNotLeader) {
		return onLeader(ctx, s.leader, r, pb.NewLeaseClient, pb.LeaseClient.LeaseTimeToLive)
	}
	out := &pb.LeaseTimeToLiveResponse{Header: header(s.b, s.b.Header().Revision), ID: r.GetID()}
	if errors.Is(err, kv.ErrLeaseNotFound) {
		out.TTL = -1
		return out, nil
	}
	if err != nil {
		return nil, toStatus(err)
	}
	out.TTL, out.GrantedTTL = left, granted
	if r.GetKeys() {
		v := s.b.View()
		defer v.Close()
		err = v.LeaseKeys(r.GetID(), func(key []byte) bool {
			out.Keys = append(out.Keys, append([]byte(nil), key...))
			return true
		})
	}
	return out, toStatus(err)
}

// LeaseKeepAlive renews leases one after the other. The header is from before the renewal: a lease that is gone at some
// revision is never seen renewed at a later one.
func (s *leaseServer) LeaseKeepAlive(stream pb.Lease_LeaseKeepAliveServer) error {
	if err := s.b.Serving(); err != nil {
		return toStatus(err)
	}
	ctx := stream.Context()
	far := &leaderStream{leader: s.leader}
	defer far.close()
	requests, failed := make(chan *pb.LeaseKeepAliveRequest), make(chan error, 1)
	go func() {
		for {
			r, err := stream.Recv()
			if err != nil {
				failed <- err
				return
			}
			select {
			case requests <- r:
			case <-ctx.Done():
				return
			}
		}
	}()
	for {
		select {
		case r := <-requests:
			out, err := s.keepAlive(ctx, far, r)
			if err == nil {
				err = stream.Send(out)
			}
			if err != nil {
				return toStatus(err)
			}
		case err := <-failed:
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		case <-ctx.Done():
			return toStatus(context.Cause(ctx))
		case <-s.b.Parting():
			return toStatus(ErrStopped)
		}
	}
}

func (s *leaseServer) keepAlive(ctx context.Context, far *leaderStream, r *pb.LeaseKeepAliveRequest) (*pb.LeaseKeepAliveResponse, error) {
	out := &pb.LeaseKeepAliveResponse{Header: header(s.b, s.b.Header().Revision), ID: r.GetID()}
	ttl, err := s.b.Renew(ctx, r.GetID())
	switch {
	case errors.Is(err, ErrNotLeader):
		answer, err := far.keepAlive(ctx, r)
		out.TTL = answer.GetTTL() // under this member's own header: the leader may be behind what it has shown
		return out, err
	case errors.Is(err, kv.ErrLeaseNotFound):
		return out, nil
	}
	out.TTL = ttl
	return out, err
}

// leaderStream is a stream of keep-alives to the leader, for a client of a member that does not lead.
type leaderStream struct {
	leader *leaderConn
	stream pb.Lease_LeaseKeepAliveClient
	cancel context.CancelFunc
}

func (l *leaderStream) keepAlive(ctx context.Context, r *pb.LeaseKeepAliveRequest) (*pb.LeaseKeepAliveResponse, error) {
	for last := false; ; last = true {
		fresh := l.stream == nil
		out, err := l.try(ctx, r)
		if err == nil {
			return out, nil
		}
		l.close()
		if fresh || last { // an old stream may be to a leader that was
			return nil, unlessClosed(ctx, err)
		}
	}
}

func (l *leaderStream) try(ctx context.Context, r *pb.LeaseKeepAliveRequest) (*pb.LeaseKeepAliveResponse, error) {
	if l.stream == nil {
		conn, err := l.leader.get(ctx)
		if err != nil {
			return nil, err
		}
		ctx, cancel := context.WithCancel(metadata.AppendToOutgoingContext(ctx, passedOn, "1"))
		l.cancel = cancel
		if l.stream, err = pb.NewLeaseClient(conn).LeaseKeepAlive(ctx); err != nil {
			cancel()
			return nil, err
		}
	}
	if err := l.stream.Send(r); err != nil {
		_, err = l.stream.Recv() // which says why
		return nil, err
	}
	return l.stream.Recv()
}

func (l *leaderStream) close() {
	if l.stream != nil {
		l.cancel()
		l.stream = nil
	}
}
