package wal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"raftsman.dev/node/raft"
)

// The constants of format version 1, frozen.
const (
	magic         = "RAFTWAL\x01"
	segmentHeader = 32
	recordHeader  = 16
	headBody      = 24
	copySize      = 20
	align         = 8

	kindHead    = 1
	kindHard    = 2
	kindEntries = 3
	kindRestart = 4
	kindCut     = 5
)

// Sentinels.
var (
	// ErrCorrupt marks every Damage.
	ErrCorrupt = errors.New("log is damaged")
	// ErrCut: the entries asked for lie before the log's beginning.
	ErrCut = errors.New("log is cut past there")
	// ErrClosed: the log was closed, or a write failed before.
	ErrClosed = errors.New("log is closed")
	// ErrMissing: there is no log, and none was to be created.
	ErrMissing = errors.New("there is no log")
)

// Damage is something in the log that was durable and does not verify any more.
type Damage struct {
	File   string
	Offset int64
	Reason string
}

// Error names the place and the remedy.
func (d *Damage) Error() string {
	return fmt.Sprintf("log segment %s is damaged at offset %d: %s; do not start this member again: remove it from the cluster and let a new one replace it", d.File, d.Offset, d.Reason)
}

// Is makes errors.Is(err, ErrCorrupt) true.
func (d *Damage) Is(target error) bool { return target == ErrCorrupt }

func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }

// place is where a record stands; it is part of the record's checksum.
type place struct {
	segment uint64
	offset  int64
}

func checksum(p place, record []byte) uint32 {
	var b [16]byte
	binary.LittleEndian.PutUint64(b[:], p.segment)
	binary.LittleEndian.PutUint64(b[8:], uint64(p.offset))
	sum := crc32.Update(0, castagnoli(), b[:])
	sum = crc32.Update(sum, castagnoli(), record[:4])
	return crc32.Update(sum, castagnoli(), record[8:])
}

// openRecord reserves a record's header at the end of b.
func openRecord(b []byte, kind byte) []byte {
	return append(b, 0, 0, 0, 0, 0, 0, 0, 0, kind, 0, 0, 0, 0, 0, 0, 0)
}

// closeRecord fills in the header of the record that begins at start of b, which will stand at p, and pads.
func closeRecord(b []byte, start int, p place) []byte {
	n := len(b) - start - recordHeader
	binary.LittleEndian.PutUint32(b[start:], uint32(n))
	binary.LittleEndian.PutUint32(b[start+4:], checksum(p, b[start:]))
	for len(b)%align != 0 {
		b = append(b, 0)
	}
	return b
}

// readRecord verifies the record at the front of b. size includes the padding.
func readRecord(b []byte, p place) (kind byte, body []byte, size int, ok bool) {
	if len(b) < recordHeader {
		return 0, nil, 0, false
	}
	n := int(binary.LittleEndian.Uint32(b))
	if b[8] < kindHead || b[8] > kindCut || n < 0 || n > len(b)-recordHeader {
		return 0, nil, 0, false
	}
	record := b[:recordHeader+n]
	if binary.LittleEndian.Uint32(b[4:]) != checksum(p, record) {
		return 0, nil, 0, false
	}
	return b[8], record[recordHeader:], min((recordHeader+n+align-1)/align*align, len(b)), true
}

// head announces a write.
type head struct {
	number, size, durable uint64
}

func appendHead(b []byte, h head) []byte {
	b = binary.LittleEndian.AppendUint64(b, h.number)
	b = binary.LittleEndian.AppendUint64(b, h.size)
	return binary.LittleEndian.AppendUint64(b, h.durable)
}

func readHead(body []byte) (head, bool) {
	if len(body) < headBody || (len(body)-headBody)%copySize != 0 {
		return head{}, false
	}
	return head{
		number:  binary.LittleEndian.Uint64(body),
		size:    binary.LittleEndian.Uint64(body[8:]),
		durable: binary.LittleEndian.Uint64(body[16:]),
	}, true
}

// appendCopy adds an entry to a second copy.
func appendCopy(b []byte, e *raft.Entry) []byte {
	b = binary.LittleEndian.AppendUint64(b, uint64(e.Index))
	b = binary.LittleEndian.AppendUint64(b, uint64(e.Term))
	return binary.LittleEndian.AppendUint32(b, e.Sum)
}

func appendHard(b []byte, h raft.HardState) []byte {
	b = binary.LittleEndian.AppendUint64(b, uint64(h.Term))
	b = binary.LittleEndian.AppendUint64(b, uint64(h.Vote))
	return binary.LittleEndian.AppendUint64(b, uint64(h.Commit))
}

func readHard(body []byte) (raft.HardState, error) {
	if len(body) != 24 {
		return raft.HardState{}, fmt.Errorf("hard state of %d bytes: %w", len(body), raft.ErrMalformed)
	}
	return raft.HardState{
		Term:   raft.Term(binary.LittleEndian.Uint64(body)),
		Vote:   raft.MemberID(binary.LittleEndian.Uint64(body[8:])),
		Commit: raft.Index(binary.LittleEndian.Uint64(body[16:])),
	}, nil
}

func appendBase(b []byte, base raft.Base) []byte {
	b = binary.LittleEndian.AppendUint64(b, uint64(base.Position.Index))
	b = binary.LittleEndian.AppendUint64(b, uint64(base.Position.Term))
	b = binary.LittleEndian.AppendUint64(b, uint64(base.Config))
	return base.Membership.AppendTo(b)
}

func readBase(body []byte) (raft.Base, error) {
	if len(body) < 24 {
		return raft.Base{}, fmt.Errorf("base of %d bytes: %w", len(body), raft.ErrMalformed)
	}
	m, err := raft.DecodeMembership(body[24:])
	return raft.Base{
		Position:   raft.Position{Index: raft.Index(binary.LittleEndian.Uint64(body)), Term: raft.Term(binary.LittleEndian.Uint64(body[8:]))},
		Config:     raft.Index(binary.LittleEndian.Uint64(body[16:])),
		Membership: m,
	}, err
}

func appendSegmentHeader(b []byte, number, firstWrite uint64) []byte {
	start := len(b)
	b = append(b, magic...)
	b = binary.LittleEndian.AppendUint64(b, number)
	b = binary.LittleEndian.AppendUint64(b, firstWrite)
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(b[start:], castagnoli()))
	return append(b, 0, 0, 0, 0)
}

// readSegmentHeader verifies the header; version is false when it is of another version.
func readSegmentHeader(b []byte, number uint64) (firstWrite uint64, ok, version bool) {
	if len(b) < segmentHeader {
		return 0, false, true
	}
	if string(b[:7]) == magic[:7] && b[7] != magic[7] {
		return 0, false, false
	}
	ok = string(b[:8]) == magic && binary.LittleEndian.Uint64(b[8:]) == number &&
		binary.LittleEndian.Uint32(b[24:]) == crc32.Checksum(b[:24], castagnoli())
	return binary.LittleEndian.Uint64(b[16:]), ok, true
}

func segmentName(number uint64) string { return fmt.Sprintf("%016x.log", number) }

func parseSegmentName(name string) (number uint64, ok bool) {
	if len(name) != 20 {
		return 0, false
	}
	if _, err := fmt.Sscanf(name, "%016x.log", &number); err != nil || segmentName(number) != name {
		return 0, false
	}
	return number, true
}
