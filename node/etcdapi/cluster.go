package etcdapi

import (
	"context"
	"errors"
	"strings"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

type clusterServer struct {
	pb.UnimplementedClusterServer
	b Backend
}

// MemberAdd adds the unjoined member that answers at one of the peer URLs, always as a learner: a voter that
// has no data yet would weaken the group.
func (s *clusterServer) MemberAdd(ctx context.Context, r *pb.MemberAddRequest) (*pb.MemberAddResponse, error) {
	if !r.GetIsLearner() {
		return nil, status.Error(codes.FailedPrecondition, "raftsman: a member is added as a learner and promoted once it has caught up: use member add --learner, then member promote")
	}
	m, all, err := s.b.AddLearner(ctx, r.GetPeerURLs())
	if errors.Is(err, ErrNotLeader) {
		return onLeader(ctx, s.b, r, pb.ClusterClient.MemberAdd)
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
		return onLeader(ctx, s.b, r, pb.ClusterClient.MemberPromote)
	}
	if err != nil {
		return nil, toStatus(err)
	}
	return &pb.MemberPromoteResponse{Header: s.header(), Members: toMembers(all)}, nil
}

// MemberRemove removes a member.
func (s *clusterServer) MemberRemove(ctx context.Context, r *pb.MemberRemoveRequest) (*pb.MemberRemoveResponse, error) {
	all, err := s.b.Remove(ctx, r.GetID())
	if errors.Is(err, ErrNotLeader) {
		return onLeader(ctx, s.b, r, pb.ClusterClient.MemberRemove)
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

func (s *clusterServer) header() *pb.ResponseHeader { return header(s.b, s.b.Header().Revision) }

// passedOn marks a request that a member has sent on to the leader, so that it goes one step only.
const passedOn = "raftsman-passed-on"

// onLeader sends a membership request on to the leader's client address, as etcd does by its log.
func onLeader[Q, R any](ctx context.Context, b Backend, q Q, call func(pb.ClusterClient, context.Context, Q, ...grpc.CallOption) (R, error)) (R, error) {
	var none R
	if in, _ := metadata.FromIncomingContext(ctx); len(in.Get(passedOn)) > 0 {
		return none, toStatus(ErrNotLeader)
	}
	urls := b.LeaderURLs()
	if len(urls) == 0 {
		return none, toStatus(ErrNoLeader)
	}
	address := strings.TrimPrefix(urls[0], "http://")
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return none, toStatus(err)
	}
	defer conn.Close()
	return call(pb.NewClusterClient(conn), metadata.AppendToOutgoingContext(ctx, passedOn, "1"), q)
}

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

type maintenanceServer struct {
	pb.UnimplementedMaintenanceServer
	b Backend
}

// Status reports on the member that is asked.
func (s *maintenanceServer) Status(context.Context, *pb.StatusRequest) (*pb.StatusResponse, error) {
	h, st := s.b.Header(), s.b.Status()
	out := &pb.StatusResponse{
		Header: header(s.b, h.Revision), Version: st.Version, StorageVersion: st.StorageVersion,
		DbSize: st.DBSize, DbSizeInUse: st.DBSizeInUse, Leader: st.Leader,
		RaftIndex: st.Index, RaftTerm: h.Term, RaftAppliedIndex: st.Applied,
		IsLearner: st.Learner, Errors: st.Errors,
	}
	if st.Leader == 0 {
		out.Errors = append(out.Errors, "etcdserver: no leader")
	}
	return out, nil
}

// MoveLeader hands leadership to another voter; only the leader does so.
func (s *maintenanceServer) MoveLeader(ctx context.Context, r *pb.MoveLeaderRequest) (*pb.MoveLeaderResponse, error) {
	if err := s.b.MoveLeader(ctx, r.GetTargetID()); err != nil {
		return nil, toStatus(err)
	}
	return &pb.MoveLeaderResponse{Header: header(s.b, s.b.Header().Revision)}, nil
}
