package transport

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"raftsman.dev/node/raft"
)

func TestGoldenHello(t *testing.T) {
	h := hello{
		kind: kindAccepted, versions: versions{1, 1}, meant: 3, refusal: refusedBusy,
		Identity: Identity{Member: 2, Cluster: 9, Boot: 5, Name: "b", Address: "b:1", ClientURLs: "http://b"},
	}
	const want = "524146545045455280010109000000000000000200000000000000030000000000000005000000000000000401030862623a31687474703a2f2f62534a6a35"
	b := h.encode()
	if got := hex.EncodeToString(b); got != want {
		t.Errorf("the hello has changed (it is that of every version): %s", got)
	}
	if got, err := readHello(bytes.NewReader(b)); err != nil || got != h {
		t.Errorf("came back as %+v, %v; was %+v", got, err, h)
	}
}

func TestGoldenRecollection(t *testing.T) {
	r := recollection{life: 6, seen: Seen{Boot: 7, Life: 8, Claim: Claim{Boot: 10, Term: 11, Kept: 12}}, refusal: refusedCopy}
	const want = "0600000000000000070000000000000008000000000000000a000000000000000b000000000000000c0000000000000005b97b3894"
	b := r.encode()
	if got := hex.EncodeToString(b); got != want {
		t.Errorf("the recollection has changed (version 2 is frozen): %s", got)
	}
	if got, err := readRecollection(bytes.NewReader(b)); err != nil || got != r {
		t.Errorf("came back as %+v, %v; was %+v", got, err, r)
	}
	for i := range b {
		flipped := bytes.Clone(b)
		flipped[i] ^= 1
		if _, err := readRecollection(bytes.NewReader(flipped)); !errors.Is(err, ErrHandshake) {
			t.Errorf("byte %d is changed: %v", i, err)
		}
	}
}

func FuzzRecollection(f *testing.F) {
	r := recollection{life: 1, seen: Seen{Boot: 5, Life: 6, Claim: Claim{Boot: 7, Term: 8, Kept: 9}}}
	f.Add(r.encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := readRecollection(bytes.NewReader(b))
		switch {
		case err != nil && !errors.Is(err, ErrHandshake):
			t.Fatalf("error %v does not match %v", err, ErrHandshake)
		case err == nil && !bytes.HasPrefix(b, r.encode()):
			t.Fatalf("%x was read as %+v", b, r)
		}
	})
}

func TestCommonVersion(t *testing.T) {
	for _, c := range []struct {
		a, b versions
		want uint8
	}{
		{versions{1, 1}, versions{1, 1}, 1}, {versions{1, 1}, versions{1, 2}, 1}, {versions{1, 2}, versions{1, 2}, 2},
		{versions{1, 2}, versions{2, 3}, 2}, {versions{1, 2}, versions{3, 4}, 0}, {versions{1, 2}, versions{}, 0}, {versions{1, 2}, versions{2, 1}, 0},
	} {
		if x, y := c.a.common(c.b), c.b.common(c.a); x != c.want || y != c.want {
			t.Errorf("%v and %v: %d and %d, want %d", c.a, c.b, x, y, c.want)
		}
	}
}

// two are members of one cluster that speak those versions. The second has the boot and, on its disk, that.
func two(t *testing.T, a, b versions, boot raft.Boot, held Held) (x, y *end) {
	t.Helper()
	x = startWith(t, Identity{Member: 1, Cluster: 9, Boot: 1, Life: 10, Name: "a"}, Config{speaks: a})
	y = startWith(t, Identity{Member: 2, Cluster: 9, Boot: boot, Life: 20, Name: "b"}, Config{speaks: b, Held: held})
	return x, y
}

// mixtures are who may meet in a rolling upgrade.
func mixtures() map[string][2]versions {
	older, newer := versions{1, 1}, versions{1, 2}
	return map[string][2]versions{"1 and 1": {older, older}, "1 and 2": {older, newer}, "2 and 1": {newer, older}, "2 and 2": {newer, newer}}
}

