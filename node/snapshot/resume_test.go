package snapshot

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"raftsman.dev/node/raft"
)

// state is a source of chunks, with the key of each chunk's first row.
type state struct {
	keys, chunks []string
	read         int // chunks given out
}

func newState(n int, rng *rand.Rand) *state {
	s := &state{}
	for i := range n {
		s.keys = append(s.keys, fmt.Sprintf("key %06d", i))
		b := make([]byte, 1+rng.IntN(40))
		for k := range b {
			b[k] = byte(rng.Uint32())
		}
		s.chunks = append(s.chunks, string(b))
	}
	return s
}

func (s *state) export(from []byte, f func(first, chunk []byte) error) error {
	i, _ := slices.BinarySearch(s.keys, string(from))
	for ; i < len(s.keys); i++ {
		s.read++
		if err := f([]byte(s.keys[i]), []byte(s.chunks[i])); err != nil {
			return err
		}
	}
	return nil
}

func (s *state) sending(id ID) *Sending {
	m := sampleMeta()
	m.ID = id
	return NewSending(m, s.export)
}

// receiver takes in streams until it holds a whole snapshot.
type receiver struct {
	held   Held
	chunks []string
}

// take reads one stream, which may be cut.
func (r *receiver) take(stream io.Reader) error {
	in, err := NewReader(stream, r.held)
	if err != nil {
		return err
	}
	if in.Held().Chunks == 0 {
		r.chunks = nil
	}
	for {
		r.held = in.Held()
		c, err := in.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		r.chunks = append(r.chunks, string(c))
	}
}

// cutAfter passes so many bytes on and then fails.
type cutAfter struct {
	io.Writer
	left int
}

func (c *cutAfter) Write(b []byte) (int, error) {
	n := min(len(b), c.left)
	c.left -= n
	if _, err := c.Writer.Write(b[:n]); err != nil || n == len(b) {
		return n, err
	}
	return n, io.ErrClosedPipe
}

func free(int) error { return nil }

// stream sends until the cut, and lets the receiver take what came through.
func (r *receiver) stream(t *testing.T, s *Sending, bytesLeft int) error {
	t.Helper()
	var wire bytes.Buffer
	sendErr := s.Send(&cutAfter{&wire, bytesLeft}, r.held, free)
	err := r.take(&wire)
	if (sendErr == nil) != (err == nil) || sendErr == nil && wire.Len() != 0 {
		t.Fatalf("sender %v, receiver %v, %d bytes left over", sendErr, err, wire.Len())
	}
	if err != nil && !errors.Is(err, ErrCut) {
		t.Fatalf("a cut is found as %v", err)
	}
	return err
}

// TestCutAtEveryByte: wherever the stream is cut, the next one goes on, sends no chunk twice that was received whole,
// and the whole is verified to its end.
func TestCutAtEveryByte(t *testing.T) {
	src := newState(60, rand.New(rand.NewPCG(1, 1)))
	var whole bytes.Buffer
	if err := src.sending(7).Send(&whole, Held{}, free); err != nil {
		t.Fatal(err)
	}
	for cut := range whole.Len() {
		s, r := src.sending(7), &receiver{}
		if err := r.stream(t, s, cut); err == nil {
			t.Fatalf("cut at %d: nothing was missing", cut)
		}
		had := int(r.held.Chunks)
		if want := chunksWithin(src, whole.Bytes(), cut); had != want {
			t.Fatalf("cut at %d: %d chunks held, want %d", cut, had, want)
		}
		sent, lacking := 0, 0
		for _, c := range src.chunks[had:] {
			lacking += len(c)
		}
		var wire bytes.Buffer
		if err := s.Send(&wire, r.held, func(n int) error { sent += n; return nil }); err != nil {
			t.Fatal(err)
		}
		if err := r.take(&wire); err != nil || !slices.Equal(r.chunks, src.chunks) {
			t.Fatalf("cut at %d: %d of %d chunks: %v", cut, len(r.chunks), len(src.chunks), err)
		}
		if sent != lacking {
			t.Fatalf("cut at %d: %d bytes sent again, %d were lacking", cut, sent, lacking)
		}
	}
}

// chunksWithin counts the chunks that end at or before a byte of the whole stream.
func chunksWithin(src *state, whole []byte, cut int) int {
	end := len(whole) - 8
	for _, c := range src.chunks {
		end -= 8 + len(c)
	}
	for i, c := range src.chunks {
		if end += 8 + len(c); end > cut {
			return i
		}
	}
	return len(src.chunks)
}

