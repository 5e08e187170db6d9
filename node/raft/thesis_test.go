package raft

import (
	"slices"
	"testing"
)

// One test for each claim of the Raft thesis (Ongaro, 2014) that the core stands on, in its order, with the
// section cited. Where the core departs from the thesis, divergence.md says why and the test follows the core.
// Sections 3.10 and later are in thesis_change_test.go.
// Most members here are number 1 of three voters, with the first entry 1@1 committed.

// ---- Figure 3.1, AppendEntries: receiver

// 1. Reply false if term < currentTerm.
func TestFigure31AppendOfALowerTermIsRejected(t *testing.T) {
	l := newLab(t, 1, voters(3), 4)
	l.step(2, 3, Append{Prev: Position{2, 4}, Entries: commands(2, 3)})
	if r := answer[AppendReply](l, 2); !r.Rejected || l.sent[0].Term != 4 {
		t.Errorf("%v, want a rejection in term 4", l.sent)
	}
	if l.log.last != (Position{2, 4}) || l.leader != 0 {
		t.Errorf("log ends at %v, leader %v; want no change", l.log.last, l.leader)
	}
}

// 2. Reply false if the log has no entry at prevLogIndex whose term matches prevLogTerm.
func TestFigure31AppendMustFollowTheLog(t *testing.T) {
	for _, prev := range []Position{{3, 5}, {4, 4}, {9, 5}} {
		l := newLab(t, 1, voters(3), 4, 4)
		l.step(2, 5, Append{Prev: prev, Entries: commands(prev.Index, 5)})
		if r := answer[AppendReply](l, 2); !r.Rejected || r.Match != prev.Index {
			t.Errorf("prev %v: %+v, want a rejection of it", prev, r)
		}
		if l.log.last != (Position{3, 4}) {
			t.Errorf("prev %v: log ends at %v, want no change", prev, l.log.last)
		}
	}
}

// 3. An existing entry that conflicts with a new one goes, and all that follow it.
// 4. Entries not already in the log are appended.
func TestFigure31ConflictsAreReplaced(t *testing.T) {
	for _, c := range []struct {
		name string
		prev Position
		sent []Term
		want []Term // of the log behind 1@1
	}{
		{"nothing new", Position{1, 1}, []Term{2, 2}, []Term{2, 2, 3}},
		{"heartbeat in the middle", Position{2, 2}, nil, []Term{2, 2, 3}},
		{"one more", Position{4, 3}, []Term{4}, []Term{2, 2, 3, 4}},
		{"overlap and one more", Position{2, 2}, []Term{2, 3, 4}, []Term{2, 2, 3, 4}},
		{"conflict at the end", Position{3, 2}, []Term{4}, []Term{2, 2, 4}},
		{"conflict in the middle", Position{2, 2}, []Term{4}, []Term{2, 4}},
		{"conflict from the start", Position{1, 1}, []Term{4, 4, 4, 4}, []Term{4, 4, 4, 4}},
	} {
		l := newLab(t, 1, voters(3), 2, 2, 3)
		l.step(2, 4, Append{Prev: c.prev, Entries: commands(c.prev.Index, c.sent...)})
		if r := answer[AppendReply](l, 2); r.Rejected || r.Match != c.prev.Index+Index(len(c.sent)) {
			t.Errorf("%s: %+v, want an ack of what was sent", c.name, r)
		}
		var got []Term
		for _, e := range l.log.entries[1:] {
			got = append(got, e.Term)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: terms %v, want %v", c.name, got, c.want)
		}
		if last := l.disk.disk.Entries[len(l.disk.disk.Entries)-1]; last.Position() != l.log.last {
			t.Errorf("%s: the disk ends at %v, the log at %v", c.name, last.Position(), l.log.last)
		}
	}
}

