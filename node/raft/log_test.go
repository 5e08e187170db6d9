package raft

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"
)

// plainLog is the naive twin of memlog: every entry since the base in one slice, every question answered by looking
// through it.
type plainLog struct {
	base    Base
	entries []Entry
	memory  Index // the first entry that is still in memory
}

func (p *plainLog) last() Position {
	if len(p.entries) == 0 {
		return p.base.Position
	}
	return p.entries[len(p.entries)-1].Position()
}

func (p *plainLog) term(i Index) (Term, bool) {
	if i == p.base.Position.Index {
		return p.base.Position.Term, true
	}
	for _, e := range p.entries {
		if e.Index == i {
			return e.Term, true
		}
	}
	return 0, false
}

func (p *plainLog) agree(i Index, t Term) Position {
	for at := min(i, p.last().Index); ; at-- {
		term, ok := p.term(at)
		if !ok {
			return Position{}
		}
		if term <= t {
			return Position{at, term}
		}
		if at == 0 {
			return Position{}
		}
	}
}

func (p *plainLog) configUpTo(i Index) configAt {
	c := configAt{p.base.Config, p.base.Membership}
	for _, e := range p.entries {
		if e.Kind == EntryMembership && e.Index <= i {
			m, _ := DecodeMembership(e.Payload)
			c = configAt{e.Index, m}
		}
	}
	return c
}

func (p *plainLog) inMemory() []Entry {
	var kept []Entry
	for _, e := range p.entries {
		if e.Index >= p.memory {
			kept = append(kept, e)
		}
	}
	return kept
}

// TestLogAgainstTheTwin does the same to both and compares every answer after every step.
func TestLogAgainstTheTwin(t *testing.T) {
	for seed := range uint64(25) {
		rng := rand.New(rand.NewPCG(seed, 11))
		base := Base{Position: Position{Index(rng.IntN(3)), Term(rng.IntN(3))}, Config: 0, Membership: voters(2)}
		l, err := newMemlog(base, nil)
		if err != nil {
			t.Fatal(err)
		}
		p := &plainLog{base: base, memory: base.Position.Index + 1}
		for step := range 40 {
			what := change(rng, &l, p)
			if diff := compare(&l, p); diff != "" {
				t.Fatalf("seed=%d step %d, %s: %s", seed, step, what, diff)
			}
		}
	}
}

// change does one random thing to both logs.
func change(rng *rand.Rand, l *memlog, p *plainLog) string {
	low, high := p.base.Position.Index, p.last().Index
	switch dice := rng.IntN(10); {
	case dice < 6:
		term := p.last().Term + Term(rng.IntN(2))
		var entries []Entry
		for i := range 1 + rng.IntN(3) {
			e := sealed(high+1+Index(i), term, EntryCommand, make([]byte, rng.IntN(9)))
			if rng.IntN(5) == 0 {
				e = sealed(e.Index, term, EntryMembership, voters(1+rng.IntN(5)).AppendTo(nil))
			}
			entries = append(entries, e)
		}
		if err := l.append(entries); err != nil {
			return err.Error()
		}
		p.entries = append(p.entries, entries...)
		return fmt.Sprintf("append %d", len(entries))
	case dice < 7 && high > low:
		from := low + 1 + Index(rng.IntN(int(high-low)))
		l.truncate(from)
		p.entries = p.entries[:from-low-1]
		p.memory = min(p.memory, from)
		return fmt.Sprintf("truncate from %d", from)
	case dice < 9:
		upTo, most := low+Index(rng.IntN(int(high-low)+1)), rng.IntN(60)
		l.trim(upTo, most)
		for bytes := payload(p.inMemory()); p.memory <= upTo && p.memory <= high && bytes > most; p.memory++ {
			bytes -= len(p.inMemory()[0].Payload)
		}
		return fmt.Sprintf("trim up to %d beyond %d bytes", upTo, most)
	}
	at := low + Index(rng.IntN(int(high-low)+1))
	cut, ok := l.baseAt(at)
	if !ok {
		return fmt.Sprintf("no base at %d", at)
	}
	l.compact(cut)
	c := p.configUpTo(at)
	term, _ := p.term(at)
	p.entries = p.entries[at-low:]
	p.base = Base{Position: Position{at, term}, Config: c.index, Membership: c.membership}
	p.memory = max(p.memory, at+1)
	return fmt.Sprintf("compact at %d", at)
}

