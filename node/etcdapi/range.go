package etcdapi

import (
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"raftsman.dev/node/kv"
)

// checkStream refuses what a stream cannot answer in the order of the keys, with etcd's words.
func checkStream(r *pb.RangeRequest) error {
	if err := checkRange(r); err != nil {
		return err
	}
	q := fromRange(r)
	switch {
	case q.Order != kv.SortNone || q.Target != kv.SortByKey:
		return status.Error(codes.Unimplemented, "RangeStream does not support custom sort orders")
	case q.MinMod != 0 || q.MaxMod != 0 || q.MinCreate != 0 || q.MaxCreate != 0:
		return status.Error(codes.Unimplemented, "RangeStream does not support revision filters")
	}
	return nil
}

// RangeStream answers a range in chunks of about a request's size, all of one pinned state: it never fails half-way
// because of a compaction.
func (s *kvServer) RangeStream(r *pb.RangeRequest, out pb.KV_RangeStreamServer) error {
	if err := checkStream(r); err != nil {
		return err
	}
	if err := s.mayRead(out.Context(), r.GetSerializable()); err != nil {
		return toStatus(err)
	}
	v := s.b.View()
	defer v.Close()
	err := v.Stream(fromRange(r), s.limits.RequestBytes, func(c kv.Chunk) error {
		part := &pb.RangeResponse{Kvs: toRead(r, c.KVs)}
		if c.Last {
			part.Header, part.Count, part.More = header(s.b, v.Revision()), c.Count, c.More
		}
		return out.Send(&pb.RangeStreamResponse{RangeResponse: part})
	})
	return toStatus(err)
}

// Compact forgets what is older than a revision; physical waits until this member has removed it.
func (s *kvServer) Compact(ctx context.Context, r *pb.CompactionRequest) (*pb.CompactionResponse, error) {
	if err := s.b.Serving(); err != nil {
		return nil, toStatus(err)
	}
	res, err := s.b.Compact(ctx, kv.Revision(r.GetRevision()), r.GetPhysical())
	if err == nil {
		err = res.Err
	}
	if err != nil {
		return nil, toStatus(err)
	}
	return &pb.CompactionResponse{Header: header(s.b, res.Revision)}, nil
}
