package transport

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"reflect"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"raftsman.dev/node/raft"
)

// sink is a handler that passes everything on over channels.
type sink struct {
	got        chan raft.Message
	connected  chan raft.Boot
	lost       chan raft.MemberID
	rolledBack chan error
	adopt      func(raft.ClusterID) error
	snapshot   func(io.ReadWriter) error
}

func newSink() *sink {
	return &sink{got: make(chan raft.Message, 1000), connected: make(chan raft.Boot, 100), lost: make(chan raft.MemberID, 1000), rolledBack: make(chan error, 100)}
}

func (s *sink) Receive(msgs []raft.Message) {
	for _, m := range msgs {
		s.got <- m
	}
}
func (s *sink) Connected(_ raft.MemberID, boot raft.Boot) { s.connected <- boot }
func (s *sink) Unreachable(id raft.MemberID) {
	select {
	case s.lost <- id:
	default:
	}
}
func (s *sink) Adopt(c raft.ClusterID) error {
	if s.adopt == nil {
		return errors.New("not unjoined")
	}
	return s.adopt(c)
}
func (s *sink) RolledBack(why error)                            { s.rolledBack <- why }
func (s *sink) Snapshot(_ raft.MemberID, c io.ReadWriter) error { return s.snapshot(c) }

// end is one transport on loopback.
type end struct {
	*Transport
	*sink
	address string
	mu      sync.Mutex
	id      Identity
}

func (e *end) self() Identity {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.id
}

func start(t *testing.T, id Identity, discover func(context.Context) ([]string, error)) *end {
	t.Helper()
	return startWith(t, id, Config{Discover: discover})
}

// startHolding is a member whose disk held that when its boot began.
func startHolding(t *testing.T, id Identity, held Held) *end {
	t.Helper()
	return startWith(t, id, Config{Held: held})
}

func startWith(t *testing.T, id Identity, cfg Config) *end {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	e := &end{sink: newSink(), address: l.Addr().String(), id: id}
	e.id.Address = e.address
	cfg.Self, cfg.Listener, cfg.Handler = e.self, l, e.sink
	cfg.Committed = func() (raft.Index, raft.Term) { return 1000, 1 }
	e.Transport = New(cfg)
	t.Cleanup(func() { e.Close() })
	return e
}

func wait[T any](t *testing.T, what string, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(10 * time.Second):
		t.Fatalf("waited 10 s for %s", what)
		panic("unreachable")
	}
}

func bodies() []raft.Body {
	e := raft.Entry{Index: 8, Term: 3, Kind: raft.EntryCommand, Payload: []byte("put")}
	e.Seal()
	return []raft.Body{
		raft.VoteRequest{Pre: true, Campaign: 4, Last: raft.Position{Index: 7, Term: 2}},
		raft.VoteRequest{Transfer: true, Campaign: 5},
		raft.VoteReply{Granted: true, Campaign: 4},
		raft.Append{Prev: raft.Position{Index: 7, Term: 2}, Commit: 6, Entries: []raft.Entry{e}},
		raft.AppendReply{Rejected: true, Match: 7, Hint: raft.Position{Index: 3, Term: 1}},
		raft.Heartbeat{Commit: 6, Read: 9},
		raft.Heartbeat{Commit: 6, Space: raft.Space{Low: true}, Point: raft.Point{Index: 2048, Sum: 1<<32 - 1}, Diverged: true},
		raft.Heartbeat{Commit: 6, Space: raft.Space{Low: true}, Quiet: true},
		raft.HeartbeatReply{Read: 9},
		raft.HeartbeatReply{Space: raft.Space{Low: true}, Unwatched: true},
		raft.HeartbeatReply{Space: raft.Space{Low: true, Out: true}, Point: raft.Point{Index: 1024, Sum: 7}},
		raft.TimeoutNow{},
		raft.Forward{Proposals: []raft.Proposal{{Ref: 1, Payload: []byte("x")}, {Ref: 2, Grows: true, Payload: []byte("y")}}},
		raft.ForwardRefused{Refs: []uint64{1, 2}, Reason: raft.RefusedBusy},
		raft.ReadRequest{Ref: 11},
		raft.ReadReply{Ref: 11, Index: 12, Reason: raft.RefusedNoLeader},
		raft.Stranger{Config: 5},
		raft.RepairRequest{From: 8, To: 9},
		raft.RepairReply{First: 3, Entries: []raft.Entry{e}},
		raft.RepairReply{First: 10},
		raft.SnapshotRequest{Min: 8, Committed: raft.Position{Index: 8, Term: 3}},
	}
}

func TestEveryBodyTravels(t *testing.T) {
	enc, dec := newEncoder(), newDecoder()
	for _, b := range bodies() {
		enc.buf.Reset()
		m := raft.Message{Term: 3, FromBoot: 1, ToBoot: 2, Body: b}
		if err := enc.add(m); err != nil {
			t.Fatal(err)
		}
		kind, body, err := readFrame(bytes.NewReader(enc.buf.Bytes()))
		if err != nil {
			t.Fatal(err)
		}
		got, known, err := dec.message(kind, body)
		if err != nil || !known || !reflect.DeepEqual(got, m) {
			t.Errorf("%T came back as %+v (known %v, %v), was %+v", b, got, known, err, m)
		}
	}
	if err := enc.add(raft.Message{Body: raft.Persisted{}}); !errors.Is(err, ErrFrame) {
		t.Errorf("a local message was encoded: %v", err)
	}
	if _, known, err := dec.message(200, nil); known || err != nil {
		t.Errorf("a frame of an unknown kind: known %v, %v; want it skipped", known, err)
	}
}

