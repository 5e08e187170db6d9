package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// opPatience bounds one request.
const opPatience = 20 * time.Second

// side is one of the two stores under comparison, with what its answers have told.
type side struct {
	*store
	oracle          bool
	ctx             context.Context
	kinds           map[string]kind
	streams         map[int]*stream
	head, compacted int64
	// compactions are the revisions of all that were done.
	compactions map[int64]bool
	// written counts the requests that may have written, and seen is what it was when a member last caught up.
	written int
	seen    map[int]int
}

func newSide(ctx context.Context, s *store, oracle bool) *side {
	return &side{store: s, oracle: oracle, ctx: ctx, kinds: kinds(), streams: map[int]*stream{}, head: 1, compactions: map[int64]bool{}, seen: map[int]int{}}
}

func (s *side) conn(member int) *grpc.ClientConn { return s.conns[member%len(s.conns)] }

// outcome is how a request ended: with a response or with a code and a text.
type outcome struct {
	resp proto.Message
	code codes.Code
	text string
	// unknown says that the program may not have had its way at all, such as in an election.
	unknown bool
}

// run sends a request and waits for its outcome.
func (s *side) run(o op) outcome {
	ctx, cancel := context.WithTimeout(s.ctx, opPatience)
	defer cancel()
	k := s.kinds[o.Kind]
	if k.own(o.Req) {
		if err := s.catchUp(ctx, o.Member); err != nil {
			return outcome{code: status.Code(err), text: "catch up: " + err.Error(), unknown: true}
		}
	}
	if !k.reads {
		s.written++
	}
	m, err := k.do(ctx, s, o)
	if err != nil {
		st := status.Convert(err)
		return outcome{code: st.Code(), text: st.Message(), unknown: st.Code() == codes.Unavailable}
	}
	if m == nil {
		return outcome{}
	}
	s.learn(o, m)
	plain(o.Req, m)
	return outcome{resp: m}
}

// catchUp returns once the member has seen all that was written.
func (s *side) catchUp(ctx context.Context, member int) error {
	if len(s.conns) == 1 || s.seen[member] == s.written {
		return nil
	}
	_, err := pb.NewKVClient(s.conn(member)).Range(ctx, &pb.RangeRequest{Key: []byte("?"), CountOnly: true})
	if err == nil {
		s.seen[member] = s.written
	}
	return err
}

// learn takes note of the revisions that an answer shows.
func (s *side) learn(o op, m proto.Message) {
	if h, ok := m.(interface{ GetHeader() *pb.ResponseHeader }); ok {
		s.head = max(s.head, h.GetHeader().GetRevision())
	}
	if q, ok := o.Req.(*pb.CompactionRequest); ok {
		s.compacted = max(s.compacted, q.GetRevision())
		s.compactions[q.GetRevision()] = true
	}
}

// forgetIdentity clears cluster, member and term of every header in a message.
func forgetIdentity(m protoreflect.Message) {
	if h, ok := m.Interface().(*pb.ResponseHeader); ok {
		h.ClusterId, h.MemberId, h.RaftTerm = 0, 0, 0
		return
	}
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case f.Kind() != protoreflect.MessageKind:
		case f.IsList():
			for i := range v.List().Len() {
				forgetIdentity(v.List().Get(i).Message())
			}
		default:
			forgetIdentity(v.Message())
		}
		return true
	})
}

// differ says how two outcomes differ, field by field; empty if they do not.
func differ(a, b outcome) string {
	if a.code != b.code || a.text != b.text {
		return fmt.Sprintf("- etcd:     %s\n+ raftsman: %s\n", a, b)
	}
	return differMessages(a.resp, b.resp)
}

// String is the outcome in short.
func (o outcome) String() string {
	if o.code != codes.OK || o.text != "" {
		return fmt.Sprintf("%s: %s", o.code, o.text)
	}
	if o.resp == nil {
		return "nothing"
	}
	text := oneLine(o.resp)
	return "{" + text[:min(len(text), 2000)] + "}"
}

// differMessages lists the lines in which two messages differ.
func differMessages(a, b proto.Message) string {
	if a == nil && b == nil || a != nil && b != nil && proto.Equal(a, b) {
		return ""
	}
	return differLines(lines(a), lines(b))
}

func lines(m proto.Message) []string {
	if m == nil {
		return []string{"nothing"}
	}
	text := prototext.MarshalOptions{Multiline: true}.Format(m)
	all := strings.Split(strings.ReplaceAll(text, ":  ", ": "), "\n")
	for i := range all {
		all[i] = all[i][:min(len(all[i]), 200)]
	}
	return all
}

// around is how many equal lines are shown before the first that differs, and maxShown how many in all.
const (
	around   = 3
	maxShown = 40
)

// differLines shows the part between the common beginning and the common end.
func differLines(a, b []string) string {
	start := 0
	for start < len(a) && start < len(b) && a[start] == b[start] {
		start++
	}
	end := 0
	for end < len(a)-start && end < len(b)-start && a[len(a)-1-end] == b[len(b)-1-end] {
		end++
	}
	var out strings.Builder
	show := func(mark string, all []string) {
		for i, l := range all {
			if i == maxShown {
				fmt.Fprintf(&out, "%s ... %d more\n", mark, len(all)-i)
				return
			}
			fmt.Fprintf(&out, "%s %s\n", mark, l)
		}
	}
	show(" ", a[max(0, start-around):start])
	show("-", a[start:len(a)-end])
	show("+", b[start:len(b)-end])
	return out.String()
}
