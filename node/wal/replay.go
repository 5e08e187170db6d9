package wal

import (
	"bytes"
	"errors"
	"fmt"

	"raftsman.dev/node/raft"
)

// replay walks the segments in order and gathers what they say.
type replay struct {
	l       *Log
	numbers []uint64
	loaded  map[int]*segment
	gone    []uint64 // segments that are not part of the log

	// The picture after write write-1. The entries end at end; what stands before the first of them is not known.
	write    uint64
	hard     raft.HardState
	base     raft.Base
	baseLost bool // only the base's position is known
	end      raft.Index
	entries  []raft.Entry
	runs     []run
	items    []byte // second copy of write-1, if no head has it yet
	unproven bool   // write-1 holds something that no head proves
	unknown  error  // why the first entries are not known

	// Where it stands, and at the end: where the next write goes.
	i       int // in numbers
	last    int // as i at the end; -1: there is no log
	at      int64
	seg     *segment
	named   bool  // the segment before names this one
	left    int64 // where the segment before was left
	leaning bool  // the newest head that tells of what was lost heads a write that is not whole
	torn    struct {
		seg *segment
		at  int64
	}
	turn int
}

// load reads segment i, and keeps it and the one before.
func (r *replay) load(i int) (*segment, error) {
	if s := r.loaded[i]; s != nil {
		return s, nil
	}
	s, err := r.l.read(r.numbers[i])
	if err == nil {
		delete(r.loaded, i-2)
		r.loaded[i] = s
	}
	return s, err
}

// firstOf is the number of the first write of segment i, 0 when that is not known or there is no such segment.
func (r *replay) firstOf(i int) (uint64, error) {
	if i >= len(r.numbers) {
		return 0, nil
	}
	s, err := r.load(i)
	if err != nil {
		return 0, err
	}
	return s.first, nil
}

// run goes through the log, write by write, over what does not verify where something further on tells of it, to
// the end.
func (r *replay) run() error {
	r.at, r.write = segmentHeader, 1
	if r.numbers[0] != 1 {
		r.write = 0 // the first head tells
		r.unknown = &Damage{File: segmentName(1), Reason: fmt.Sprintf("segment %d is the first that is there, and entries before it are needed", r.numbers[0])}
	}
	for {
		var err error
		if r.seg, err = r.load(r.i); err != nil {
			return err
		}
		limit, err := r.firstOf(r.i + 1)
		if err != nil {
			return err
		}
		switch {
		case limit != 0 && r.write == limit:
			err = r.leave(limit)
		case r.write != 0 && r.seg.nextAt(r.at) && r.i+1 < len(r.numbers) && r.numbers[r.i+1] == r.seg.number+1 && limit == 0:
			r.enter(true)
		default:
			var done bool
			if done, err = r.step(limit); done {
				return err
			}
		}
		if err != nil {
			return err
		}
	}
}

// enter goes on with the next segment.
func (r *replay) enter(named bool) {
	r.i, r.at, r.named, r.left = r.i+1, segmentHeader, named, r.at
}

// leave goes on with the next segment, which begins with the write that is due. What this one holds behind must not
// be more than a write that was given up.
func (r *replay) leave(limit uint64) error {
	named := r.seg.nextAt(r.at)
	if !named && !r.seg.zeroFrom(r.at) {
		proven := uint64(0)
		r.seg.heads(r.at, func(_ int64, h head, _ []byte) bool {
			proven = max(proven, h.durable)
			return true
		})
		if proven >= limit {
			return &Damage{File: segmentName(r.numbers[r.i+1]), Reason: fmt.Sprintf("it begins with write %d, and write %d was durable in the segment before", limit, proven)}
		}
	}
	r.enter(named)
	return nil
}

// step takes the write that is due, or jumps to the head behind what does not verify, or finds the end.
func (r *replay) step(limit uint64) (done bool, err error) {
	h, records, bad, ok := r.seg.writeAt(r.at)
	switch {
	case ok && h.number == r.write:
		if err := r.take(h, records); err != nil {
			return true, err
		}
		r.at += int64(h.size)
		return false, nil
	case ok && h.number < r.write:
		return true, &Damage{File: segmentName(r.seg.number), Offset: r.at, Reason: fmt.Sprintf("write %d stands there, and write %d is due", h.number, r.write)}
	case ok:
		bad = r.at
	}
	found, proven, err := r.search(limit)
	if err != nil {
		return true, err
	}
	if !proven {
		return true, r.finish(bad)
	}
	if found == nil {
		return true, &Damage{File: segmentName(r.seg.number), Offset: bad, Reason: fmt.Sprintf("write %d does not verify; it was durable, and no write behind it tells of it", r.write)}
	}
	return false, r.adopt(found, bad)
}

