package wal

import (
	"bytes"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"raftsman.dev/node/raft"
	"raftsman.dev/node/vfs"
)

// taped is one write as it stands on a sound disk.
type taped struct {
	segment  uint64
	at       int64
	headSize int64 // of the record, without padding
	head     head
	items    []byte
	records  []record
}

// tape is a log of which every write, and what each has made of the log, is known.
type tape struct {
	files  image
	writes []taped // by number, without a gap
	states map[uint64]twin
	segs   map[uint64]header
}

// recordTape runs a script to its end and seals it.
func recordTape(t *testing.T, seed uint64, steps int) *tape {
	t.Helper()
	o := &workload{rng: rand.New(rand.NewPCG(seed, 3))}
	disk := vfs.NewMem()
	tp := &tape{states: map[uint64]twin{}, segs: map[uint64]header{}}
	opts := Options{SegmentBytes: 4096, Create: true}
	var l *Log
	note := func() {
		for n := l.write - 1; n > 0; n-- {
			if _, ok := tp.states[n]; ok {
				return
			}
			tp.states[n] = o.w.clone()
		}
	}
	for i := range steps {
		if i%12 == 0 {
			if l != nil {
				must(t, l.Close())
			}
			var err error
			l, _, err = Open(disk, "log", opts)
			must(t, err)
			note()
		}
		must(t, o.step(l))
		note()
	}
	must(t, l.Seal())
	note()
	must(t, l.Close())
	tp.files = imageOf(t, disk)
	tp.parse(t)
	return tp
}

func (tp *tape) parse(t *testing.T) {
	t.Helper()
	for _, name := range slices.Sorted(maps.Keys(tp.files)) {
		number, _ := parseSegmentName(name)
		s := &segment{number: number, data: tp.files[name]}
		h, ok, _ := readSegmentHeader(s.data, number)
		if !ok {
			t.Fatalf("segment %d does not verify", number)
		}
		tp.segs[number] = h
		for at := int64(segmentHeader); ; {
			h, records, _, ok := s.writeAt(at)
			if !ok {
				break
			}
			_, items, _, _ := s.headAt(at)
			if n := len(tp.writes); n > 0 && tp.writes[n-1].head.number+1 != h.number {
				t.Fatalf("write %d follows write %d", h.number, tp.writes[n-1].head.number)
			}
			tp.writes = append(tp.writes, taped{segment: number, at: at, headSize: int64(recordHeader + headBody + len(items)), head: h, items: items, records: records})
			at += int64(h.size)
		}
	}
}

// stretch is where something stands.
type stretch struct {
	segment  uint64
	from, to int64
}

// parts are all records of all writes, and the segments' headers.
func (tp *tape) parts() []stretch {
	var all []stretch
	for number := range tp.segs {
		all = append(all, stretch{number, 0, 36})
	}
	for _, w := range tp.writes {
		all = append(all, stretch{w.segment, w.at, w.at + w.headSize})
		for _, rec := range w.records {
			all = append(all, stretch{w.segment, rec.offset - recordHeader, rec.offset + int64(len(rec.body))})
		}
	}
	slices.SortFunc(all, func(a, b stretch) int {
		if a.segment != b.segment {
			return int(a.segment) - int(b.segment)
		}
		return int(a.from - b.from)
	})
	return all
}

// wrecked is a tape's image after damage, with the stretches that cannot be read.
type wrecked struct {
	tp    *tape
	files image
	holes []stretch
}

// holds reports whether a stretch of the log is as it was.
func (x *wrecked) holds(s stretch) bool {
	now, was := x.files[segmentName(s.segment)], x.tp.files[segmentName(s.segment)]
	if int64(len(now)) < s.to || !bytes.Equal(now[s.from:s.to], was[s.from:s.to]) {
		return false
	}
	return !x.hidden(s)
}

func (x *wrecked) hidden(s stretch) bool {
	return slices.ContainsFunc(x.holes, func(h stretch) bool { return h.segment == s.segment && h.from < s.to && s.from < h.to })
}

func (x *wrecked) headHolds(w *taped) bool {
	return x.holds(stretch{w.segment, w.at, w.at + w.headSize})
}

func (x *wrecked) whole(w *taped) bool {
	ok := x.headHolds(w)
	for _, rec := range w.records {
		ok = ok && x.holds(stretch{w.segment, rec.offset - recordHeader, rec.offset + int64(len(rec.body))})
	}
	return ok
}

// proven is the newest write that anything still proves durable.
func (x *wrecked) proven() uint64 {
	proven := uint64(0)
	for i := range x.tp.writes {
		if w := &x.tp.writes[i]; x.headHolds(w) {
			proven = max(proven, w.head.durable)
		}
	}
	for number, h := range x.tp.segs {
		if x.holds(stretch{number, 0, 36}) {
			proven = max(proven, h.first-1)
		}
	}
	for i := range x.tp.writes {
		w := &x.tp.writes[i]
		end := w.at + int64(w.head.size)
		if i+1 < len(x.tp.writes) && x.tp.writes[i+1].segment != w.segment && x.holds(stretch{w.segment, end, end + nextRecord}) {
			proven = max(proven, w.head.number)
		}
	}
	return proven
}