// compare asks both logs everything that can be asked and names the first answer that differs.
func compare(l *memlog, p *plainLog) string {
	kept := p.inMemory()
	switch {
	case l.last != p.last():
		return fmt.Sprintf("ends at %v, the twin at %v", l.last, p.last())
	case !reflect.DeepEqual(l.base, p.base):
		return fmt.Sprintf("begins behind %+v, the twin behind %+v", l.base, p.base)
	case len(l.entries) != len(kept) || l.bytes != payload(kept):
		return fmt.Sprintf("%d entries of %d bytes in memory, the twin has %d of %d", len(l.entries), l.bytes, len(kept), payload(kept))
	case !reflect.DeepEqual(l.config(), p.configUpTo(p.last().Index)):
		return fmt.Sprintf("configuration %+v, the twin has %+v", l.config(), p.configUpTo(p.last().Index))
	}
	for i := range p.last().Index + 3 {
		gotTerm, got := l.term(i)
		wantTerm, want := p.term(i)
		if gotTerm != wantTerm || got != want {
			return fmt.Sprintf("term at %d is %d (%v), the twin says %d (%v)", i, gotTerm, got, wantTerm, want)
		}
		for term := range p.last().Term + 2 {
			if l.holds(Position{i, term}) != (want && wantTerm == term) {
				return fmt.Sprintf("holds %d@%d: %v", i, term, l.holds(Position{i, term}))
			}
			if got, want := l.agree(i, term), p.agree(i, term); got != want {
				return fmt.Sprintf("agrees with %d@%d up to %v, the twin says %v", i, term, got, want)
			}
		}
		if want && !reflect.DeepEqual(l.configUpTo(i), p.configUpTo(i)) {
			return fmt.Sprintf("configuration up to %d is %+v, the twin says %+v", i, l.configUpTo(i), p.configUpTo(i))
		}
	}
	return compareSlices(l, kept)
}

// compareSlices asks for every run of entries in memory, within several bounds.
func compareSlices(l *memlog, kept []Entry) string {
	for i := range kept {
		for j := i; j < min(i+6, len(kept)); j++ {
			for _, most := range []int{0, 1, 8, 20, 1000} {
				var want []Entry
				bytes := 0
				for _, e := range kept[i : j+1] {
					if bytes += len(e.Payload); bytes > most && len(want) > 0 {
						break
					}
					want = append(want, e)
				}
				got := l.slice(kept[i].Index, kept[j].Index, most)
				if !reflect.DeepEqual(got, want) || cap(got) != len(got) {
					return fmt.Sprintf("entries %d to %d within %d bytes: %d, want %d", kept[i].Index, kept[j].Index, most, len(got), len(want))
				}
			}
		}
	}
	return ""
}

// TestSlicesHandedOutStay: entries on their way to the disk or to a peer are not touched by what happens to the log
// meanwhile.
func TestSlicesHandedOutStay(t *testing.T) {
	l, err := newMemlog(Base{}, commands(0, 1, 1, 1, 1))
	if err != nil {
		t.Fatal(err)
	}
	out := l.slice(2, 4, 1000)
	l.truncate(3)
	if err := l.append(commands(2, 2, 2)); err != nil {
		t.Fatal(err)
	}
	for i, e := range out {
		if e.Position() != (Position{Index(i + 2), 1}) || e.Check() != nil {
			t.Errorf("entry %d was handed out as %d@1 and has become %v", i, i+2, e.Position())
		}
	}
}
