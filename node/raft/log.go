package raft

import (
	"fmt"
	"slices"
	"sort"
)

// memlog is what the core knows of its log: a tail of entries in memory, the first position of every
// term's run (so that the term of any index is known without its entry), and the memberships since the
// base. Slices handed out share the backing array; it is never overwritten, only appended to or left.
type memlog struct {
	base    Base
	entries []Entry    // in memory, gap-free, ending at last
	last    Position   // of the whole log
	runs    []Position // first position of each run of one term, beginning with base.Position
	configs []configAt // memberships since the base, the one in force at the base first
	bytes   int        // payload of entries
	dead    int        // forgotten entries that the array before entries still holds
}

type configAt struct {
	index      Index
	membership Membership
}

func newMemlog(base Base, entries []Entry) (memlog, error) {
	var l memlog
	l.reset(base)
	for i, e := range entries {
		if e.Index != l.last.Index+1 || e.Term < l.last.Term {
			return memlog{}, fmt.Errorf("restored entry %v does not follow %v: %w", e.Position(), l.last, ErrMalformed)
		}
		if err := l.append(entries[i : i+1]); err != nil {
			return memlog{}, err
		}
	}
	return l, nil
}

// reset makes the log begin, and end, at base.
func (l *memlog) reset(base Base) {
	*l = memlog{base: base, last: base.Position, runs: []Position{base.Position}}
	l.configs = []configAt{{base.Config, base.Membership}}
}

// append adds entries that follow the end.
func (l *memlog) append(entries []Entry) error {
	for _, e := range entries {
		if e.Term != l.last.Term || len(l.runs) == 0 {
			l.runs = append(l.runs, e.Position())
		}
		if e.Kind == EntryMembership {
			m, err := DecodeMembership(e.Payload)
			if err != nil {
				return fmt.Errorf("entry %v: %w", e.Position(), err)
			}
			l.configs = append(l.configs, configAt{e.Index, m})
		}
		l.last = e.Position()
		l.bytes += len(e.Payload)
	}
	room := cap(l.entries)
	if l.entries = append(l.entries, entries...); cap(l.entries) != room {
		l.dead = 0 // they have moved to a new array
	}
	return nil
}

// truncate drops everything from index on. The kept entries move to an array of their own, because the
// dropped ones may still be on their way to the disk or to a peer.
func (l *memlog) truncate(from Index) {
	keep := max(0, int(from)-int(l.firstInMemory()))
	l.entries, l.dead = append(make([]Entry, 0, keep+16), l.entries[:keep]...), 0
	l.bytes = 0
	for i := range l.entries {
		l.bytes += len(l.entries[i].Payload)
	}
	for len(l.runs) > 1 && l.runs[len(l.runs)-1].Index >= from {
		l.runs = l.runs[:len(l.runs)-1]
	}
	for len(l.configs) > 1 && l.configs[len(l.configs)-1].index >= from {
		l.configs = l.configs[:len(l.configs)-1]
	}
	l.last = Position{from - 1, l.runs[len(l.runs)-1].Term}
}

// firstInMemory is the index of the first entry in memory, last+1 when there is none.
func (l *memlog) firstInMemory() Index { return l.last.Index + 1 - Index(len(l.entries)) }

// term is the term of the entry at i; ok is false before the base and past the end.
func (l *memlog) term(i Index) (Term, bool) {
	if i < l.base.Position.Index || i > l.last.Index {
		return 0, false
	}
	n := sort.Search(len(l.runs), func(k int) bool { return l.runs[k].Index > i })
	return l.runs[n-1].Term, true
}

// at is the entry at i, which must be in memory.
func (l *memlog) at(i Index) *Entry { return &l.entries[i-l.firstInMemory()] }

// fill puts an entry where its content is lost; false when it is not what is lost there. The place was never handed
// out.
func (l *memlog) fill(e Entry) bool {
	was := l.at(e.Index)
	if !was.Lost() || was.Position() != e.Position() || was.Sum != e.Sum || e.Check() != nil {
		return false
	}
	if e.Kind == EntryMembership {
		m, err := DecodeMembership(e.Payload)
		if err != nil {
			return false
		}
		n := sort.Search(len(l.configs), func(k int) bool { return l.configs[k].index > e.Index })
		l.configs = slices.Insert(l.configs, n, configAt{e.Index, m})
	}
	l.bytes += len(e.Payload)
	*was = e
	return true
}

// holds reports whether the log has the entry at p, or begins right behind it.
func (l *memlog) holds(p Position) bool {
	t, ok := l.term(p.Index)
	return ok && t == p.Term
}

// agree is the last position at or before i whose term is at most t: the only place up to where a log
// that has term t at i can agree with this one. It skips whole terms.
func (l *memlog) agree(i Index, t Term) Position {
	i = min(i, l.last.Index)
	for n := len(l.runs) - 1; n >= 0; n-- {
		if l.runs[n].Index > i {
			continue
		}
		if l.runs[n].Term <= t {
			return Position{i, l.runs[n].Term}
		}
		i = l.runs[n].Index - 1
	}
	return Position{}
}

// slice returns entries from on, at least one and at most maxBytes of payload; all must be in memory.
func (l *memlog) slice(from, to Index, maxBytes int) []Entry {
	first := l.firstInMemory()
	s := l.entries[from-first : to+1-first]
	bytes := 0
	for i := range s {
		if bytes += len(s[i].Payload); bytes > maxBytes && i > 0 {
			return s[:i:i]
		}
	}
	return s[:len(s):len(s)]
}

// trim forgets entries up to index from memory while more than maxBytes are held.
func (l *memlog) trim(upTo Index, maxBytes int) {
	n := 0
	for n < len(l.entries) && l.entries[n].Index <= upTo && l.bytes > maxBytes {
		l.bytes -= len(l.entries[n].Payload)
		n++
	}
	l.forget(n)
}

func (l *memlog) forget(n int) {
	if n == 0 {
		return
	}
	l.entries, l.dead = l.entries[n:], l.dead+n
	// The array is left behind once it is mostly dead, so that old payloads can be freed.
	if l.dead > len(l.entries)+256 {
		l.entries, l.dead = slices.Clone(l.entries), 0
	}
}

// compact makes the log begin behind base.
func (l *memlog) compact(base Base) {
	n := 0
	for n < len(l.entries) && l.entries[n].Index <= base.Position.Index {
		l.bytes -= len(l.entries[n].Payload)
		n++
	}
	l.forget(n)
	runs := []Position{base.Position}
	for _, r := range l.runs {
		if r.Index > base.Position.Index {
			runs = append(runs, r)
		}
	}
	configs := []configAt{{base.Config, base.Membership}}
	for _, c := range l.configs {
		if c.index > base.Position.Index {
			configs = append(configs, c)
		}
	}
	l.base, l.runs, l.configs = base, runs, configs
}

// config is the membership in force: the last one in the log.
func (l *memlog) config() configAt { return l.configs[len(l.configs)-1] }

// configUpTo is the membership that was in force at index i.
func (l *memlog) configUpTo(i Index) configAt {
	n := sort.Search(len(l.configs), func(k int) bool { return l.configs[k].index > i })
	return l.configs[max(n, 1)-1]
}

// baseAt describes a log that begins behind i.
func (l *memlog) baseAt(i Index) (Base, bool) {
	t, ok := l.term(i)
	if !ok {
		return Base{}, false
	}
	c := l.configUpTo(i)
	return Base{Position: Position{i, t}, Config: c.index, Membership: c.membership}, true
}
