package snapshot

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"testing"

	"raftsman.dev/node/raft"
)

func sample(t testing.TB) []byte {
	var b bytes.Buffer
	w, err := NewWriter(&b, Meta{Cluster: 5, Term: 3, Base: raft.Base{Position: raft.Position{Index: 9, Term: 2}, Config: 4, Membership: raft.Membership{Members: []raft.Member{{ID: 1, Name: "a", Seat: raft.SeatVoter}}}}})
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
	r, err := NewReader(bytes.NewReader(b))
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
			return Meta{}, nil, err
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

// TestEveryFault: any flipped bit, and any cut, is found.
func TestEveryFault(t *testing.T) {
	whole := sample(t)
	for i := range whole {
		bad := bytes.Clone(whole)
		bad[i] ^= 1
		if _, _, err := readAll(bad); !errors.Is(err, ErrMalformed) {
			t.Fatalf("byte %d flipped: %v", i, err)
		}
		if _, _, err := readAll(whole[:i]); !errors.Is(err, ErrMalformed) {
			t.Fatalf("cut at %d: %v", i, err)
		}
	}
}

func TestGolden(t *testing.T) {
	const want = "52414654534e500137000000385caf1f05000000000000000300000000000000090000000000000002000000000000000400000000000000010101000000000000000201610000030000006ba721e06f6e6503000000e0511c0f74776f000000002cf1f18d"
	if got := hex.EncodeToString(sample(t)); got != want {
		t.Fatalf("the format has changed (version 1 is frozen): %s, want %s", got, want)
	}
}

func FuzzReader(f *testing.F) {
	f.Add(sample(f))
	f.Fuzz(func(t *testing.T, b []byte) { _, _, _ = readAll(b) })
}
