package node

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"path/filepath"
	"sync"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"raftsman.dev/node/admin"
)

// proxy stands before a member's peer port. It can cut the snapshot connections that pass through it, and lets
// everything else pass.
type proxy struct {
	t        *testing.T
	listener net.Listener
	wg       sync.WaitGroup
	mu       struct {
		sync.Mutex
		target string
		cuts   []int // after how many bytes the next snapshot connections are cut; -1 refuses them, however many come
		cut    int   // how many were cut
		conns  []net.Conn
		closed bool
	}
}

func newProxy(t *testing.T, cuts ...int) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{t: t, listener: l}
	p.mu.cuts = cuts
	p.wg.Go(p.accept)
	t.Cleanup(p.close)
	return p
}

func (p *proxy) address() string { return p.listener.Addr().String() }

func (p *proxy) aim(target string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.target = target
}

// open lets snapshot connections pass from now on.
func (p *proxy) open() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.cuts = nil
}

func (p *proxy) cutSoFar() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mu.cut
}

func (p *proxy) close() {
	p.listener.Close()
	p.mu.Lock()
	p.mu.closed = true
	for _, c := range p.mu.conns {
		c.Close()
	}
	p.mu.Unlock()
	p.wg.Wait()
}

func (p *proxy) accept() {
	for {
		c, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.wg.Go(func() { p.serve(c) })
	}
}

// track remembers a connection, to end it with the proxy.
func (p *proxy) track(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.conns = append(p.mu.conns, c)
	return !p.mu.closed
}

// limit is how many bytes may pass on a new connection of that kind, none for as many as come.
func (p *proxy) limit(kind byte) (limit int, limited bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if kind != 2 || len(p.mu.cuts) == 0 {
		return 0, false
	}
	limit = p.mu.cuts[0]
	if limit >= 0 {
		p.mu.cuts = p.mu.cuts[1:]
		p.mu.cut++
	}
	return max(0, limit), true
}

func (p *proxy) serve(c net.Conn) {
	defer c.Close()
	p.mu.Lock()
	target := p.mu.target
	p.mu.Unlock()
	head := make([]byte, 9) // the magic and the kind
	if !p.track(c) || target == "" {
		return
	}
	if _, err := io.ReadFull(c, head); err != nil {
		return
	}
	limit, limited := p.limit(head[8])
	if limited && limit == 0 {
		return
	}
	to, err := net.Dial("tcp", target)
	if err != nil {
		return
	}
	defer to.Close()
	if !p.track(to) {
		return
	}
	p.wg.Go(func() {
		_, _ = io.Copy(c, to)
		c.Close()
	})
	if _, err := to.Write(head); err != nil {
		return
	}
	if limited {
		_, _ = io.CopyN(to, c, int64(limit))
		return
	}
	_, _ = io.Copy(to, c)
}

// fill writes that many MiB under keys of their own, and more until the log no longer reaches back to its beginning.
func (b *bench) fill(at string, mebibytes int) {
	b.t.Helper()
	kv := pb.NewKVClient(b.dial(at))
	rng := rand.New(rand.NewPCG(1, 1))
	value := make([]byte, 64<<10)
	for i := range mebibytes * 16 {
		for k := range value {
			value[k] = byte(rng.Uint32())
		}
		put(b.t, kv, fmt.Sprintf("fill/%06d", i), string(value))
	}
	n := 0
	b.wait("a log that was cut", func() error {
		for range 20 {
			n++
			put(b.t, kv, "more", fmt.Sprint(n))
		}
		if first := b.status(at).First; first < 10 {
			return fmt.Errorf("the log begins at %d", first)
		}
		return nil
	})
}

// exported is the size of a member's whole state as chunks.
func (b *bench) exported(at string) (bytes int) {
	b.t.Helper()
	v := b.members[at].store.View()
	defer v.Close()
	if err := v.Export(func(chunk []byte) error { bytes += len(chunk); return nil }); err != nil {
		b.t.Fatal(err)
	}
	return bytes
}

// awaitCut waits until a member reports a snapshot as cut.
func (b *bench) awaitCut(at string) {
	b.t.Helper()
	b.wait("a snapshot that was cut at "+at, func() error {
		all := b.status(at).SnapshotStreams
		if len(all) != 1 || !all[0].Cut || all[0].Bytes == 0 || all[0].Chunks == 0 {
			return fmt.Errorf("%+v", all)
		}
		return nil
	})
}

