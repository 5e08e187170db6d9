package main

import (
	"context"
	"errors"
	"io"
	"slices"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
)

// kind is one sort of request.
type kind struct {
	// request makes an empty one.
	request func() proto.Message
	// own says that a member answers from its own state, which may be behind: it is made to catch up first.
	own func(proto.Message) bool
	// reads says that it writes nothing.
	reads bool
	// do sends it to a member.
	do func(ctx context.Context, s *side, o op) (proto.Message, error)
}

// call is a unary request.
func call[Q any, M interface {
	*Q
	proto.Message
}, R proto.Message, C any](client func(grpc.ClientConnInterface) C, method func(C, context.Context, M, ...grpc.CallOption) (R, error)) kind {
	return kind{
		request: func() proto.Message { return M(new(Q)) },
		own:     func(proto.Message) bool { return false },
		do: func(ctx context.Context, s *side, o op) (proto.Message, error) {
			r, err := method(client(s.conn(o.Member)), ctx, o.padded().(M))
			if err != nil {
				return nil, err
			}
			return r, nil
		},
	}
}

// local is a kind that a member answers from its own state.
func local(k kind) kind {
	k.own = func(proto.Message) bool { return true }
	return k
}

// kinds are all requests, by name.
func kinds() map[string]kind {
	serializable := func(m proto.Message) bool {
		r, ok := m.(*pb.RangeRequest)
		return ok && r.GetSerializable()
	}
	ranges := call(pb.NewKVClient, pb.KVClient.Range)
	ranges.own = serializable
	txn := call(pb.NewKVClient, pb.KVClient.Txn)
	txn.own = func(m proto.Message) bool { return serializableTxn(m.(*pb.TxnRequest)) }
	all := map[string]kind{
		"Range":            ranges,
		"RangeStream":      {request: func() proto.Message { return &pb.RangeRequest{} }, own: serializable, do: rangeStream},
		"Put":              call(pb.NewKVClient, pb.KVClient.Put),
		"DeleteRange":      call(pb.NewKVClient, pb.KVClient.DeleteRange),
		"Txn":              txn,
		"Compact":          call(pb.NewKVClient, pb.KVClient.Compact),
		"LeaseGrant":       {request: func() proto.Message { return &pb.LeaseGrantRequest{} }, own: func(proto.Message) bool { return false }, do: leaseGrant},
		"LeaseRevoke":      call(pb.NewLeaseClient, pb.LeaseClient.LeaseRevoke),
		"LeaseKeepAlive":   local(kind{request: func() proto.Message { return &pb.LeaseKeepAliveRequest{} }, do: keepAlive}),
		"LeaseTimeToLive":  local(call(pb.NewLeaseClient, pb.LeaseClient.LeaseTimeToLive)),
		"LeaseLeases":      local(call(pb.NewLeaseClient, pb.LeaseClient.LeaseLeases)),
		"LeaseAwaitExpiry": {request: func() proto.Message { return &pb.LeaseTimeToLiveRequest{} }, own: func(proto.Message) bool { return false }, do: awaitExpiry},
		"HashKV":           local(call(pb.NewMaintenanceClient, pb.MaintenanceClient.HashKV)),
		"Hash":             local(call(pb.NewMaintenanceClient, pb.MaintenanceClient.Hash)),
		"Defragment":       local(call(pb.NewMaintenanceClient, pb.MaintenanceClient.Defragment)),
		"Alarm":            local(call(pb.NewMaintenanceClient, pb.MaintenanceClient.Alarm)),
		"Watch":            local(kind{request: func() proto.Message { return &pb.WatchRequest{} }, do: watchRequest}),
		"CloseWatch":       {request: func() proto.Message { return &pb.WatchRequest{} }, own: func(proto.Message) bool { return false }, do: closeWatch},
	}
	for _, name := range []string{
		"Range", "RangeStream", "LeaseTimeToLive", "LeaseLeases", "HashKV", "Hash", "Defragment", "Alarm", "Watch", "CloseWatch",
	} {
		k := all[name]
		k.reads = true
		all[name] = k
	}
	return all
}

