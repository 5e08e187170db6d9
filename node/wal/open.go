package wal

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path/filepath"
	"slices"

	"raftsman.dev/node/raft"
	"raftsman.dev/node/vfs"
)

// Open reads the whole log back, cuts a torn end, and returns what it holds (Applied is left to the store). Entries
// whose content is lost, but not their place and checksum, are among them as placeholders (raft.EntryLost). What is
// damaged beyond that is returned as *Damage, matching ErrCorrupt; then nothing was changed on disk.
func Open(fsys vfs.FS, dir string, opts Options) (*Log, raft.Restored, error) {
	if opts.SegmentBytes == 0 {
		opts.SegmentBytes = 64 << 20
	}
	l := &Log{fs: fsys, dir: dir, opts: opts, write: 1}
	l.mu.segments, l.mu.lost = map[uint64]vfs.File{}, map[raft.Index]raft.Entry{}
	restored, err := l.open()
	if err != nil {
		if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrMissing) {
			err = fmt.Errorf("open log %s: %w", dir, err)
		}
		return nil, raft.Restored{}, errors.Join(err, closeAll(l))
	}
	return l, restored, nil
}

func closeAll(l *Log) error {
	l.failed = ErrClosed
	return l.Close()
}

func (l *Log) open() (raft.Restored, error) {
	numbers, err := l.list()
	if err != nil {
		return raft.Restored{}, err
	}
	if len(numbers) == 0 {
		return raft.Restored{}, l.create()
	}
	r := &replay{l: l, numbers: numbers, loaded: map[int]*segment{}}
	if err := r.run(); err != nil {
		return raft.Restored{}, err
	}
	if r.last < 0 { // the first segment was just being made
		if err := l.remove(r.gone); err != nil {
			return raft.Restored{}, err
		}
		return raft.Restored{}, l.create()
	}
	if err := r.settle(); err != nil {
		return raft.Restored{}, err
	}
	if err := r.resume(); err != nil {
		return raft.Restored{}, err
	}
	return r.restored(), l.Seal()
}

// create makes a new log durable with its first, empty write: from then on a missing log is damage, also where
// nothing was ever appended.
func (l *Log) create() error {
	if !l.opts.Create {
		return fmt.Errorf("log %s: %w", l.dir, ErrMissing)
	}
	if err := l.fs.MkdirAll(l.dir); err != nil {
		return err
	}
	if err := l.fs.SyncDir(filepath.Dir(l.dir)); err != nil {
		return err
	}
	return l.empty()
}

// empty makes an empty write durable; what the last head has not said yet, its head says.
func (l *Log) empty() error {
	w, err := l.begin(0)
	if err != nil {
		return err
	}
	return l.finish(w, true)
}

