package wal

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"

	"raftsman.dev/node/raft"
	"raftsman.dev/node/vfs"
)

// Options are the log's tuning, and what Open is told of the store.
type Options struct {
	// SegmentBytes is the size of a segment; a larger write gets a larger one. Default 64 MiB.
	SegmentBytes int64
	// Create makes a new log where there is none, or where the making of one was cut short; otherwise that is
	// ErrMissing or damage.
	Create bool
	// Covered is what the store holds durably; zero: nothing. What is damaged at or before it is not needed: the
	// log is cut there.
	Covered raft.Base
}

// Stats count since Open.
type Stats struct {
	Syncs    uint64 // fdatasyncs of appended batches
	Entries  uint64 // entries appended
	Bytes    uint64 // bytes written
	Lost     uint64 // entries that Open found lost
	Repaired uint64 // of them, those that a fill has brought back
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
	unproven bool // no head proves the last write yet
	hard     raft.HardState
	base     raft.Base
	end      raft.Index // the last entry, or the base when there is none
	items    []byte     // second copy of what became durable since the last head
	buf      []byte
	spare    spare
	failed   error

	mu struct {
		sync.RWMutex
		segments map[uint64]vfs.File // nil: found, but it cannot be opened
		runs     []run               // entries, by index and without a gap
		lost     map[raft.Index]raft.Entry
		before   raft.Position // the log begins behind it
		stats    Stats
	}
}

// Append makes batches durable, all of them with one write and one fdatasync. What does not fit the log (a gap, a
// fill for a place that is not lost or is of another entry) is refused before anything is written. After any error
// but ErrNoSpace the log is dead: every later call returns it.
func (l *Log) Append(batches []raft.Batch) error {
	if l.failed != nil {
		return l.failed
	}
	if err := l.admit(batches); err != nil {
		return l.fail(err)
	}
	w, err := l.begin(sizeOf(batches))
	if err != nil {
		return l.refused(err)
	}
	for i := range batches {
		l.encode(w, &batches[i])
	}
	if err := l.finish(w, true); err != nil {
		return l.fail(err)
	}
	l.remember(w, batches)
	return nil
}

// Seal proves the last write durable on disk, without a sync of its own. It is for idle moments.
func (l *Log) Seal() error {
	if l.failed != nil {
		return l.failed
	}
	if !l.unproven || l.offset+l.headSize()+nextRecord > l.size {
		return nil
	}
	w, err := l.begin(0)
	if err != nil {
		return l.fail(err)
	}
	if err := l.finish(w, false); err != nil {
		return l.fail(err)
	}
	return nil
}

// fail makes the log dead: what an fsync that failed has kept is unknown, so it is never tried again.
func (l *Log) fail(err error) error {
	l.failed = fmt.Errorf("log %s: %w", l.dir, err)
	return l.failed
}

// admit is the border against a core that hands over nonsense.
func (l *Log) admit(batches []raft.Batch) error {
	base, end := l.base.Position.Index, l.end
	kept := raft.Index(maxIndex) // what was lost from here on is gone with these batches
	for i := range batches {
		b := &batches[i]
		if b.Base != nil {
			base, end, kept = b.Base.Position.Index, b.Base.Position.Index, 0
		}
		if base > maxIndex {
			return fmt.Errorf("the log is to begin anew behind %d: %w", base, raft.ErrMalformed)
		}
		if n := len(b.Entries); n > 0 {
			if err := checkRun(b.Entries); err != nil {
				return err
			}
			first, last := b.Entries[0].Position(), b.Entries[n-1].Index
			if first.Index > end+1 || first.Index <= base || last > maxIndex {
				return fmt.Errorf("entry %v is given to a log that goes from %d to %d: %w", first, base, end, raft.ErrMalformed)
			}
			end, kept = last, min(kept, first.Index)
		}
		if err := l.admitFills(b.Fills, kept); err != nil {
			return err
		}
	}
	return nil
}

// checkRun refuses entries with a gap between them.
func checkRun(entries []raft.Entry) error {
	for i := range entries {
		if i > 0 && entries[i].Index != entries[i-1].Index+1 {
			return fmt.Errorf("entry %v does not follow %v: %w", entries[i].Position(), entries[i-1].Position(), raft.ErrMalformed)
		}
	}
	return nil
}