// TestNeighbouringVersions: messages and snapshots travel both ways whichever side is the older one, and lives are
// told where both speak version 2.
func TestNeighbouringVersions(t *testing.T) {
	for name, speak := range mixtures() {
		t.Run(name, func(t *testing.T) {
			a, b := two(t, speak[0], speak[1], 5, Held{})
			a.SetPeers([]Peer{{ID: 2, Addresses: []string{b.address}}})
			if boot := wait(t, "a connection", a.connected); boot != 5 {
				t.Errorf("connected to boot %d", boot)
			}
			a.Send([]raft.Message{{From: 1, To: 2, FromBoot: 1, Term: 3, Body: raft.TimeoutNow{}}})
			wait(t, "a message", b.got)
			wait(t, "the way back", b.connected)
			b.Send([]raft.Message{{From: 2, To: 1, FromBoot: 5, Term: 3, Body: raft.VoteReply{Granted: true}}})
			wait(t, "an answer", a.got)
			for from, to := range map[*end]*end{a: b, b: a} {
				to.snapshot = func(c io.ReadWriter) error { _, err := io.ReadFull(c, make([]byte, 4)); return err }
				if err := from.SendSnapshot(t.Context(), to.self().Member, func(c io.ReadWriter) error { _, err := c.Write([]byte("data")); return err }); err != nil {
					t.Error(err)
				}
			}
			lives := [2]uint64{20, 10}
			if name != "2 and 2" {
				lives = [2]uint64{}
			}
			if got := [2]uint64{a.seenOf(2).Life, b.seenOf(1).Life}; got != lives {
				t.Errorf("lives %v are known, want %v", got, lives)
			}
			if s := a.seenOf(2); s.Boot != 5 || s.Claim.Term != 3 {
				t.Errorf("%+v is known of the other", s)
			}
		})
	}
}

// TestOlderCopyInAMixture: an older copy is refuted where both sides speak version 2; else nothing is known of it, and
// nothing refused.
func TestOlderCopyInAMixture(t *testing.T) {
	for name, speak := range mixtures() {
		for _, dials := range []bool{true, false} {
			t.Run(fmt.Sprint(name, " dials ", dials), func(t *testing.T) {
				a, old := two(t, speak[0], speak[1], 4, Held{})
				a.meet(Identity{Member: 2, Boot: 5, Life: 50})
				from, to := old, a
				if !dials {
					from, to = a, old
				}
				c, _, err := from.connect(t.Context(), kindMessages, to.address, to.self().Member)
				if c != nil {
					c.Close()
				}
				if refuted := name == "2 and 2"; (err != nil) != refuted || !refuted && len(old.rolledBack) > 0 {
					t.Fatalf("connected: %v, news %d", err, len(old.rolledBack))
				} else if refuted {
					wait(t, "the news", old.rolledBack)
				}
			})
		}
	}
}

// TestAdoptedByEither: an unjoined member is adopted by a dialler of either version, and hears why not.
func TestAdoptedByEither(t *testing.T) {
	for name, speak := range mixtures() {
		for _, willing := range []bool{true, false} {
			a := startWith(t, Identity{Member: 1, Cluster: 9, Boot: 1, Life: 10, Name: "a"}, Config{speaks: speak[0]})
			b := startWith(t, Identity{Member: 2, Boot: 1, Life: 20, Name: "b"}, Config{speaks: speak[1]})
			adopted := make(chan raft.ClusterID, 10)
			b.adopt = func(c raft.ClusterID) error {
				adopted <- c
				if !willing {
					return errors.New("of another cluster by now")
				}
				return nil
			}
			c, _, err := a.connect(t.Context(), kindMessages, b.address, 2)
			if c != nil {
				c.Close()
			}
			if (err == nil) != willing || !willing && !strings.Contains(err.Error(), "there is of cluster") {
				t.Errorf("%s, willing %v: %v", name, willing, err)
			}
			if len(adopted) != 1 {
				t.Errorf("%s: asked %d times", name, len(adopted))
			}
		}
	}
}

