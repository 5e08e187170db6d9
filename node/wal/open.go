package wal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"

	"raftsman.dev/node/raft"
	"raftsman.dev/node/vfs"
)

// Open reads the whole log back, cuts a torn end, and returns what it holds (Applied is left to the store).
// Damage is returned as *Damage, matching ErrCorrupt; then nothing was changed on disk.
func Open(fsys vfs.FS, dir string, opts Options) (*Log, raft.Restored, error) {
	if opts.SegmentBytes == 0 {
		opts.SegmentBytes = 64 << 20
	}
	l := &Log{fs: fsys, dir: dir, opts: opts, write: 1}
	l.mu.segments = map[uint64]vfs.File{}
	numbers, err := l.list()
	if err != nil {
		return nil, raft.Restored{}, err
	}
	if len(numbers) == 0 {
		return l.create()
	}
	r := &replay{l: l, numbers: numbers}
	if err := r.run(); err != nil {
		return nil, raft.Restored{}, errors.Join(err, closeAll(l))
	}
	restored, err := r.restored()
	if err != nil {
		return nil, raft.Restored{}, errors.Join(err, closeAll(l))
	}
	if err := r.resume(); err != nil {
		return nil, raft.Restored{}, errors.Join(fmt.Errorf("log %s: %w", dir, err), closeAll(l))
	}
	return l, restored, nil
}

func closeAll(l *Log) error {
	l.failed = ErrClosed
	return l.Close()
}

// create makes a new log durable with its first, empty write: from then on a missing log is damage, also where
// nothing was ever appended.
func (l *Log) create() (*Log, raft.Restored, error) {
	if !l.opts.Create {
		return nil, raft.Restored{}, fmt.Errorf("log %s: %w", l.dir, ErrMissing)
	}
	if err := l.fs.MkdirAll(l.dir); err != nil {
		return nil, raft.Restored{}, err
	}
	if err := l.fs.SyncDir(filepath.Dir(l.dir)); err != nil {
		return nil, raft.Restored{}, err
	}
	w, err := l.begin(0)
	if err == nil {
		err = l.finish(w, true)
	}
	if err != nil {
		return nil, raft.Restored{}, errors.Join(fmt.Errorf("create log %s: %w", l.dir, err), closeAll(l))
	}
	return l, raft.Restored{}, nil
}

// list names the segments in order; a gap between them is damage.
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
	for i := 1; i < len(numbers); i++ {
		if numbers[i] != numbers[i-1]+1 {
			return nil, &Damage{File: segmentName(numbers[i-1] + 1), Reason: "the segment is missing"}
		}
	}
	return numbers, nil
}

// replay walks the segments in order and gathers what they say.
type replay struct {
	l       *Log
	numbers []uint64
	gone    []uint64 // segments that are not part of the log
	entries []raft.Entry
	// Where the log ends: in numbers[last], at end; the next write there is number write.
	last  int
	end   int64
	write uint64
	dirty bool // something lies behind the end
}

func (r *replay) run() error {
	for i, number := range r.numbers {
		b, err := r.read(number)
		if err != nil {
			return err
		}
		first, ok, version := readSegmentHeader(b, number)
		if !version {
			return fmt.Errorf("log segment %s is of another format version than 1: start this member with the program that wrote it", filepath.Join(r.l.dir, segmentName(number)))
		}
		if !ok {
			return r.tornSegment(i, b)
		}
		if i == 0 {
			r.write = first
		} else if first != r.write {
			return &Damage{File: segmentName(number), Reason: fmt.Sprintf("it begins with write %d, the segment before ends before write %d", first, r.write)}
		}
		r.last, r.end = i, segmentHeader
		stop, err := r.walk(number, b)
		if err != nil {
			return err
		}
		if next, err := r.nextBegins(i); err != nil {
			return err
		} else if next == r.write {
			continue // the write that comes next did not fit here
		}
		if stop != walkedAll || i == len(r.numbers)-1 {
			if proven, err := r.provenLater(i, b, r.end); err != nil {
				return err
			} else if proven >= r.write {
				return &Damage{File: segmentName(number), Offset: stop, Reason: fmt.Sprintf("what does not verify there belongs to write %d, and write %d is proven durable", r.write, proven)}
			}
			r.dirty = i < len(r.numbers)-1 || !zero(b[r.end:])
			// A later segment without any valid head is the trace of one that was just being made.
			return r.dropLater(i + 1)
		}
	}
	return nil
}