func TestGolden(t *testing.T) {
	enc := newEncoder()
	if err := enc.add(raft.Message{Term: 3, FromBoot: 1, ToBoot: 2, Body: raft.Heartbeat{Commit: 6, Read: 9}}); err != nil {
		t.Fatal(err)
	}
	const want = "0b00000005000000fcea8b2e9a03010206090000c0c0c0"
	if got := hex.EncodeToString(enc.buf.Bytes()); got != want {
		t.Errorf("the frame has changed (version 1 is frozen): %s", got)
	}
}

func TestMessagesAndRestart(t *testing.T) {
	a := start(t, Identity{Member: 1, Cluster: 9, Boot: 1, Name: "a"}, nil)
	b := start(t, Identity{Member: 2, Cluster: 9, Boot: 5, Name: "b"}, nil)
	a.SetPeers([]Peer{{ID: 1}, {ID: 2, Addresses: []string{b.address}}})
	if boot := wait(t, "a connection", a.connected); boot != 5 {
		t.Fatalf("connected to boot %d, want 5", boot)
	}
	for _, body := range bodies() {
		a.Send([]raft.Message{{From: 1, To: 2, Term: 3, Body: body}})
		if m := wait(t, "a message", b.got); m.From != 1 || m.To != 2 || !reflect.DeepEqual(m.Body, body) {
			t.Fatalf("received %+v, want %+v from 1", m, body)
		}
	}
	// b never named a as a peer; it can answer all the same.
	wait(t, "the way back", b.connected)
	b.Send([]raft.Message{{From: 2, To: 1, Body: raft.HeartbeatReply{Read: 4}}})
	wait(t, "an answer", a.got)

	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	wait(t, "the loss to be noticed", a.lost)
	again, err := net.Listen("tcp", b.address)
	if err != nil {
		t.Fatal(err)
	}
	reborn := New(Config{Self: func() Identity { return Identity{Member: 2, Cluster: 9, Boot: 6} }, Listener: again, Handler: newSink()})
	defer reborn.Close()
	if boot := wait(t, "the connection again", a.connected); boot != 6 {
		t.Fatalf("connected to boot %d, want 6", boot)
	}
}

// TestStaleAddresses: every hint is wrong, one even leads to another member; discovery finds the right one.
func TestStaleAddresses(t *testing.T) {
	b := start(t, Identity{Member: 2, Cluster: 9, Boot: 1}, nil)
	c := start(t, Identity{Member: 3, Cluster: 9, Boot: 1}, nil)
	a := start(t, Identity{Member: 1, Cluster: 9, Boot: 1}, func(context.Context) ([]string, error) { return []string{c.address, b.address}, nil })
	a.SetPeers([]Peer{{ID: 2, Addresses: []string{"127.0.0.1:1", c.address}}})
	wait(t, "the right peer", a.connected)
	if s := a.Peers(); len(s) != 1 || !s[0].Connected || s[0].Address != b.address {
		t.Fatalf("peers %+v, want 2 at %s", s, b.address)
	}
}

func TestWhoIsRefused(t *testing.T) {
	b := start(t, Identity{Member: 2, Cluster: 9, Boot: 1, Name: "b"}, nil)
	a := start(t, Identity{Member: 1, Cluster: 8, Boot: 1}, nil)
	for _, meant := range []raft.MemberID{2, 7} {
		if _, _, err := a.connect(t.Context(), kindMessages, b.address, meant); !errors.Is(err, ErrHandshake) {
			t.Errorf("member of cluster 8 meaning %d reached member 2 of cluster 9: %v", meant, err)
		}
	}
	if id, err := a.Who(t.Context(), b.address); err != nil || id.Member != 2 || id.Name != "b" {
		t.Errorf("who: %+v, %v", id, err)
	}
}

func TestUnjoinedIsAdoptedByItsIDOnly(t *testing.T) {
	b := start(t, Identity{Member: 2, Boot: 1}, nil)
	b.adopt = func(c raft.ClusterID) error {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.id.Cluster = c
		return nil
	}
	a := start(t, Identity{Member: 1, Cluster: 9, Boot: 1}, nil)
	if _, _, err := a.connect(t.Context(), kindMessages, b.address, 3); !errors.Is(err, ErrHandshake) {
		t.Fatalf("adopted under another's ID: %v", err)
	}
	a.SetPeers([]Peer{{ID: 2, Addresses: []string{b.address}}})
	wait(t, "a connection", a.connected)
	if b.self().Cluster != 9 {
		t.Fatal("not adopted")
	}
}