// take brings a write that verifies into the picture. What does not make sense in it was written so: damage.
func (r *replay) take(h head, records []record) error {
	if h.hard != r.hard || h.end != r.end {
		return r.contradiction(r.at, fmt.Sprintf("the head of write %d says %+v and entries up to %d, found were %+v and %d", h.number, h.hard, h.end, r.hard, r.end))
	}
	r.items, r.unproven, r.leaning = nil, len(records) > 0, false
	for _, rec := range records {
		if err := r.takeRecord(rec); err != nil {
			return r.contradiction(rec.offset, err.Error())
		}
	}
	r.write++
	return nil
}

func (r *replay) contradiction(at int64, reason string) error {
	return &Damage{File: segmentName(r.seg.number), Offset: at, Reason: reason}
}

func (r *replay) takeRecord(rec record) error {
	var err error
	switch rec.kind {
	case kindHard:
		r.hard, err = readHard(rec.body)
	case kindCut:
		r.base, err = readBase(rec.body)
		r.baseLost = false
		if err == nil && r.base.Position.Index > r.end {
			err = fmt.Errorf("a cut at %d in a log that ends at %d", r.base.Position.Index, r.end)
		}
	case kindRestart:
		var base raft.Base
		if base, err = readBase(rec.body); err == nil {
			r.items = appendItem(r.items, itemRestart, base.Position, 0)
			r.restart(base)
		}
	case kindEntries:
		err = r.takeEntries(rec)
	case kindFill:
		err = r.takeFills(rec)
	}
	return err
}

func (r *replay) restart(base raft.Base) {
	r.base, r.baseLost = base, false
	r.entries, r.runs, r.end = nil, nil, base.Position.Index
}

// decode reads a record of entries.
func decode(rec record) ([]raft.Entry, error) {
	var entries []raft.Entry
	for b := bytes.Clone(rec.body); len(b) > 0; {
		e, rest, err := raft.DecodeEntry(b)
		if err != nil {
			return nil, err
		}
		if e.Index > maxIndex {
			return nil, fmt.Errorf("entry of index %d", e.Index)
		}
		entries, b = append(entries, e), rest
	}
	if len(entries) == 0 {
		return nil, errors.New("a run of no entries")
	}
	return entries, nil
}

func (r *replay) takeEntries(rec record) error {
	entries, err := decode(rec)
	if err != nil {
		return err
	}
	if err := checkRun(entries); err != nil {
		return err
	}
	for i := range entries {
		r.items = appendItem(r.items, itemEntry, entries[i].Position(), entries[i].Sum)
	}
	return r.place(entries, run{
		first: entries[0].Index, last: entries[len(entries)-1].Index,
		segment: r.seg.number, origin: r.seg.number, offset: rec.offset, bytes: len(rec.body),
	})
}

// place puts a run of entries where it belongs; it replaces everything from there on.
func (r *replay) place(entries []raft.Entry, at run) error {
	first, from := entries[0].Index, r.from()
	switch {
	case first == 0 || first > r.end+1 && r.end != unknownEnd:
		return fmt.Errorf("entry %d follows entry %d", first, r.end)
	case first <= r.base.Position.Index:
		return fmt.Errorf("entry %d, the log begins behind %d", first, r.base.Position.Index)
	case first <= from:
		r.entries = entries
	default:
		r.entries = append(r.entries[:first-from], entries...)
	}
	r.end = at.last
	r.runs = placeRun(r.runs, at)
	return nil
}

// takeFills gives what was lost its content again. A fill before what is known is of an entry that was cut away
// since; one of an entry that is whole says what that says.
func (r *replay) takeFills(rec record) error {
	fills, err := decode(rec)
	if err != nil {
		return err
	}
	var runs []run
	offset, apart := rec.offset, true
	for i := range fills {
		e := fills[i]
		r.items = appendItem(r.items, itemFill, e.Position(), e.Sum)
		if err := r.fits(e.Position(), e.Sum); err != nil {
			return err
		}
		if from := r.from(); e.Index >= from && r.entries[e.Index-from].Lost() {
			r.entries[e.Index-from] = e
			runs = addRun(runs, run{first: e.Index, last: e.Index, segment: r.seg.number, offset: offset, bytes: e.Size()}, apart)
			apart = false
		} else {
			apart = true // what stands here in the record is not used
		}
		offset += int64(e.Size())
	}
	for _, x := range runs {
		r.runs = fillRun(r.runs, x)
	}
	return nil
}

// fits refuses a fill that is not of the entry at its place.
func (r *replay) fits(at raft.Position, sum uint32) error {
	if at.Index < r.from() {
		return nil
	}
	if at.Index > r.end {
		return fmt.Errorf("a fill of entry %v, the log ends at %d", at, r.end)
	}
	if e := r.entries[at.Index-r.from()]; e.Term != at.Term || e.Sum != sum {
		return fmt.Errorf("a fill of entry %v with checksum %08x, the log has %v with %08x there", at, sum, e.Position(), e.Sum)
	}
	return nil
}