// 5. commitIndex becomes the lesser of leaderCommit and the index of the last new entry, never less.
func TestFigure31CommitFollowsTheLeader(t *testing.T) {
	for _, c := range []struct {
		prev   Position
		n      int
		commit Index
		want   Index
	}{
		{Position{3, 2}, 1, 4, 4}, {Position{3, 2}, 1, 3, 3}, {Position{3, 2}, 1, 9, 4},
		{Position{2, 2}, 0, 9, 2}, // 3@2 may yet conflict: nothing vouches for it
		{Position{2, 2}, 1, 9, 3}, {Position{1, 1}, 0, 0, 1},
	} {
		l := newLab(t, 1, voters(3), 2, 2)
		l.step(2, 2, Append{Prev: c.prev, Commit: c.commit, Entries: commands(c.prev.Index, slices.Repeat([]Term{2}, c.n)...)})
		if l.commit != c.want {
			t.Errorf("prev %v, %d entries, leader's commit %d: commit %d, want %d", c.prev, c.n, c.commit, l.commit, c.want)
		}
	}
}

// ---- Figure 3.1, RequestVote: receiver

// 1. Reply false if term < currentTerm.
func TestFigure31VoteOfALowerTermIsRefused(t *testing.T) {
	l := newLab(t, 1, voters(3), 4)
	l.step(2, 3, VoteRequest{Last: Position{9, 9}})
	if r := answer[VoteReply](l, 2); r.Granted || l.sent[0].Term != 4 {
		t.Errorf("%v, want a refusal in term 4", l.sent)
	}
}

// 2. Grant if votedFor is null or the candidate, and the candidate's log is at least as up to date (§3.6.1).
func TestFigure31OneVoteInATerm(t *testing.T) {
	l := newLab(t, 1, voters(3))
	for _, ask := range []struct {
		from    MemberID
		granted bool
	}{{2, true}, {2, true}, {3, false}, {2, true}} {
		l.look()
		l.step(ask.from, 5, VoteRequest{Last: l.log.last})
		if r := answer[VoteReply](l, ask.from); r.Granted != ask.granted {
			t.Errorf("asked by %d: granted %v, want %v", uint64(ask.from), r.Granted, ask.granted)
		}
	}
	l.look()
	l.step(3, 6, VoteRequest{Last: l.log.last})
	if r := answer[VoteReply](l, 3); !r.Granted {
		t.Error("a new term brings a new vote")
	}
}

// ---- Figure 3.1, rules for servers

// All servers: everything up to commitIndex is applied, in order, each once.
func TestFigure31CommittedIsAppliedInOrder(t *testing.T) {
	l := newLab(t, 1, voters(3), 2, 2, 2)
	l.applied = nil
	for _, commit := range []Index{2, 2, 4, 3} {
		l.step(2, 2, Append{Prev: Position{4, 2}, Commit: commit})
	}
	var got []Index
	for _, e := range l.applied {
		got = append(got, e.Index)
	}
	if !slices.Equal(got, []Index{2, 3, 4}) {
		t.Errorf("applied %v, want 2, 3, 4", got)
	}
}

// All servers: a higher term in an RPC makes a follower of that term (§3.3). The kinds that do are in the
// table of kinds_test.go; here: it is durable before anything is said in it that promises something.
func TestFigure31HigherTermMakesAFollower(t *testing.T) {
	for _, role := range []Role{RoleFollower, RolePreCandidate, RoleCandidate, RoleLeader} {
		l := inRole(t, role)
		l.step(3, 8, Append{Prev: l.log.last})
		l.wantRole(RoleFollower, 8)
		if l.leader != 3 || l.disk.disk.Hard.Term != 8 || l.hard.Vote != 0 {
			t.Errorf("%v: leader %v, vote %v, durable term %d; want 3, none, 8", role, l.leader, l.hard.Vote, l.disk.disk.Hard.Term)
		}
	}
}

// Followers: an election timeout without AppendEntries and without granting a vote starts an election; either
// of them starts the wait anew (§3.4).
func TestFigure31FollowerTimesOut(t *testing.T) {
	for name, hear := range map[string]func(l *lab){
		"append":       func(l *lab) { l.step(2, 1, Append{Prev: l.log.last}) },
		"heartbeat":    func(l *lab) { l.step(2, 1, Heartbeat{}) },
		"granted vote": func(l *lab) { l.step(2, 1, VoteRequest{Last: l.log.last}) },
	} {
		l := newLab(t, 1, voters(3))
		l.tick(l.timeout - 1)
		hear(l)
		l.wantRole(RoleFollower, 1)
		if l.elapsed != 0 {
			t.Errorf("%s: the wait goes on at %d ticks, want it to begin anew", name, l.elapsed)
		}
		l.expire()
		l.wantRole(RolePreCandidate, 1)
	}
	l := newLab(t, 1, voters(3), 4)
	l.tick(3)
	l.step(2, 4, VoteRequest{Last: Position{1, 1}}) // refused: not up to date
	if l.elapsed != 3 {
		t.Error("a vote that was refused begins the wait anew")
	}
}

