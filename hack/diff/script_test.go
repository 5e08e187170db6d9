package main

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
)

// raftsman is the program that RAFTSMAN_DIFF names, or one that is built now.
func raftsman(t *testing.T) string {
	t.Helper()
	if given := os.Getenv("RAFTSMAN_DIFF"); given != "" {
		return given
	}
	out := filepath.Join(t.TempDir(), "raftsman")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-C", "../..", "-ldflags", "-s -w", "-o", out, "./cmd/raftsman")
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build raftsman: %v\n%s", err, text)
	}
	return out
}

// etcd is the program that `make programs` has built, or that is built now.
func etcd(t *testing.T) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "run", "-C", "../devcluster", ".", "tool", "etcd")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("build etcd with hack/devcluster: %v", err)
	}
	return strings.TrimSpace(string(out))
}

// TestScripts runs every sequence that has shown a difference once: one after the other on the same stores, or on stores of
// its own if it says so.
func TestScripts(t *testing.T) {
	names, err := filepath.Glob("testdata/*.script")
	if err != nil || len(names) == 0 {
		t.Fatalf("scripts: %v, %v", names, err)
	}
	var fresh, shared []string
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), freshMark+"\n") {
			fresh = append(fresh, name)
		} else {
			shared = append(shared, name)
		}
	}
	p := &pairs{
		ctx: context.WithoutCancel(t.Context()), root: t.TempDir(), want: len(fresh) + 1,
		etcd: etcdProgram(etcd(t)), raftsman: raftsmanProgram(raftsman(t)),
	}
	t.Cleanup(func() {
		if err := p.close(); err != nil {
			t.Error(err)
		}
	})
	for _, name := range fresh {
		testScripts(t, p, []string{name})
	}
	testScripts(t, p, shared)
}

// testScripts runs scripts on a pair of fresh stores.
func testScripts(t *testing.T, p *pairs, names []string) {
	stores, err := p.take()
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := stores.stop(); err != nil {
			t.Error(err)
		}
	}()
	ctx, cancel := context.WithCancel(p.ctx)
	defer cancel()
	s := newSession(ctx, stores, newMatrix())
	for _, name := range names {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".script"), func(t *testing.T) {
			script, err := loadScript(name)
			if err != nil {
				t.Fatal(err)
			}
			d, err := s.play(script)
			if err == nil && d == nil {
				d, err = s.clear()
			}
			if err != nil {
				t.Fatal(err)
			}
			if d != nil {
				t.Errorf("difference after %s:\n%s", s.done[d.at], d.text)
			}
		})
	}
}

// clear closes all streams and removes all leases and keys, so that a script finds little of the one before.
func (s *session) clear() (*difference, error) {
	var all []op
	for n := range s.etcd.streams {
		all = append(all, op{Kind: "CloseWatch", Stream: n, Req: &pb.WatchRequest{}})
	}
	leases, err := pb.NewLeaseClient(s.etcd.conn(0)).LeaseLeases(s.etcd.ctx, &pb.LeaseLeasesRequest{})
	if err != nil {
		return nil, err
	}
	for _, l := range leases.GetLeases() {
		all = append(all, op{Kind: "LeaseRevoke", Req: &pb.LeaseRevokeRequest{ID: l.GetID()}})
	}
	all = append(all, op{Kind: "DeleteRange", Req: &pb.DeleteRangeRequest{Key: []byte{0}, RangeEnd: []byte{0}}})
	for _, o := range all {
		if d, err := s.step(o); d != nil || err != nil {
			return d, err
		}
	}
	return nil, nil
}

// drawn are requests as the generator draws them, from a state that is made up.
func drawn(t *testing.T, seed uint64, n int) []op {
	s := newSide(t.Context(), nil, true)
	s.head, s.compacted = 100, 50
	g := newGenerator(seed, s)
	s.streams[1] = &stream{live: map[int64]int64{0: 0, 7: 200}}
	var all []op
	for range n {
		all = append(all, g.next())
	}
	return all
}

// TestLinesReadBack draws requests and reads them back from their lines.
func TestLinesReadBack(t *testing.T) {
	seed := rand.Uint64()
	for _, o := range drawn(t, seed, 5000) {
		back, err := parseOp(o.String())
		if err != nil {
			t.Fatalf("seed %d: %s: %v", seed, o, err)
		}
		if back.Member != o.Member || back.Kind != o.Kind || back.Stream != o.Stream || back.Pad != o.Pad || !proto.Equal(back.Req, o.Req) {
			t.Fatalf("seed %d: %s\nreads back as %s", seed, o, back)
		}
	}
}

// TestSameSeedSameRequests draws twice.
func TestSameSeedSameRequests(t *testing.T) {
	seed := rand.Uint64()
	a, b := drawn(t, seed, 500), drawn(t, seed, 500)
	for i := range a {
		if a[i].String() != b[i].String() {
			t.Fatalf("seed %d: %s, then %s", seed, a[i], b[i])
		}
	}
}

