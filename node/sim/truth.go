package sim

import (
	"raftsman.dev/node/raft"
)

// truth is what an observer who sees everything holds against the members. It looks after every step of each.
type truth struct {
	w *World
	// leaders is who led each term: at most one ever did (thesis §3.4, election safety).
	leaders map[raft.Term]raft.MemberID
	// votes is whom each member has voted for in each term, as far as the vote has left it.
	votes map[ballot]raft.MemberID
	// places is what stands at each position of any log (log matching).
	places map[raft.Position]place
	// choices is what has been committed, by index from 1 on; those that nobody has been seen to hold yet are zero.
	choices []choice
	// commit is how far any leader has ever committed.
	commit raft.Index
	// effects is the state of the store at each applied index, as first seen anywhere (state machine safety).
	effects map[uint64]effect
	seen    map[raft.MemberID]*seen
	// acked is what clients were told is written: by key, which is written once.
	acked map[string]string
	// repeated are the keys that a client has asked for twice to be written.
	repeated map[string]bool
}

type ballot struct {
	voter raft.MemberID
	term  raft.Term
}

// choice is a committed entry, with the term in which it was first seen to be committed.
type choice struct {
	term raft.Term
	sum  uint32
	by   raft.Term
}

type effect struct {
	sum uint32
	at  raft.MemberID
}

// seen is one member as last looked at.
type seen struct {
	term    raft.Term
	leads   bool
	commit  raft.Index
	applied uint64
	chosen  raft.Index // everything up to there has been noted among the choices
	log     mirror
	// promised is the newest term and vote that have left it in a message that claims their durability.
	promised struct {
		term raft.Term
		vote raft.MemberID
	}
}

func newTruth(w *World) truth {
	return truth{
		w: w, leaders: map[raft.Term]raft.MemberID{}, votes: map[ballot]raft.MemberID{}, places: map[raft.Position]place{},
		commit: 1, effects: map[uint64]effect{}, seen: map[raft.MemberID]*seen{}, acked: map[string]string{}, repeated: map[string]bool{},
	}
}

func (t *truth) of(h *host) *seen {
	if t.seen[h.id] == nil {
		t.seen[h.id] = &seen{}
	}
	return t.seen[h.id]
}

// started looks at a member that has just come up with what was found in its log.
func (t *truth) started(h *host, found raft.Restored) {
	s := t.of(h)
	if err := t.remembers(h, found); err != nil {
		t.w.fail("member %d boot %d: %w", h.id, h.boot, err)
	}
	proven, provenTerm := s.log.proven, s.log.provenTerm // a start proves nothing more
	s.log = mirrorOf(found).with(s.log)
	s.log.proven, s.log.provenTerm = min(proven, s.log.end()), provenTerm
	if first := h.replica.Brief().First; first != s.log.base+1 { // reset to where the store stands
		s.log = mirror{base: first - 1}
	}
	s.log.counted = h.log.Stats().Entries
	s.commit, s.applied, s.term, s.leads = 0, h.store.Applied().Index, 0, false
	s.chosen = max(s.chosen, s.log.base)
	t.look(h)
}

// founded looks at the birth of a cluster, which no leader has committed.
func (t *truth) founded(h *host) { t.wrote(h) }

// look checks a member after every step of it.
func (t *truth) look(h *host) {
	b, s := h.replica.Brief(), t.of(h)
	switch {
	case b.Term < s.term:
		t.w.fail("member %d goes back from term %d to %d", h.id, s.term, b.Term)
	case b.Commit < s.commit:
		t.w.fail("member %d takes its commit back from %d to %d", h.id, s.commit, b.Commit)
	case b.Commit > b.Last:
		t.w.fail("member %d has committed %d, its log ends at %d", h.id, b.Commit, b.Last)
	}
	// A leader that commits its own removal leads no longer.
	led := s.leads
	s.leads = b.Role == raft.RoleLeader
	if (led || s.leads) && b.Commit > t.commit {
		t.commit = b.Commit
		t.quorumHolds(h, b)
	}
	if b.Commit > t.commit {
		t.w.fail("member %d holds %d for committed, no leader has committed more than %d", h.id, b.Commit, t.commit)
	}
	s.term, s.commit = b.Term, b.Commit
	t.lookAtStore(h, s)
	upTo := raft.Index(s.applied)
	if s.leads {
		upTo = max(upTo, b.Commit)
	}
	if !s.log.restarting {
		t.choose(h, s, min(upTo, s.log.end()))
	}
}

// lookAtStore holds the state of the store against that of the others at the same index.
func (t *truth) lookAtStore(h *host, s *seen) {
	applied := h.store.Applied()
	switch {
	case applied.Index == s.applied:
		return
	case applied.Index < s.applied:
		t.w.fail("member %d goes back from applied %d to %d", h.id, s.applied, applied.Index)
	case raft.Index(applied.Index) > t.commit:
		t.w.fail("member %d has applied %d, no leader has committed more than %d", h.id, applied.Index, t.commit)
	case !s.log.restarting && raft.Index(applied.Index) > s.log.end():
		t.w.fail("member %d has applied %d, its log is durable up to %d", h.id, applied.Index, s.log.end())
	}
	if hole := s.log.hole(max(raft.Index(s.applied), s.log.covered)); !s.log.restarting && hole != 0 && hole <= raft.Index(applied.Index) {
		t.w.fail("member %d has applied %d, and has lost entry %d", h.id, applied.Index, hole)
	}
	s.applied = applied.Index
	if h.altered.tainted {
		t.lookAtTainted(h, applied)
		return
	}
	first, known := t.effects[applied.Index]
	if !known {
		t.effects[applied.Index] = effect{applied.Effects, h.id}
	} else if first.sum != applied.Effects {
		t.w.fail("at index %d member %d has state %08x, member %d had %08x", applied.Index, h.id, applied.Effects, first.at, first.sum)
	}
}