// serializableTxn reports whether a transaction does nothing but reads that a member may answer from its own state.
func serializableTxn(t *pb.TxnRequest) bool {
	for _, o := range append(t.GetSuccess(), t.GetFailure()...) {
		if !o.GetRequestRange().GetSerializable() {
			return false
		}
	}
	return true
}

// errForm marks a stream of chunks that breaks a rule of its own, whatever the other side does.
var errForm = errors.New("the stream's form is wrong")

// rangeStream merges the chunks into one answer, and checks which of them speak of the whole.
func rangeStream(ctx context.Context, s *side, o op) (proto.Message, error) {
	stream, err := pb.NewKVClient(s.conn(o.Member)).RangeStream(ctx, o.padded().(*pb.RangeRequest))
	if err != nil {
		return nil, err
	}
	whole, last := &pb.RangeResponse{}, false
	for {
		r, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			if !last {
				return nil, errForm
			}
			return whole, nil
		}
		if err != nil {
			return nil, err
		}
		c := r.GetRangeResponse()
		if last || c.GetHeader() == nil && (c.GetMore() || c.GetCount() != 0) {
			return nil, errForm
		}
		last = c.GetHeader() != nil
		proto.Merge(whole, c)
	}
}

// shortTTL is below what a sequence may take, in seconds: a lease with less is revoked as soon as it has been granted,
// unless a script asks for its expiry (an id of expiring or more).
const (
	shortTTL = 600
	expiring = 1 << 50
)

// leaseGrant takes back what would not be the same on both sides a little later: leases with an id of the server's
// choice, and short ones.
func leaseGrant(ctx context.Context, s *side, o op) (proto.Message, error) {
	q := o.Req.(*pb.LeaseGrantRequest)
	r, err := pb.NewLeaseClient(s.conn(o.Member)).LeaseGrant(ctx, q)
	if err != nil {
		return nil, err
	}
	if q.GetID() == 0 || q.GetTTL() < shortTTL && q.GetID() < expiring {
		// It may have expired already, so the answer says nothing.
		_, _ = pb.NewLeaseClient(s.conn(o.Member)).LeaseRevoke(ctx, &pb.LeaseRevokeRequest{ID: r.GetID()})
	}
	if q.GetID() == 0 && r.GetID() > 0 {
		r.ID = 1
	}
	return r, nil
}

func keepAlive(ctx context.Context, s *side, o op) (proto.Message, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := pb.NewLeaseClient(s.conn(o.Member)).LeaseKeepAlive(ctx)
	if err != nil {
		return nil, err
	}
	if err := stream.Send(o.Req.(*pb.LeaseKeepAliveRequest)); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	r, err := stream.Recv()
	if err != nil {
		return nil, err
	}
	if err := stream.CloseSend(); err != nil {
		return nil, err
	}
	if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
		return nil, err
	}
	return r, nil
}

// awaitExpiry waits until a lease is gone.
func awaitExpiry(ctx context.Context, s *side, o op) (proto.Message, error) {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		r, err := pb.NewLeaseClient(s.conn(o.Member)).LeaseTimeToLive(ctx, o.Req.(*pb.LeaseTimeToLiveRequest))
		if err != nil {
			return nil, err
		}
		if r.GetTTL() == -1 {
			return r, nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-tick.C:
		}
	}
}

// plain takes out of an answer what the two sides need not agree on.
func plain(q, m proto.Message) {
	forgetIdentity(m.ProtoReflect())
	switch r := m.(type) {
	case *pb.LeaseGrantResponse:
		if q.(*pb.LeaseGrantRequest).GetTTL() < shortTTL && r.GetTTL() > 0 {
			r.TTL = 1 // at least so many elections' time, which is the program's choice
		}
	case *pb.LeaseTimeToLiveResponse:
		if r.GetTTL() > 0 && r.GetTTL() <= r.GetGrantedTTL() {
			r.TTL = r.GetGrantedTTL()
		}
		slices.SortFunc(r.Keys, slices.Compare)
	case *pb.LeaseLeasesResponse:
		slices.SortFunc(r.Leases, func(a, b *pb.LeaseStatus) int { return cmpInt(a.GetID(), b.GetID()) })
	case *pb.HashKVResponse:
		r.Hash = 0
	case *pb.HashResponse:
		r.Hash = 0
	}
}

func cmpInt(a, b int64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}
