package main

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// askAgain is how long an answer to a progress request is awaited before it is asked for again: etcd says nothing while
// a watcher has not caught up.
const askAgain = 100 * time.Millisecond

// stream is an open stream of watchers, with all that came on it and was not compared yet.
type stream struct {
	rpc    pb.Watch_WatchClient
	cancel context.CancelFunc
	member int
	// live are the watchers that were created and not canceled, with their first revision.
	live map[int64]int64
	// closed says that it has ended as asked.
	closed bool

	mu      sync.Mutex
	got     []*pb.WatchResponse
	end     error
	changed chan struct{}
	// last is the newest revision that each watcher was told, and whether more of it was to come.
	last map[int64]int64
	more map[int64]bool
	// wrong is what broke a rule of the stream's own.
	wrong []string
}

func (s *side) open(n, member int) (*stream, error) {
	if w, ok := s.streams[n]; ok {
		return w, nil
	}
	ctx, cancel := context.WithCancel(s.ctx)
	rpc, err := pb.NewWatchClient(s.conn(member)).Watch(ctx)
	if err != nil {
		cancel()
		return nil, err
	}
	w := &stream{
		rpc: rpc, cancel: cancel, member: member, live: map[int64]int64{},
		changed: make(chan struct{}, 1), last: map[int64]int64{}, more: map[int64]bool{},
	}
	go w.hear()
	s.streams[n] = w
	return w, nil
}

func (w *stream) hear() {
	for {
		r, err := w.rpc.Recv()
		w.mu.Lock()
		if err != nil {
			w.end = err
		} else {
			w.judge(r)
			w.got = append(w.got, r)
		}
		w.mu.Unlock()
		select {
		case w.changed <- struct{}{}:
		default:
		}
		if err != nil {
			return
		}
	}
}

// judge holds a response to the rules that need no comparison: events in order, and each revision in one response
// unless parts of it are announced.
func (w *stream) judge(r *pb.WatchResponse) {
	id := r.GetWatchId()
	if r.GetCreated() || r.GetCanceled() {
		delete(w.last, id)
		delete(w.more, id)
	}
	for i, e := range r.GetEvents() {
		at := e.GetKv().GetModRevision()
		if at < w.last[id] || i == 0 && at == w.last[id] && !w.more[id] {
			w.wrong = append(w.wrong, fmt.Sprintf("watcher %d: revision %d in a response of its own after %d", id, at, w.last[id]))
		}
		if at > r.GetHeader().GetRevision() {
			w.wrong = append(w.wrong, fmt.Sprintf("watcher %d: revision %d under a header of %d", id, at, r.GetHeader().GetRevision()))
		}
		w.last[id] = at
	}
	w.more[id] = r.GetFragment()
}

// progress reports whether a response says nothing but how far the stream is.
func progress(r *pb.WatchResponse) bool {
	return r.GetWatchId() == -1 && !r.GetCreated() && !r.GetCanceled() && len(r.GetEvents()) == 0
}

// mark is a place in what the stream has said.
func (w *stream) mark() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.got)
}

// await returns the first response from that place on that is wanted.
func (w *stream) await(ctx context.Context, from int, wanted func(*pb.WatchResponse) bool) (*pb.WatchResponse, error) {
	for {
		w.mu.Lock()
		for ; from < len(w.got); from++ {
			if wanted(w.got[from]) {
				r := w.got[from]
				w.mu.Unlock()
				return r, nil
			}
		}
		end := w.end
		w.mu.Unlock()
		if end != nil {
			return nil, end
		}
		select {
		case <-w.changed:
		case <-ctx.Done():
			return nil, status.Error(codes.DeadlineExceeded, "no answer on the stream")
		}
	}
}

// watchRequest sends a request on a stream, which it opens if need be, and waits for what is to follow it.
func watchRequest(ctx context.Context, s *side, o op) (proto.Message, error) {
	w, err := s.open(o.Stream, o.Member)
	if err != nil {
		return nil, err
	}
	// The stream stays with the member where it was opened, which may be another than this request's.
	if err := s.catchUp(ctx, w.member); err != nil {
		return nil, err
	}
	q := o.Req.(*pb.WatchRequest)
	switch {
	case q.GetCreateRequest() != nil:
		return s.createWatcher(ctx, w, q)
	case q.GetCancelRequest() != nil:
		return s.cancelWatcher(ctx, w, q)
	case q.GetProgressRequest() != nil:
		return s.settle(ctx, w)
	}
	return nil, w.rpc.Send(q)
}

// createWatcher waits for the answer, and for what a first revision in the past brings.
func (s *side) createWatcher(ctx context.Context, w *stream, q *pb.WatchRequest) (proto.Message, error) {
	from := w.mark()
	if err := w.rpc.Send(q); err != nil {
		return nil, err
	}
	r, err := w.await(ctx, from, (*pb.WatchResponse).GetCreated)
	if err != nil {
		return nil, err
	}
	out := proto.Clone(r).(*pb.WatchResponse)
	start := q.GetCreateRequest().GetStartRevision()
	if r.GetCanceled() {
		return out, nil
	}
	w.live[r.GetWatchId()] = start
	if start <= 0 || start > s.head {
		return out, nil
	}
	if start < s.compacted {
		late, err := w.await(ctx, from, func(x *pb.WatchResponse) bool {
			return x.GetWatchId() == r.GetWatchId() && x.GetCompactRevision() != 0
		})
		if err != nil {
			return nil, err
		}
		out.CompactRevision = late.GetCompactRevision()
		delete(w.live, r.GetWatchId())
		return out, s.bury(ctx, w, r.GetWatchId())
	}
	_, err = s.settle(ctx, w)
	return out, err
}

