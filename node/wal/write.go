package wal

import (
	"encoding/binary"
	"errors"
	"fmt"

	"raftsman.dev/node/raft"
)

// maxRunBytes bounds one record of entries, and so what one Read takes in.
const maxRunBytes = 1 << 20

// writing is a write in the making: its bytes will stand at start of the segment.
type writing struct {
	b       []byte
	start   int64
	head    int // length of the head record without padding
	segment uint64
	runs    []run
	reset   bool // the log begins anew at its base
}

func (w *writing) place(at int) place { return place{w.segment, w.start + int64(at)} }

// add makes a record of what body appends.
func (w *writing) add(kind byte, body func([]byte) []byte) {
	start := len(w.b)
	w.b = closeRecord(body(openRecord(w.b, kind)), start, w.place(start))
}

func baseSize(base raft.Base) int64 { return 24 + int64(len(base.Membership.AppendTo(nil))) }

// sizeOf bounds what batches will take.
func sizeOf(batches []raft.Batch) int64 {
	n := int64(0)
	for i := range batches {
		b := &batches[i]
		n += 4*(recordHeader+align) + 24
		if b.Base != nil {
			n += baseSize(*b.Base)
		}
		for j := range b.Entries {
			n += int64(b.Entries[j].Size())
		}
		for j := range b.Fills {
			n += int64(b.Fills[j].Size())
		}
		n += (n/maxRunBytes + 1) * (recordHeader + align)
	}
	return n
}

// headSize bounds the next head record.
func (l *Log) headSize() int64 { return int64(recordHeader + headBody + len(l.items) + align) }

// startSize bounds what the first write of a segment repeats.
func (l *Log) startSize() int64 { return 2*(recordHeader+align) + 24 + baseSize(l.base) }

// begin starts a write, in a new segment if this one is full. What stays free there is for the record that names
// the segment behind.
func (l *Log) begin(bytes int64) (*writing, error) {
	need := l.headSize() + bytes + nextRecord
	if l.offset == segmentHeader {
		need += l.startSize()
	}
	if l.file == nil || l.offset+need > l.size {
		if err := l.openSegment(need + l.startSize()); err != nil {
			return nil, err
		}
	}
	w := &writing{b: l.buf[:0], start: l.offset, segment: l.number}
	w.b = openRecord(w.b, kindHead)
	w.b = appendHead(w.b, head{number: l.write, durable: l.durable, hard: l.hard, end: l.end})
	w.b = append(w.b, l.items...)
	w.head = len(w.b)
	for len(w.b)%align != 0 {
		w.b = append(w.b, 0)
	}
	if l.offset == segmentHeader {
		w.add(kindCut, func(b []byte) []byte { return appendBase(b, l.base) })
		w.add(kindHard, func(b []byte) []byte { return appendHard(b, l.hard) })
	}
	return w, nil
}

// openSegment makes the next segment, large enough for need bytes of writes, and durable with its size and its
// name before a first write goes there: whatever a segment holds, its header was there before.
func (l *Log) openSegment(need int64) error {
	if l.unsynced {
		if err := l.file.Sync(); err != nil {
			return fmt.Errorf("sync segment %s: %w", l.path(l.number), err)
		}
		l.unsynced, l.durable = false, l.write-1
	}
	number := l.number + 1
	file, size, err := l.segmentFile(l.path(number), max(l.opts.SegmentBytes, segmentHeader+need))
	if err != nil {
		return err
	}
	h := appendSegmentHeader(nil, header{number: number, first: l.write, size: uint64(size)})
	if _, err := file.WriteAt(h, 0); err != nil {
		return errors.Join(err, file.Close())
	}
	if err := file.Sync(); err != nil {
		return errors.Join(fmt.Errorf("sync segment %s: %w", l.path(number), err), file.Close())
	}
	if err := l.fs.SyncDir(l.dir); err != nil {
		return errors.Join(fmt.Errorf("sync the directory after making segment %s: %w", l.path(number), err), file.Close())
	}
	before, at := place{l.number, l.offset}, l.file
	l.file, l.number, l.offset, l.size = file, number, segmentHeader, size
	l.mu.Lock()
	l.mu.segments[number] = file
	l.mu.Unlock()
	if at == nil {
		return nil
	}
	if err := l.nameNext(at, before); err != nil {
		return err
	}
	at.Uncache() // a peer that lags as far behind reads it from the disk
	return nil
}

