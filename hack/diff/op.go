package main

import (
	"bufio"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
)

// op is one request of a sequence.
type op struct {
	// Member is which member of the group is asked; a stream stays with the member that it was opened at.
	Member int
	// Kind names the request, a key of kinds.
	Kind string
	// Stream is the stream of watchers that a Watch or CloseWatch is about.
	Stream int
	// Pad is the length in bytes to which the first value is padded when the request is sent.
	Pad int
	Req proto.Message
}

// String is the op as a line of a script.
func (o op) String() string {
	name := o.Kind
	if o.Stream != 0 {
		name += fmt.Sprintf("/%d", o.Stream)
	}
	if o.Pad != 0 {
		name += fmt.Sprintf("+%d", o.Pad)
	}
	return strings.TrimSpace(fmt.Sprintf("m%d %s %s", o.Member, name, oneLine(o.Req)))
}

// oneLine is the message as text on one line. The encoder varies its spaces on purpose; they are evened out here.
func oneLine(m proto.Message) string {
	var out strings.Builder
	quoted, escaped, last := false, false, byte(0)
	for _, c := range []byte(prototext.MarshalOptions{}.Format(m)) {
		switch {
		case escaped:
			escaped = false
		case quoted && c == '\\':
			escaped = true
		case c == '"':
			quoted = !quoted
		case c == ' ' && !quoted && (last == ' ' || last == ':'):
			continue
		}
		out.WriteByte(c)
		last = c
	}
	return strings.TrimSpace(out.String())
}

// line is the form of a script's line.
var line = regexp.MustCompile(`^m(\d) ([A-Za-z]+)(?:/(\d+))?(?:\+(\d+))?(?: (.*))?$`)

func parseOp(text string) (op, error) {
	m := line.FindStringSubmatch(text)
	if m == nil {
		return op{}, fmt.Errorf("not a request: %s", text)
	}
	k, ok := kinds()[m[2]]
	if !ok {
		return op{}, fmt.Errorf("unknown request %s", m[2])
	}
	o := op{Kind: m[2], Req: k.request()}
	o.Member, _ = strconv.Atoi(m[1])
	o.Stream, _ = strconv.Atoi(m[3])
	o.Pad, _ = strconv.Atoi(m[4])
	return o, prototext.Unmarshal([]byte(m[5]), o.Req)
}

// maxLine bounds a script's line.
const maxLine = 4 << 20

// readScript reads a script; lines that begin with # are its story.
func readScript(r io.Reader) ([]op, error) {
	var all []op
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxLine)
	for n := 1; lines.Scan(); n++ {
		text := strings.TrimSpace(lines.Text())
		if text == "" || strings.HasPrefix(text, "#") {
			continue
		}
		o, err := parseOp(text)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		all = append(all, o)
	}
	return all, lines.Err()
}

// padded is the request as it is sent.
func (o op) padded() proto.Message {
	if o.Pad == 0 {
		return o.Req
	}
	m := proto.Clone(o.Req)
	fill := []byte(strings.Repeat("x", o.Pad))
	switch r := m.(type) {
	case *pb.PutRequest:
		r.Value = fill
	case *pb.RangeRequest:
		r.Key = fill
	case *pb.DeleteRangeRequest:
		r.Key = fill
	case *pb.TxnRequest:
		for _, x := range r.GetSuccess() {
			if p := x.GetRequestPut(); p != nil {
				p.Value = fill
				break
			}
		}
	}
	return m
}