// Candidates: on conversion, the term grows by one, it votes for itself, the timer starts anew, everybody is
// asked. (All of it durable before anybody hears of it.)
func TestFigure31CandidateAsksForVotes(t *testing.T) {
	l := newLab(t, 1, voters(5), 2)
	l.expire()
	l.slow = true
	l.look()
	l.ballot(true)
	l.wantRole(RoleCandidate, 3)
	if len(l.look()) > 0 {
		t.Error("asks for votes before its term and vote are durable")
	}
	l.flush()
	for id := MemberID(2); id <= 5; id++ {
		if req := answer[VoteRequest](l, id); req.Pre || req.Last != (Position{2, 2}) {
			t.Errorf("asks %d with %+v, want its last position 2@2", uint64(id), req)
		}
	}
	if h := l.disk.disk.Hard; h.Term != 3 || h.Vote != 1 || l.elapsed != 0 {
		t.Errorf("durable %+v, waited %d ticks; want term 3, its own vote, 0", h, l.elapsed)
	}
}

// Candidates: votes of a majority make a leader; each member's first answer counts (§3.4).
func TestFigure31MajorityWins(t *testing.T) {
	for _, c := range []struct {
		yes, no []MemberID
		want    Role
	}{
		{nil, nil, RoleCandidate}, {[]MemberID{2}, nil, RoleCandidate}, {[]MemberID{2, 2, 2}, nil, RoleCandidate},
		{[]MemberID{2, 3}, nil, RoleLeader}, {[]MemberID{2, 3}, []MemberID{4, 5}, RoleLeader},
		{nil, []MemberID{2, 3}, RoleCandidate}, {nil, []MemberID{2, 3, 4}, RoleFollower},
		{[]MemberID{3, 4}, []MemberID{3, 4, 5}, RoleFollower}, // 3 and 4 had said no before
	} {
		l := newLab(t, 1, voters(5))
		l.campaign()
		for _, id := range c.no {
			l.step(id, 2, VoteReply{Campaign: l.Core.campaign})
		}
		for _, id := range c.yes {
			l.step(id, 2, VoteReply{Granted: true, Campaign: l.Core.campaign})
		}
		if l.role != c.want {
			t.Errorf("yes %v, no %v: %v, want %v", c.yes, c.no, l.role, c.want)
		}
	}
}

// Candidates: AppendEntries of the term's leader makes a follower (§3.4).
func TestFigure31CandidateYieldsToTheLeader(t *testing.T) {
	l := newLab(t, 1, voters(3))
	l.campaign()
	l.step(3, 2, Append{Prev: l.log.last})
	l.wantRole(RoleFollower, 2)
	if l.leader != 3 {
		t.Errorf("follows %v, want 3", l.leader)
	}
}

// Candidates: an election timeout without an outcome starts a new election (here: with its pre-votes).
func TestFigure31CandidateTriesAgain(t *testing.T) {
	l := newLab(t, 1, voters(3))
	l.campaign()
	first := l.Core.campaign
	l.campaign()
	l.wantRole(RoleCandidate, 3)
	l.step(2, 3, VoteReply{Granted: true, Campaign: first})
	l.wantRole(RoleCandidate, 3) // an answer of the first election does not count
}