// nextBegins is the first write of the segment after i as its header says, 0 when there is none.
func (r *replay) nextBegins(i int) (uint64, error) {
	if i+1 >= len(r.numbers) {
		return 0, nil
	}
	b, err := r.read(r.numbers[i+1])
	if err != nil {
		return 0, err
	}
	first, ok, _ := readSegmentHeader(b, r.numbers[i+1])
	if !ok {
		return 0, nil
	}
	return first, nil
}

// walkedAll means that a segment verified to its last byte.
const walkedAll = -1

// read opens and reads a segment.
func (r *replay) read(number uint64) ([]byte, error) {
	name := filepath.Join(r.l.dir, segmentName(number))
	f := r.l.mu.segments[number]
	if f == nil {
		var err error
		if f, err = r.l.fs.Open(name); err != nil {
			return nil, err
		}
		r.l.mu.segments[number] = f
	}
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	b := make([]byte, size)
	if n, err := f.ReadAt(b, 0); err != nil && !(errors.Is(err, io.EOF) && n == len(b)) {
		return nil, fmt.Errorf("read segment %s: %w", name, err)
	}
	return b, nil
}

// walk takes write after write; it returns the offset of the first thing that does not verify. Where that is
// inside a write, nothing of that write is taken.
func (r *replay) walk(number uint64, b []byte) (stop int64, err error) {
	for r.end < int64(len(b)) {
		p := place{number, r.end}
		kind, body, size, ok := readRecord(b[r.end:], p)
		h, isHead := readHead(body)
		if !ok || kind != kindHead || !isHead || h.number != r.write || h.size < uint64(size) || h.size > uint64(int64(len(b))-r.end) {
			return r.end, nil
		}
		records, bad := splitWrite(b, number, r.end+int64(size), r.end+int64(h.size))
		if bad != 0 {
			return bad, nil
		}
		for _, rec := range records {
			if err := r.take(number, rec); err != nil {
				return 0, err
			}
		}
		r.end += int64(h.size)
		r.write++
	}
	return walkedAll, nil
}

// record is one verified record of a write.
type record struct {
	kind   byte
	body   []byte
	offset int64 // of the body
}

// splitWrite verifies every record in [from, to); bad is the offset of the first that does not, else 0.
func splitWrite(b []byte, number uint64, from, to int64) (records []record, bad int64) {
	for from < to {
		kind, body, size, ok := readRecord(b[from:to], place{number, from})
		if !ok || kind == kindHead {
			return nil, from
		}
		records = append(records, record{kind, body, from + recordHeader})
		from += int64(size)
	}
	return records, 0
}

// take brings one verified record into the picture. What does not make sense here was written so: damage.
func (r *replay) take(number uint64, rec record) error {
	var err error
	switch rec.kind {
	case kindHard:
		r.l.hard, err = readHard(rec.body)
	case kindCut:
		r.l.base, err = readBase(rec.body)
	case kindRestart:
		r.l.base, err = readBase(rec.body)
		r.entries, r.l.mu.runs = nil, nil
	case kindEntries:
		err = r.takeEntries(number, rec)
	}
	if err != nil {
		return &Damage{File: segmentName(number), Offset: rec.offset, Reason: err.Error()}
	}
	return nil
}

func (r *replay) takeEntries(number uint64, rec record) error {
	var entries []raft.Entry
	for b := bytes.Clone(rec.body); len(b) > 0; {
		e, rest, err := raft.DecodeEntry(b)
		if err != nil {
			return err
		}
		entries, b = append(entries, e), rest
	}
	if len(entries) == 0 {
		return errors.New("a run of no entries")
	}
	if err := checkRun(entries); err != nil {
		return err
	}
	first := entries[0].Index
	switch n := len(r.entries); {
	case n == 0 || first < r.entries[0].Index:
		r.entries = entries
	case first > r.entries[n-1].Index+1:
		return fmt.Errorf("entry %d follows entry %d", first, r.entries[n-1].Index)
	default:
		r.entries = append(r.entries[:first-r.entries[0].Index], entries...)
	}
	r.l.mu.runs = placeRun(r.l.mu.runs, run{first: first, last: entries[len(entries)-1].Index, segment: number, offset: rec.offset, bytes: len(rec.body)})
	return nil
}

