package transport

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"runtime"
	"slices"
	"testing"

	"raftsman.dev/node/raft"
)

// allocated is what f allocates, in bytes. Others may allocate meanwhile, so the least of some tries counts.
func allocated(f func()) uint64 {
	least := uint64(1 << 62)
	for range 3 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		f()
		runtime.ReadMemStats(&after)
		if least = min(least, after.TotalAlloc-before.TotalAlloc); least < 16<<10 {
			break
		}
	}
	return least
}

// room is what the decoder itself may take.
const room = 64 << 10

// FuzzBody: whatever a frame's body is, decoding it does not panic, allocates no more than a fixed multiple of it, and
// says that the frame is bad or gives a message that travels again.
func FuzzBody(f *testing.F) {
	enc := newEncoder()
	for _, b := range bodies() {
		enc.buf.Reset()
		if err := enc.add(raft.Message{Term: 1, FromBoot: 2, ToBoot: 3, Body: b}); err != nil {
			f.Fatal(err)
		}
		f.Add(enc.buf.Bytes()[4], bytes.Clone(enc.buf.Bytes()[frameHeader:]))
	}
	for _, claim := range hostileClaims() {
		f.Add(uint8(frameForward), claim)
		f.Add(uint8(frameAppend), claim)
	}
	f.Fuzz(func(t *testing.T, kind uint8, body []byte) {
		dec := newDecoder()
		if n := allocated(func() { _, _, _ = dec.message(kind, bytes.Clone(body)) }); n > uint64(maxGrowth*len(body)+freeGrowth+room) {
			t.Fatalf("a body of %d bytes makes the decoder allocate %d", len(body), n)
		}
		m, known, err := dec.message(kind, body)
		switch {
		case err != nil && !errors.Is(err, ErrFrame):
			t.Fatalf("error %v does not match %v", err, ErrFrame)
		case err != nil || !known:
			return
		}
		enc := newEncoder()
		if err := enc.add(m); err != nil {
			t.Fatalf("%+v was read and cannot be sent: %v", m, err)
		}
		again, _, err := newDecoder().message(kind, bytes.Clone(enc.buf.Bytes()[frameHeader:]))
		if err != nil || !sameMessage(again, m) {
			t.Fatalf("%+v comes back as %+v, error %v", m, again, err)
		}
	})
}

// FuzzFrames: a stream of whatever bytes gives whole frames that verify, or an error; a length alone makes nobody
// allocate.
func FuzzFrames(f *testing.F) {
	enc := newEncoder()
	for _, b := range bodies() {
		if err := enc.add(raft.Message{Term: 1, FromBoot: 2, ToBoot: 3, Body: b}); err != nil {
			f.Fatal(err)
		}
	}
	f.Add(bytes.Clone(enc.buf.Bytes()))
	f.Add(binary.LittleEndian.AppendUint32(nil, maxFrame))
	f.Add(binary.LittleEndian.AppendUint64(nil, maxFrame+1))
	f.Fuzz(func(t *testing.T, b []byte) {
		n := allocated(func() {
			for r := bytes.NewReader(b); ; {
				if _, _, err := readFrame(r); err != nil {
					if !errors.Is(err, ErrFrame) && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
						t.Fatal(err)
					}
					return
				}
			}
		})
		if n > uint64(4*len(b)+3<<20) { // what is asked for comes in pieces of 1 MiB
			t.Fatalf("%d bytes allocated for a stream of %d", n, len(b))
		}
	})
}

// TestClaimsAllocateNothing: lists and texts that are claimed and not there are not made room for.
func TestClaimsAllocateNothing(t *testing.T) {
	for _, claim := range hostileClaims() {
		for kind := uint8(frameVoteRequest); kind <= frameStranger; kind++ {
			dec := newDecoder()
			if n := allocated(func() { _, _, _ = dec.message(kind, claim) }); n > room {
				t.Errorf("kind %d, body %x: %d bytes are allocated", kind, claim, n)
			}
		}
	}
}

// TestSmallElementsAllocateLittle: a frame full of the smallest things there are takes little more memory than bytes, or
// is refused; one of usual proposals is not.
func TestSmallElementsAllocateLittle(t *testing.T) {
	const n = 4 << 20
	list := func(head []byte, element ...byte) []byte {
		return append(append(bytes.Clone(head), 0xdd, 0, n>>16, 0, 0), bytes.Repeat(element, n)...)
	}
	head := []byte{0x9a, 0, 0, 0, 0, 0, 0, 0}
	entry := raft.Entry{Index: 1, Term: 1, Kind: raft.EntryNoop}
	entry.Seal()
	enc := newEncoder()
	if err := enc.add(raft.Message{Body: raft.Append{Entries: slices.Repeat([]raft.Entry{entry}, 100_000)}}); err != nil {
		t.Fatal(err)
	}
	appended := bytes.Clone(enc.buf.Bytes()[frameHeader:])
	enc.buf.Reset()
	if err := enc.add(raft.Message{Body: raft.Forward{Proposals: slices.Repeat([]raft.Proposal{{Ref: 1 << 40, Payload: make([]byte, 40)}}, 100_000)}}); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		kind uint8
		body []byte
		good bool
	}{
		"empty payloads":    {frameForward, list(append(bytes.Clone(head), 0xc0, 0xc0), 0xa0), false},
		"payloads of none":  {frameForward, list(append(bytes.Clone(head), 0xc0, 0xc0), 0xc0), false},
		"payloads of one":   {frameForward, list(append(bytes.Clone(head), 0xc0, 0xc0), 0xa1, 1), false},
		"small refs":        {frameForwardRefused, append(list(append(bytes.Clone(head), 0xc0), 1), 0xc0), false},
		"bytes as a list":   {frameAppend, append(list(head, 1), 0xc0, 0xc0), false},
		"small entries":     {frameAppend, appended, true},
		"usual proposals":   {frameForward, bytes.Clone(enc.buf.Bytes()[frameHeader:]), true},
		"nested lists":      {frameForward, bytes.Repeat([]byte{0x91}, n), false},
		"lists as payloads": {frameForward, list(append(bytes.Clone(head), 0xc0, 0xc0), 0x90), false},
	} {
		var err error
		grown := allocated(func() { _, _, err = newDecoder().message(c.kind, c.body) })
		if bound := uint64(maxGrowth*len(c.body) + freeGrowth + room); grown > bound {
			t.Errorf("%s: %d bytes are allocated for %d", name, grown, len(c.body))
		}
		if c.good != (err == nil) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// hostileClaims are envelopes that end in the length of a list, a text or a map, and bring nothing.
func hostileClaims() [][]byte {
	var claims [][]byte
	for fields := range 10 {
		head := []byte{0x9a} // a list of ten
		for range fields {
			head = append(head, 0)
		}
		for _, length := range [][]byte{
			{0xdd, 0xff, 0xff, 0xff, 0xff}, {0xdc, 0xff, 0xff}, {0xc6, 0xff, 0xff, 0xff, 0xff}, {0xdb, 0x7f, 0xff, 0xff, 0xff}, {0xdf, 0xff, 0xff, 0xff, 0xff},
			{0xdd, 0, 0, 0, 1, 0xc6, 0xff, 0xff, 0xff, 0xff},
		} {
			claims = append(claims, append(bytes.Clone(head), length...))
		}
	}
	return claims
}

// sameMessage compares what two messages are on the wire.
func sameMessage(a, b raft.Message) bool {
	wire := func(m raft.Message) []byte {
		e := newEncoder()
		if err := e.add(m); err != nil {
			return nil
		}
		return e.buf.Bytes()
	}
	return bytes.Equal(wire(a), wire(b))
}
