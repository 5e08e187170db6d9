package snapshot

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"runtime"
	"strings"
	"testing"

	"raftsman.dev/node/raft"
)

func sampleMeta() Meta {
	return Meta{ID: 0xabc, Cluster: 5, Term: 3, Base: raft.Base{Position: raft.Position{Index: 9, Term: 2}, Config: 4, Membership: raft.Membership{Members: []raft.Member{{ID: 1, Name: "a", Seat: raft.SeatVoter}}}}}
}

func sample(t testing.TB) []byte {
	var b bytes.Buffer
	w, err := NewWriter(&b, sampleMeta(), Held{})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []string{"one", "two"} {
		if err := w.Chunk([]byte(c)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func readAll(b []byte) (Meta, []string, error) {
	r, err := NewReader(bytes.NewReader(b), Held{})
	if err != nil {
		return Meta{}, nil, err
	}
	var chunks []string
	for {
		c, err := r.Next()
		if err == io.EOF {
			return r.Meta(), chunks, nil
		}
		if err != nil {
			return Meta{}, chunks, err
		}
		chunks = append(chunks, string(c))
	}
}

func TestRoundTrip(t *testing.T) {
	m, chunks, err := readAll(sample(t))
	if err != nil || len(chunks) != 2 || chunks[1] != "two" || m.Cluster != 5 || m.Base.Position.Index != 9 || m.Base.Membership.Members[0].Name != "a" {
		t.Fatalf("%+v %q %v", m, chunks, err)
	}
}

// TestEveryFault: any flipped bit, and any cut, is found, and nothing of a chunk that does not verify is given out.
func TestEveryFault(t *testing.T) {
	whole := sample(t)
	for i := range whole {
		for bit := range 8 {
			bad := bytes.Clone(whole)
			bad[i] ^= 1 << bit
			if _, chunks, err := readAll(bad); !errors.Is(err, ErrMalformed) || !strings.HasPrefix("one two", strings.Join(chunks, " ")) {
				t.Fatalf("bit %d of byte %d flipped: %q %v", bit, i, chunks, err)
			}
		}
		if _, _, err := readAll(whole[:i]); !errors.Is(err, ErrMalformed) || !errors.Is(err, ErrCut) {
			t.Fatalf("cut at %d: %v", i, err)
		}
	}
}

// TestChunksKeepTheirPlace: whole chunks that are swapped, repeated or left out are found, and so is a footer that
// belongs to another number of them.
func TestChunksKeepTheirPlace(t *testing.T) {
	whole := sample(t)
	const one, two = 8 + len("one"), 8 + len("two")
	first := len(whole) - 8 - two - one
	head, a, b, foot := whole[:first], whole[first:first+one], whole[first+one:first+one+two], whole[first+one+two:]
	for name, parts := range map[string][][]byte{
		"swapped":    {head, b, a, foot},
		"repeated":   {head, a, a, b, foot},
		"left out":   {head, b, foot},
		"last lost":  {head, a, foot},
		"all lost":   {head, foot},
		"no header":  {a, b, foot},
		"two footer": {head, foot, a, b, foot},
	} {
		if _, _, err := readAll(bytes.Join(parts, nil)); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestChunkBounds(t *testing.T) {
	w, err := NewWriter(io.Discard, Meta{}, Held{})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Chunk(make([]byte, MaxChunk)); err != nil {
		t.Errorf("the largest chunk: %v", err)
	}
	for _, n := range []int{0, MaxChunk + 1} {
		if err := w.Chunk(make([]byte, n)); err == nil {
			t.Errorf("a chunk of %d bytes was written", n)
		}
	}
}

// failing writes so many bytes and then no more.
type failing struct{ left int }

func (f *failing) Write(b []byte) (int, error) {
	if f.left < len(b) {
		return 0, io.ErrShortWrite
	}
	f.left -= len(b)
	return len(b), nil
}

// TestWriteErrorsAreReported at every place of the stream.
func TestWriteErrorsAreReported(t *testing.T) {
	for n := range sample(t) {
		f := &failing{left: n}
		w, err := NewWriter(f, sampleMeta(), Held{})
		if err == nil {
			err = errors.Join(w.Chunk([]byte("one")), w.Chunk([]byte("two")), w.Close())
		}
		if !errors.Is(err, io.ErrShortWrite) {
			t.Fatalf("after %d bytes: %v", n, err)
		}
	}
}

// TestLengthsAllocateNothing: what a header claims is believed only as it comes.
func TestLengthsAllocateNothing(t *testing.T) {
	whole := sample(t)
	head := whole[:len(whole)-8-2*(8+3)]
	claim := binary.LittleEndian.AppendUint64(bytes.Clone(head), MaxChunk)
	meta := binary.LittleEndian.AppendUint64([]byte(magic), 1<<32-1)
	for _, b := range [][]byte{claim, meta} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, _, err := readAll(b)
		runtime.ReadMemStats(&after)
		if n := after.TotalAlloc - before.TotalAlloc; n > 4<<20 || !errors.Is(err, ErrMalformed) {
			t.Errorf("%d bytes allocated for a stream of %d: %v", n, len(b), err)
		}
	}
}

func TestGolden(t *testing.T) {
	const want = "52414654534e50024700000094dd119505000000000000000300000000000000090000000000000002000000000000000400000000000000bc0a0000000000000000000000000000010101000000000000000201610000030000006ba721e06f6e6503000000e0511c0f74776f000000002cf1f18d"
	if got := hex.EncodeToString(sample(t)); got != want {
		t.Fatalf("the format has changed (version 2 is frozen): %s, want %s", got, want)
	}
}

func FuzzReader(f *testing.F) {
	f.Add(sample(f))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, chunks, err := readAll(b)
		if err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Fatal(err)
			}
			return
		}
		var again bytes.Buffer
		w, err := NewWriter(&again, m, Held{})
		for _, c := range chunks {
			err = errors.Join(err, w.Chunk([]byte(c)))
		}
		if err := errors.Join(err, w.Close()); err != nil || !bytes.HasPrefix(b, again.Bytes()) {
			t.Fatalf("%x was read as %+v and %q: %v", b, m, chunks, err)
		}
	})
}