// provenLater finds the newest write that any valid head behind the given place proves durable.
func (r *replay) provenLater(i int, b []byte, from int64) (uint64, error) {
	proven := provenIn(b, r.numbers[i], from)
	for _, number := range r.numbers[i+1:] {
		later, err := r.read(number)
		if err != nil {
			return 0, err
		}
		proven = max(proven, provenIn(later, number, 0))
	}
	return proven, nil
}

// provenIn looks for heads at every place where one may stand.
func provenIn(b []byte, number uint64, from int64) uint64 {
	proven := uint64(0)
	for at := (from + align - 1) / align * align; at+recordHeader+headBody <= int64(len(b)); at += align {
		if b[at+8] != kindHead || binary.LittleEndian.Uint32(b[at:]) < headBody {
			continue
		}
		if kind, body, _, ok := readRecord(b[at:], place{number, at}); ok && kind == kindHead {
			if h, ok := readHead(body); ok {
				proven = max(proven, h.durable)
			}
		}
	}
	return proven
}

// tornSegment judges a segment whose header does not verify: the last one may have been just being made.
func (r *replay) tornSegment(i int, b []byte) error {
	proven, err := r.provenLater(i, b, 0)
	if err != nil {
		return err
	}
	if proven >= r.write && proven > 0 || i < len(r.numbers)-1 || i == 0 && r.numbers[0] != 1 {
		return &Damage{File: segmentName(r.numbers[i]), Reason: "its header does not verify, and what stands behind it was durable"}
	}
	r.last = i - 1
	return r.dropLater(i)
}

// dropLater notes the segments from i on as not part of the log.
func (r *replay) dropLater(i int) error {
	r.dirty = r.dirty || i < len(r.numbers)
	r.numbers, r.gone = r.numbers[:i], r.numbers[i:]
	return nil
}

func zero(b []byte) bool {
	for _, x := range b {
		if x != 0 {
			return false
		}
	}
	return true
}

// restored checks the picture as a whole.
func (r *replay) restored() (raft.Restored, error) {
	base := r.l.base
	for len(r.entries) > 0 && r.entries[0].Index <= base.Position.Index {
		r.entries = r.entries[1:]
	}
	for len(r.l.mu.runs) > 0 && r.l.mu.runs[0].last <= base.Position.Index {
		r.l.mu.runs = r.l.mu.runs[1:]
	}
	if len(r.entries) > 0 && r.entries[0].Index != base.Position.Index+1 {
		return raft.Restored{}, &Damage{File: segmentName(r.firstNumber()), Reason: fmt.Sprintf("the log begins with entry %d, but only entries up to %d may be missing", r.entries[0].Index, base.Position.Index)}
	}
	r.l.mu.before = base.Position
	r.l.end = base.Position.Index + raft.Index(len(r.entries))
	return raft.Restored{Base: base, Hard: r.l.hard, Entries: slices.Clip(r.entries)}, nil
}

func (r *replay) firstNumber() uint64 {
	if len(r.numbers) == 0 {
		return 1
	}
	return r.numbers[0]
}

// resume removes what lies behind the end, so that it can never come back, and makes the log ready to be
// written. What was read may still be only in the page cache of a process that died: it is synced first.
func (r *replay) resume() error {
	l := r.l
	for _, number := range r.gone {
		if f := l.mu.segments[number]; f != nil {
			delete(l.mu.segments, number)
			if err := f.Close(); err != nil {
				return err
			}
		}
		if err := l.fs.Remove(filepath.Join(l.dir, segmentName(number))); err != nil {
			return err
		}
	}
	if len(r.numbers) == 0 {
		return l.fs.SyncDir(l.dir) // nothing was ever durable here: the next append makes segment 1
	}
	l.number = r.numbers[len(r.numbers)-1]
	l.file = l.mu.segments[l.number]
	size, err := l.file.Size()
	if err != nil {
		return err
	}
	if r.dirty {
		if err := errors.Join(l.file.Truncate(r.end), l.file.Preallocate(size)); err != nil {
			return err
		}
	}
	if err := errors.Join(l.file.Sync(), l.fs.SyncDir(l.dir)); err != nil {
		return err
	}
	l.offset, l.size, l.write, l.durable = r.end, size, r.write, r.write-1
	return nil
}