// TestManyCuts: a long snapshot over streams that are cut again and again, with few marks left to begin at.
func TestManyCuts(t *testing.T) {
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 2))
		src := newState(3000+rng.IntN(3000), rng)
		s, r := src.sending(ID(seed+1)), &receiver{}
		for streams := 1; ; streams++ {
			if streams > 200 {
				t.Fatalf("seed %d: no end after %d streams", seed, streams)
			}
			if rng.IntN(4) == 0 {
				s.thin()
			}
			before := r.held.Chunks
			err := r.stream(t, s, 500+rng.IntN(20_000))
			if r.held.Chunks < before {
				t.Fatalf("seed %d: went back from chunk %d to %d", seed, before, r.held.Chunks)
			}
			if err == nil {
				break
			}
		}
		if !slices.Equal(r.chunks, src.chunks) {
			t.Fatalf("seed %d: other chunks", seed)
		}
	}
}

// TestMarksAreBounded, in number and in the bytes of their keys, and the stream goes on from the last of them at most
// a stride back.
func TestMarksAreBounded(t *testing.T) {
	s := NewSending(sampleMeta(), nil)
	key := bytes.Repeat([]byte("k"), 1<<20)
	for i := range uint64(100_000) {
		s.note(mark{before: tally{count: i}, key: key[:1+i%32*1000]})
		if len(s.marks) > maxMarks || s.bytes > maxMarkBytes {
			t.Fatalf("%d marks of %d bytes", len(s.marks), s.bytes)
		}
	}
	sum := 0
	for _, m := range s.marks {
		sum += len(m.key)
	}
	if sum != s.bytes || s.before(99_999).before.count+2*s.stride < 99_999 || s.before(3).before.count != 0 {
		t.Fatalf("%d bytes counted, %d there; the last of %d marks is at %d, the stride is %d", s.bytes, sum, len(s.marks), s.before(99_999).before.count, s.stride)
	}
	for range 4 {
		s.note(mark{before: tally{count: s.before(1<<40).before.count + s.stride}, key: bytes.Repeat([]byte("k"), 3<<20)})
	}
	if s.bytes > maxMarkBytes {
		t.Fatalf("%d bytes of keys", s.bytes)
	}
}

// TestForgotten: whichever side has forgotten, the snapshot begins anew; chunks of another state are never taken for
// its beginning.
func TestForgotten(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 3))
	src, other := newState(50, rng), newState(50, rng)
	s, r := src.sending(1), &receiver{}
	_ = r.stream(t, s, 1000)
	held := r.held
	if held.Chunks == 0 {
		t.Fatal("nothing held")
	}
	// The receiver has forgotten.
	r = &receiver{}
	if err := r.stream(t, s, 1<<20); err != nil || !slices.Equal(r.chunks, src.chunks) {
		t.Fatalf("receiver forgot: %v", err)
	}
	// The sender has forgotten: another identity.
	r = &receiver{held: held, chunks: src.chunks[:held.Chunks]}
	if err := r.stream(t, other.sending(2), 1<<20); err != nil || !slices.Equal(r.chunks, other.chunks) {
		t.Fatalf("sender forgot: %v", err)
	}
	// The same identity, but other chunks, fewer or more of them than there are.
	for _, h := range []Held{{1, held.Chunks, held.Sum + 1}, {1, held.Chunks - 1, held.Sum}, {1, 51, held.Sum}, {1, 1 << 60, 0}} {
		var wire bytes.Buffer
		if err := s.Send(&wire, h, free); !errors.Is(err, ErrDiffers) || wire.Len() != 0 {
			t.Errorf("held %+v: %v, %d bytes sent", h, err, wire.Len())
		}
	}
	// A sender that goes on where nobody asked it to.
	var wire bytes.Buffer
	if err := s.Send(&wire, held, free); err != nil {
		t.Fatal(err)
	}
	for _, h := range []Held{{}, {2, held.Chunks, held.Sum}, {1, held.Chunks + 1, held.Sum}} {
		if _, err := NewReader(bytes.NewReader(wire.Bytes()), h); !errors.Is(err, ErrMalformed) {
			t.Errorf("held %+v: %v", h, err)
		}
	}
	// A receiver whose sum is not what it told is found out by the footer.
	r = &receiver{held: Held{1, held.Chunks, held.Sum + 1}}
	if err := r.take(bytes.NewReader(wire.Bytes())); !errors.Is(err, ErrMalformed) || errors.Is(err, ErrCut) {
		t.Errorf("another beginning: %v", err)
	}
}