func TestSnapshotStream(t *testing.T) {
	b := start(t, Identity{Member: 2, Cluster: 9, Boot: 1}, nil)
	a := start(t, Identity{Member: 1, Cluster: 9, Boot: 1}, nil)
	a.SetPeers([]Peer{{ID: 2, Addresses: []string{b.address}}})
	data := bytes.Repeat([]byte("snapshot"), 1<<17)
	b.snapshot = func(r io.ReadWriter) error {
		got := make([]byte, len(data))
		if _, err := io.ReadFull(r, got); err != nil {
			return err
		}
		if !bytes.Equal(got, data) {
			return errors.New("other bytes")
		}
		return nil
	}
	write := func(w io.ReadWriter) error { _, err := w.Write(data); return err }
	if err := a.SendSnapshot(t.Context(), 2, write); err != nil {
		t.Fatal(err)
	}
	b.snapshot = func(r io.ReadWriter) error {
		_, err := io.ReadFull(r, make([]byte, len(data)))
		return errors.Join(err, errors.New("no room"))
	}
	if err := a.SendSnapshot(t.Context(), 2, write); !errors.Is(err, ErrRefused) {
		t.Fatalf("refused: %v", err)
	}
	broken := errors.New("source is gone")
	heard := make(chan error, 1)
	b.snapshot = func(r io.ReadWriter) error {
		_, err := io.ReadFull(r, make([]byte, len(data)))
		heard <- err
		return err
	}
	err := a.SendSnapshot(t.Context(), 2, func(w io.ReadWriter) error { _, _ = w.Write(data[:10]); return broken })
	if !errors.Is(err, broken) {
		t.Fatalf("broken source: %v", err)
	}
	if err := wait(t, "the receiver to notice", heard); err == nil {
		t.Fatal("the receiver took half a snapshot for a whole one")
	}
}

// TestSnapshotConnectionIsReplaced: a sender's new connection ends its old one, which hangs, before it is heard; both
// sides speak on it.
func TestSnapshotConnectionIsReplaced(t *testing.T) {
	b := start(t, Identity{Member: 2, Cluster: 9, Boot: 1}, nil)
	a := start(t, Identity{Member: 1, Cluster: 9, Boot: 1}, nil)
	a.SetPeers([]Peer{{ID: 2, Addresses: []string{b.address}}})
	began, ended := make(chan int, 2), make(chan error, 2)
	var turn atomic.Int32
	b.snapshot = func(c io.ReadWriter) error {
		n := int(turn.Add(1))
		if _, err := c.Write([]byte{byte(n)}); err != nil {
			return err
		}
		began <- n
		_, err := io.ReadFull(c, make([]byte, 4))
		ended <- err
		return err
	}
	speak := func(word string, hang <-chan struct{}) func(io.ReadWriter) error {
		return func(c io.ReadWriter) error {
			if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
				return err
			}
			if hang != nil {
				<-hang
			}
			_, err := c.Write([]byte(word))
			return err
		}
	}
	hang, first := make(chan struct{}), make(chan error, 1)
	go func() { first <- a.SendSnapshot(t.Context(), 2, speak("lost", hang)) }()
	wait(t, "the first stream", began)
	if err := a.SendSnapshot(t.Context(), 2, speak("good", nil)); err != nil {
		t.Fatal(err)
	}
	if err := wait(t, "the first stream's end", ended); err == nil {
		t.Error("the first stream was heard to its end")
	}
	if err := wait(t, "the second stream's end", ended); err != nil {
		t.Error(err)
	}
	close(hang)
	if err := wait(t, "the first sender's end", first); err == nil {
		t.Error("the first sender believes that it was heard")
	}
}

func FuzzFrame(f *testing.F) {
	enc := newEncoder()
	for _, b := range bodies() {
		enc.buf.Reset()
		if err := enc.add(raft.Message{Term: 1, Body: b}); err != nil {
			f.Fatal(err)
		}
		f.Add(enc.buf.Bytes()[4], append([]byte(nil), enc.buf.Bytes()[frameHeader:]...))
	}
	f.Fuzz(func(t *testing.T, kind uint8, body []byte) {
		_, _, _ = newDecoder().message(kind, body)
		_, _, _ = readFrame(bytes.NewReader(body))
	})
}

func FuzzHello(f *testing.F) {
	h := hello{kind: kindMessages, Identity: Identity{Member: 1, Name: "a", Address: "b:1"}}
	f.Add(h.encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		if h, err := readHello(bytes.NewReader(b)); err == nil && !bytes.HasPrefix(b, h.encode()) {
			t.Fatalf("%x was read as %+v", b, h)
		}
	})
}

func BenchmarkEncodeAppend(b *testing.B) {
	e := raft.Entry{Index: 8, Term: 3, Kind: raft.EntryCommand, Payload: make([]byte, 300)}
	e.Seal()
	m := raft.Message{Body: raft.Append{Entries: []raft.Entry{e, e, e, e, e, e, e, e}}}
	enc := newEncoder()
	b.ReportAllocs()
	for b.Loop() {
		enc.buf.Reset()
		if err := enc.add(m); err != nil {
			b.Fatal(err)
		}
	}
}
