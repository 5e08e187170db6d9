package raft

import (
	"fmt"
	"slices"
	"testing"
)

// Claims of the thesis that thesis_test.go and thesis_change_test.go leave out, in its order.

// ---- §3.4, elections

// A vote counts for the campaign it was asked in, and only as what it was asked for: a pre-vote is none.
func TestSection34VotesCountForTheirCampaign(t *testing.T) {
	for _, role := range []Role{RolePreCandidate, RoleCandidate} {
		for name, c := range map[string]struct {
			by     Term // added to the member's term
			reply  VoteReply
			counts bool
		}{
			"as asked":                  {0, VoteReply{Pre: role == RolePreCandidate}, true},
			"of the other kind":         {0, VoteReply{Pre: role != RolePreCandidate}, false},
			"of the campaign before":    {0, VoteReply{Pre: role == RolePreCandidate, Campaign: 1 << 40}, false},
			"granted in the wrong term": {0, VoteReply{Pre: true, Granted: true}, false},
		} {
			l := newLab(t, 1, voters(5))
			l.expire()
			if role == RoleCandidate {
				l.ballot(true)
			}
			l.wantRole(role, l.hard.Term)
			c.reply.Campaign ^= l.Core.campaign
			before := len(l.ballots)
			l.step(2, l.hard.Term+c.by, c.reply)
			if counted := len(l.ballots) > before; counted != c.counts {
				t.Errorf("%v, an answer %s: counted %v, want %v", role, name, counted, c.counts)
			}
		}
	}
}

// ---- §3.7, §3.8: crashes

// §3.7: what is lost is said again: a leader repeats an append until it is answered, at the pace of its heartbeats.
func TestSection37AppendsAreRepeated(t *testing.T) {
	l := newLab(t, 1, voters(3))
	l.lead()
	l.ack(3)
	for range 5 {
		l.look()
		l.tick(l.cfg.HeartbeatTicks)
		l.ack(3)
		if a := answer[Append](l, 2); a.Prev != (Position{1, 1}) || len(a.Entries) != 1 {
			t.Fatalf("asks 2 with %+v, want its no-op again", a)
		}
	}
}

// §3.8: the vote is durable before it is told, also in a term that was durable before: learning of a term and voting
// in it are two things.
func TestSection38AVoteInAKnownTermIsDurable(t *testing.T) {
	l := newLab(t, 1, voters(3))
	l.step(2, 5, VoteRequest{Last: Position{0, 0}}) // refused, but the term is known now
	if answer[VoteReply](l, 2).Granted || l.disk.disk.Hard != (HardState{Term: 5, Commit: 1}) {
		t.Fatalf("durable %+v, want term 5 without a vote", l.disk.disk.Hard)
	}
	l.look()
	l.slow = true
	l.step(3, 5, VoteRequest{Last: l.log.last})
	if len(l.sent) > 0 {
		t.Fatal("the vote is told before it is durable")
	}
	l.flush()
	if !answer[VoteReply](l, 3).Granted || l.disk.disk.Hard.Vote != 3 {
		t.Fatalf("durable %+v after the vote for 3 was told", l.disk.disk.Hard)
	}
	again := l.restart()
	again.step(2, 5, VoteRequest{Last: Position{9, 4}})
	if answer[VoteReply](again, 2).Granted {
		t.Fatal("votes twice in term 5")
	}
}

// §3.8: a candidate's own vote of an earlier term says nothing of this one.
func TestSection38OwnVoteOfAnEarlierTerm(t *testing.T) {
	l := newLab(t, 1, voters(2))
	l.campaign() // term 2, its own vote durable
	l.slow = true
	l.expire()
	l.ballot(true) // term 3, not durable yet
	earlier := l.seq
	l.propose("x")
	l.ballot(false)
	l.wantRole(RoleCandidate, 3)
	l.local(Persisted{Seq: earlier - 1})
	l.wantRole(RoleCandidate, 3)
	l.flush()
	l.wantRole(RoleLeader, 3)
}

// §3.8: the commit index may be forgotten; what was applied is not applied again, and the rest follows the leader.
func TestSection38CommitIndexMayBeForgotten(t *testing.T) {
	l := newLab(t, 1, voters(3), 2, 2, 2)
	l.step(2, 2, Append{Prev: Position{4, 2}, Commit: 4})
	r := l.disk.disk
	r.Hard.Commit, r.Applied = 0, 3
	again := labOf(t, Config{ID: 1}, r)
	if again.commit != 3 || len(again.applied) != 0 {
		t.Fatalf("starts with commit %d and applies %v, want 3 and nothing", again.commit, again.applied)
	}
	again.step(2, 2, Append{Prev: Position{4, 2}, Commit: 4})
	if len(again.applied) != 1 || again.applied[0].Index != 4 {
		t.Fatalf("applies %v, want 4", again.applied)
	}
}

// ---- §5, snapshots

// received lets a snapshot of the leader of a term lie ready.
func (l *lab) received(leader MemberID, term Term, base Base) {
	l.t.Helper()
	l.obey(leader, term)
	l.local(SnapshotReceived{From: leader, Base: base})
}

