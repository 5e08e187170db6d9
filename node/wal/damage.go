package wal

import (
	"fmt"

	"raftsman.dev/node/raft"
)

// found is a head that stands somewhere behind what does not verify.
type found struct {
	i     int // its segment
	seg   *segment
	at    int64
	head  head
	items []byte
}

// heads calls visit for every head from a place on, at every place where one may stand, until it returns false.
func (s *segment) heads(from int64, visit func(at int64, h head, items []byte) bool) {
	for at := (from + align - 1) / align * align; at+recordHeader+headBody <= int64(len(s.data)); at += align {
		if h, items, _, ok := s.headAt(at); ok && !visit(at, h, items) {
			return
		}
	}
}

// namesNext reports whether a record from a place on names the segment behind.
func (s *segment) namesNext(from int64) bool {
	for at := (from + align - 1) / align * align; at+nextRecord <= int64(len(s.data)); at += align {
		if s.nextAt(at) {
			return true
		}
	}
	return false
}

// search looks behind the write that is due, which does not verify, for the first head of a later one, and for
// proof that the write was durable: a head that says so, the header of a segment that begins behind it, the name of
// the next segment. A head at or past limit in this segment heads a write that was given up: it may be the first
// that is found, and proves nothing.
func (r *replay) search(limit uint64) (first *found, proven bool, err error) {
	for i, from := r.i, r.at; i < len(r.numbers); i, from = i+1, segmentHeader {
		seg := r.seg
		if i > r.i {
			if seg, err = r.later(i); err != nil {
				return nil, false, err
			}
			proven = proven || seg.ok && seg.first > r.write
		}
		seg.heads(from, func(at int64, h head, items []byte) bool {
			if h.number <= r.write || i == r.i && limit != 0 && h.number > limit {
				return true
			}
			if first == nil {
				first = &found{i: i, seg: seg, at: at, head: h, items: items}
			}
			proven = proven || h.durable >= r.write
			return !proven
		})
		if first != nil && proven {
			return first, true, nil
		}
		proven = proven || seg.namesNext(from)
	}
	return first, proven, nil
}

// later reads a segment further on without keeping it, unless it is the next.
func (r *replay) later(i int) (*segment, error) {
	if i == r.i+1 {
		return r.load(i)
	}
	return r.l.read(r.numbers[i])
}

// adopt jumps to a head and takes what it says of the writes before it. It tells all of the last one; if that is the
// only one that was missed, the picture is whole again. Otherwise what stood in the log before is not known any more.
func (r *replay) adopt(f *found, bad int64) error {
	if r.write == 0 || f.head.number != r.write+1 {
		if r.write != 0 {
			r.unknown = &Damage{File: segmentName(r.seg.number), Offset: bad, Reason: fmt.Sprintf("writes %d to %d do not verify, and what write %d holds is told nowhere else", r.write, f.head.number-1, r.write)}
		}
		r.entries, r.runs, r.end = nil, nil, unknownEnd
	}
	if err := r.applyItems(f); err != nil {
		return &Damage{File: segmentName(f.seg.number), Offset: f.at, Reason: err.Error()}
	}
	if r.end == unknownEnd {
		r.end = f.head.end
	}
	if r.end != f.head.end {
		return &Damage{File: segmentName(f.seg.number), Offset: f.at, Reason: fmt.Sprintf("the head of write %d says that the log ends at %d, found was %d", f.head.number, f.head.end, r.end)}
	}
	r.hard, r.write, r.items, r.unproven = f.head.hard, f.head.number, append([]byte(nil), f.items...), true
	r.i, r.seg, r.at, r.named = f.i, f.seg, f.at, r.named && f.i == r.i
	r.loaded[f.i] = f.seg
	r.leaning = true
	r.torn.seg, r.torn.at = f.seg, f.at
	return nil
}

// applyItems replays a second copy in the place of the write that it is of: its entries are lost.
func (r *replay) applyItems(f *found) error {
	for b := f.items; len(b) > 0; b = b[itemSize:] {
		x := readItem(b)
		var err error
		switch x.kind {
		case itemEntry:
			e := raft.Entry{Index: x.at.Index, Term: x.at.Term, Kind: raft.EntryLost, Sum: x.sum}
			err = r.place([]raft.Entry{e}, run{first: e.Index, last: e.Index, segment: f.seg.number, origin: f.seg.number, lost: true})
		case itemRestart:
			r.restart(raft.Base{Position: x.at})
			r.baseLost = true
			r.unknown = &Damage{File: segmentName(r.seg.number), Offset: r.at, Reason: fmt.Sprintf("write %d, with which the log began anew behind %v, does not verify", r.write, x.at)}
		case itemFill:
			err = r.fits(x.at, x.sum)
		default:
			err = fmt.Errorf("a second copy of kind %d", x.kind)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// finish judges the end: from here on nothing was proven durable. bad is where it does not verify.
func (r *replay) finish(bad int64) error {
	if r.i > 0 && r.unborn(r.seg) && !r.named {
		var err error
		if r.seg, err = r.load(r.i - 1); err != nil {
			return err
		}
		r.i, r.at = r.i-1, r.left
	}
	r.last = r.i
	switch {
	case r.write == 0:
		return r.unknown
	case r.write == 1 && r.l.opts.Create && r.unborn(r.seg):
		r.last = -1
	case r.write == 1 && !r.l.opts.Create:
		return r.contradiction(bad, "the first write of the log does not verify")
	case r.seg.hole > r.at:
		return r.contradiction(r.at, "what stood there, at the end of the log, is not known: "+r.seg.why)
	case r.at == segmentHeader && !r.seg.ok:
		return r.contradiction(0, "its header does not verify")
	}
	for i := r.i + 1; i < len(r.numbers); i++ {
		s, err := r.later(i)
		if err != nil {
			return err
		}
		if !r.unborn(s) || i < len(r.numbers)-1 {
			return &Damage{File: segmentName(s.number), Reason: fmt.Sprintf("it does not go on where the segment before ends, with write %d", r.write)}
		}
	}
	r.gone = r.numbers[r.last+1:]
	return nil
}

// unborn reports whether a segment may be the trace of one that was just being made, whose header was not durable
// yet: then nothing was written behind it.
func (r *replay) unborn(s *segment) bool {
	if s.ok && !s.short || s.hole > 0 && !s.short {
		return false
	}
	empty := true
	s.heads(segmentHeader, func(int64, head, []byte) bool {
		empty = false
		return false
	})
	return empty
}
