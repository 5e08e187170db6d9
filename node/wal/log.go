package wal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sort"
	"sync"

	"raftsman.dev/node/raft"
	"raftsman.dev/node/vfs"
)

// Options are the log's tuning.
type Options struct {
	// SegmentBytes is the size of a segment; a larger write gets a larger one. Default 64 MiB.
	SegmentBytes int64
	// Create makes a new log where there is none; otherwise that is ErrMissing.
	Create bool
}

// Stats count since Open.
type Stats struct {
	Syncs    uint64 // fdatasyncs of appended batches
	Entries  uint64 // entries appended
	Bytes    uint64 // bytes written
	Segments int    // segments on disk
}

// Log is one member's log. Append, Cut, Seal and Close are for one goroutine; Read and Stats may run
// beside them.
type Log struct {
	fs   vfs.FS
	dir  string
	opts Options

	// Owned by the writing goroutine.
	file    vfs.File // the last segment
	number  uint64   // its number
	offset  int64    // where the next write goes
	size    int64    // of the file
	write   uint64   // number of the next write
	durable uint64   // newest write that is durable
	// unsynced says that a seal was written since the last sync. It must reach the disk before another
	// segment holds anything, or the log would seem to end at it.
	unsynced bool
	hard     raft.HardState
	base     raft.Base
	end      raft.Index // the last entry, or the base when there is none
	copies   []byte     // second copy of what became durable since the last head
	buf      []byte
	failed   error

	mu struct {
		sync.RWMutex
		segments map[uint64]vfs.File
		runs     []run         // entries on disk, by index
		before   raft.Position // the log begins behind it
		stats    Stats
	}
}

// run is a gap-free run of entries in one record.
type run struct {
	first, last raft.Index
	segment     uint64
	offset      int64 // of the record's body
	bytes       int
}

// Append makes batches durable, all of them with one write and one fdatasync. After an error the log is
// dead: every later call returns it.
func (l *Log) Append(batches []raft.Batch) error {
	if l.failed != nil {
		return l.failed
	}
	w, err := l.begin(sizeOf(batches))
	if err != nil {
		return l.fail(err)
	}
	entries := 0
	for i := range batches {
		if err := l.encode(w, &batches[i]); err != nil {
			return l.fail(err)
		}
		entries += len(batches[i].Entries)
	}
	if err := l.finish(w, true); err != nil {
		return l.fail(err)
	}
	l.remember(w, batches)
	l.count(w, entries)
	return nil
}

// Seal proves the last write durable on disk, without a sync of its own. It is for idle moments.
func (l *Log) Seal() error {
	if l.failed != nil {
		return l.failed
	}
	if len(l.copies) == 0 || l.offset+int64(recordHeader+headBody+len(l.copies)+align) > l.size {
		return nil
	}
	w, err := l.begin(0)
	if err != nil {
		return l.fail(err)
	}
	if err := l.finish(w, false); err != nil {
		return l.fail(err)
	}
	l.copies = l.copies[:0]
	return nil
}

// fail makes the log dead: what an fsync that failed has kept is unknown, so it is never tried again.
func (l *Log) fail(err error) error {
	l.failed = fmt.Errorf("log %s: %w", l.dir, err)
	return l.failed
}

// write in the making: its bytes stand at start of the segment.
type writing struct {
	b       []byte
	start   int64
	head    int // length of the head record without padding
	segment uint64
	fresh   bool // the segment was made for it and must be named durably
	runs    []run
	reset   bool // the log begins anew at l.base
}

func (w *writing) place(at int) place { return place{w.segment, w.start + int64(at)} }

// sizeOf bounds what batches will take.
func sizeOf(batches []raft.Batch) int64 {
	n := int64(0)
	for i := range batches {
		b := &batches[i]
		n += 3*(recordHeader+align) + 24
		if b.Base != nil {
			n += 24 + int64(len(b.Base.Membership.AppendTo(nil)))
		}
		for j := range b.Entries {
			n += int64(b.Entries[j].Size())
		}
		n += (n/maxRunBytes + 1) * (recordHeader + align)
	}
	return n
}

// begin starts a write, in a new segment if this one is full.
func (l *Log) begin(bytes int64) (*writing, error) {
	need := int64(recordHeader+headBody+len(l.copies)+align) + bytes
	w := &writing{b: l.buf[:0], start: l.offset, segment: l.number}
	if l.file == nil || l.offset+need > l.size {
		if err := l.openSegment(need); err != nil {
			return nil, err
		}
		w.start, w.segment, w.fresh = l.offset, l.number, true
	}
	w.b = openRecord(w.b, kindHead)
	w.b = appendHead(w.b, head{number: l.write, durable: l.durable})
	w.b = append(w.b, l.copies...)
	w.head = len(w.b)
	for len(w.b)%align != 0 {
		w.b = append(w.b, 0)
	}
	if w.fresh {
		start := len(w.b)
		w.b = closeRecord(appendBase(openRecord(w.b, kindCut), l.base), start, w.place(start))
		start = len(w.b)
		w.b = closeRecord(appendHard(openRecord(w.b, kindHard), l.hard), start, w.place(start))
	}
	return w, nil
}