// TestClearNth takes each field and element away once.
func TestClearNth(t *testing.T) {
	m := &pb.TxnRequest{Success: []*pb.RequestOp{opPut(&pb.PutRequest{Key: []byte("a"), Lease: 3})}}
	var left []string
	for n := 0; ; n++ {
		c, k := proto.Clone(m), n
		if !clearNth(c.ProtoReflect(), &k) {
			break
		}
		left = append(left, oneLine(c))
	}
	want := []string{`success:{request_put:{lease:3}}`, `success:{request_put:{key:"a"}}`, `success:{}`, ``, ``}
	if strings.Join(left, "|") != strings.Join(want, "|") {
		t.Errorf("left %q, want %q", left, want)
	}
}

// TestDifferShowsFields compares answers that differ in one field, and in IDs only.
func TestDifferShowsFields(t *testing.T) {
	a := outcome{resp: &pb.PutResponse{Header: &pb.ResponseHeader{Revision: 2, ClusterId: 1}}}
	b := outcome{resp: &pb.PutResponse{Header: &pb.ResponseHeader{Revision: 2, ClusterId: 5, MemberId: 3, RaftTerm: 4}}}
	for _, o := range []outcome{a, b} {
		plain(&pb.PutRequest{}, o.resp)
	}
	if text := differ(a, b); text != "" {
		t.Errorf("IDs are told apart:\n%s", text)
	}
	b.resp.(*pb.PutResponse).Header.Revision = 3
	if text := differ(a, b); !strings.Contains(text, "-   revision: 2") || !strings.Contains(text, "+   revision: 3") {
		t.Errorf("another revision is shown as:\n%s", text)
	}
}

// TestMatrixWantsCells demands a warning where a cell was not met.
func TestMatrixWantsCells(t *testing.T) {
	m := newMatrix()
	for range atLeast {
		for _, r := range reachable() {
			for _, c := range r.columns {
				if m.cells[r.name] == nil {
					m.cells[r.name] = map[string]int{}
				}
				m.cells[r.name][c]++
			}
		}
	}
	if !m.print(&bytes.Buffer{}) {
		t.Error("a full matrix is not enough")
	}
	m.cells["Put"]["ok"]--
	if m.print(&bytes.Buffer{}) {
		t.Error("a cell below the bound is enough")
	}
}

// TestJudge holds a stream to its own rules.
func TestJudge(t *testing.T) {
	event := func(at int64) *pb.WatchResponse {
		r := &pb.WatchResponse{}
		if err := prototext.Unmarshal([]byte(`header:{revision:9} events:{kv:{key:"a"}}`), r); err != nil {
			t.Fatal(err)
		}
		r.Events[0].Kv.ModRevision = at
		return r
	}
	for _, c := range []struct {
		name  string
		tell  []int64
		parts bool
		wrong int
	}{
		{"in order", []int64{2, 3}, false, 0},
		{"backwards", []int64{3, 2}, false, 1},
		{"split", []int64{2, 2}, false, 1},
		{"in announced parts", []int64{2, 2}, true, 0},
		{"beyond the header", []int64{10}, false, 1},
	} {
		w := &stream{last: map[int64]int64{}, more: map[int64]bool{}}
		for _, at := range c.tell {
			r := event(at)
			r.Fragment = c.parts
			w.judge(r)
		}
		if len(w.wrong) != c.wrong {
			t.Errorf("%s: %q", c.name, w.wrong)
		}
	}
}

// TestPortsAreOthers takes blocks of ports and meets those where somebody listens in none.
func TestPortsAreOthers(t *testing.T) {
	var p, q ports
	base, err := p.take([]int{0, 13})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", base+13))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	q.next = 1 + (base-firstPort)/blockSize
	for range 3 {
		if other, err := q.take([]int{0, 13}); err != nil || other == base {
			t.Errorf("took %d, %v where somebody listens at %d", other, err, base+13)
		}
	}
}

// TestDisputed tells the transactions that etcd and Raftsman are known to see in two ways.
func TestDisputed(t *testing.T) {
	for _, c := range []struct {
		text string
		want bool
	}{
		{`success:{request_put:{key:"b"}} success:{request_delete_range:{key:"a" range_end:"\x00"}}`, true},
		{`success:{request_put:{key:"b"}} success:{request_delete_range:{key:"c" range_end:"\x00"}}`, false},
		{`success:{request_put:{key:"b"}} failure:{request_delete_range:{key:"a" range_end:"\x00"}}`, false},
		{`success:{request_put:{key:"b"}} success:{request_delete_range:{key:"a" range_end:"c"}}`, false},
		{`success:{request_txn:{success:{request_put:{key:"a"}}}} success:{request_txn:{failure:{request_delete_range:{key:"a"}}}}`, true},
		{`success:{request_txn:{success:{request_delete_range:{key:"a"}}}} success:{request_txn:{failure:{request_put:{key:"a"}}}}`, false},
		{`success:{request_put:{key:"a"}} success:{request_txn:{failure:{request_delete_range:{key:"a"}}}}`, false},
		{`failure:{request_txn:{success:{request_put:{key:"b"}} success:{request_delete_range:{key:"a" range_end:"\x00"}}}}`, true},
	} {
		q := &pb.TxnRequest{}
		if err := prototext.Unmarshal([]byte(c.text), q); err != nil {
			t.Fatal(err)
		}
		if got := disputed(q); got != c.want {
			t.Errorf("%s: %v", c.text, got)
		}
	}
}
