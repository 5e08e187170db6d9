// Package snapshot is a member's state as a stream of checked chunks, which can be cut and taken up again.
//
// # Format (version 2; integers little-endian)
//
// The receiver speaks first, and says what it holds of a snapshot that was cut:
//
//	held
//	0   8   zero, then magic "RAFTSR\x02": the last byte is the version
//	8   8   identity of the snapshot, 0 for none
//	16  8   number of chunks held, from the first on
//	24  4   CRC-32C of their checksums in order
//	28  4   1 while another snapshot is being received, else 0: then nothing may follow
//	32  4   CRC-32C of everything before
//
// The sender goes on with that snapshot, if it still knows it, or begins another:
//
//	header
//	0   8   magic "RAFTSNP\x02": the last byte is the version
//	8   4   n, the length of the meta that follows, at most 1 MiB
//	12  4   CRC-32C of the meta
//	16  n   meta: cluster ID (8), sender's term (8), base index (8), base term (8), configuration index (8),
//	        identity (8), number of the first chunk that follows (8), then the membership's byte form
//
//	chunk, any number of them
//	0   4   length, at least 1 and at most MaxChunk
//	4   4   CRC-32C of the chunk's number (8 bytes, from 0) and its bytes
//	8   n   bytes
//
//	footer
//	0   4   zero
//	4   4   CRC-32C of the number of chunks (8 bytes) and of the CRC-32C (4 bytes) of all chunk checksums in order,
//	        those of chunks that came before a cut included
//
// A reader that meets anything else, or the end of the stream before the footer, has no snapshot.
package snapshot

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"raftsman.dev/node/raft"
)

const (
	magic = "RAFTSNP\x02"
	// MaxChunk bounds a chunk in bytes.
	MaxChunk = 32 << 20
	maxMeta  = 1 << 20
	metaSize = 56
)

var (
	// ErrMalformed marks a stream that is not a whole, undamaged snapshot.
	ErrMalformed = errors.New("not a whole snapshot")
	// ErrCut marks a stream that ended too early; what came before is good, and another stream may go on from there.
	// Such an error matches ErrMalformed as well.
	ErrCut = errors.New("stream was cut")
)

// ID names one snapshot: 64 random bits, drawn by its sender. Zero is none.
type ID uint64

// String renders the identity as 16 hex digits.
func (i ID) String() string { return fmt.Sprintf("%016x", uint64(i)) }

// Meta says what a snapshot is of.
type Meta struct {
	ID      ID
	Cluster raft.ClusterID
	Term    raft.Term // of the sender
	Base    raft.Base // how far the state is, with the membership in force there
}

func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }

// tally numbers the chunks and sums up their checksums, on both sides of a stream.
type tally struct {
	count uint64
	sum   uint32
}

func (t *tally) chunk(b []byte) uint32 {
	n := binary.LittleEndian.AppendUint64(nil, t.count)
	return crc32.Update(crc32.Checksum(n, castagnoli()), castagnoli(), b)
}

func (t *tally) note(sum uint32) {
	t.count++
	t.sum = crc32.Update(t.sum, castagnoli(), binary.LittleEndian.AppendUint32(nil, sum))
}

func (t *tally) footer() uint32 {
	b := binary.LittleEndian.AppendUint64(nil, t.count)
	return crc32.Checksum(binary.LittleEndian.AppendUint32(b, t.sum), castagnoli())
}

// Writer writes one snapshot, or what is left of it.
type Writer struct {
	w io.Writer
	tally
}

// NewWriter writes the header. The chunks that held tells of are left out.
func NewWriter(w io.Writer, m Meta, held Held) (*Writer, error) {
	var meta []byte
	for _, v := range []uint64{
		uint64(m.Cluster), uint64(m.Term), uint64(m.Base.Position.Index), uint64(m.Base.Position.Term), uint64(m.Base.Config),
		uint64(m.ID), held.Chunks,
	} {
		meta = binary.LittleEndian.AppendUint64(meta, v)
	}
	meta = m.Base.Membership.AppendTo(meta)
	head := binary.LittleEndian.AppendUint32([]byte(magic), uint32(len(meta)))
	head = binary.LittleEndian.AppendUint32(head, crc32.Checksum(meta, castagnoli()))
	if _, err := w.Write(append(head, meta...)); err != nil {
		return nil, fmt.Errorf("write snapshot header: %w", err)
	}
	return &Writer{w: w, tally: held.tally()}, nil
}

// Chunk writes one chunk; an empty or oversized one is an error.
func (w *Writer) Chunk(b []byte) error {
	if len(b) == 0 || len(b) > MaxChunk {
		return fmt.Errorf("snapshot chunk of %d bytes, the bounds are 1 and %d", len(b), MaxChunk)
	}
	sum := w.chunk(b)
	head := binary.LittleEndian.AppendUint32(make([]byte, 0, 8), uint32(len(b)))
	if _, err := w.w.Write(binary.LittleEndian.AppendUint32(head, sum)); err != nil {
		return fmt.Errorf("write snapshot chunk %d: %w", w.count, err)
	}
	if _, err := w.w.Write(b); err != nil {
		return fmt.Errorf("write snapshot chunk %d: %w", w.count, err)
	}
	w.note(sum)
	return nil
}

