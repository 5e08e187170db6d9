package raft

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// The byte form of an entry (frozen; integers little-endian). The log stores it and the transport
// carries it; neither looks inside.
//
//	offset size
//	0      4    n, the payload's length; at most MaxPayload
//	4      4    CRC-32C of bytes 8 to 25+n: index, term, kind and payload
//	8      8    index
//	16     8    term
//	24     1    kind
//	25     n    payload
const (
	// EntryHeaderSize is the fixed part of an entry's byte form.
	EntryHeaderSize = 25
	// MaxPayload bounds an entry's payload in bytes.
	MaxPayload = 16 << 20

	maxMembers    = 1 << 10
	maxString     = 1 << 10
	maxClientURLs = 8
	formVersion   = 1
)

// ErrMalformed marks bytes that are not what they should be: damaged, cut short or of a newer version.
var ErrMalformed = errors.New("malformed")

// Seal computes the entry's checksum. The leader that creates an entry calls it once.
func (e *Entry) Seal() { e.Sum = e.checksum() }

// Check verifies the entry against its checksum and the bounds of the format.
func (e *Entry) Check() error { return e.check(e.checksum()) }

// check is Check for a caller that has the checksum of the bytes at hand.
func (e *Entry) check(sum uint32) error {
	switch {
	case e.Kind < EntryNoop || e.Kind > EntryMembership:
		return fmt.Errorf("entry %v: kind %d is unknown: %w", e.Position(), e.Kind, ErrMalformed)
	case len(e.Payload) > MaxPayload:
		return fmt.Errorf("entry %v: payload of %d bytes is over the bound of %d: %w", e.Position(), len(e.Payload), MaxPayload, ErrMalformed)
	case e.Sum != sum:
		return fmt.Errorf("entry %v: checksum does not match: %w", e.Position(), ErrMalformed)
	}
	return nil
}

func (e *Entry) checksum() uint32 {
	var head [EntryHeaderSize]byte
	e.putHeader(head[:])
	sum := crc32.Update(0, crc32.MakeTable(crc32.Castagnoli), head[8:])
	return crc32.Update(sum, crc32.MakeTable(crc32.Castagnoli), e.Payload)
}

func (e *Entry) putHeader(head []byte) {
	binary.LittleEndian.PutUint32(head[0:], uint32(len(e.Payload)))
	binary.LittleEndian.PutUint32(head[4:], e.Sum)
	binary.LittleEndian.PutUint64(head[8:], uint64(e.Index))
	binary.LittleEndian.PutUint64(head[16:], uint64(e.Term))
	head[24] = byte(e.Kind)
}

// Size is the length of the entry's byte form.
func (e *Entry) Size() int { return EntryHeaderSize + len(e.Payload) }

// AppendTo appends the entry's byte form to dst.
func (e *Entry) AppendTo(dst []byte) []byte {
	var head [EntryHeaderSize]byte
	e.putHeader(head[:])
	return append(append(dst, head[:]...), e.Payload...)
}

// DecodeEntry reads one entry from the front of b, verifies its checksum and returns what follows it.
// The payload aliases b. Errors match ErrMalformed.
func DecodeEntry(b []byte) (e Entry, rest []byte, err error) {
	if len(b) < EntryHeaderSize {
		return Entry{}, nil, fmt.Errorf("entry header cut short at %d bytes: %w", len(b), ErrMalformed)
	}
	n := binary.LittleEndian.Uint32(b)
	if n > MaxPayload || int(n) > len(b)-EntryHeaderSize {
		return Entry{}, nil, fmt.Errorf("entry claims a payload of %d bytes where %d are left: %w", n, len(b)-EntryHeaderSize, ErrMalformed)
	}
	e = Entry{
		Sum:     binary.LittleEndian.Uint32(b[4:]),
		Index:   Index(binary.LittleEndian.Uint64(b[8:])),
		Term:    Term(binary.LittleEndian.Uint64(b[16:])),
		Kind:    EntryKind(b[24]),
		Payload: b[EntryHeaderSize : EntryHeaderSize+int(n) : EntryHeaderSize+int(n)],
	}
	if n == 0 {
		e.Payload = nil
	}
	sum := crc32.Checksum(b[8:EntryHeaderSize+int(n)], crc32.MakeTable(crc32.Castagnoli))
	if err := e.check(sum); err != nil {
		return Entry{}, nil, err
	}
	return e, b[EntryHeaderSize+int(n):], nil
}