// nameNext tells at the end of a segment that another follows. It needs no sync: it is there for the day on which
// the other is not.
func (l *Log) nameNext(file interface {
	WriteAt([]byte, int64) (int, error)
}, at place) error {
	b := openRecord(nil, kindNext)
	b = closeRecord(binary.LittleEndian.AppendUint64(b, at.segment+1), 0, at)
	if _, err := file.WriteAt(b, at.offset); err != nil {
		return fmt.Errorf("name the next segment in %s: %w", l.path(at.segment), err)
	}
	return nil
}

// encode adds a batch's records.
func (l *Log) encode(w *writing, b *raft.Batch) {
	if b.Base != nil {
		w.add(kindRestart, func(to []byte) []byte { return appendBase(to, *b.Base) })
		l.base, w.reset, w.runs = *b.Base, true, nil
		l.end = l.base.Position.Index
	}
	if b.Hard != nil {
		w.add(kindHard, func(to []byte) []byte { return appendHard(to, *b.Hard) })
		l.hard = *b.Hard
	}
	if n := len(b.Entries); n > 0 {
		l.encodeEntries(w, kindEntries, b.Entries)
		l.end = b.Entries[n-1].Index
	}
	l.encodeEntries(w, kindFill, b.Fills)
}

// encodeEntries splits entries into records of bounded size.
func (l *Log) encodeEntries(w *writing, kind byte, entries []raft.Entry) {
	for len(entries) > 0 {
		start, n := len(w.b), 0
		w.b = openRecord(w.b, kind)
		body := len(w.b)
		for n < len(entries) && (n == 0 || len(w.b)-body < maxRunBytes) {
			at := len(w.b)
			w.b = entries[n].AppendTo(w.b)
			w.runs = addRun(w.runs, run{
				first: entries[n].Index, last: entries[n].Index, segment: w.segment, origin: w.segment,
				offset: w.start + int64(at), bytes: len(w.b) - at, fill: kind == kindFill,
			}, n == 0)
			n++
		}
		w.b = closeRecord(w.b, start, w.place(start))
		entries = entries[n:]
	}
}

// finish closes the head, writes everything at once and, if asked, makes it durable. The second copy that the head
// carries is on its way then: the next one begins.
func (l *Log) finish(w *writing, sync bool) error {
	w.closeHead()
	if n, err := l.file.WriteAt(w.b, w.start); err != nil {
		return fmt.Errorf("write %d bytes at %d of segment %s (%d written): %w", len(w.b), w.start, l.path(w.segment), n, err)
	}
	l.offset = w.start + int64(len(w.b))
	number := l.write
	l.write++
	l.buf, l.items = w.b, l.items[:0]
	l.unsynced, l.unproven = !sync, sync
	if !sync {
		return nil
	}
	if err := l.file.Sync(); err != nil {
		return fmt.Errorf("sync segment %s: %w", l.path(w.segment), err)
	}
	l.durable = number
	return nil
}

// closeHead fills in the whole write's size and the head's own header.
func (w *writing) closeHead() {
	binary.LittleEndian.PutUint64(w.b[recordHeader+8:], uint64(len(w.b)))
	binary.LittleEndian.PutUint32(w.b, uint32(w.head-recordHeader))
	binary.LittleEndian.PutUint32(w.b[4:], checksum(w.place(0), w.b[:w.head]))
}
