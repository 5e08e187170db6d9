package transport

import (
	"encoding/binary"
	"fmt"

	"raftsman.dev/node/raft"
)

// maxGrowth and freeGrowth bound what a body may grow to when it is decoded: so many times its own bytes, and so many
// bytes more. Lists of small things grow most: a payload of none is one byte in the frame and a proposal in memory.
const (
	maxGrowth  = 4
	freeGrowth = 1 << 20
)

// What a listed number, and a payload (its slice, its memory rounded up, and the proposal made of it) take in memory
// besides their own bytes.
const (
	numberGrowth  = 8
	payloadGrowth = 24 + 16 + 48
)

// The fields of an envelope that are lists.
const (
	fieldRefs     = 8
	fieldPayloads = 9
)

// meter walks over a body before it is decoded and adds up what it will take.
type meter struct {
	b    []byte
	cost int
}

// measure refuses a body that is none of ours, or that would take much more memory than it has bytes. A body of a newer
// version may have further fields, but no lists in them.
func measure(body []byte) error {
	m := meter{b: body}
	n, err := m.list()
	for at := 0; at < n && err == nil; at++ {
		err = m.field(at)
	}
	if err == nil && m.cost > maxGrowth*len(body)+freeGrowth {
		err = fmt.Errorf("a body of %d bytes would take %d: %w", len(body), m.cost, ErrFrame)
	}
	return err
}

// field walks over one field of the envelope.
func (m *meter) field(at int) error {
	if at != fieldRefs && at != fieldPayloads || len(m.b) == 0 || m.b[0] == 0xc0 {
		return m.scalar()
	}
	n, err := m.list()
	m.cost += n * numberGrowth
	if at == fieldPayloads {
		m.cost += n * (payloadGrowth - numberGrowth)
	}
	for ; n > 0 && err == nil; n-- {
		err = m.scalar()
	}
	return err
}

// list reads a list's length. Every element takes a byte at least, so that it cannot claim more than what is left.
func (m *meter) list() (n int, err error) {
	if len(m.b) == 0 {
		return 0, m.bad()
	}
	switch c := m.b[0]; {
	case c&0xf0 == 0x90:
		n, err = int(c&0x0f), m.skip(1)
	case c == 0xdc:
		n, err = m.length(2)
	case c == 0xdd:
		n, err = m.length(4)
	default:
		return 0, m.bad()
	}
	if err == nil && n > len(m.b) {
		err = m.bad()
	}
	return n, err
}

// scalar walks over nothing, a truth value, a number or bytes, in any of their forms.
func (m *meter) scalar() error {
	if len(m.b) == 0 {
		return m.bad()
	}
	switch c := m.b[0]; {
	case c < 0x80, c >= 0xe0, c == 0xc0, c == 0xc2, c == 0xc3:
		return m.skip(1)
	case c&0xe0 == 0xa0:
		return m.bytes(int(c&0x1f), m.skip(1))
	case c == 0xc4, c == 0xd9:
		return m.bytes(m.length(1))
	case c == 0xc5, c == 0xda:
		return m.bytes(m.length(2))
	case c == 0xc6, c == 0xdb:
		return m.bytes(m.length(4))
	case c >= 0xcc && c <= 0xcf:
		return m.skip(1 + 1<<(c-0xcc))
	case c >= 0xd0 && c <= 0xd3:
		return m.skip(1 + 1<<(c-0xd0))
	case c == 0xca, c == 0xcb:
		return m.skip(5 + 4*int(c-0xca))
	}
	return m.bad()
}

// bytes walks over n bytes, which are copied when they are decoded.
func (m *meter) bytes(n int, err error) error {
	if err != nil {
		return err
	}
	m.cost += n
	return m.skip(n)
}

// length reads a length of that many bytes behind its kind.
func (m *meter) length(size int) (int, error) {
	if len(m.b) < 1+size {
		return 0, m.bad()
	}
	var wide [4]byte
	copy(wide[4-size:], m.b[1:1+size])
	return int(binary.BigEndian.Uint32(wide[:])), m.skip(1 + size)
}

func (m *meter) skip(n int) error {
	if n > len(m.b) {
		return m.bad()
	}
	m.b = m.b[n:]
	return nil
}

func (m *meter) bad() error {
	return fmt.Errorf("no field of an envelope with %d bytes left: %w", len(m.b), ErrFrame)
}

// countEntries is how many entries a block of them claims, without looking into them.
func countEntries(b []byte) (n int) {
	for ; len(b) >= raft.EntryHeaderSize; n++ {
		size := uint64(raft.EntryHeaderSize) + uint64(binary.LittleEndian.Uint32(b))
		b = b[min(size, uint64(len(b))):]
	}
	return n
}