// Close writes the footer.
func (w *Writer) Close() error {
	b := binary.LittleEndian.AppendUint32(make([]byte, 4, 8), w.footer())
	if _, err := w.w.Write(b); err != nil {
		return fmt.Errorf("write snapshot footer: %w", err)
	}
	return nil
}

// Reader reads one snapshot, or what is left of it.
type Reader struct {
	r    io.Reader
	meta Meta
	tally
	buf  []byte
	done bool
}

// NewReader reads and checks the header. held is what this side has told that it holds.
func NewReader(r io.Reader, held Held) (*Reader, error) {
	var head [16]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, fmt.Errorf("snapshot header: %w", errors.Join(err, ErrCut, ErrMalformed))
	}
	n := binary.LittleEndian.Uint32(head[8:])
	if string(head[:8]) != magic || n < metaSize || n > maxMeta {
		return nil, fmt.Errorf("snapshot header %x: %w", head, ErrMalformed)
	}
	out := &Reader{r: r}
	if err := out.fill(int(n)); err != nil {
		return nil, fmt.Errorf("snapshot meta: %w", errors.Join(err, ErrCut, ErrMalformed))
	}
	meta := out.buf
	if crc32.Checksum(meta, castagnoli()) != binary.LittleEndian.Uint32(head[12:]) {
		return nil, fmt.Errorf("snapshot meta does not verify: %w", ErrMalformed)
	}
	membership, err := raft.DecodeMembership(meta[metaSize:])
	if err != nil {
		return nil, fmt.Errorf("snapshot meta: %w", errors.Join(err, ErrMalformed))
	}
	u := func(at int) uint64 { return binary.LittleEndian.Uint64(meta[at:]) }
	out.meta = Meta{
		ID: ID(u(40)), Cluster: raft.ClusterID(u(0)), Term: raft.Term(u(8)),
		Base: raft.Base{Position: raft.Position{Index: raft.Index(u(16)), Term: raft.Term(u(24))}, Config: raft.Index(u(32)), Membership: membership},
	}
	if first := u(48); first != 0 {
		if out.meta.ID != held.ID || first != held.Chunks {
			return nil, fmt.Errorf("snapshot %v goes on at chunk %d, but %d chunks of %v are held: %w", out.meta.ID, first, held.Chunks, held.ID, ErrMalformed)
		}
		out.tally = held.tally()
	}
	return out, nil
}

// Held is what has come so far; with more than no chunk right after NewReader the stream goes on where another was cut.
func (r *Reader) Held() Held { return Held{ID: r.meta.ID, Chunks: r.count, Sum: r.sum} }

// GoesOn reports, right after NewReader, whether the stream is the rest of the snapshot that is held, whose state is at
// that position, or begins another. One that goes on as of another position is malformed.
func (r *Reader) GoesOn(held raft.Position) (bool, error) {
	if r.count == 0 {
		return false, nil
	}
	if at := r.meta.Base.Position; at != held {
		return false, fmt.Errorf("the snapshot of %v goes on as one of %v: %w", held, at, ErrMalformed)
	}
	return true, nil
}

// Meta says what the snapshot is of.
func (r *Reader) Meta() Meta { return r.meta }

// Next returns the next chunk, valid until the one after; io.EOF only behind a verified footer.
func (r *Reader) Next() ([]byte, error) {
	if r.done {
		return nil, io.EOF
	}
	var head [8]byte
	if _, err := io.ReadFull(r.r, head[:]); err != nil {
		return nil, fmt.Errorf("snapshot ends after %d chunks: %w", r.count, errors.Join(err, ErrCut, ErrMalformed))
	}
	n, sum := binary.LittleEndian.Uint32(head[:]), binary.LittleEndian.Uint32(head[4:])
	if n == 0 {
		if sum != r.footer() {
			return nil, fmt.Errorf("snapshot footer does not verify: %w", ErrMalformed)
		}
		r.done = true
		return nil, io.EOF
	}
	if n > MaxChunk {
		return nil, fmt.Errorf("snapshot chunk %d claims %d bytes, the bound is %d: %w", r.count, n, MaxChunk, ErrMalformed)
	}
	if err := r.fill(int(n)); err != nil {
		return nil, fmt.Errorf("snapshot ends within chunk %d: %w", r.count, errors.Join(err, ErrCut, ErrMalformed))
	}
	if r.chunk(r.buf) != sum {
		return nil, fmt.Errorf("snapshot chunk %d does not verify: %w", r.count, ErrMalformed)
	}
	r.note(sum)
	return r.buf, nil
}

// fill reads n bytes, growing as they come: a length alone makes nobody allocate.
func (r *Reader) fill(n int) error {
	r.buf = r.buf[:0]
	for len(r.buf) < n {
		at := len(r.buf)
		r.buf = append(r.buf, make([]byte, min(n-at, 1<<20))...)
		if _, err := io.ReadFull(r.r, r.buf[at:]); err != nil {
			return err
		}
	}
	return nil
}