// TestCutSnapshotGoesOn: a newcomer's snapshot is cut; it goes on where it was cut as long as both sides remember, and
// begins anew otherwise. Either way the newcomer ends with the state of the others, and nothing is left behind.
func TestCutSnapshotGoesOn(t *testing.T) {
	const mebibytes = 6
	for _, c := range []struct {
		name    string
		cuts    []int
		between func(b *bench)
		resumed uint64
	}{
		{"both remember", []int{2 << 20, 5000, 3 << 20}, nil, 3},
		{"the sender forgets", []int{3 << 20, -1}, func(b *bench) {
			if err := b.members["a"].outgoing.close(); err != nil {
				b.t.Fatal(err)
			}
		}, 0},
		{"the receiver forgets", []int{3 << 20, -1}, func(b *bench) {
			if err := b.members["c"].incoming.drop(nil); err != nil {
				b.t.Fatal(err)
			}
		}, 0},
		{"the receiver restarts", []int{3 << 20, -1}, func(b *bench) {
			b.stop("c")
			b.start(b.configs["c"])
		}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t)
			p := newProxy(t, c.cuts...)
			founder := b.config("a")
			founder.Form, founder.KeepEntries = true, 20
			b.start(founder)
			b.leader()
			b.fill("a", mebibytes)
			cfg := b.config("c")
			cfg.AdvertisePeer = p.address()
			p.aim(b.start(cfg).ports.peer.Addr().String())
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			if _, err := pb.NewClusterClient(b.dial("a")).MemberAdd(ctx, &pb.MemberAddRequest{PeerURLs: []string{"http://" + p.address()}, IsLearner: true}); err != nil {
				t.Fatal(err)
			}
			if c.between != nil {
				b.awaitCut("a")
				b.awaitCut("c")
				c.between(b)
				p.open()
			}
			b.equal()
			b.checkArrival(p, c.resumed)
		})
	}
}

// checkArrival demands that the newcomer's snapshot went on so often after a cut, that no chunk came twice if it did,
// and that nothing of what was cut is left.
func (b *bench) checkArrival(p *proxy, resumed uint64) {
	b.t.Helper()
	c, whole := b.members["c"], uint64(b.exported("a"))
	b.wait("the end of all streams", func() error {
		if n := len(b.status("a").SnapshotStreams) + len(b.status("c").SnapshotStreams); n > 0 {
			return fmt.Errorf("%d on their way", n)
		}
		return nil
	})
	received := c.streams.received.Load()
	b.t.Logf("%d cuts, %d bytes needed, %d received, %d sent", p.cutSoFar(), whole, received, b.members["a"].streams.sent.Load())
	if got := c.streams.resumed.Load(); got != resumed || b.members["a"].streams.resumed.Load() < resumed {
		b.t.Errorf("the receiver went on %d times, the sender %d times, expected %d", got, b.members["a"].streams.resumed.Load(), resumed)
	}
	// The membership in the state is all that has changed of its size since.
	if resumed > 0 && (received > whole || received+1024 < whole) {
		b.t.Errorf("%d bytes were received of a state of %d", received, whole)
	}
	b.installed("c", 1)
	dirs, err := filepath.Glob(filepath.Join(b.configs["c"].DataDir, "store", "gen-*"))
	if err != nil || len(dirs) != 1 {
		b.t.Errorf("the newcomer's store holds %q (%v)", dirs, err)
	}
}

// TestSnapshotsOnTheirWayAreReported with their direction.
func TestSnapshotsOnTheirWayAreReported(t *testing.T) {
	var all streams
	b := newBench(t)
	s := all.begin(admin.Receiving, 7, 9, b.config("a").Log)
	s.chunk(100)
	s.interrupt(io.ErrUnexpectedEOF)
	s.resume()
	s.chunk(50)
	want := admin.SnapshotStream{Peer: memberID(7), Direction: admin.Receiving, Index: 9, Bytes: 150, Chunks: 2, Resumed: 1}
	if got := all.report(); len(got) != 1 || got[0] != want {
		t.Errorf("%+v", got)
	}
	if all.received.Load() != 150 || all.sent.Load() != 0 || all.resumed.Load() != 1 {
		t.Errorf("received %d, sent %d, resumed %d", all.received.Load(), all.sent.Load(), all.resumed.Load())
	}
	s.end(nil)
	if got := all.report(); len(got) != 0 {
		t.Errorf("ended, and still there: %+v", got)
	}
}