// §5.1: a snapshot carries the configuration in force at its last entry, and the position that the next append is
// checked against.
func TestSection51SnapshotCarriesTheConfiguration(t *testing.T) {
	l := newLab(t, 1, voters(3), 2, 2)
	l.received(2, 5, Base{Position: Position{9, 4}, Config: 7, Membership: voters(5)})
	if l.config != 7 || len(l.voters.Incoming) != 5 || l.durable != 9 || l.hard.Term != 5 || l.leader != 2 {
		t.Fatalf("configuration %d with voters %v, durable %d, term %d, leader %v", l.config, l.voters.Incoming, l.durable, l.hard.Term, l.leader)
	}
	if at := l.disk.disk.Base; at.Position != (Position{9, 4}) || at.Config != 7 {
		t.Fatalf("the log begins behind %+v", at)
	}
	l.look()
	l.step(2, 5, Append{Prev: Position{9, 3}, Entries: commands(9, 5)})
	if !answer[AppendReply](l, 2).Rejected {
		t.Fatal("takes an append that does not follow the snapshot")
	}
	l.look()
	l.step(2, 5, Append{Prev: Position{9, 4}, Entries: commands(9, 5)})
	if r := answer[AppendReply](l, 2); r.Rejected || r.Match != 10 {
		t.Fatalf("%+v, want the append behind the snapshot taken", r)
	}
}

// §5.2: entries that a snapshot has not covered, and were on their way to the disk when it came, void nothing: what
// their batch makes durable is of another log.
func TestSection52BatchesOfTheLogBefore(t *testing.T) {
	l := newLab(t, 1, voters(3))
	l.slow = true
	l.step(2, 2, Append{Prev: Position{1, 1}, Entries: commands(1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2)})
	before := l.seq
	l.received(3, 3, Base{Position: Position{5, 3}, Config: 1, Membership: voters(3)})
	l.step(3, 3, Append{Prev: Position{5, 3}, Entries: commands(5, 3, 3)})
	if l.durable != 5 {
		t.Fatalf("durable up to %d behind the snapshot, want 5", l.durable)
	}
	l.local(Persisted{Seq: before})
	if l.durable != 5 {
		t.Fatalf("a batch of the log before makes %d durable, want 5", l.durable)
	}
	l.flush()
	if l.durable != 7 {
		t.Fatalf("durable up to %d, want 7", l.durable)
	}
}

// ---- §6, clients

// §6.2: contact is judged over one election timeout at a time: a leader that nobody answers leads no longer than two,
// and not one tick less than one.
func TestSection62ContactIsJudgedInTime(t *testing.T) {
	l := newLab(t, 1, voters(3))
	l.lead()
	l.tick(l.cfg.ElectionTicks) // counts what came before as contact
	l.wantRole(RoleLeader, 2)
	l.tick(l.cfg.ElectionTicks - 1)
	l.wantRole(RoleLeader, 2)
	l.tick(1)
	l.wantRole(RoleFollower, 2)
}

// §6.4: a read that is asked for while another round is out waits for a round of its own: an answer that left before
// it was asked for confirms nothing.
func TestSection64LaterReadsNeedALaterRound(t *testing.T) {
	l := newLab(t, 1, voters(3))
	l.lead()
	l.ack(2, 3)
	l.local(Read{Ref: 7})
	l.local(Read{Ref: 8})
	l.step(2, 2, HeartbeatReply{Read: 1})
	if !slices.Equal(l.reads, []ReadGrant{{Ref: 7, Index: 2}}) {
		t.Fatalf("granted %v by an answer to round 1, want read 7", l.reads)
	}
	l.step(3, 2, HeartbeatReply{Read: 1}) // the same round again
	if len(l.reads) != 1 {
		t.Fatalf("granted %v, want no more", l.reads)
	}
	l.local(Read{Ref: 9})
	l.step(3, 2, HeartbeatReply{Read: 3}) // confirms the rounds before it too
	if len(l.reads) != 3 || len(l.rounds) != 0 {
		t.Fatalf("granted %v, %d rounds open; want all three and none", l.reads, len(l.rounds))
	}
}

// ---- §10.2, performance

// §10.2.3: what is proposed together leaves together, within the bound on one append, in order and without a gap.
func TestSection1023ProposalsAreBatched(t *testing.T) {
	l := labOf(t, Config{ID: 1, MaxAppendBytes: 10}, Restored{
		Hard: HardState{Term: 1, Commit: 1}, Entries: []Entry{sealed(1, 1, EntryMembership, voters(3).AppendTo(nil))},
	})
	l.lead()
	l.ack(2, 3)
	l.look()
	var ps []Proposal
	for i := range 7 {
		ps = append(ps, Proposal{Ref: uint64(i), Payload: fmt.Appendf(nil, "abc%d", i)}) // 4 bytes each
	}
	l.local(Propose{Proposals: ps})
	sent := sentTo[Append](l, 2)
	at := Position{2, 2}
	var sizes []int
	for _, a := range sent {
		if a.Prev != at {
			t.Fatalf("an append behind %v, want behind %v", a.Prev, at)
		}
		sizes = append(sizes, len(a.Entries))
		at = a.Entries[len(a.Entries)-1].Position()
	}
	if !slices.Equal(sizes, []int{2, 2, 2, 1}) || at != (Position{9, 2}) {
		t.Fatalf("appends of %v entries up to %v, want two each of 10 bytes, up to 9@2", sizes, at)
	}
}

// §6.4: a leader that steps down answers every read that still waits, also those whose round has not begun because its
// no-op is not committed.
func TestSection64WaitingReadsAreRefused(t *testing.T) {
	l := newLab(t, 1, voters(3))
	l.lead()
	l.local(Read{Ref: 7}) // waits for the no-op
	l.step(2, 2, ReadRequest{Ref: 9})
	l.look()
	l.step(3, 3, HeartbeatReply{})
	l.wantRole(RoleFollower, 3)
	if !slices.Equal(l.refused, []Refused{{Ref: 7, Reason: RefusedNoLeader}}) {
		t.Errorf("refused %v, want read 7", l.refused)
	}
	if r := answer[ReadReply](l, 2); r != (ReadReply{Ref: 9, Reason: RefusedNoLeader}) {
		t.Errorf("member 2 hears %+v, want read 9 refused", r)
	}
}
