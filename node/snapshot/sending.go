package snapshot

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"raftsman.dev/node/raft"
)

// ErrDiffers: what the receiver holds is not the beginning of this snapshot. Nothing was sent.
var ErrDiffers = errors.New("the receiver holds something else")

// Export gives out a pinned state in chunks, from the one on that begins with the given row, nil being the first. The
// chunks, and the keys of their first rows, are the same at every call.
type Export func(from []byte, f func(first, chunk []byte) error) error

// The bounds of what is remembered of a snapshot's chunks.
const (
	markEvery    = 16      // chunks from one mark to the next, at first
	maxMarks     = 1024    // past it every other mark is dropped
	maxMarkBytes = 4 << 20 // of keys, likewise
)

// mark is where a chunk begins.
type mark struct {
	before tally // of all chunks before it
	key    []byte
}

// Sending is a snapshot on the sender's side. It outlives the stream that carries it, to go on where that was cut.
// It is for one goroutine at a time.
type Sending struct {
	meta   Meta
	export Export
	marks  []mark
	stride uint64
	bytes  int // of the marks' keys
}

// NewSending prepares a snapshot of the state that export gives out.
func NewSending(m Meta, export Export) *Sending {
	return &Sending{meta: m, export: export, marks: []mark{{}}, stride: markEvery}
}

// Meta says what the snapshot is of.
func (s *Sending) Meta() Meta { return s.meta }

// GoesOn reports whether a receiver that holds something of the snapshot held is to be sent the rest of this one: it is
// the same, and a log that begins at first still goes on from its state.
func (s *Sending) GoesOn(held ID, first raft.Index) bool {
	return held == s.meta.ID && s.meta.Base.Position.Index+1 >= first
}

// Send writes what the receiver lacks, from the chunk behind those that it holds. sent is called before every chunk
// that is written, with its size, and may wait or end the stream.
func (s *Sending) Send(w io.Writer, held Held, sent func(bytes int) error) error {
	if held.ID != s.meta.ID {
		held = Held{}
	}
	from := s.before(held.Chunks)
	c := &cursor{s: s, w: w, held: held, at: from.before, sent: sent}
	err := s.export(from.key, c.chunk)
	if err == nil {
		err = c.begin()
	}
	if err != nil {
		return err
	}
	return c.out.Close()
}

// cursor is where one stream of a snapshot has come to.
type cursor struct {
	s    *Sending
	w    io.Writer
	held Held
	at   tally   // of the chunks before this one
	out  *Writer // nil before the header
	sent func(bytes int) error
}

// chunk passes over what the receiver holds, from the mark before its end on, and sends the rest.
func (c *cursor) chunk(first, chunk []byte) error {
	if c.at.count < c.held.Chunks {
		c.at.note(c.at.chunk(chunk))
		return nil
	}
	if err := c.begin(); err != nil {
		return err
	}
	c.s.note(mark{before: c.out.tally, key: first})
	if err := c.sent(len(chunk)); err != nil {
		return err
	}
	return c.out.Chunk(chunk)
}

// begin writes the header once, if the receiver's chunks are this snapshot's.
func (c *cursor) begin() error {
	if c.out != nil {
		return nil
	}
	if c.at != c.held.tally() {
		return fmt.Errorf("snapshot %v, %d chunks: %w", c.s.meta.ID, c.held.Chunks, ErrDiffers)
	}
	out, err := NewWriter(c.w, c.s.meta, c.held)
	c.out = out
	return err
}

// note remembers where a chunk begins, now and then.
func (s *Sending) note(m mark) {
	if last := s.marks[len(s.marks)-1]; m.before.count < last.before.count+s.stride {
		return
	}
	m.key = bytes.Clone(m.key)
	s.marks, s.bytes = append(s.marks, m), s.bytes+len(m.key)
	for len(s.marks) > 1 && (len(s.marks) > maxMarks || s.bytes > maxMarkBytes) {
		s.thin()
	}
}

// thin drops every other mark but the first: the stream can go on from fewer places, and passes over more before it
// does.
func (s *Sending) thin() {
	s.stride *= 2
	kept := s.marks[:1]
	s.bytes = 0
	for _, m := range s.marks[1:] {
		if m.before.count%s.stride == 0 {
			kept, s.bytes = append(kept, m), s.bytes+len(m.key)
		}
	}
	clear(s.marks[len(kept):])
	s.marks = kept
}

// before is the last mark at or before chunk n.
func (s *Sending) before(n uint64) mark {
	i := len(s.marks) - 1
	for i > 0 && s.marks[i].before.count > n {
		i--
	}
	return s.marks[i]
}
