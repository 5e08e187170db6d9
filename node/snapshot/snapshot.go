// Package snapshot is a member's state as a stream of checked chunks.
//
// # Format (version 1, frozen; integers little-endian)
//
//	header
//	0   8   magic "RAFTSNP\x01": the last byte is the version
//	8   4   n, the length of the meta that follows, at most 1 MiB
//	12  4   CRC-32C of the meta
//	16  n   meta: cluster ID (8), sender's term (8), base index (8), base term (8), configuration index (8),
//	        then the membership's byte form
//
//	chunk, any number of them
//	0   4   length, at least 1 and at most MaxChunk
//	4   4   CRC-32C of the chunk's number (8 bytes, from 0) and its bytes
//	8   n   bytes
//
//	footer
//	0   4   zero
//	4   4   CRC-32C of the number of chunks (8 bytes) and of all chunk checksums in order
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
	magic = "RAFTSNP\x01"
	// MaxChunk bounds a chunk in bytes.
	MaxChunk = 32 << 20
	maxMeta  = 1 << 20
	metaSize = 40
)

// ErrMalformed marks a stream that is not a whole, undamaged snapshot.
var ErrMalformed = errors.New("not a whole snapshot")

// Meta says what a snapshot is of.
type Meta struct {
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

// Writer writes one snapshot.
type Writer struct {
	w io.Writer
	tally
}

// NewWriter writes the header.
func NewWriter(w io.Writer, m Meta) (*Writer, error) {
	var meta []byte
	for _, v := range []uint64{uint64(m.Cluster), uint64(m.Term), uint64(m.Base.Position.Index), uint64(m.Base.Position.Term), uint64(m.Base.Config)} {
		meta = binary.LittleEndian.AppendUint64(meta, v)
	}
	meta = m.Base.Membership.AppendTo(meta)
	head := binary.LittleEndian.AppendUint32([]byte(magic), uint32(len(meta)))
	head = binary.LittleEndian.AppendUint32(head, crc32.Checksum(meta, castagnoli()))
	if _, err := w.Write(append(head, meta...)); err != nil {
		return nil, fmt.Errorf("write snapshot header: %w", err)
	}
	return &Writer{w: w}, nil
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

// Reader reads one snapshot.
type Reader struct {
	r    io.Reader
	meta Meta
	tally
	buf  []byte
	done bool
}

// NewReader reads and checks the header.
func NewReader(r io.Reader) (*Reader, error) {
	var head [16]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, fmt.Errorf("snapshot header: %w", errors.Join(err, ErrMalformed))
	}
	n := binary.LittleEndian.Uint32(head[8:])
	if string(head[:8]) != magic || n < metaSize || n > maxMeta {
		return nil, fmt.Errorf("snapshot header %x: %w", head, ErrMalformed)
	}
	meta := make([]byte, n)
	if _, err := io.ReadFull(r, meta); err != nil {
		return nil, fmt.Errorf("snapshot meta: %w", errors.Join(err, ErrMalformed))
	}
	if crc32.Checksum(meta, castagnoli()) != binary.LittleEndian.Uint32(head[12:]) {
		return nil, fmt.Errorf("snapshot meta does not verify: %w", ErrMalformed)
	}
	membership, err := raft.DecodeMembership(meta[metaSize:])
	if err != nil {
		return nil, fmt.Errorf("snapshot meta: %w", errors.Join(err, ErrMalformed))
	}
	u := func(at int) uint64 { return binary.LittleEndian.Uint64(meta[at:]) }
	return &Reader{r: r, meta: Meta{
		Cluster: raft.ClusterID(u(0)), Term: raft.Term(u(8)),
		Base: raft.Base{Position: raft.Position{Index: raft.Index(u(16)), Term: raft.Term(u(24))}, Config: raft.Index(u(32)), Membership: membership},
	}}, nil
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
		return nil, fmt.Errorf("snapshot ends after %d chunks: %w", r.count, errors.Join(err, ErrMalformed))
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
		return nil, fmt.Errorf("snapshot ends within chunk %d: %w", r.count, errors.Join(err, ErrMalformed))
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