// Leaders: upon election they are heard by everybody at once (here: by the no-op), and again in idle times
// before anybody's election timeout.
func TestFigure31LeaderIsHeard(t *testing.T) {
	l := newLab(t, 1, voters(3))
	l.campaign()
	l.look()
	l.ballot(false)
	for id := MemberID(2); id <= 3; id++ {
		if a := answer[Append](l, id); len(a.Entries) != 1 || a.Entries[0].Kind != EntryNoop {
			t.Errorf("%d first hears %+v, want the no-op", uint64(id), a)
		}
	}
	l.ack(2, 3)
	l.look()
	l.tick(l.cfg.ElectionTicks - 1)
	if n := len(sentTo[Heartbeat](l, 2)); n < (l.cfg.ElectionTicks-1)/l.cfg.HeartbeatTicks {
		t.Errorf("%d heartbeats in %d ticks", n, l.cfg.ElectionTicks-1)
	}
}

// Leaders: a command of a client is appended to the log and sent to all; a follower gets everything from
// nextIndex on.
func TestFigure31CommandsAreReplicated(t *testing.T) {
	l := newLab(t, 1, voters(3))
	l.lead()
	l.ack(2, 3)
	l.look()
	l.propose("a")
	for id := MemberID(2); id <= 3; id++ {
		if a := answer[Append](l, id); a.Prev != (Position{2, 2}) || len(a.Entries) != 1 || string(a.Entries[0].Payload) != "a" {
			t.Errorf("%d gets %+v, want the command behind 2@2", uint64(id), a)
		}
	}
}

// Leaders: an acknowledgement moves nextIndex and matchIndex; an inconsistency moves nextIndex back, and the
// leader tries again. It never gives up (§3.5).
func TestFigure31NextIndexFindsTheLog(t *testing.T) {
	l := newLab(t, 1, voters(3), 1, 1, 1, 1)
	l.lead()
	for rounds := 0; ; rounds++ {
		a := l.look()
		if len(a) == 0 {
			a = []Message{{To: 3, Body: Append{Prev: Position{l.peer(3).next - 1, 1}}}}
		}
		prev := Position{}
		for _, m := range a {
			if b, ok := m.Body.(Append); ok && m.To == 3 {
				prev = b.Prev
			}
		}
		if prev.Index <= 1 {
			break
		}
		if rounds > 5 {
			t.Fatalf("still asks at %v", prev)
		}
		l.step(3, 2, AppendReply{Match: prev.Index, Rejected: true, Hint: Position{1, 1}})
	}
	l.step(3, 2, AppendReply{Match: 6})
	if p := l.peer(3); p.match != 6 || p.next != 7 {
		t.Errorf("match %d, next %d; want 6, 7", p.match, p.next)
	}
}

// Leaders: an N above commitIndex that a majority holds, with log[N].term == currentTerm, is committed. An
// entry of an earlier term is not, however many hold it, before one of the current term is (§3.6.2).
func TestFigure31CommitOnlyTheOwnTerm(t *testing.T) {
	l := newLab(t, 1, voters(3), 1, 1)
	l.lead() // the no-op is 4@2
	l.step(2, 2, AppendReply{Match: 3})
	l.step(3, 2, AppendReply{Match: 3})
	if l.commit != 1 {
		t.Fatalf("commit %d: entries of term 1 are counted in term 2", l.commit)
	}
	l.step(2, 2, AppendReply{Match: 4})
	if l.commit != 4 {
		t.Fatalf("commit %d, want 4: a majority holds the no-op and all before it", l.commit)
	}
}

// ---- §3.3 to §3.8

// §3.4: timeouts are spread over [1, 2) times the base, so that split votes are rare.
func TestSection34TimeoutsAreSpread(t *testing.T) {
	l := newLab(t, 1, voters(3))
	seen := map[int]bool{}
	for range 1000 {
		l.resetElectionTimer()
		seen[l.timeout] = true
		if l.timeout < l.cfg.ElectionTicks || l.timeout >= 2*l.cfg.ElectionTicks {
			t.Fatalf("timeout of %d ticks, want [%d, %d)", l.timeout, l.cfg.ElectionTicks, 2*l.cfg.ElectionTicks)
		}
	}
	if len(seen) != l.cfg.ElectionTicks {
		t.Errorf("%d different timeouts, want %d", len(seen), l.cfg.ElectionTicks)
	}
}

