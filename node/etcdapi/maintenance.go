package etcdapi

import (
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"raftsman.dev/node/kv"
)

type maintenanceServer struct {
	pb.UnimplementedMaintenanceServer
	b Backend
}

// Status reports on the member that is asked.
func (s *maintenanceServer) Status(context.Context, *pb.StatusRequest) (*pb.StatusResponse, error) {
	h, st := s.b.Header(), s.b.Status()
	out := &pb.StatusResponse{
		Header: header(s.b, h.Revision), Version: st.Version, StorageVersion: st.StorageVersion,
		DbSize: st.DBSize, DbSizeInUse: st.DBSizeInUse, DbSizeQuota: st.DBSizeQuota, Leader: st.Leader,
		RaftIndex: st.Index, RaftTerm: h.Term, RaftAppliedIndex: st.Applied,
		IsLearner: st.Learner, Errors: st.Errors, DowngradeInfo: &pb.DowngradeInfo{},
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

// HashKV is a checksum of all versions up to a revision that can be read: equal on members that have equal state. As in etcd,
// there are none up to a negative revision.
func (s *maintenanceServer) HashKV(ctx context.Context, r *pb.HashKVRequest) (*pb.HashKVResponse, error) {
	s.b.Glance(ctx)
	at := kv.Revision(r.GetRevision())
	h, err := s.b.HashKeys(max(at, 0))
	if err != nil {
		return nil, toStatus(err)
	}
	if at < 0 {
		h.Sum, h.At = 0, at
	}
	return &pb.HashKVResponse{Header: header(s.b, h.Revision), Hash: h.Sum, CompactRevision: int64(h.Compacted), HashRevision: int64(h.At)}, nil
}

// Hash is HashKV at the newest revision: etcd's is one of its whole database file, which says nothing here.
func (s *maintenanceServer) Hash(ctx context.Context, _ *pb.HashRequest) (*pb.HashResponse, error) {
	s.b.Glance(ctx)
	h, err := s.b.HashKeys(0)
	if err != nil {
		return nil, toStatus(err)
	}
	return &pb.HashResponse{Header: header(s.b, h.Revision), Hash: h.Sum}, nil
}

// Defragment has nothing to do: the store gives space back by itself.
func (s *maintenanceServer) Defragment(context.Context, *pb.DefragmentRequest) (*pb.DefragmentResponse, error) {
	return &pb.DefragmentResponse{}, nil
}

// Alarm lists what is wrong now. Alarms come and go by themselves here, so that there is none to activate or disarm:
// disarming answers as etcd does where none of that kind is active.
func (s *maintenanceServer) Alarm(_ context.Context, r *pb.AlarmRequest) (*pb.AlarmResponse, error) {
	out := &pb.AlarmResponse{Header: header(s.b, s.b.Header().Revision)}
	switch r.GetAction() {
	case pb.AlarmRequest_GET:
		if t := r.GetAlarm(); t == pb.AlarmType_NONE || t == pb.AlarmType_NOSPACE {
			for _, id := range s.b.NoSpace() {
				out.Alarms = append(out.Alarms, &pb.AlarmMember{MemberID: id, Alarm: pb.AlarmType_NOSPACE})
			}
		}
	case pb.AlarmRequest_ACTIVATE:
		if r.GetAlarm() != pb.AlarmType_NONE {
			return nil, status.Error(codes.Unimplemented, "raftsman: alarms are raised by what is measured, not by request")
		}
	case pb.AlarmRequest_DEACTIVATE:
	}
	return out, nil
}
