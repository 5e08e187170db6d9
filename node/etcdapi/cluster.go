package etcdapi

import (
	"context"
	"errors"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

type clusterServer struct {
	pb.UnimplementedClusterServer
	b      Backend
	leader *leaderConn
}

// MemberAdd adds the unjoined member that answers at one of the peer URLs, always as a learner: a voter that
// has no data yet would weaken the group.
func (s *clusterServer) MemberAdd(ctx context.Context, r *pb.MemberAddRequest) (*pb.MemberAddResponse, error) {
	if !r.GetIsLearner() {
		return nil, status.Error(codes.FailedPrecondition, "raftsman: a member is added as a learner and promoted once it has caught up: use member add --learner, then member promote")
	}
	m, all, err := s.b.AddLearner(ctx, r.GetPeerURLs())
	if errors.Is(err, ErrNotLeader) {
		return onLeader(ctx, s.leader, r, pb.NewClusterClient, pb.ClusterClient.MemberAdd)
	}
	if err != nil {
		return nil, toStatus(err)
	}
	return &pb.MemberAddResponse{Header: s.header(), Member: toMember(m), Members: toMembers(all)}, nil
}

// MemberPromote makes a learner that has caught up a voter.
func (s *clusterServer) MemberPromote(ctx context.Context, r *pb.MemberPromoteRequest) (*pb.MemberPromoteResponse, error) {
	all, err := s.b.Promote(ctx, r.GetID())
	if errors.Is(err, ErrNotLeader) {
		return onLeader(ctx, s.leader, r, pb.NewClusterClient, pb.ClusterClient.MemberPromote)
	}
	if err != nil {
		return nil, toStatus(err)
	}
	return &pb.MemberPromoteResponse{Header: s.header(), Members: toMembers(all)}, nil
}

// MemberUpdate gives a member another peer URL.
func (s *clusterServer) MemberUpdate(ctx context.Context, r *pb.MemberUpdateRequest) (*pb.MemberUpdateResponse, error) {
	all, err := s.b.Move(ctx, r.GetID(), r.GetPeerURLs())
	if errors.Is(err, ErrNotLeader) {
		return onLeader(ctx, s.leader, r, pb.NewClusterClient, pb.ClusterClient.MemberUpdate)
	}
	if err != nil {
		return nil, toStatus(err)
	}
	return &pb.MemberUpdateResponse{Header: s.header(), Members: toMembers(all)}, nil
}

// MemberRemove removes a member.
func (s *clusterServer) MemberRemove(ctx context.Context, r *pb.MemberRemoveRequest) (*pb.MemberRemoveResponse, error) {
	all, err := s.b.Remove(ctx, r.GetID())
	if errors.Is(err, ErrNotLeader) {
		return onLeader(ctx, s.leader, r, pb.NewClusterClient, pb.ClusterClient.MemberRemove)
	}
	if err != nil {
		return nil, toStatus(err)
	}
	return &pb.MemberRemoveResponse{Header: s.header(), Members: toMembers(all)}, nil
}

// MemberList lists the membership in force here, after a barrier where that is asked for.
func (s *clusterServer) MemberList(ctx context.Context, r *pb.MemberListRequest) (*pb.MemberListResponse, error) {
	if r.GetLinearizable() {
		if err := s.b.Barrier(ctx); err != nil {
			return nil, toStatus(err)
		}
	}
	return &pb.MemberListResponse{Header: s.header(), Members: toMembers(s.b.Members())}, nil
}

// header says nothing of the store's revision, as in etcd: it has nothing to do with the membership.
func (s *clusterServer) header() *pb.ResponseHeader { return header(s.b, 0) }

func toMember(m Member) *pb.Member {
	return &pb.Member{ID: m.ID, Name: m.Name, PeerURLs: m.PeerURLs, ClientURLs: m.ClientURLs, IsLearner: m.Learner}
}

func toMembers(all []Member) []*pb.Member {
	var out []*pb.Member
	for _, m := range all {
		out = append(out, toMember(m))
	}
	return out
}