// quorumHolds demands that what a leader has just committed is durable on a majority of each half of its
// membership.
func (t *truth) quorumHolds(h *host, b raft.Brief) {
	is, ok := t.of(h).log.at(b.Commit)
	if !ok {
		return // its own disk is behind: what the entry is will be seen later
	}
	incoming, outgoing := h.replica.Status().Membership.Voters()
	for _, half := range [][]raft.MemberID{incoming, outgoing} {
		holders := 0
		for _, id := range half {
			if s := t.seen[id]; s != nil && s.log.holds(b.Commit, is) {
				holders++
			}
		}
		if holders <= len(half)/2 && len(half) > 0 {
			t.w.fail("member %d has committed %d, which %d of the %d voters %v hold durably", h.id, b.Commit, holders, len(half), half)
		}
	}
}

// choose notes what a member's log holds up to there as committed, and holds it against what was.
func (t *truth) choose(h *host, s *seen, upTo raft.Index) {
	for i := max(s.chosen, s.log.base) + 1; i <= upTo; i++ {
		is, _ := s.log.at(i)
		for int(i) > len(t.choices) {
			t.choices = append(t.choices, choice{})
		}
		c := &t.choices[i-1]
		if c.term == 0 {
			*c = choice{is.term, is.sum, s.term}
		} else if c.term != is.term || c.sum != is.sum {
			t.w.fail("at index %d member %d has committed %08x of term %d, another %08x of term %d", i, h.id, is.sum, is.term, c.sum, c.term)
		}
	}
	s.chosen = max(s.chosen, upTo)
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
	t.complete(h, r.Term)
}

// complete demands of a new leader that it holds what was committed in terms before its own (thesis §3.6.3, leader
// completeness). The newest such entry is enough: log matching says the rest.
func (t *truth) complete(h *host, term raft.Term) {
	log := &t.of(h).log
	for i := len(t.choices); i > 0; i-- {
		if c := t.choices[i-1]; c.term != 0 && c.by < term {
			if !log.restarting && !log.holds(raft.Index(i), written{term: c.term, sum: c.sum}) {
				t.w.fail("member %d leads term %d without entry %d@%d, which was committed in term %d; its log ends at %d", h.id, term, i, c.term, c.by, log.end())
			}
			return
		}
	}
}

// changed demands that a leader has at most one membership in its log that no leader has committed.
func (t *truth) changed(h *host) {
	log, n := &t.of(h).log, 0
	for i := max(t.commit, log.base) + 1; i <= log.end(); i++ {
		if is, _ := log.at(i); is.config {
			n++
		}
	}
	if n > 1 {
		t.w.fail("%d membership changes are in flight in the log of leader %d", n, h.id)
	}
}

// overtaken reports whether the newest turn of the log writer may have written an acknowledged entry and dropped it
// again for a leader of a later term. The acknowledgement then does no harm: what that leader does not have was never
// committed and will not be, for whoever elected it holds no such entry, or would have refused.
func (s *seen) overtaken(h *host, term raft.Term, match raft.Index) bool {
	return term < h.replica.Brief().Term && match <= s.log.passed
}

// left notes what the messages that leave a member promise: a vote, and that the term and the acknowledged entries
// are durable.
func (t *truth) left(h *host, msgs []raft.Message) {
	s := t.of(h)
	for _, m := range msgs {
		switch b := m.Body.(type) {
		case raft.VoteRequest:
			if !b.Pre {
				t.voted(h, m.Term, h.id)
			}
		case raft.Append: // who leads has voted for itself, also where it had to ask nobody else
			t.voted(h, m.Term, h.id)
		case raft.VoteReply:
			if b.Granted && !b.Pre {
				t.voted(h, m.Term, m.To)
			}
		case raft.AppendReply:
			if b.Rejected {
				continue
			}
			t.promise(s, m.Term, 0)
			if b.Match > s.log.end() && !s.overtaken(h, m.Term, b.Match) {
				t.w.fail("member %d acknowledges entry %d, its log is durable up to %d", h.id, b.Match, s.log.end())
			}
			if hole := s.log.hole(h.replica.Brief().Commit); hole != 0 && hole <= b.Match && !s.log.restarting {
				t.w.fail("member %d acknowledges entry %d, and has lost entry %d", h.id, b.Match, hole)
			}
		}
	}
}

// voted notes a vote: one a term, for ever (thesis §3.4).
func (t *truth) voted(h *host, term raft.Term, whom raft.MemberID) {
	t.promise(t.of(h), term, whom)
	b := ballot{h.id, term}
	if other, before := t.votes[b]; before && other != whom {
		t.w.fail("member %d votes for %d in term %d, and has voted for %d", h.id, whom, term, other)
	}
	t.votes[b] = whom
}

func (t *truth) promise(s *seen, term raft.Term, vote raft.MemberID) {
	if term > s.promised.term {
		s.promised.term, s.promised.vote = term, vote
	} else if term == s.promised.term && vote != 0 {
		s.promised.vote = vote
	}
}
