package sim

import (
	"errors"
	"fmt"
	"slices"

	"raftsman.dev/node/raft"
	"raftsman.dev/node/wal"
)

// mirror is what the observer has seen one member make durable in its log, read back after every write of it. It
// outlives the process: after a restart the log must hold what the mirror shows.
type mirror struct {
	base    raft.Index // the log begins behind it
	entries []written
	// proven is the last entry that a later write names as durable: damage there must be found out.
	proven     raft.Index
	provenTerm raft.Term
	// restarting: the store has switched to a snapshot, the log follows with its next write.
	restarting bool
	restartAt  raft.Index
	// uncertain: the process ended in the middle of a write, which may be there or not.
	uncertain bool
	counted   uint64     // entries appended in this life, as the log counts them
	passed    raft.Index // how far the newest turn may have reached before it dropped entries again
	repaired  uint64     // and lost ones brought back
	// covered: the store has switched to a snapshot of so much, and needs no entry up to there.
	covered raft.Index
}

// written is one place of a log.
type written struct {
	term   raft.Term
	sum    uint32
	config bool
	// lost: the disk has lost the content, and the log knows it.
	lost bool
}

func (m *mirror) end() raft.Index { return m.base + raft.Index(len(m.entries)) }

// at is the entry at an index; false where the log has none, or has been cut.
func (m *mirror) at(i raft.Index) (written, bool) {
	if i <= m.base || i > m.end() {
		return written{}, false
	}
	return m.entries[i-m.base-1], true
}

// holds reports whether the log holds that entry, or stands behind it already.
func (m *mirror) holds(i raft.Index, is written) bool {
	has, ok := m.at(i)
	return i <= m.base || ok && has.term == is.term && has.sum == is.sum
}

// hole is the first lost entry behind an index, 0 for none.
func (m *mirror) hole(behind raft.Index) raft.Index {
	for i := max(behind, m.base) + 1; i <= m.end(); i++ {
		if m.entries[i-m.base-1].lost {
			return i
		}
	}
	return 0
}

// lose marks entries as lost.
func (m *mirror) lose(lost []raft.Position) {
	for _, p := range lost {
		if is, ok := m.at(p.Index); ok && is.term == p.Term {
			m.entries[p.Index-m.base-1].lost = true
		}
	}
}

// with takes over what an older mirror knows of lost entries.
func (m mirror) with(old mirror) mirror {
	for i := range m.entries {
		x := &m.entries[i]
		if was, ok := old.at(m.base + raft.Index(i) + 1); ok && x.lost && was.term == x.term {
			x.config = was.config
		}
	}
	return m
}

// cut drops what stands at or before base.
func (m *mirror) cut(base raft.Index) {
	if n := int(base) - int(m.base); n > 0 {
		m.entries = m.entries[min(n, len(m.entries)):]
		m.base = base
		m.restarting = m.restarting && base < m.restartAt
	}
}

// mirrorOf is the mirror of a log as it was found on disk.
func mirrorOf(found raft.Restored) mirror {
	m := mirror{base: found.Base.Position.Index}
	for _, e := range found.Entries {
		m.entries = append(m.entries, written{e.Term, e.Sum, e.Kind == raft.EntryMembership, e.Lost()})
	}
	return m
}

// wrote looks at what one turn of the log writer has changed. It is called before anything that claims the
// turn's durability leaves.
func (t *truth) wrote(h *host) {
	h.faulty.Quietly(func() { t.readBack(h) })
	if h.replica.Brief().Role == raft.RoleLeader {
		t.changed(h)
	}
}

