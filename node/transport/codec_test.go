package transport

import (
	"bytes"
	"testing"

	"raftsman.dev/node/raft"
)

// TestLargeAppendIsCopiedOnce holds the cost of decoding: it must not grow with the square of the frame.
func TestLargeAppendIsCopiedOnce(t *testing.T) {
	a := raft.Append{Prev: raft.Position{Index: 7, Term: 2}, Commit: 6}
	for i := range 1000 {
		e := raft.Entry{Index: raft.Index(8 + i), Term: 3, Kind: raft.EntryCommand, Payload: bytes.Repeat([]byte{byte(i)}, 1000)}
		e.Seal()
		a.Entries = append(a.Entries, e)
	}
	enc, dec := newEncoder(), newDecoder()
	if err := enc.add(raft.Message{Body: a}); err != nil {
		t.Fatal(err)
	}
	frame := enc.buf.Bytes()
	kind, body, err := readFrame(bytes.NewReader(frame))
	if err != nil {
		t.Fatal(err)
	}
	var got raft.Message
	allocations := testing.AllocsPerRun(5, func() {
		if got, _, err = dec.message(kind, body); err != nil {
			t.Fatal(err)
		}
	})
	if n := len(got.Body.(raft.Append).Entries); n != len(a.Entries) {
		t.Errorf("%d entries came back of %d", n, len(a.Entries))
	}
	if allocations > 50 {
		t.Errorf("a frame of %d bytes took %v allocations to decode: it is copied piece by piece", len(frame), allocations)
	}
}
