package sim

import (
	"fmt"

	"raftsman.dev/node/raft"
)

// truth is what an observer who sees everything holds against the members.
type truth struct {
	w *World
	// leaders is who led each term: at most one ever did (thesis, election safety).
	leaders map[raft.Term]raft.MemberID
	// effects is the state of the store at each applied index, as first seen anywhere (state machine safety).
	effects map[uint64]effect
	// seen is the newest of each member, which must not go back within one life.
	seen map[raft.MemberID]*seen
	// acked is what clients were told is written: by key, which is written once.
	acked map[string]string
}

type effect struct {
	sum uint32
	at  raft.MemberID
}

type seen struct {
	term    raft.Term
	commit  raft.Index
	applied uint64
}

func newTruth(w *World) truth {
	return truth{w: w, leaders: map[raft.Term]raft.MemberID{}, effects: map[uint64]effect{}, seen: map[raft.MemberID]*seen{}, acked: map[string]string{}}
}

func (t *truth) started(h *host) {
	if t.seen[h.id] == nil {
		t.seen[h.id] = &seen{}
	}
	s := t.seen[h.id]
	s.commit, s.applied = 0, 0
	t.look(h)
}

// stopped forgets what a loss of power may take: what was never durable.
func (t *truth) stopped(h *host) {
	s := t.seen[h.id]
	s.term = 0
}

// look checks a member after every step of it.
func (t *truth) look(h *host) {
	b := h.replica.Brief()
	s := t.seen[h.id]
	switch {
	case b.Term < s.term:
		t.w.fail("member %d goes back from term %d to %d", h.id, s.term, b.Term)
	case b.Commit < s.commit:
		t.w.fail("member %d takes its commit back from %d to %d", h.id, s.commit, b.Commit)
	case b.Commit > b.Last:
		t.w.fail("member %d has committed %d, its log ends at %d", h.id, b.Commit, b.Last)
	}
	s.term, s.commit = b.Term, b.Commit
	applied := h.store.Applied()
	if applied.Index == s.applied {
		return
	}
	if applied.Index < s.applied {
		t.w.fail("member %d goes back from applied %d to %d", h.id, s.applied, applied.Index)
	}
	s.applied = applied.Index
	first, known := t.effects[applied.Index]
	if !known {
		t.effects[applied.Index] = effect{applied.Effects, h.id}
	} else if first.sum != applied.Effects {
		t.w.fail("at index %d member %d has state %08x, member %d had %08x", applied.Index, h.id, applied.Effects, first.at, first.sum)
	}
}

func (t *truth) event(h *host, e raft.Event) {
	r, ok := e.(raft.RoleChanged)
	if !ok || r.Role != raft.RoleLeader {
		return
	}
	if other, led := t.leaders[r.Term]; led && other != h.id {
		t.w.fail("members %d and %d both lead term %d", other, h.id, r.Term)
	}
	t.leaders[r.Term] = h.id
}

// end checks the healed world: what was acknowledged is there on every member, and all are equal.
func (t *truth) end(members []*host) error {
	var hash uint64
	for i, h := range members {
		for key, want := range t.acked {
			got, err := h.value(key)
			if err != nil || got != want {
				return fmt.Errorf("member %d has %q at %s (%v), %q was acknowledged", h.id, got, key, err, want)
			}
		}
		sum, at, err := h.store.Hash()
		if err != nil {
			return err
		}
		if i == 0 {
			hash = sum
		} else if sum != hash {
			return fmt.Errorf("at index %d member %d has state %x, member %d has %x", at, h.id, sum, members[0].id, hash)
		}
	}
	return nil
}