// bury has etcd forget a watcher that it has canceled because of a compaction: until the client cancels it as well,
// its id stays taken and progress requests on its stream are not answered.
func (s *side) bury(ctx context.Context, w *stream, id int64) error {
	if !s.oracle {
		return nil
	}
	from := w.mark()
	if err := w.rpc.Send(cancelRequest(id)); err != nil {
		return err
	}
	r, err := w.await(ctx, from, func(r *pb.WatchResponse) bool { return r.GetCanceled() && r.GetWatchId() == id })
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.got = slices.DeleteFunc(w.got, func(x *pb.WatchResponse) bool { return x == r })
	return nil
}

func cancelRequest(id int64) *pb.WatchRequest {
	return &pb.WatchRequest{RequestUnion: &pb.WatchRequest_CancelRequest{CancelRequest: &pb.WatchCancelRequest{WatchId: id}}}
}

// cancelWatcher waits for the answer if there is to be one: a watcher that is not there is canceled in silence.
func (s *side) cancelWatcher(ctx context.Context, w *stream, q *pb.WatchRequest) (proto.Message, error) {
	id := q.GetCancelRequest().GetWatchId()
	var err error
	if start, ok := w.live[id]; ok && start <= s.head {
		// etcd catches up with the past within 100 ms, and a watcher whose first revision is to come would hide whether it has.
		err = s.quiesce(ctx, w)
	} else {
		_, err = s.settle(ctx, w)
	}
	if err != nil {
		return nil, err
	}
	from := w.mark()
	if err := w.rpc.Send(q); err != nil {
		return nil, err
	}
	if _, ok := w.live[id]; !ok {
		_, err := s.settle(ctx, w)
		return nil, err
	}
	r, err := w.await(ctx, from, func(r *pb.WatchResponse) bool { return r.GetCanceled() && r.GetWatchId() == id })
	if err != nil {
		return nil, err
	}
	delete(w.live, id)
	return proto.Clone(r), nil
}

// settle returns once all that was written has been told, which a progress response says. It does nothing where none
// can come: without watchers, or with one whose first revision is not reached.
func (s *side) settle(ctx context.Context, w *stream) (proto.Message, error) {
	if len(w.live) == 0 {
		return nil, nil
	}
	for _, start := range w.live {
		if start > s.head {
			return nil, nil
		}
	}
	// Of an older request there may still be an answer to come, which is as good if it is of this revision.
	from := w.mark()
	ask := &pb.WatchRequest{RequestUnion: &pb.WatchRequest_ProgressRequest{ProgressRequest: &pb.WatchProgressRequest{}}}
	for {
		if err := w.rpc.Send(ask); err != nil {
			return nil, err
		}
		wait, cancel := context.WithTimeout(ctx, askAgain)
		r, err := w.await(wait, from, func(r *pb.WatchResponse) bool {
			return progress(r) && r.GetHeader().GetRevision() >= s.head
		})
		late := wait.Err() != nil
		cancel()
		if err == nil {
			return proto.Clone(r), nil
		}
		if !late || ctx.Err() != nil {
			return nil, err
		}
	}
}

// closeWatch ends a stream after all was told on it, and waits for its end.
func closeWatch(ctx context.Context, s *side, o op) (proto.Message, error) {
	w, ok := s.streams[o.Stream]
	if !ok {
		return nil, nil
	}
	if err := s.quiesce(ctx, w); err != nil {
		return nil, err
	}
	w.cancel()
	if _, err := w.await(ctx, w.mark(), func(*pb.WatchResponse) bool { return false }); status.Code(err) != codes.Canceled {
		return nil, err
	}
	w.closed = true
	return nil, nil
}

// quiesce has a stream tell all that it has to tell.
func (s *side) quiesce(ctx context.Context, w *stream) error {
	if err := s.catchUp(ctx, w.member); err != nil {
		return err
	}
	var future []int64
	for id, start := range w.live {
		if start > s.head {
			future = append(future, id)
		}
	}
	slices.Sort(future)
	for _, id := range future {
		from := w.mark()
		if err := w.rpc.Send(cancelRequest(id)); err != nil {
			return err
		}
		if _, err := w.await(ctx, from, func(r *pb.WatchResponse) bool { return r.GetCanceled() && r.GetWatchId() == id }); err != nil {
			return err
		}
		delete(w.live, id)
	}
	_, err := s.settle(ctx, w)
	return err
}

// told is what a stream has said since the last time, as far as it is compared: the answers in order, and the events
// of each watcher.
func (w *stream) told() (answers []proto.Message, events map[int64][]proto.Message, wrong []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	events = map[int64][]proto.Message{}
	for _, r := range w.got {
		for _, e := range r.GetEvents() {
			events[r.GetWatchId()] = append(events[r.GetWatchId()], e)
		}
		if progress(r) || len(r.GetEvents()) > 0 && !r.GetCreated() && !r.GetCanceled() {
			continue
		}
		c := proto.Clone(r).(*pb.WatchResponse)
		forgetIdentity(c.ProtoReflect())
		answers = append(answers, c)
	}
	if w.end != nil && !w.closed {
		wrong = append(wrong, "the stream has ended: "+w.end.Error())
	}
	wrong = append(wrong, w.wrong...)
	w.got, w.wrong = nil, nil
	return answers, events, wrong
}