func (t *truth) readBack(h *host) {
	m := &t.of(h).log
	m.provenTerm = t.of(h).promised.term
	total := h.log.Stats().Entries
	n := raft.Index(total - m.counted)
	m.counted = total
	before := m.end()
	m.proven = before
	m.passed = before + n
	repaired := h.log.Stats().Repaired
	if m.restarting && t.restarted(h) {
		*m = mirror{base: m.restartAt, counted: total, repaired: repaired}
		t.read(h, m.base+1)
		return
	}
	from := max(m.base+1, before-min(before, n)+1)
	if repaired != m.repaired { // it may be anywhere, and entries of the same turn may have cut the end off
		m.repaired, from = repaired, m.base+1
	} else if n == 0 {
		return
	}
	dropped := t.read(h, from)
	if m.end() < before { // truncated: what is new may begin anywhere
		dropped = true
		t.read(h, m.base+1)
	}
	if dropped && h.replica.Brief().Role == raft.RoleLeader {
		t.w.fail("member %d leads term %d and drops entries of its log", h.id, h.replica.Brief().Term)
	}
}

// restarted reports whether the log begins anew behind the snapshot that the store has switched to; it may as well go
// on, and be cut there later.
func (t *truth) restarted(h *host) bool {
	m := &t.of(h).log
	_, err := h.log.Read(m.base+1, 1)
	return m.base < m.restartAt && errors.Is(err, wal.ErrCut)
}

// read brings the mirror up to date from an index on, and holds every entry against what the others have there
// (log matching, thesis §3.5: by induction over the entry before). It reports whether an entry was replaced.
func (t *truth) read(h *host, from raft.Index) (replaced bool) {
	m := &t.of(h).log
	keep := int(from - m.base - 1)
	old := slices.Clone(m.entries[keep:])
	m.entries = m.entries[:keep]
	for {
		span, err := h.log.Read(m.end()+1, 1<<20)
		if at := int(m.end() + 1 - from); errors.Is(err, wal.ErrLost) && at < len(old) && old[at].lost {
			m.entries = append(m.entries, old[at])
			continue
		}
		if err != nil {
			t.w.fail("member %d: read its log back from %d: %w", h.id, m.end()+1, err)
			return replaced
		}
		if len(span.Entries) == 0 {
			return replaced
		}
		prev := span.Prev.Term
		for i := range span.Entries {
			e := &span.Entries[i]
			if at := int(e.Index - from); at < len(old) && old[at].term != e.Term {
				replaced = true
			}
			m.entries = append(m.entries, written{e.Term, e.Sum, e.Kind == raft.EntryMembership, false})
			t.match(h, e, prev)
			prev = e.Term
		}
	}
}

// match holds one entry against the same position anywhere else.
func (t *truth) match(h *host, e *raft.Entry, prev raft.Term) {
	is := place{sum: e.Sum, prev: prev, at: h.id}
	was, known := t.places[e.Position()]
	if !known {
		t.places[e.Position()] = is
		return
	}
	if was.sum != is.sum || was.prev != is.prev {
		t.w.fail("entry %v is %08x behind term %d at member %d, and %08x behind term %d at member %d", e.Position(), is.sum, is.prev, h.id, was.sum, was.prev, was.at)
	}
}

// place is what stands at one position, as first seen.
type place struct {
	sum  uint32
	prev raft.Term // of the entry before
	at   raft.MemberID
}

// remembers holds a log found at the start against what it was seen to hold: an answer has been given for that.
func (t *truth) remembers(h *host, found raft.Restored) error {
	s := t.of(h)
	if found.Hard.Term < s.promised.term || found.Hard.Term == s.promised.term && s.promised.vote != 0 && found.Hard.Vote != s.promised.vote {
		return fmt.Errorf("comes back in term %d with vote %d, and has promised term %d with vote %d", found.Hard.Term, found.Hard.Vote, s.promised.term, s.promised.vote)
	}
	now := mirrorOf(found)
	if now.base < s.log.base && now.end() < s.log.base {
		return fmt.Errorf("comes back with a log up to %d, it was cut behind %d", now.end(), s.log.base)
	}
	for i := max(s.log.base, now.base) + 1; i <= s.log.end(); i++ {
		was, _ := s.log.at(i)
		chosen := int(i) <= len(t.choices) && t.choices[i-1].term == was.term
		if !now.holds(i, was) && (chosen || !s.log.uncertain) {
			return fmt.Errorf("comes back with a log up to %d, it had made entry %d@%d durable (committed: %v)", now.end(), i, was.term, chosen)
		}
	}
	return nil
}