// TestNoCommonVersion: the refusal names what either side speaks.
func TestNoCommonVersion(t *testing.T) {
	a, b := two(t, versions{1, 2}, versions{3, 4}, 1, Held{})
	_, _, err := a.connect(t.Context(), kindMessages, b.address, 2)
	if !errors.Is(err, ErrHandshake) || !strings.Contains(err.Error(), "versions 3 to 4, this one 1 to 2") {
		t.Errorf("connected: %v", err)
	}
}

// TestSilenceAfterAnAcceptedHello: a dialler that speaks version 2 is not heard before its recollection, and one whose
// later boot has been seen is refused.
func TestSilenceAfterAnAcceptedHello(t *testing.T) {
	a := start(t, Identity{Member: 1, Cluster: 9, Boot: 1, Life: 10, Name: "a"}, nil)
	a.meet(Identity{Member: 2, Boot: 5, Life: 50})
	c := dialHello(t, a, versions{1, 2})
	if _, err := c.Write(frames(t, bytes.Repeat([]byte{1}, recollectionSize))); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("answered without a recollection")
	}
	c = dialHello(t, a, versions{1, 2})
	stale := recollection{life: 40}
	if _, err := c.Write(stale.encode()); err != nil {
		t.Fatal(err)
	}
	r, err := readRecollection(c)
	if err != nil || r.refusal != refusedCopy || r.life != 10 || r.seen.Boot != 5 {
		t.Errorf("recollection %+v, %v", r, err)
	}
	_, _ = c.Write(frames(t, nil)) // it may be closed already
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("it goes on after a refusal")
	}
	if len(a.got) > 0 {
		t.Errorf("%+v was heard", <-a.got)
	}
}

// dialHello makes a connection as member 2 boot 4, and reads the answer.
func dialHello(t *testing.T, to *end, speaks versions) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", to.address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	h := hello{kind: kindMessages, versions: speaks, Identity: Identity{Member: 2, Cluster: 9, Boot: 4, Name: "b"}, meant: 1}
	if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write(h.encode()); err != nil {
		t.Fatal(err)
	}
	if answer, err := readHello(c); err != nil || answer.kind != kindAccepted || answer.versions != every() {
		t.Fatalf("answer %+v, %v", answer, err)
	}
	return c
}

// frames is one message as it travels, after what is given.
func frames(t *testing.T, before []byte) []byte {
	t.Helper()
	enc := newEncoder()
	if err := enc.add(raft.Message{Term: 3, FromBoot: 4, Body: raft.TimeoutNow{}}); err != nil {
		t.Fatal(err)
	}
	return append(before, enc.buf.Bytes()...)
}

// TestVersion1OnTheWire: towards a speaker of version 1, written out here, nothing but hellos and frames is said.
func TestVersion1OnTheWire(t *testing.T) {
	a := start(t, Identity{Member: 1, Cluster: 9, Boot: 1, Life: 10, Name: "a"}, nil)
	c := dialHello(t, a, versions{1, 1})
	if _, err := c.Write(frames(t, nil)); err != nil {
		t.Fatal(err)
	}
	if m := wait(t, "a message", a.got); m.From != 2 || m.Term != 3 {
		t.Errorf("received %+v", m)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	a.SetPeers([]Peer{{ID: 2, Addresses: []string{l.Addr().String()}}})
	in, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	if err := in.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	h, err := readHello(in)
	if err != nil || h.versions != every() {
		t.Fatalf("hello %+v, %v", h, err)
	}
	answer := hello{kind: kindAccepted, versions: versions{1, 1}, Identity: Identity{Member: 2, Cluster: 9, Boot: 4}, meant: 1}
	if _, err := in.Write(answer.encode()); err != nil {
		t.Fatal(err)
	}
	wait(t, "the connection", a.connected)
	a.Send([]raft.Message{{From: 1, To: 2, FromBoot: 1, Term: 7, Body: raft.TimeoutNow{}}})
	kind, body, err := readFrame(in)
	if err != nil {
		t.Fatal(err)
	}
	if m, known, err := newDecoder().message(kind, body); err != nil || !known || m.Term != 7 {
		t.Errorf("received %+v, %v", m, err)
	}
}