// list names the segments in order.
func (l *Log) list() ([]uint64, error) {
	names, err := l.fs.List(l.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var numbers []uint64
	for _, name := range names {
		if n, ok := parseSegmentName(name); ok {
			numbers = append(numbers, n)
		}
	}
	slices.Sort(numbers)
	return numbers, nil
}

// remove deletes segments that are not part of the log.
func (l *Log) remove(numbers []uint64) error {
	for _, number := range numbers {
		f := l.mu.segments[number]
		delete(l.mu.segments, number)
		if err := errors.Join(closeFile(f), l.fs.Remove(l.path(number))); err != nil {
			return err
		}
	}
	return l.fs.SyncDir(l.dir)
}

// settle decides whether what was found is a log: whole behind its base, or behind what the store covers.
func (r *replay) settle() error {
	covered := r.l.opts.Covered.Position
	from := r.from()
	whole := !r.baseLost && from <= r.base.Position.Index+1
	if whole && (covered.Index <= r.base.Position.Index || !r.lostUpTo(covered.Index)) {
		return nil
	}
	if covered.Index+1 < from || covered.Index < r.base.Position.Index {
		return r.unknown
	}
	term := raft.Term(0) // of the entry at the place that is covered, 0 if that is not known
	switch {
	case covered.Index > r.end:
		r.turn = restart // the store has what the log has not, and the log follows it
		return nil
	case covered.Index >= from:
		term = r.entries[covered.Index-from].Term
	case covered == r.base.Position:
		term = covered.Term
	case len(r.entries) == 0:
		r.turn = restart // nothing stands behind it
		return nil
	case r.entries[0].Term == covered.Term || r.hard.Commit >= covered.Index:
		term = covered.Term // an entry of the same term, or the commit, vouches for what it follows
	case r.entries[0].Term > covered.Term:
		return r.unknown
	}
	r.turn = cut
	if term != covered.Term {
		r.turn = restart // the store is of a snapshot that the log had not followed to yet
	}
	return nil
}

// lostUpTo reports whether an entry behind the base and up to an index is lost.
func (r *replay) lostUpTo(index raft.Index) bool {
	return slices.ContainsFunc(r.entries, func(e raft.Entry) bool {
		return e.Lost() && e.Index > r.base.Position.Index && e.Index <= index
	})
}

// How a log whose beginning is damaged is brought to what the store covers.
const (
	none = iota
	cut
	restart
)

// resume removes what lies behind the end, so that it can never come back, and makes the log ready to be
// written. What was read may still be only in the page cache of a process that died: it is synced first.
func (r *replay) resume() error {
	l := r.l
	if err := l.remove(r.gone); err != nil {
		return err
	}
	l.number = r.numbers[r.last]
	l.file = l.mu.segments[l.number]
	size, err := l.file.Size()
	if err != nil {
		return err
	}
	if !r.needsTail() {
		if err := clearTail(l.file, r.seg, r.at); err != nil {
			return err
		}
	}
	if err := errors.Join(l.file.Sync(), l.fs.SyncDir(l.dir)); err != nil {
		return fmt.Errorf("sync segment %s: %w", l.path(l.number), err)
	}
	l.offset, l.size, l.write, l.durable = r.at, size, r.write, r.write-1
	l.hard, l.base, l.end, l.items, l.unproven = r.hard, r.base, r.end, r.items, r.unproven
	r.trim(r.base.Position.Index)
	for i := range r.entries {
		if e := r.entries[i]; e.Lost() {
			l.mu.lost[e.Index] = e
		}
	}
	l.mu.runs, l.mu.before = r.runs, r.base.Position
	return r.advance()
}

// clearTail makes zeros of what a segment holds from a place on. The file keeps its size: one that is smaller than
// its header says is damaged.
func clearTail(f vfs.File, s *segment, at int64) error {
	end := at + int64(len(bytes.TrimRight(s.data[at:], "\x00")))
	zeros := make([]byte, min(end-at, maxRunBytes))
	for at < end {
		n, err := f.WriteAt(zeros[:min(end-at, maxRunBytes)], at)
		if err != nil {
			return err
		}
		at += int64(n)
	}
	return nil
}

// needsTail reports whether the head of the torn write at the end is the only one that tells what was lost before
// it. Then it stays until another tells the same.
func (r *replay) needsTail() bool { return r.leaning && r.torn.seg.number == r.l.number }

// advance makes the first write, where one is due before the log is given away.
func (r *replay) advance() error {
	l, torn := r.l, r.torn
	if r.needsTail() {
		l.file = nil // the next segment will tell it
	}
	var err error
	covered := l.opts.Covered
	switch {
	case r.turn == cut:
		err = l.cut(covered)
		r.base = covered
		r.trim(covered.Position.Index)
	case r.turn == restart:
		hard := l.hard
		if hard.Term < covered.Position.Term {
			hard = raft.HardState{Term: covered.Position.Term}
		}
		err = l.Append([]raft.Batch{{Base: &covered, Hard: &hard}})
		r.base, r.hard, r.entries = covered, hard, nil
		if err == nil {
			err = l.drop(covered.Position.Index)
		}
	case r.leaning || r.write == 1:
		err = l.empty()
	}
	l.mu.stats = Stats{Lost: uint64(len(l.mu.lost))}
	if err != nil || !r.leaning {
		return err
	}
	f := l.mu.segments[torn.seg.number]
	if f == nil { // cut away meanwhile
		return nil
	}
	if err := clearTail(f, torn.seg, torn.at); err != nil {
		return err
	}
	if err := l.nameNext(f, place{torn.seg.number, torn.at}); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("sync segment %s: %w", l.path(torn.seg.number), err)
	}
	return nil
}

// trim forgets entries and runs up to an index.
func (r *replay) trim(upTo raft.Index) {
	n := 0
	for n < len(r.entries) && r.entries[n].Index <= upTo {
		n++
	}
	r.entries = r.entries[n:]
	for n = 0; n < len(r.runs) && r.runs[n].last <= upTo; {
		n++
	}
	r.runs = r.runs[n:]
}

func (r *replay) restored() raft.Restored {
	return raft.Restored{Base: r.base, Hard: r.hard, Entries: slices.Clip(r.entries)}
}

// from is the first index that is known; what stands there up to the end is in entries.
func (r *replay) from() raft.Index { return r.end + 1 - raft.Index(len(r.entries)) }

// unknownEnd stands for the end of a log of which nothing is known yet: any entry may come first.
const unknownEnd = raft.Index(math.MaxInt64)