// admitFills takes only what is lost, with its checksum; from index gone on nothing is.
func (l *Log) admitFills(fills []raft.Entry, gone raft.Index) error {
	for i := range fills {
		e := &fills[i]
		lost, ok := l.mu.lost[e.Index]
		switch {
		case !ok || e.Index >= gone:
			return fmt.Errorf("fill of entry %v, which is not lost: %w", e.Position(), raft.ErrMalformed)
		case lost.Term != e.Term || lost.Sum != e.Sum:
			return fmt.Errorf("fill of entry %v with checksum %08x, lost is %v with %08x: %w", e.Position(), e.Sum, lost.Position(), lost.Sum, raft.ErrMalformed)
		case i > 0 && e.Index <= fills[i-1].Index:
			return fmt.Errorf("fill of entry %v behind that of %v: %w", e.Position(), fills[i-1].Position(), raft.ErrMalformed)
		}
		if err := e.Check(); err != nil {
			return fmt.Errorf("fill: %w", err)
		}
	}
	return nil
}

// remember indexes what was written and keeps the second copy for the next head.
func (l *Log) remember(w *writing, batches []raft.Batch) {
	l.mu.Lock()
	defer l.mu.Unlock()
	stats := &l.mu.stats
	for i := range batches {
		b := &batches[i]
		l.items = appendItems(l.items, b)
		stats.Entries += uint64(len(b.Entries))
		stats.Repaired += uint64(len(b.Fills))
		if b.Base != nil {
			clear(l.mu.lost)
		}
		if len(b.Entries) > 0 && len(l.mu.lost) > 0 {
			l.forgetLost(b.Entries[0].Index, maxIndex)
		}
		for j := range b.Fills {
			delete(l.mu.lost, b.Fills[j].Index)
		}
	}
	if w.reset {
		l.mu.runs, l.mu.before = l.mu.runs[:0], l.base.Position
	}
	for _, r := range w.runs {
		if r.fill {
			l.mu.runs = fillRun(l.mu.runs, r)
			continue
		}
		l.mu.runs = placeRun(l.mu.runs, r)
	}
	stats.Syncs++
	stats.Bytes += uint64(len(w.b))
}

// forgetLost drops the lost entries from first to last. The caller holds the lock.
func (l *Log) forgetLost(first, last raft.Index) {
	for i := range l.mu.lost {
		if first <= i && i <= last {
			delete(l.mu.lost, i)
		}
	}
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
	if base.Position.Index > l.end {
		return l.fail(fmt.Errorf("cut at %v in a log that ends at %d: %w", base.Position, l.end, raft.ErrMalformed))
	}
	return l.cut(base)
}

func (l *Log) cut(base raft.Base) error {
	before := l.base
	l.base = base
	w, err := l.begin(recordHeader + align + baseSize(base))
	if err != nil {
		l.base = before
		return l.refused(err)
	}
	w.add(kindCut, func(b []byte) []byte { return appendBase(b, base) })
	if err := l.finish(w, true); err != nil {
		return l.fail(err)
	}
	if err := l.drop(base.Position.Index); err != nil {
		return l.fail(err)
	}
	return nil
}

// drop forgets runs up to index and removes the segments before the first one still needed.
func (l *Log) drop(upTo raft.Index) error {
	l.mu.Lock()
	l.mu.before = l.base.Position
	l.forgetLost(0, upTo)
	n := 0
	for n < len(l.mu.runs) && l.mu.runs[n].last <= upTo {
		n++
	}
	l.mu.runs = append(l.mu.runs[:0], l.mu.runs[n:]...)
	needed := l.number
	if len(l.mu.runs) > 0 {
		needed = l.mu.runs[0].origin
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
		if err := errors.Join(closeFile(files[i]), l.fs.Remove(l.path(number))); err != nil {
			return err
		}
	}
	if len(gone) == 0 {
		return nil
	}
	return l.fs.SyncDir(l.dir)
}

// path is a segment's file; errors name it.
func (l *Log) path(number uint64) string { return filepath.Join(l.dir, segmentName(number)) }

func closeFile(f vfs.File) error {
	if f == nil {
		return nil
	}
	return f.Close()
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
	errs := []error{l.closeSpare()}
	for _, f := range l.mu.segments {
		errs = append(errs, closeFile(f))
	}
	l.mu.segments = nil
	return errors.Join(errs...)
}