// §3.5: appends are idempotent; a late or doubled one never shortens a log.
func TestSection35AppendsAreIdempotent(t *testing.T) {
	l := newLab(t, 1, voters(3))
	first := Append{Prev: Position{1, 1}, Entries: commands(1, 2, 2)}
	l.step(2, 2, first)
	l.step(2, 2, Append{Prev: Position{3, 2}, Entries: commands(3, 2)})
	for range 2 {
		l.step(2, 2, first)
		if l.log.last != (Position{4, 2}) {
			t.Fatalf("log ends at %v after an old append, want 4@2", l.log.last)
		}
	}
}

// §3.5: what a follower rejected is found in at most one question for each term that differs.
func TestSection35HintsSkipTerms(t *testing.T) {
	terms := func(runs ...int) (all []Term) {
		for i, n := range runs {
			all = append(all, slices.Repeat([]Term{Term(i + 2)}, n)...)
		}
		return all
	}
	leader := newLab(t, 1, voters(3), terms(30, 0, 30, 0, 30)...)   // terms 2, 4, 6
	follower := newLab(t, 2, voters(3), terms(20, 40, 0, 40, 0)...) // terms 2, 3, 5
	leader.campaign()
	leader.ballot(false)
	questions := 0
	for follower.log.last.Term != leader.hard.Term {
		if questions++; questions > 4 {
			t.Fatalf("the leader has asked %d times", questions)
		}
		for _, m := range leader.look() {
			if _, ok := m.Body.(Append); ok && m.To == 2 {
				follower.step(1, m.Term, m.Body)
			}
		}
		for _, m := range follower.look() {
			leader.step(2, m.Term, m.Body)
		}
	}
}

// §3.6.1: "up to date" compares the term of the last entry first, then the length.
func TestSection361UpToDate(t *testing.T) {
	for _, c := range []struct {
		last    Position
		granted bool
	}{
		{Position{3, 2}, true}, {Position{4, 2}, true}, {Position{2, 3}, true}, {Position{1, 3}, true},
		{Position{2, 2}, false}, {Position{9, 1}, false}, {Position{0, 0}, false},
	} {
		for _, pre := range []bool{true, false} {
			l := newLab(t, 1, voters(3), 2, 2) // ends at 3@2
			l.step(2, 5, VoteRequest{Pre: pre, Last: c.last})
			if r := answer[VoteReply](l, 2); r.Granted != c.granted {
				t.Errorf("pre %v, last %v: granted %v, want %v", pre, c.last, r.Granted, c.granted)
			}
		}
	}
}

// §3.6.2, figure 3.7: an entry of term 2 on a majority is not committed, and a member without it may win; had
// an entry of term 4 been committed over it, it could not.
func TestFigure37(t *testing.T) {
	// (c) S1 leads term 4, has brought 2@2 to a majority (itself and S2, S3) and not its own entry.
	s1 := newLab(t, 1, voters(5), 2)
	s1.hard.Term = 3
	s1.lead()
	s1.step(2, 4, AppendReply{Match: 2})
	s1.step(3, 4, AppendReply{Match: 2})
	if s1.commit != 1 {
		t.Fatalf("commit %d: 2@2 is counted as committed in term 4", s1.commit)
	}
	// (d) S5, whose last entry is 2@3, gets the votes of those that end at 2@2.
	s2 := newLab(t, 2, voters(5), 2)
	s2.step(5, 5, VoteRequest{Last: Position{2, 3}})
	if !answer[VoteReply](s2, 5).Granted {
		t.Fatal("S2 does not vote for S5, whose log is more up to date")
	}
	// (e) A majority that holds the entry of term 4 gives S5 none.
	s1.ack(2, 3)
	if s1.commit != 3 {
		t.Fatalf("commit %d, want 3", s1.commit)
	}
	s2 = newLab(t, 2, voters(5), 2, 4)
	s2.step(5, 5, VoteRequest{Last: Position{2, 3}})
	if answer[VoteReply](s2, 5).Granted {
		t.Fatal("S2 votes for S5, whose log lacks a committed entry")
	}
}