// openSegment makes the next segment, large enough for need bytes of writes.
func (l *Log) openSegment(need int64) error {
	if l.unsynced {
		if err := l.file.Sync(); err != nil {
			return fmt.Errorf("sync segment %s: %w", segmentName(l.number), err)
		}
	}
	number := l.number + 1
	name := filepath.Join(l.dir, segmentName(number))
	file, err := l.fs.Create(name)
	if err != nil {
		return err
	}
	headroom := int64(segmentHeader + 3*recordHeader + 128 + len(l.base.Membership.AppendTo(nil)))
	size := max(l.opts.SegmentBytes, need+headroom)
	if err := file.Preallocate(size); err != nil {
		return errors.Join(err, file.Close())
	}
	if _, err := file.WriteAt(appendSegmentHeader(nil, number, l.write), 0); err != nil {
		return errors.Join(err, file.Close())
	}
	l.file, l.number, l.offset, l.size = file, number, segmentHeader, size
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.segments[number] = file
	return nil
}

// encode adds a batch's records.
func (l *Log) encode(w *writing, b *raft.Batch) error {
	if b.Base != nil {
		start := len(w.b)
		w.b = closeRecord(appendBase(openRecord(w.b, kindRestart), *b.Base), start, w.place(start))
		l.base, w.reset, w.runs = *b.Base, true, nil
		l.end = l.base.Position.Index
	}
	if b.Hard != nil {
		start := len(w.b)
		w.b = closeRecord(appendHard(openRecord(w.b, kindHard), *b.Hard), start, w.place(start))
		l.hard = *b.Hard
	}
	for entries := b.Entries; len(entries) > 0; {
		n, bytes := 0, 0
		for n < len(entries) && (n == 0 || bytes < maxRunBytes) {
			bytes += entries[n].Size()
			n++
		}
		if err := checkRun(entries[:n]); err != nil {
			return err
		}
		if entries[0].Index > l.end+1 {
			return fmt.Errorf("entry %v is given to a log that ends at %d: %w", entries[0].Position(), l.end, raft.ErrMalformed)
		}
		l.end = entries[n-1].Index
		l.encodeRun(w, entries[:n])
		entries = entries[n:]
	}
	return nil
}

// maxRunBytes bounds one record of entries, and so what one Read takes in.
const maxRunBytes = 1 << 20

func (l *Log) encodeRun(w *writing, entries []raft.Entry) {
	start := len(w.b)
	w.b = openRecord(w.b, kindEntries)
	for i := range entries {
		w.b = entries[i].AppendTo(w.b)
	}
	w.runs = append(w.runs, run{
		first: entries[0].Index, last: entries[len(entries)-1].Index, segment: w.segment,
		offset: w.start + int64(start+recordHeader), bytes: len(w.b) - start - recordHeader,
	})
	w.b = closeRecord(w.b, start, w.place(start))
}

// checkRun is the border against a core that hands over nonsense: it stops before anything is written.
func checkRun(entries []raft.Entry) error {
	for i := range entries {
		if i > 0 && entries[i].Index != entries[i-1].Index+1 {
			return fmt.Errorf("entry %v does not follow %v: %w", entries[i].Position(), entries[i-1].Position(), raft.ErrMalformed)
		}
	}
	return nil
}

