package etcdapi

import (
	"context"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"raftsman.dev/node/kv"
)

// Limits bound what one request may ask.
type Limits struct {
	// RequestBytes bounds an encoded write; a larger one is "request is too large". Default 1.5 MiB, as etcd.
	RequestBytes int
	// TxnOps bounds the operations of a transaction. Default 128, as etcd.
	TxnOps int
	// RangeBytes bounds the answers to ranges that are being made at one time, all together; beyond it a range is "too
	// many requests": RangeStream, or a limit, asks for less at once. Default 1 GiB.
	RangeBytes int64
}

// Default fills what is zero.
func (l *Limits) Default() {
	if l.RequestBytes == 0 {
		l.RequestBytes = 3 << 19
	}
	if l.TxnOps == 0 {
		l.TxnOps = 128
	}
	if l.RangeBytes == 0 {
		l.RangeBytes = 1 << 30
	}
}

// frameOverhead is what a message may have over RequestBytes before gRPC itself refuses it, as in etcd.
const frameOverhead = 512 << 10

// MaxMessageBytes is the gRPC bound that goes with the limits.
func (l Limits) MaxMessageBytes() int { return l.RequestBytes + frameOverhead }

// Register adds the services to a gRPC server. What this version does not implement answers Unimplemented. What it
// returns closes the connection to the leader, and is to be called when the server has stopped.
func Register(s grpc.ServiceRegistrar, b Backend, l Limits) (closeLeader func()) {
	l.Default()
	leader := &leaderConn{b: b}
	pb.RegisterKVServer(s, &kvServer{b: b, limits: l, budget: &budget{most: l.RangeBytes}})
	pb.RegisterClusterServer(s, &clusterServer{b: b, leader: leader})
	pb.RegisterMaintenanceServer(s, &maintenanceServer{b: b})
	pb.RegisterWatchServer(s, &watchServer{b: b, limits: l})
	leases := &leaseServer{b: b, leader: leader}
	leases.ids.begin(b.Header().MemberID, time.Now())
	pb.RegisterLeaseServer(s, leases)
	pb.RegisterAuthServer(s, pb.UnimplementedAuthServer{})
	return leader.close
}

type kvServer struct {
	pb.UnimplementedKVServer
	b      Backend
	limits Limits
	budget *budget
}

// header is the member's header at that revision.
func header(b Backend, revision kv.Revision) *pb.ResponseHeader {
	h := b.Header()
	return &pb.ResponseHeader{ClusterId: h.ClusterID, MemberId: h.MemberID, RaftTerm: h.Term, Revision: int64(revision)}
}

// Range reads at the newest revision; serializable means this member's own state, as it is.
func (s *kvServer) Range(ctx context.Context, r *pb.RangeRequest) (*pb.RangeResponse, error) {
	if err := checkRange(r); err != nil {
		return nil, err
	}
	res, err := s.read(ctx, kv.Txn{Success: []kv.Op{{Range: fromRange(r)}}}, r.GetSerializable())
	if err != nil {
		return nil, toStatus(err)
	}
	return toRange(r, res.Responses[0].Range, header(s.b, res.Revision)), nil
}

// Put writes one key.
func (s *kvServer) Put(ctx context.Context, r *pb.PutRequest) (*pb.PutResponse, error) {
	if err := checkPut(r); err != nil {
		return nil, err
	}
	res, err := s.write(ctx, r, kv.Txn{Success: []kv.Op{{Put: fromPut(r)}}})
	if err != nil {
		return nil, toStatus(err)
	}
	return toPut(res.Responses[0].Put, header(s.b, res.Revision)), nil
}

// DeleteRange deletes a key or a range.
func (s *kvServer) DeleteRange(ctx context.Context, r *pb.DeleteRangeRequest) (*pb.DeleteRangeResponse, error) {
	if err := checkDelete(r); err != nil {
		return nil, err
	}
	res, err := s.write(ctx, r, kv.Txn{Success: []kv.Op{{Delete: fromDelete(r)}}})
	if err != nil {
		return nil, toStatus(err)
	}
	return toDelete(res.Responses[0].Delete, header(s.b, res.Revision)), nil
}

// Txn runs a transaction; one that cannot write does not go through the log.
func (s *kvServer) Txn(ctx context.Context, r *pb.TxnRequest) (*pb.TxnResponse, error) {
	if err := checkTxn(r, s.limits.TxnOps); err != nil {
		return nil, err
	}
	if err := checkDuplicates(r); err != nil {
		return nil, err
	}
	var res kv.Result
	var err error
	if t := fromTxn(r); t.ReadOnly() {
		res, err = s.read(ctx, t, serializable(r))
	} else {
		res, err = s.write(ctx, r, t)
	}
	if err != nil {
		return nil, toStatus(err)
	}
	return toTxn(r, &res, header(s.b, res.Revision)), nil
}

// serializable reports whether every read of a read-only transaction asks for no more.
func serializable(r *pb.TxnRequest) bool {
	for _, branch := range [][]*pb.RequestOp{r.GetSuccess(), r.GetFailure()} {
		for _, op := range branch {
			if q := op.GetRequestRange(); q == nil || !q.GetSerializable() {
				return false
			}
		}
	}
	return true
}

func (s *kvServer) read(ctx context.Context, t kv.Txn, serializable bool) (kv.Result, error) {
	if err := s.mayRead(ctx, serializable); err != nil {
		return kv.Result{}, err
	}
	if len(t.Success) == 1 && t.Success[0].Range != nil && len(t.Success[0].Range.End) == 0 {
		return s.b.Read(ctx, t, nil) // one key: the common case, and no larger than a request
	}
	bill := s.budget.bill()
	defer bill.settle()
	return s.b.Read(ctx, t, bill.add)
}

// mayRead returns once this member's state may be read: as it is, or all that was committed before.
func (s *kvServer) mayRead(ctx context.Context, serializable bool) error {
	if err := s.b.Serving(); err != nil && (!serializable || err != ErrLearner) {
		return err
	}
	if serializable {
		s.b.Glance(ctx)
		return nil
	}
	return s.b.Barrier(ctx)
}

func (s *kvServer) write(ctx context.Context, r proto.Message, t kv.Txn) (kv.Result, error) {
	if err := s.b.Serving(); err != nil {
		return kv.Result{}, err
	}
	if logged(r) > s.limits.RequestBytes {
		return kv.Result{}, rpctypes.ErrGRPCRequestTooLarge
	}
	res, err := s.b.Propose(ctx, t)
	if err != nil {
		return kv.Result{}, err
	}
	return res, res.Err
}

// logged is the size in bytes that etcd holds to its bound: the request as it would be in etcd's log, with a tag, a length
// and the longest ID.
func logged(r proto.Message) int {
	const id = 2 + 1 + 1 + 10 // a header's tag and length, the ID's tag and bytes
	return id + 1 + protowire.SizeBytes(proto.Size(r))
}