// §3.8: term, vote and log survive a restart; nothing is promised before they are durable.
func TestSection38PromisesAreDurable(t *testing.T) {
	l := newLab(t, 1, voters(3))
	l.slow = true
	l.step(2, 5, VoteRequest{Last: l.log.last})
	l.step(2, 5, Append{Prev: l.log.last, Entries: commands(1, 5)})
	if len(l.sent) > 0 {
		t.Fatalf("promises before the disk has answered: %v", l.sent)
	}
	if lost := l.restart(); lost.hard.Term != 1 || lost.log.last != (Position{1, 1}) {
		t.Fatalf("restarts with %+v and a log up to %v, want what it had before", lost.hard, lost.log.last)
	}
	l.flush()
	if !answer[VoteReply](l, 2).Granted || answer[AppendReply](l, 2).Match != 2 {
		t.Fatalf("sent %v, want the vote and the ack", l.sent)
	}
	again := l.restart()
	if again.hard.Term != 5 || again.hard.Vote != 2 || again.log.last != (Position{2, 5}) {
		t.Fatalf("restarts with %+v and a log up to %v", again.hard, again.log.last)
	}
	again.step(3, 5, VoteRequest{Last: Position{9, 5}})
	if answer[VoteReply](again, 3).Granted {
		t.Fatal("votes twice in term 5")
	}
}

// §3.8: a candidate's vote for itself counts once it is durable, not when something before it is.
func TestSection38OwnVoteCountsOnceDurable(t *testing.T) {
	l := newLab(t, 1, voters(2))
	l.slow = true
	l.step(2, 5, VoteRequest{Last: l.log.last}) // batch 1: term 5, vote for 2
	l.expire()
	l.ballot(true) // batch 2: term 6, vote for itself
	l.ballot(false)
	l.wantRole(RoleCandidate, 6)
	l.local(Persisted{Seq: l.seq - 1})
	l.wantRole(RoleCandidate, 6)
	l.local(Persisted{Seq: l.seq})
	l.wantRole(RoleLeader, 6)
}

// ---- Figure 3.2, the properties; each under a chaos of its own kind, judged by the world

// Election safety, leader completeness, state-machine safety: the world stops at the first breach. Here it
// must have had something to judge.
func TestFigure32SafetyUnderChaos(t *testing.T) {
	leaders, committed := 0, 0
	for seed := range uint64(20) {
		w := newWorld(t, seed, 3+int(seed%3))
		for step := range 2000 {
			w.chaosStep(step)
		}
		leaders += len(w.leaders)
		committed += len(w.chosen)
	}
	if leaders < 40 || committed < 200 {
		t.Errorf("%d leaders and %d committed entries: too little has happened to show anything", leaders, committed)
	}
}

// Leader append-only: a leader never overwrites or drops an entry of its log while it leads.
func TestFigure32LeaderAppendOnly(t *testing.T) {
	judged := 0
	for seed := range uint64(20) {
		w := newWorld(t, seed, 3)
		logs := map[Term][]Entry{}
		for step := range 2000 {
			w.chaosStep(step)
			for _, id := range w.ids {
				c := w.nodes[id].core
				if !w.nodes[id].up || c.role != RoleLeader {
					continue
				}
				for _, e := range logs[c.hard.Term] {
					if e.Index >= c.log.firstInMemory() && c.log.slice(e.Index, e.Index, 1)[0].Sum != e.Sum {
						t.Fatalf("seed=%d: leader %v of term %d has replaced %v", seed, id, c.hard.Term, e.Position())
					}
					judged++
				}
				if c.log.last.Index < Index(len(logs[c.hard.Term])) {
					t.Fatalf("seed=%d: leader %v of term %d has dropped entries", seed, id, c.hard.Term)
				}
				logs[c.hard.Term] = slices.Clone(c.log.entries)
			}
		}
	}
	if judged < 1000 {
		t.Errorf("only %d entries were compared", judged)
	}
}

// Log matching: two logs with the same term at one index are the same up to there.
func TestFigure32LogMatching(t *testing.T) {
	compared := 0
	for seed := range uint64(10) {
		w := newWorld(t, seed, 5)
		for step := range 2000 {
			w.chaosStep(step)
			w.matching()
		}
		compared += len(w.chosen)
	}
	if compared < 100 {
		t.Errorf("only %d entries were committed: too little has happened to show anything", compared)
	}
}
