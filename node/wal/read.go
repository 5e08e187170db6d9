package wal

import (
	"fmt"
	"sort"

	"raftsman.dev/node/raft"
)

// run is a gap-free run of entries: a stretch of a record's body, or entries that are lost.
type run struct {
	first, last raft.Index
	segment     uint64
	offset      int64 // of the first entry
	bytes       int
	fill, lost  bool
	// origin is the segment that must stay as long as the run is needed. A fill's is where its entry was lost, for
	// what is lost there is what makes the fill fit.
	origin uint64
}

// addRun adds a run of the same record behind the others, and as one with the last where it goes on.
func addRun(runs []run, r run, record bool) []run {
	if n := len(runs); n > 0 && !record && runs[n-1].last+1 == r.first {
		runs[n-1].last = r.last
		runs[n-1].bytes += r.bytes
		return runs
	}
	return append(runs, r)
}

// placeRun adds a run; what it overlaps at the end is replaced.
func placeRun(runs []run, r run) []run {
	for len(runs) > 0 && runs[len(runs)-1].first >= r.first {
		runs = runs[:len(runs)-1]
	}
	n := len(runs)
	if n > 0 && runs[n-1].last >= r.first {
		runs[n-1].last = r.first - 1
	}
	if n > 0 && r.lost && runs[n-1].lost && runs[n-1].origin == r.origin {
		runs[n-1].last = r.last
		return runs
	}
	return append(runs, r)
}

// fillRun puts a fill in the place of what is lost.
func fillRun(runs []run, r run) []run {
	out := make([]run, 0, len(runs)+2)
	for _, old := range runs {
		if !old.lost || old.last < r.first || old.first > r.last {
			out = append(out, old)
			continue
		}
		if old.first < r.first {
			left := old
			left.last = r.first - 1
			out = append(out, left)
		}
		fill := r
		fill.first, fill.last, fill.origin = max(old.first, r.first), min(old.last, r.last), old.origin
		out = append(out, fill)
		if old.last > r.last {
			right := old
			right.first = r.last + 1
			out = append(out, right)
		}
	}
	return out
}

// Read returns entries from index from on: at least one and about maxBytes, with the position before them. The span
// ends before the first lost entry; ErrLost when that is the one at from. ErrCut when from lies before the log's
// beginning; an empty span past its end.
func (l *Log) Read(from raft.Index, maxBytes int) (raft.Span, error) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if from <= l.mu.before.Index {
		return raft.Span{}, fmt.Errorf("entry %d, the log begins behind %v: %w", from, l.mu.before, ErrCut)
	}
	if e, ok := l.mu.lost[from]; ok {
		return raft.Span{}, fmt.Errorf("entry %v of log %s: %w", e.Position(), l.dir, ErrLost)
	}
	var span raft.Span
	begin := from - 1 // for the term of the entry before
	if before, ok := l.mu.lost[begin]; ok {
		span.Prev, begin = before.Position(), from
	}
	if begin == l.mu.before.Index {
		span.Prev, begin = l.mu.before, from
	}
	i := sort.Search(len(l.mu.runs), func(i int) bool { return l.mu.runs[i].last >= begin })
	for bytes := 0; i < len(l.mu.runs) && bytes < maxBytes && !l.mu.runs[i].lost; i++ {
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
		return nil, fmt.Errorf("segment %s: %w", l.path(r.segment), ErrClosed)
	}
	b := make([]byte, r.bytes)
	if _, err := file.ReadAt(b, r.offset); err != nil {
		return nil, fmt.Errorf("read %d bytes at %d of segment %s: %w", r.bytes, r.offset, l.path(r.segment), err)
	}
	var entries []raft.Entry
	for len(b) > 0 {
		e, rest, err := raft.DecodeEntry(b)
		if err != nil {
			return nil, &Damage{File: segmentName(r.segment), Offset: r.offset + int64(r.bytes-len(b)), Reason: err.Error()}
		}
		if r.first <= e.Index && e.Index <= r.last {
			entries = append(entries, e)
		}
		b = rest
	}
	return entries, nil
}
