package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
)

// difference is where the two sides disagreed.
type difference struct {
	// at is the index of the op after which it showed.
	at int
	// text says what differs; - is etcd's, + is Raftsman's.
	text string
}

// voidError ends a session that says nothing: a request was refused for a reason of the moment, such as an election.
type voidError struct{ why string }

func (e voidError) Error() string { return "sequence given up: " + e.why }

// session is one sequence on a pair of stores.
type session struct {
	etcd, raftsman *side
	done           []op
	met            *matrix
}

func newSession(ctx context.Context, p *pair, met *matrix) *session {
	return &session{etcd: newSide(ctx, p.etcd, true), raftsman: newSide(ctx, p.raftsman, false), met: met}
}

// both does the same on the two sides at once.
func both[T any](s *session, f func(*side) T) (etcd, raftsman T) {
	var wait sync.WaitGroup
	wait.Add(1)
	go func() {
		defer wait.Done()
		etcd = f(s.etcd)
	}()
	raftsman = f(s.raftsman)
	wait.Wait()
	return etcd, raftsman
}

// step runs one request on both sides. A compaction comes after all events were told, because etcd reads previous
// values and the events of the past when it sends them.
func (s *session) step(o op) (*difference, error) {
	at := len(s.done)
	s.done = append(s.done, o)
	if o.Kind == "Compact" {
		if d, err := s.compareStreams(at); d != nil || err != nil {
			return d, err
		}
	}
	a, b := both(s, func(x *side) outcome { return x.run(o) })
	if err := s.check(o, a, b); err != nil {
		return nil, err
	}
	s.met.count(o, a)
	if text := differ(a, b); text != "" {
		return &difference{at: at, text: text}, nil
	}
	if o.Kind != "CloseWatch" {
		return nil, nil
	}
	text := s.compareStream(o.Stream)
	delete(s.etcd.streams, o.Stream)
	delete(s.raftsman.streams, o.Stream)
	if text != "" {
		return &difference{at: at, text: text}, nil
	}
	return nil, nil
}

// check tells what is no answer: a program that has ended, and refusals of the moment.
func (s *session) check(o op, a, b outcome) error {
	for _, x := range []*side{s.etcd, s.raftsman} {
		if !x.alive() {
			return fmt.Errorf("%s has ended at %s: %w", x.name, o, x.lastWords())
		}
	}
	if err := s.etcd.ctx.Err(); err != nil {
		return err
	}
	if a.unknown || b.unknown {
		return voidError{fmt.Sprintf("%s: etcd %s, raftsman %s", o, a, b)}
	}
	return nil
}

// compareStreams has all streams tell what they have to tell, and compares it.
func (s *session) compareStreams(at int) (*difference, error) {
	for _, n := range slices.Sorted(maps.Keys(s.etcd.streams)) {
		a, b := both(s, func(x *side) error {
			ctx, cancel := context.WithTimeout(x.ctx, opPatience)
			defer cancel()
			w, ok := x.streams[n]
			if !ok {
				return fmt.Errorf("no stream %d", n)
			}
			return x.quiesce(ctx, w)
		})
		if s.etcd.ctx.Err() != nil {
			return nil, s.etcd.ctx.Err()
		}
		text := ""
		if a != nil || b != nil {
			text = fmt.Sprintf("stream %d does not settle: etcd: %v; raftsman: %v\n", n, a, b)
		}
		if text += s.compareStream(n); text != "" {
			return &difference{at: at, text: text}, nil
		}
	}
	return nil, nil
}

// compareStream compares what a stream has told.
func (s *session) compareStream(n int) string {
	x, y := s.etcd.streams[n], s.raftsman.streams[n]
	if x == nil || y == nil {
		return ""
	}
	var out strings.Builder
	answersA, eventsA, wrongA := x.told()
	answersB, eventsB, wrongB := y.told()
	if text := differSequences(answersA, answersB); text != "" {
		fmt.Fprintf(&out, "answers on stream %d:\n%s", n, text)
	}
	ids := map[int64]bool{}
	for id := range eventsA {
		ids[id] = true
	}
	for id := range eventsB {
		ids[id] = true
	}
	for _, id := range slices.Sorted(maps.Keys(ids)) {
		if text := differSequences(eventsA[id], eventsB[id]); text != "" {
			fmt.Fprintf(&out, "events of watcher %d on stream %d:\n%s", id, n, text)
		}
	}
	for _, w := range wrongA {
		s.met.remark("etcd, stream: " + w)
	}
	for _, w := range wrongB {
		fmt.Fprintf(&out, "+ stream %d: %s\n", n, w)
	}
	return out.String()
}

func differSequences(a, b []proto.Message) string {
	text := func(all []proto.Message) []string {
		var out []string
		for _, m := range all {
			l := oneLine(m)
			out = append(out, l[:min(len(l), 400)])
		}
		return out
	}
	for i := range max(len(a), len(b)) {
		if i >= len(a) || i >= len(b) || !proto.Equal(a[i], b[i]) {
			return differLines(text(a), text(b))
		}
	}
	return ""
}

// maxPast is how many revisions of the past the final comparison reads.
const maxPast = 10

// finish compares what all streams had to tell and the final state, at each member.
func (s *session) finish() (*difference, error) {
	at := len(s.done) - 1
	if d, err := s.compareStreams(at); d != nil || err != nil {
		return d, err
	}
	for _, o := range s.finalOps() {
		a, b := both(s, func(x *side) outcome { return x.run(o) })
		if err := s.check(o, a, b); err != nil {
			return nil, err
		}
		if text := differ(a, b); text != "" {
			return &difference{at: at, text: fmt.Sprintf("final state, %s:\n%s", o, text)}, nil
		}
	}
	return s.compareHashes(at)
}

func (s *session) finalOps() []op {
	var all []op
	everything := func(m int, at int64) op {
		return op{Member: m, Kind: "Range", Req: &pb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}, Revision: at}}
	}
	for m := range members {
		all = append(all, everything(m, 0), op{Member: m, Kind: "LeaseLeases", Req: &pb.LeaseLeasesRequest{}})
	}
	first := max(s.etcd.compacted, 1)
	step := max((s.etcd.head-first)/maxPast, 1)
	for at := first; at <= s.etcd.head; at += step {
		all = append(all, everything(int(at)%members, at))
	}
	for _, id := range leaseIDs() {
		all = append(all, op{Member: int(id) & 1, Kind: "LeaseTimeToLive", Req: &pb.LeaseTimeToLiveRequest{ID: id, Keys: true}})
	}
	return all
}

// compareHashes compares Raftsman's members with each other: they count differently from etcd.
func (s *session) compareHashes(at int) (*difference, error) {
	var first uint32
	for m := range members {
		ctx, cancel := context.WithTimeout(s.raftsman.ctx, opPatience)
		err := s.raftsman.catchUp(ctx, m)
		var r *pb.HashKVResponse
		if err == nil {
			r, err = pb.NewMaintenanceClient(s.raftsman.conn(m)).HashKV(ctx, &pb.HashKVRequest{Revision: s.raftsman.head})
		}
		cancel()
		if err != nil {
			return nil, voidError{fmt.Sprintf("hash of member %d: %v", m, err)}
		}
		if m == 0 {
			first = r.GetHash()
		}
		if r.GetHash() != first {
			return &difference{at: at, text: fmt.Sprintf("member %d hashes to %d, member 0 to %d\n", m, r.GetHash(), first)}, nil
		}
	}
	return nil, nil
}