// verdict is what Open must say: the log as it must be found, or damage.
type verdict struct {
	damaged bool
	w       twin
}

// memory is what can be known of each index: its entry, perhaps lost; what is not there is not known.
type memory map[raft.Index]raft.Entry

func (m memory) cutFrom(first raft.Index) {
	for i := range m {
		if i >= first {
			delete(m, i)
		}
	}
}

// judge is the naive reading of the rules in the package's doc.
func (x *wrecked) judge(covered raft.Base) verdict {
	proven, last := x.proven(), uint64(0)
	known, base := memory{}, raft.Base{}
	baseLost := false
	for i := range x.tp.writes {
		w := &x.tp.writes[i]
		told := i+1 < len(x.tp.writes) && x.headHolds(&x.tp.writes[i+1])
		state := x.tp.states[w.head.number]
		if i == 0 && w.head.number > 1 && x.headHolds(w) {
			known.told(w.items)
		}
		switch {
		case x.whole(w):
			base, baseLost = known.whole(w.records, base, baseLost)
		case w.head.number > proven:
			return x.end(known, base, baseLost, last, covered)
		case told:
			if at, restarted := known.told(x.tp.writes[i+1].items); restarted {
				base, baseLost = raft.Base{Position: at}, true
			}
		default:
			clear(known)
		}
		known.cutFrom(state.last().Index + 1)
		last = w.head.number
	}
	return x.end(known, base, baseLost, last, covered)
}

func (m memory) whole(records []record, base raft.Base, baseLost bool) (raft.Base, bool) {
	for _, rec := range records {
		switch rec.kind {
		case kindCut, kindRestart:
			base, _ = readBase(rec.body)
			baseLost = false
			if rec.kind == kindRestart {
				clear(m)
			}
		case kindEntries, kindFill:
			entries, _ := decode(rec)
			if rec.kind == kindEntries {
				m.cutFrom(entries[0].Index)
			}
			for _, e := range entries {
				m[e.Index] = e
			}
		}
	}
	return base, baseLost
}

func (m memory) told(items []byte) (at raft.Position, restarted bool) {
	for ; len(items) > 0; items = items[itemSize:] {
		switch x := readItem(items); x.kind {
		case itemRestart:
			clear(m)
			at, restarted = x.at, true
		case itemEntry:
			m.cutFrom(x.at.Index)
			m[x.at.Index] = raft.Entry{Index: x.at.Index, Term: x.at.Term, Sum: x.sum}
		}
	}
	return at, restarted
}

// end is the verdict on a log that ends with write last.
func (x *wrecked) end(known memory, base raft.Base, baseLost bool, last uint64, covered raft.Base) verdict {
	if last == 0 || last < x.proven() || x.open(last) {
		return verdict{damaged: true}
	}
	state := x.tp.states[last].clone()
	gaps, lost := baseLost, false
	for i := base.Position.Index + 1; i <= state.last().Index; i++ {
		e, ok := known[i]
		behind := i <= covered.Position.Index
		gaps, lost = gaps || !ok, lost || ok && e.Lost() && behind
		if !ok && !behind {
			return verdict{damaged: true}
		}
	}
	if gaps || lost {
		at := covered.Position
		next, more := known[at.Index+1]
		_, there := known[at.Index]
		if at.Index < base.Position.Index || more && !there && at != base.Position && next.Term > at.Term && state.hard.Commit < at.Index {
			return verdict{damaged: true}
		}
		base = covered
		if at.Index > state.last().Index && state.hard.Term < at.Term {
			state.hard = raft.HardState{Term: at.Term} // the log begins anew, behind the store
		}
	}
	w := twin{base: base, hard: state.hard}
	for i := base.Position.Index + 1; i <= state.last().Index; i++ {
		w.entries = append(w.entries, known[i])
	}
	return verdict{w: w}
}

// open reports whether something that cannot be read stands behind the last write, or no head behind a damaged one
// is left that tells of it.
func (x *wrecked) open(last uint64) bool {
	w := &x.tp.writes[last-x.tp.writes[0].head.number]
	end := w.at + int64(w.head.size)
	number, from := w.segment, end
	if _, was := x.tp.segs[number+1]; was && x.tp.segs[number+1].first == last+1 && !x.headerKnown(number+1) && x.holds(stretch{number, end, end + nextRecord}) {
		return true // it is named here
	}
	if _, ok := x.files[segmentName(number+1)]; ok && x.tp.segs[number+1].first == last+1 && x.headerKnown(number+1) {
		number, from = number+1, segmentHeader
	}
	if x.hidden(stretch{number, from, math.MaxInt64}) || int64(len(x.files[segmentName(number)])) < int64(len(x.tp.files[segmentName(number)])) {
		return true
	}
	if x.whole(w) {
		return false
	}
	for i := range x.tp.writes {
		if n := &x.tp.writes[i]; n.head.number > last && x.headHolds(n) {
			return false
		}
	}
	return true
}

func (x *wrecked) headerKnown(number uint64) bool {
	if x.holds(stretch{number, 0, 36}) {
		return true
	}
	for i := range x.tp.writes {
		if w := &x.tp.writes[i]; w.segment == number && w.at == segmentHeader {
			return x.headHolds(w)
		}
	}
	return false
}
