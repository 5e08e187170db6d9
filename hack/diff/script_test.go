package main

import (
	"bytes"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
)

// build makes a program of the repository.
func build(t *testing.T, module, pkg string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), filepath.Base(pkg))
	cmd := exec.Command("go", "build", "-o", out, pkg)
	cmd.Dir = module
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", pkg, err, text)
	}
	return out
}

// TestScripts runs every sequence that has shown a difference once.
func TestScripts(t *testing.T) {
	if os.Getenv("RAFTSMAN_DIFF") == "" {
		t.Skip("NOT RUN: it starts groups of real processes on fixed ports, and waits for timeouts: `make diff-scripts` runs it, on a machine that is otherwise quiet")
	}
	names, err := filepath.Glob("testdata/*.script")
	if err != nil || len(names) == 0 {
		t.Fatalf("scripts: %v, %v", names, err)
	}
	p := &pairs{
		ctx: t.Context(), root: t.TempDir(), base: 26400,
		etcd: etcdProgram(build(t, "../bench", "./etcd")), raftsman: raftsmanProgram(build(t, "../..", "./cmd/raftsman")),
	}
	t.Cleanup(func() {
		if err := p.close(); err != nil {
			t.Error(err)
		}
	})
	for _, name := range names {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".script"), func(t *testing.T) {
			script, err := loadScript(name)
			if err != nil {
				t.Fatal(err)
			}
			d, err := replay(p, script)
			if err != nil {
				t.Fatal(err)
			}
			if d != nil {
				t.Errorf("difference after %s:\n%s", script[d.at], d.text)
			}
		})
	}
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
