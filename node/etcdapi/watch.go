package etcdapi

import (
	"context"
	"errors"
	"io"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/protobuf/proto"

	"raftsman.dev/node/kv"
	"raftsman.dev/node/watch"
)

type watchServer struct {
	pb.UnimplementedWatchServer
	b      Backend
	limits Limits
}

// Watch serves one stream with any number of watchers: what the client asks for is read here, what it gets is sent
// beside it.
func (s *watchServer) Watch(stream pb.Watch_WatchServer) error {
	if err := s.b.Serving(); err != nil && err != ErrLearner {
		return toStatus(err)
	}
	ctx, cancel := context.WithCancelCause(stream.Context())
	defer cancel(nil)
	w := s.b.Watch()
	defer w.Close()
	go func() {
		if err := s.hear(ctx, w, stream); err != nil {
			cancel(err)
		}
	}()
	for {
		r, err := w.Next(ctx)
		if err == nil {
			err = s.answer(stream, &r)
		}
		if err != nil {
			return toWatchStatus(ctx, err)
		}
	}
}

// toWatchStatus says why a stream ends.
func toWatchStatus(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	switch {
	case errors.Is(err, context.Canceled):
		return rpctypes.ErrGRPCWatchCanceled
	case errors.Is(err, watch.ErrClosed):
		return toStatus(ErrStopped)
	}
	return toStatus(err)
}

// hear does what the client asks for until the stream ends. It returns nil if the client only has no more to ask: as in etcd,
// its watchers go on.
func (s *watchServer) hear(ctx context.Context, w *watch.Stream, stream pb.Watch_WatchServer) error {
	for {
		r, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		switch {
		case r.GetCreateRequest() != nil:
			s.b.Glance(ctx) // it begins behind what was answered before it was asked for, compactions included
			err = create(ctx, w, r.GetCreateRequest())
		case r.GetCancelRequest() != nil:
			_, err = w.Cancel(ctx, r.GetCancelRequest().GetWatchId())
		case r.GetProgressRequest() != nil:
			w.Progress()
		}
		if err != nil {
			return err
		}
	}
}

// create adds a watcher, or has the client told why not.
func create(ctx context.Context, w *watch.Stream, r *pb.WatchCreateRequest) error {
	q := watch.Request{
		ID: r.GetWatchId(), Key: r.GetKey(), End: r.GetRangeEnd(), Start: kv.Revision(r.GetStartRevision()),
		PrevKV: r.GetPrevKv(), Progress: r.GetProgressNotify(), Fragment: r.GetFragment(),
	}
	for _, f := range r.GetFilters() {
		q.NoPut = q.NoPut || f == pb.WatchCreateRequest_NOPUT
		q.NoDelete = q.NoDelete || f == pb.WatchCreateRequest_NODELETE
	}
	_, err := w.Watch(ctx, q)
	if errors.Is(err, kv.ErrCompacted) || errors.Is(err, watch.ErrDuplicate) || errors.Is(err, watch.ErrEmptyRange) {
		return w.Refuse(ctx, err)
	}
	return err
}

// refusals are etcd's words for why a watcher was not created.
func refusal(err error) string {
	switch {
	case errors.Is(err, kv.ErrCompacted):
		return rpctypes.ErrCompacted.Error()
	case errors.Is(err, watch.ErrDuplicate):
		return "mvcc: duplicate watch ID provided on the WatchStream"
	case errors.Is(err, watch.ErrEmptyRange):
		return "mvcc: watcher range is empty"
	}
	return err.Error()
}

// answer sends one response, in parts where the watcher allows it and it is large.
func (s *watchServer) answer(stream pb.Watch_WatchServer, r *watch.Response) error {
	out := &pb.WatchResponse{
		Header: header(s.b, r.Revision), WatchId: r.ID, Created: r.Created, Canceled: r.Canceled,
		CompactRevision: int64(r.CompactRevision),
	}
	if r.CompactRevision != 0 {
		out.Header.Revision = 0 // etcd's answer to a watcher whose first revision is gone carries none
	}
	if r.Err != nil {
		out.CancelReason = refusal(r.Err)
	}
	out.Events = toEvents(r)
	if r.Request == nil || !r.Request.Fragment {
		return stream.Send(out)
	}
	return sendParts(out, s.limits.RequestBytes, stream.Send)
}

func toEvents(r *watch.Response) []*mvccpb.Event {
	if len(r.Events) == 0 {
		return nil
	}
	all := make([]*mvccpb.Event, len(r.Events))
	for i, e := range r.Events {
		all[i] = &mvccpb.Event{Kv: toKeyValue(&e.KV)}
		if e.Deletion() {
			all[i].Type = mvccpb.Event_DELETE
		}
		if r.Request.PrevKV {
			all[i].PrevKv = toKeyValue(e.Prev)
		}
	}
	return all
}

// sendParts splits a response at about so many bytes; all parts but the last say that more of it follows.
func sendParts(whole *pb.WatchResponse, bytes int, send func(*pb.WatchResponse) error) error {
	events := whole.GetEvents()
	for first := true; first || len(events) > 0; first = false {
		n, size := 0, 0
		for n < len(events) && (n == 0 || size+proto.Size(events[n]) < bytes) {
			size += proto.Size(events[n])
			n++
		}
		part := &pb.WatchResponse{
			Header: whole.GetHeader(), WatchId: whole.GetWatchId(), Created: whole.GetCreated(), Canceled: whole.GetCanceled(),
			CompactRevision: whole.GetCompactRevision(), CancelReason: whole.GetCancelReason(),
			Events: events[:n], Fragment: n < len(events),
		}
		events = events[n:]
		if err := send(part); err != nil {
			return err
		}
	}
	return nil
}