// finish closes the head, writes everything at once and, if asked, makes it durable.
func (l *Log) finish(w *writing, sync bool) error {
	w.closeHead()
	if n, err := l.file.WriteAt(w.b, w.start); err != nil {
		return fmt.Errorf("write %d bytes at %d of segment %s (%d written): %w", len(w.b), w.start, segmentName(w.segment), n, err)
	}
	l.offset = w.start + int64(len(w.b))
	number := l.write
	l.write++
	l.buf = w.b
	l.unsynced = !sync
	if !sync {
		return nil
	}
	if err := l.file.Sync(); err != nil {
		return fmt.Errorf("sync segment %s: %w", segmentName(w.segment), err)
	}
	if w.fresh {
		if err := l.fs.SyncDir(l.dir); err != nil {
			return fmt.Errorf("sync the directory after making segment %s: %w", segmentName(w.segment), err)
		}
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

// remember indexes what was written and keeps the second copy for the next head.
func (l *Log) remember(w *writing, batches []raft.Batch) {
	l.copies = l.copies[:0]
	for i := range batches {
		for j := range batches[i].Entries {
			l.copies = appendCopy(l.copies, &batches[i].Entries[j])
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if w.reset {
		l.mu.runs, l.mu.before = l.mu.runs[:0], l.base.Position
	}
	for _, r := range w.runs {
		l.mu.runs = placeRun(l.mu.runs, r)
	}
}

// placeRun adds a run; what it overlaps at the end is replaced.
func placeRun(runs []run, r run) []run {
	for len(runs) > 0 && runs[len(runs)-1].first >= r.first {
		runs = runs[:len(runs)-1]
	}
	if n := len(runs); n > 0 && runs[n-1].last >= r.first {
		runs[n-1].last = r.first - 1
	}
	return append(runs, r)
}

func (l *Log) count(w *writing, entries int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.stats.Syncs++
	l.mu.stats.Entries += uint64(entries)
	l.mu.stats.Bytes += uint64(len(w.b))
}

// Read returns entries from index from on: at least one and about maxBytes, with the position before
// them. ErrCut when they lie before the log's beginning; an empty span past its end.
func (l *Log) Read(from raft.Index, maxBytes int) (raft.Span, error) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if from <= l.mu.before.Index {
		return raft.Span{}, fmt.Errorf("entry %d, the log begins behind %v: %w", from, l.mu.before, ErrCut)
	}
	var span raft.Span
	begin := from - 1 // for the term of the entry before
	if begin == l.mu.before.Index {
		span.Prev, begin = l.mu.before, from
	}
	i := sort.Search(len(l.mu.runs), func(i int) bool { return l.mu.runs[i].last >= begin })
	for bytes := 0; i < len(l.mu.runs) && bytes < maxBytes; i++ {
		entries, err := l.readRun(l.mu.runs[i])
		if err != nil {
			return raft.Span{}, err
		}
		for _, e := range entries {
			switch {
			case e.Index == from-1:
				span.Prev = e.Position()
			case e.Index >= from && (bytes < maxBytes || len(span.Entries) == 0):
				span.Entries = append(span.Entries, e)
				bytes += e.Size()
			}
		}
	}
	return span, nil
}

func (l *Log) readRun(r run) ([]raft.Entry, error) {
	file := l.mu.segments[r.segment]
	if file == nil {
		return nil, fmt.Errorf("segment %s: %w", segmentName(r.segment), ErrClosed)
	}
	b := make([]byte, r.bytes)
	if _, err := file.ReadAt(b, r.offset); err != nil {
		return nil, fmt.Errorf("read %d bytes at %d of segment %s: %w", r.bytes, r.offset, segmentName(r.segment), err)
	}
	var entries []raft.Entry
	for len(b) > 0 {
		e, rest, err := raft.DecodeEntry(b)
		if err != nil {
			return nil, &Damage{File: segmentName(r.segment), Offset: r.offset + int64(r.bytes-len(b)), Reason: err.Error()}
		}
		if e.Index <= r.last {
			entries = append(entries, e)
		}
		b = rest
	}
	return entries, nil
}

// Cut records durably that everything at or before base is no longer needed, then drops the segments that
// hold nothing else. The caller has made sure that the store holds it durably.
func (l *Log) Cut(base raft.Base) error {
	if l.failed != nil {
		return l.failed
	}
	if base.Position.Index <= l.base.Position.Index {
		return nil
	}
	l.base = base
	w, err := l.begin(recordHeader + 24 + align + int64(len(base.Membership.AppendTo(nil))))
	if err != nil {
		return l.fail(err)
	}
	start := len(w.b)
	w.b = closeRecord(appendBase(openRecord(w.b, kindCut), base), start, w.place(start))
	if err := l.finish(w, true); err != nil {
		return l.fail(err)
	}
	l.copies = l.copies[:0]
	if err := l.drop(base.Position.Index); err != nil {
		return l.fail(err)
	}
	return nil
}

// drop forgets runs up to index and removes the segments before the first one still needed.
func (l *Log) drop(upTo raft.Index) error {
	l.mu.Lock()
	l.mu.before = l.base.Position
	n := 0
	for n < len(l.mu.runs) && l.mu.runs[n].last <= upTo {
		n++
	}
	l.mu.runs = append(l.mu.runs[:0], l.mu.runs[n:]...)
	needed := l.number
	if len(l.mu.runs) > 0 {
		needed = l.mu.runs[0].segment
	}
	var gone []uint64
	for number := range l.mu.segments {
		if number < needed {
			gone = append(gone, number)
		}
	}
	slices.Sort(gone)
	files := make([]vfs.File, len(gone))
	for i, number := range gone {
		files[i] = l.mu.segments[number]
		delete(l.mu.segments, number)
	}
	l.mu.Unlock()
	for i, number := range gone { // oldest first: what a crash leaves has no gap
		if err := errors.Join(files[i].Close(), l.fs.Remove(filepath.Join(l.dir, segmentName(number)))); err != nil {
			return err
		}
	}
	if len(gone) == 0 {
		return nil
	}
	return l.fs.SyncDir(l.dir)
}

// Stats reports the counters.
func (l *Log) Stats() Stats {
	l.mu.RLock()
	defer l.mu.RUnlock()
	s := l.mu.stats
	s.Segments = len(l.mu.segments)
	return s
}

// Close closes the segments. Nothing is lost: what Append returned for is durable.
func (l *Log) Close() error {
	if l.failed == nil {
		l.failed = ErrClosed
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	var errs []error
	for _, f := range l.mu.segments {
		errs = append(errs, f.Close())
	}
	l.mu.segments = nil
	return errors.Join(errs...)
}
