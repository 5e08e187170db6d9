package wal

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"path/filepath"

	"raftsman.dev/node/raft"
	"raftsman.dev/node/vfs"
)

// Seen is one record of a log, or a place where none verifies, as Inspect finds it.
type Seen struct {
	Segment string `json:"segment"`
	// Offset and Bytes are where it stands in the segment and how long it is, its header and padding included.
	Offset int64 `json:"offset"`
	Bytes  int64 `json:"bytes"`
	// Kind is head, hard, entries, restart, cut, fill, next, or another one's number; or damaged, for bytes that are not zero
	// and verify as nothing.
	Kind string `json:"kind"`
	// Write is the number of the write that the record belongs to; Durable, of a head, the newest one that it
	// proves durable.
	Write   uint64 `json:"write,omitempty"`
	Durable uint64 `json:"durable,omitempty"`
	// First and Last are the indexes of entries.
	First raft.Index `json:"first,omitempty"`
	Last  raft.Index `json:"last,omitempty"`
}

// Inspect reads all segments of a log that nobody has open, without changing anything, and shows record after record,
// in order. It judges nothing: that is Open's.
func Inspect(fsys vfs.FS, dir string, show func(Seen) error) error {
	names, err := fsys.List(dir)
	if err != nil {
		return fmt.Errorf("log %s: %w", dir, err)
	}
	for _, name := range names {
		number, ok := parseSegmentName(name)
		if !ok {
			continue
		}
		b, err := vfs.ReadFile(fsys, filepath.Join(dir, name), math.MaxInt64)
		if err != nil {
			return fmt.Errorf("read segment %s: %w", name, err)
		}
		if err := inspectSegment(number, b, show); err != nil {
			return err
		}
	}
	return nil
}

// inspectSegment looks at every place where a record may stand.
func inspectSegment(number uint64, b []byte, show func(Seen) error) error {
	name := segmentName(number)
	if _, ok, _ := readSegmentHeader(b, number); !ok {
		if err := show(Seen{Segment: name, Bytes: min(segmentHeader, int64(len(b))), Kind: kindDamaged}); err != nil {
			return err
		}
	}
	write, bad := uint64(0), int64(0)
	for at := int64(segmentHeader); at < int64(len(b)); {
		kind, body, n, ok := readRecord(b[at:], place{number, at})
		if !ok && bad == 0 && len(bytes.Trim(b[at:min(at+align, int64(len(b)))], "\x00")) > 0 {
			bad = at
		}
		if !ok {
			at += align
			continue
		}
		if bad != 0 {
			if err := show(Seen{Segment: name, Offset: bad, Bytes: at - bad, Kind: kindDamaged}); err != nil {
				return err
			}
			bad = 0
		}
		s := Seen{Segment: name, Offset: at, Bytes: int64(n), Kind: nameKind(kind)}
		s.fill(kind, body, &write)
		if err := show(s); err != nil {
			return err
		}
		at += int64(n)
	}
	if bad != 0 {
		return show(Seen{Segment: name, Offset: bad, Bytes: int64(len(b)) - bad, Kind: kindDamaged})
	}
	return nil
}

// fill reads what a verified record says; write is the number of the head before it.
func (s *Seen) fill(kind byte, body []byte, write *uint64) {
	if kind == kindHead && len(body) >= headBody {
		*write, s.Durable = binary.LittleEndian.Uint64(body), binary.LittleEndian.Uint64(body[16:])
	}
	s.Write = *write
	if kind != kindEntries {
		return
	}
	for rest := bytes.Clone(body); len(rest) > 0; {
		e, after, err := raft.DecodeEntry(rest)
		if err != nil {
			return
		}
		if s.First == 0 {
			s.First = e.Index
		}
		s.Last, rest = e.Index, after
	}
}

// kindDamaged names what is no record.
const kindDamaged = "damaged"

func nameKind(kind byte) string {
	switch kind {
	case kindHead:
		return "head"
	case kindHard:
		return "hard"
	case kindEntries:
		return "entries"
	case kindRestart:
		return "restart"
	case kindCut:
		return "cut"
	case kindFill:
		return "fill"
	case kindNext:
		return "next"
	}
	return fmt.Sprint(kind)
}