func heldBytes(t testing.TB, h Held, busy bool) []byte {
	var b bytes.Buffer
	if err := WriteHeld(&b, h, busy); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestHeld(t *testing.T) {
	h := Held{ID: 0xabc, Chunks: 5, Sum: 6}
	b := heldBytes(t, h, false)
	const want = "0052414654535202bc0a000000000000050000000000000006000000000000006130d65f"
	if got := hex.EncodeToString(b); got != want {
		t.Errorf("the format has changed (version 2 is frozen): %s", got)
	}
	if got, err := ReadHeld(bytes.NewReader(b)); err != nil || got != h {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := ReadHeld(bytes.NewReader(heldBytes(t, Held{}, true))); !errors.Is(err, ErrBusy) {
		t.Errorf("busy: %v", err)
	}
	if _, err := ReadHeld(bytes.NewReader(heldBytes(t, Held{Chunks: 1}, false))); !errors.Is(err, ErrMalformed) {
		t.Errorf("chunks of no snapshot: %v", err)
	}
	for i := range b {
		if _, err := ReadHeld(bytes.NewReader(b[:i])); !errors.Is(err, ErrMalformed) {
			t.Errorf("cut at %d: %v", i, err)
		}
		for bit := range 8 {
			bad := bytes.Clone(b)
			bad[i] ^= 1 << bit
			if _, err := ReadHeld(bytes.NewReader(bad)); !errors.Is(err, ErrMalformed) {
				t.Errorf("bit %d of byte %d flipped: %v", bit, i, err)
			}
		}
	}
}

func FuzzHeld(f *testing.F) {
	f.Add(heldBytes(f, Held{ID: 1, Chunks: 2, Sum: 3}, false))
	f.Add(heldBytes(f, Held{}, true))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := ReadHeld(bytes.NewReader(b))
		switch {
		case errors.Is(err, ErrMalformed) || errors.Is(err, ErrBusy):
		case err != nil:
			t.Fatal(err)
		case !bytes.Equal(heldBytes(t, h, false), b[:heldSize]):
			t.Fatalf("%x was read as %+v", b, h)
		}
	})
}

// TestThrottle: whatever the streams take, no more than the rate and one burst passes, and no time is lost.
func TestThrottle(t *testing.T) {
	start := time.Unix(1000, 0)
	now := start
	const rate = 1 << 20
	throttle := NewThrottle(rate, func() time.Time { return now })
	rng := rand.New(rand.NewPCG(4, 4))
	passed := 0
	for range 2000 {
		n := 1 + rng.IntN(200_000)
		wait := throttle.Take(n)
		now = now.Add(wait)
		passed += n
		most := rate*(now.Sub(start)+burst).Seconds() + float64(n) + 16
		if float64(passed) > most {
			t.Fatalf("%d bytes have passed in %v", passed, now.Sub(start))
		}
	}
	if least := rate * (now.Sub(start) - time.Second).Seconds(); float64(passed) < least {
		t.Fatalf("only %d bytes have passed in %v", passed, now.Sub(start))
	}
	// A pause is not saved up.
	now = now.Add(time.Hour)
	waited := time.Duration(0)
	for range 10 {
		wait := throttle.Take(rate / 10)
		waited, now = waited+wait, now.Add(wait)
	}
	if want := 900*time.Millisecond - burst; waited < want-time.Millisecond || waited > want+time.Millisecond {
		t.Fatalf("a second's bytes after a pause took %v, want %v", waited, want)
	}
}

// TestGoesOn: the rest of a snapshot goes to who holds the same one, while the log still goes on from its state; and
// is taken only as of the state that is held.
func TestGoesOn(t *testing.T) {
	s := newState(3, rand.New(rand.NewPCG(1, 9))).sending(7)
	at := s.Meta().Base.Position
	for _, c := range []struct {
		held  ID
		first raft.Index
		want  bool
	}{{7, 1, true}, {7, at.Index + 1, true}, {7, at.Index + 2, false}, {8, 1, false}, {0, 1, false}} {
		if got := s.GoesOn(c.held, c.first); got != c.want {
			t.Errorf("held %v, log from %d: goes on %v", c.held, c.first, got)
		}
	}
	var whole, rest bytes.Buffer
	sent := func(int) error { return nil }
	if err := s.Send(&whole, Held{}, sent); err != nil {
		t.Fatal(err)
	}
	in, err := NewReader(&whole, Held{})
	if err != nil {
		t.Fatal(err)
	}
	if on, err := in.GoesOn(raft.Position{}); on || err != nil {
		t.Fatalf("the first stream goes on: %v, %v", on, err)
	}
	if _, err := in.Next(); err != nil {
		t.Fatal(err)
	}
	if err := s.Send(&rest, in.Held(), sent); err != nil {
		t.Fatal(err)
	}
	if in, err = NewReader(&rest, in.Held()); err != nil {
		t.Fatal(err)
	}
	if on, err := in.GoesOn(at); !on || err != nil {
		t.Fatalf("the rest goes on: %v, %v", on, err)
	}
	if _, err := in.GoesOn(raft.Position{Index: at.Index + 1, Term: at.Term}); !errors.Is(err, ErrMalformed) {
		t.Fatalf("the rest of another state: %v", err)
	}
}