// AppendTo appends the membership's byte form: a version byte, the count, then for each member its ID
// (8 bytes), seat, and length-prefixed name, peer address and client URLs. Integers are uvarints.
func (m Membership) AppendTo(dst []byte) []byte {
	dst = binary.AppendUvarint(append(dst, formVersion), uint64(len(m.Members)))
	for _, x := range m.Members {
		dst = binary.LittleEndian.AppendUint64(dst, uint64(x.ID))
		dst = append(dst, byte(x.Seat))
		dst = appendString(dst, x.Name)
		dst = appendString(dst, x.PeerAddress)
		dst = binary.AppendUvarint(dst, uint64(len(x.ClientURLs)))
		for _, u := range x.ClientURLs {
			dst = appendString(dst, u)
		}
	}
	return dst
}

// DecodeMembership reads what AppendTo wrote and checks it: sorted IDs, known seats, bounded sizes,
// nothing left over. Errors match ErrMalformed.
func DecodeMembership(b []byte) (Membership, error) {
	r := reader{b: b}
	if v := r.byte(); v != formVersion && !r.bad {
		return Membership{}, fmt.Errorf("membership of version %d, this program knows %d: %w", v, formVersion, ErrMalformed)
	}
	n := r.count(maxMembers)
	var m Membership
	for i := 0; i < n && !r.bad; i++ {
		x := Member{ID: MemberID(r.uint64()), Seat: Seat(r.byte()), Name: r.string(), PeerAddress: r.string()}
		for j := r.count(maxClientURLs); j > 0 && !r.bad; j-- {
			x.ClientURLs = append(x.ClientURLs, r.string())
		}
		m.Members = append(m.Members, x)
	}
	if r.bad || len(r.b) != 0 {
		return Membership{}, fmt.Errorf("membership cut short or followed by %d bytes: %w", len(r.b), ErrMalformed)
	}
	return m, m.Check()
}

// Check reports whether the membership is well formed: sorted distinct IDs, known seats, bounded strings.
func (m Membership) Check() error {
	if len(m.Members) > maxMembers {
		return fmt.Errorf("membership of %d members is over the bound of %d: %w", len(m.Members), maxMembers, ErrMalformed)
	}
	for i, x := range m.Members {
		switch {
		case x.ID == 0 || i > 0 && m.Members[i-1].ID >= x.ID:
			return fmt.Errorf("membership: member %v is zero, repeated or out of order: %w", x.ID, ErrMalformed)
		case x.Seat < SeatLearner || x.Seat > SeatOutgoing:
			return fmt.Errorf("membership: member %v has unknown seat %d: %w", x.ID, x.Seat, ErrMalformed)
		case len(x.Name) > maxString || len(x.PeerAddress) > maxString || len(x.ClientURLs) > maxClientURLs:
			return fmt.Errorf("membership: member %v has a name, address or URL list over its bound: %w", x.ID, ErrMalformed)
		}
		for _, u := range x.ClientURLs {
			if len(u) > maxString {
				return fmt.Errorf("membership: member %v has a client URL of %d bytes, over the bound of %d: %w", x.ID, len(u), maxString, ErrMalformed)
			}
		}
	}
	return nil
}

func appendString(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

// reader takes bounded values off the front of a slice; after the first that does not fit it is bad and
// gives zeros.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) take(n int) []byte {
	if r.bad || n > len(r.b) {
		r.bad = true
		return make([]byte, min(n, 8))
	}
	v := r.b[:n]
	r.b = r.b[n:]
	return v
}

func (r *reader) byte() byte     { return r.take(1)[0] }
func (r *reader) uint64() uint64 { return binary.LittleEndian.Uint64(r.take(8)) }

func (r *reader) count(bound int) int {
	v, n := binary.Uvarint(r.b)
	if n <= 0 || v > uint64(bound) {
		r.bad = true
		return 0
	}
	r.b = r.b[n:]
	return int(v)
}

func (r *reader) string() string {
	n := r.count(maxString)
	if r.bad || n > len(r.b) {
		r.bad = true
		return ""
	}
	return string(r.take(n))
}
