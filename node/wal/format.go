package wal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"raftsman.dev/node/raft"
)

// The constants of format version 2, frozen.
const (
	magic         = "RAFTWAL\x02"
	segmentHeader = 40
	recordHeader  = 16
	headBody      = 56
	itemSize      = 20
	align         = 8
	nextRecord    = recordHeader + 8

	kindHead    = 1
	kindHard    = 2
	kindEntries = 3
	kindRestart = 4
	kindCut     = 5
	kindFill    = 6
	kindNext    = 7

	// What an item of a second copy is of: the two highest bits of its index.
	itemEntry   = 0
	itemRestart = 1
	itemFill    = 2
	itemShift   = 62
	maxIndex    = 1<<itemShift - 1
)

// Sentinels.
var (
	// ErrCorrupt marks every Damage.
	ErrCorrupt = errors.New("log is damaged")
	// ErrCut: the entries asked for lie before the log's beginning.
	ErrCut = errors.New("log is cut past there")
	// ErrLost: the first entry asked for is lost on this disk; only its place and checksum are known.
	ErrLost = errors.New("entry is lost on this disk")
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
	if b[8] < kindHead || b[8] > kindNext || n < 0 || n > len(b)-recordHeader {
		return 0, nil, 0, false
	}
	record := b[:recordHeader+n]
	if binary.LittleEndian.Uint32(b[4:]) != checksum(p, record) {
		return 0, nil, 0, false
	}
	return b[8], record[recordHeader:], min((recordHeader+n+align-1)/align*align, len(b)), true
}

// head announces a write. hard and end are what the writes before it have made of hard state and log.
type head struct {
	number, size, durable uint64
	hard                  raft.HardState
	end                   raft.Index
}

func appendHead(b []byte, h head) []byte {
	b = binary.LittleEndian.AppendUint64(b, h.number)
	b = binary.LittleEndian.AppendUint64(b, h.size)
	b = binary.LittleEndian.AppendUint64(b, h.durable)
	b = appendHard(b, h.hard)
	return binary.LittleEndian.AppendUint64(b, uint64(h.end))
}

// readHead reads a head's body; items is the second copy behind it.
func readHead(body []byte) (h head, items []byte, ok bool) {
	if len(body) < headBody || (len(body)-headBody)%itemSize != 0 {
		return head{}, nil, false
	}
	hard, err := readHard(body[24:48])
	return head{
		number:  binary.LittleEndian.Uint64(body),
		size:    binary.LittleEndian.Uint64(body[8:]),
		durable: binary.LittleEndian.Uint64(body[16:]),
		hard:    hard,
		end:     raft.Index(binary.LittleEndian.Uint64(body[48:])),
	}, body[headBody:], err == nil
}

// item is one line of a second copy: an entry or a fill that became durable, or the position of a restart.
type item struct {
	kind byte
	at   raft.Position
	sum  uint32
}

func appendItem(b []byte, kind byte, at raft.Position, sum uint32) []byte {
	b = binary.LittleEndian.AppendUint64(b, uint64(kind)<<itemShift|uint64(at.Index))
	b = binary.LittleEndian.AppendUint64(b, uint64(at.Term))
	return binary.LittleEndian.AppendUint32(b, sum)
}

// appendItems adds what a batch makes durable, in its order.
func appendItems(b []byte, batch *raft.Batch) []byte {
	if batch.Base != nil {
		b = appendItem(b, itemRestart, batch.Base.Position, 0)
	}
	for i := range batch.Entries {
		b = appendItem(b, itemEntry, batch.Entries[i].Position(), batch.Entries[i].Sum)
	}
	for i := range batch.Fills {
		b = appendItem(b, itemFill, batch.Fills[i].Position(), batch.Fills[i].Sum)
	}
	return b
}

// readItem reads the item at the front of b, which holds one.
func readItem(b []byte) item {
	index := binary.LittleEndian.Uint64(b)
	return item{
		kind: byte(index >> itemShift),
		at:   raft.Position{Index: raft.Index(index & maxIndex), Term: raft.Term(binary.LittleEndian.Uint64(b[8:]))},
		sum:  binary.LittleEndian.Uint32(b[16:]),
	}
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

// header is what a segment says of itself.
type header struct {
	number, first, size uint64
}

func appendSegmentHeader(b []byte, h header) []byte {
	start := len(b)
	b = append(b, magic...)
	b = binary.LittleEndian.AppendUint64(b, h.number)
	b = binary.LittleEndian.AppendUint64(b, h.first)
	b = binary.LittleEndian.AppendUint64(b, h.size)
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(b[start:], castagnoli()))
	return append(b, 0, 0, 0, 0)
}

// readSegmentHeader verifies the header at the front of b. other is the version of a header that verifies and
// is not of this one: a damaged version byte is damage, not another version.
func readSegmentHeader(b []byte, number uint64) (h header, ok bool, other byte) {
	if len(b) < segmentHeader || string(b[:7]) != magic[:7] {
		return header{}, false, 0
	}
	sum := binary.LittleEndian.Uint32(b[32:]) == crc32.Checksum(b[:32], castagnoli())
	if v := b[7]; v != magic[7] {
		first := v == 1 && binary.LittleEndian.Uint32(b[24:]) == crc32.Checksum(b[:24], castagnoli())
		if first || sum {
			return header{}, false, v
		}
		return header{}, false, 0
	}
	h = header{
		number: binary.LittleEndian.Uint64(b[8:]),
		first:  binary.LittleEndian.Uint64(b[16:]),
		size:   binary.LittleEndian.Uint64(b[24:]),
	}
	return h, sum && h.number == number && h.first > 0, 0
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
