package raft

import (
	"fmt"
	"slices"
	"testing"
)

// The claims of thesis_test.go go on: leadership transfer, membership, snapshots, clients, pre-vote and
// pipelining.

// ---- §3.10, leadership transfer

// The prior leader stops taking requests, brings the target's log up to its own, and then tells it to
// campaign.
func TestSection310TransferSteps(t *testing.T) {
	l := newLab(t, 1, voters(3))
	l.lead()
	l.ack(3) // 2 lags
	l.look()
	l.local(Transfer{Ref: 5, To: 2})
	l.propose("a")
	if len(l.accepted) != 1 || len(l.refused) != 1 || l.refused[0].Reason != RefusedTransferring {
		t.Fatalf("accepted %v, refused %v; want the transfer and the proposal", l.accepted, l.refused)
	}
	if n := len(sentTo[TimeoutNow](l, 2)); n != 0 {
		t.Fatal("tells 2 to campaign before it has the log")
	}
	l.ack(2)
	answer[TimeoutNow](l, 2)
}

// The target campaigns at once, in a new term, past pre-vote and past the stickiness of the others.
func TestSection310TargetCampaigns(t *testing.T) {
	target := newLab(t, 2, voters(3))
	target.obey(1, 5)
	target.step(1, 5, TimeoutNow{})
	target.wantRole(RoleCandidate, 6)
	req := answer[VoteRequest](target, 3)
	other := newLab(t, 3, voters(3))
	other.obey(1, 5)
	other.step(2, 6, req)
	if !answer[VoteReply](other, 2).Granted {
		t.Fatal("who hears the old leader refuses the target")
	}
}

// If the transfer is not over after an election timeout, the prior leader takes requests again.
func TestSection310TransferIsGivenUp(t *testing.T) {
	l := newLab(t, 1, voters(3))
	l.lead()
	l.ack(3)
	l.local(Transfer{Ref: 5, To: 2})
	for range l.cfg.ElectionTicks {
		l.propose("a")
		l.tick(1)
		l.ack(3)
	}
	if n := len(l.refused); n != l.cfg.ElectionTicks {
		t.Fatalf("%d proposals refused in %d ticks, want all", n, l.cfg.ElectionTicks)
	}
	l.propose("b")
	if len(l.refused) != l.cfg.ElectionTicks || string(l.log.entries[len(l.log.entries)-1].Payload) != "b" {
		t.Fatal("proposals are still refused after an election timeout")
	}
}

// ---- §4, membership

// §4.1: a configuration is in force from the moment it is in the log, committed or not, and falls back with it.
func TestSection41ConfigurationIsInForceAtOnce(t *testing.T) {
	l := newLab(t, 1, voters(3))
	five := sealed(2, 2, EntryMembership, voters(5).AppendTo(nil))
	l.step(2, 2, Append{Prev: Position{1, 1}, Entries: []Entry{five}})
	if len(l.voters.Incoming) != 5 || l.commit != 1 {
		t.Fatalf("voters %v at commit %d, want five, uncommitted", l.voters, l.commit)
	}
	l.step(3, 3, Append{Prev: Position{1, 1}, Entries: commands(1, 3)})
	if len(l.voters.Incoming) != 3 || l.config != 1 {
		t.Fatalf("voters %v of configuration %d, want the three of 1 again", l.voters, l.config)
	}
}

// §4.1: one change at a time; and none before an entry of the leader's own term is committed (the bug that was
// found in single-server changes).
func TestSection41OneChangeAtATime(t *testing.T) {
	l := newLab(t, 1, voters(3))
	l.lead()
	ask := func(want Refusal) {
		t.Helper()
		l.refused, l.accepted = nil, nil
		l.local(ChangeMembership{Ref: 5, Change: Change{AddLearners: []Member{{ID: MemberID(10 + l.log.last.Index)}}}})
		switch {
		case want == RefusedNot && len(l.accepted) != 1, want != RefusedNot && (len(l.refused) != 1 || l.refused[0].Reason != want):
			t.Fatalf("accepted %v, refused %v; want %s", l.accepted, l.refused, refusals[want])
		}
	}
	ask(RefusedInFlight) // the no-op is not committed
	l.ack(2)
	ask(RefusedNot)
	ask(RefusedInFlight)
	l.ack(2)
	ask(RefusedNot)
}

// §4.2.1: a new server catches up before it counts: as a learner it counts for nothing, and it is promoted only
// when it has nearly all.
func TestSection421LearnersCountForNothing(t *testing.T) {
	l := newLab(t, 1, seats(SeatVoter, SeatVoter, SeatVoter, SeatLearner, SeatLearner))
	l.campaign()
	if len(sentTo[VoteRequest](l, 4)) != 0 {
		t.Error("asks a learner for its vote")
	}
	l.ballot(false)
	l.ack(4, 5)
	if l.commit != 1 {
		t.Fatalf("commit %d: learners are counted", l.commit)
	}
	l.ack(2)
	if l.commit != 2 {
		t.Fatalf("commit %d, want 2", l.commit)
	}
	l.cfg.CaughtUpLag = 2
	l.peer(4).match = 0
	l.propose("a")
	l.ack(2, 5)
	l.local(ChangeMembership{Ref: 5, Change: Change{Promote: []MemberID{4, 5}}})
	if len(l.refused) != 1 || l.refused[0].Reason != RefusedLagging {
		t.Fatalf("refused %v, want 4 refused as lagging", l.refused)
	}
	learner := newLab(t, 4, seats(SeatVoter, SeatVoter, SeatVoter, SeatLearner))
	learner.tick(100)
	learner.wantRole(RoleFollower, 1)
}

// §4.2: a server answers vote requests whoever asks and whatever it believes of itself: the entry that made it
// a voter may not have reached it.
func TestSection42LearnersVote(t *testing.T) {
	for name, m := range map[string]Membership{
		"learner":      seats(SeatLearner, SeatVoter, SeatVoter),
		"not a member": {Members: voters(3).Members[1:]},
	} {
		l := newLab(t, 1, m)
		l.step(9, 5, VoteRequest{Last: Position{1, 1}}) // 9 is in no membership that it knows
		if !answer[VoteReply](l, 9).Granted {
			t.Errorf("%s: refuses its vote", name)
		}
	}
}

// §4.2.2: a leader that removes itself does not count itself once the new configuration is in its log, leads
// until that is committed, then steps down.
func TestSection422LeaderRemovesItself(t *testing.T) {
	l := newLab(t, 1, voters(3))
	l.lead()
	l.ack(2, 3)
	l.local(ChangeMembership{Ref: 5, Change: Change{Remove: []MemberID{1}}})
	l.ack(2) // with its own copy a majority of {1, 2, 3}, but of {2, 3} only one
	if l.commit != 2 {
		t.Fatalf("commit %d: the joint membership is committed without a majority of the new half", l.commit)
	}
	l.ack(3) // commits the joint membership, appends the final one
	if l.log.last.Index != 4 || l.commit != 3 {
		t.Fatalf("log up to %v, commit %d; want the final membership at 4 and commit 3", l.log.last, l.commit)
	}
	l.ack(2)
	l.wantRole(RoleLeader, 2) // its own copy does not count: 2 alone is no majority of {2, 3}
	if l.commit != 3 {
		t.Fatalf("commit %d: the leader counts itself", l.commit)
	}
	l.ack(3)
	l.wantRole(RoleFollower, 2)
	if l.commit != 4 || !l.removed {
		t.Fatalf("commit %d, removed %v; want 4 and that it knows", l.commit, l.removed)
	}
}

// §4.2.3: a removed or cut-off server cannot disturb: whoever hears a leader ignores vote requests of any term.
func TestSection423DisruptiveServers(t *testing.T) {
	for _, role := range []Role{RoleFollower, RoleLeader} {
		l := inRole(t, role)
		l.tick(1)
		l.look()
		for _, pre := range []bool{true, false} {
			l.step(3, 99, VoteRequest{Pre: pre, Last: Position{99, 98}})
		}
		l.wantRole(role, 5)
		if n := len(sentTo[VoteReply](l, 3)); n != 0 {
			t.Errorf("%v: answers a disruptive server %d times", role, n)
		}
	}
	l := inRole(t, RoleFollower)
	l.elapsed = l.cfg.ElectionTicks // the minimum election timeout has passed
	l.step(3, 99, VoteRequest{Last: Position{99, 98}})
	if !answer[VoteReply](l, 3).Granted {
		t.Error("refuses its vote although it has not heard a leader for an election timeout")
	}
}

// §4.3: while joint, entries are committed, elections and pre-elections won, by majorities of both halves.
func TestSection43BothHalvesDecide(t *testing.T) {
	joint := seats(SeatVoter, SeatOutgoing, SeatOutgoing, SeatIncoming, SeatIncoming) // {1 2 3} to {1 4 5}
	for _, c := range []struct {
		of   []MemberID
		both bool
	}{
		{[]MemberID{2}, false}, {[]MemberID{2, 3}, false}, {[]MemberID{4, 5}, false},
		{[]MemberID{2, 4}, true}, {[]MemberID{3, 5}, true}, {[]MemberID{2, 3, 4, 5}, true},
	} {
		l := newLab(t, 1, joint)
		l.expire()
		for _, id := range c.of {
			l.step(id, 2, VoteReply{Pre: true, Granted: true, Campaign: l.Core.campaign})
		}
		if won := l.role == RoleCandidate; won != c.both {
			t.Errorf("pre-votes of %v: won %v, want %v", c.of, won, c.both)
		}
		l = newLab(t, 1, joint)
		l.campaign()
		for _, id := range c.of {
			l.step(id, 2, VoteReply{Granted: true, Campaign: l.Core.campaign})
		}
		if won := l.role == RoleLeader; won != c.both {
			t.Errorf("votes of %v: won %v, want %v", c.of, won, c.both)
		}
		l = newLab(t, 1, joint)
		l.lead()
		l.ack(c.of...)
		if done := l.commit > 1; done != c.both {
			t.Errorf("acks of %v: committed %v, want %v", c.of, done, c.both)
		}
	}
}

// §4.3: the new configuration follows only once the joint one is committed; any leader sees to it, also one that
// found the joint entry in its log.
func TestSection43AnyLeaderLeavesTheJointConfiguration(t *testing.T) {
	l := newLab(t, 1, seats(SeatVoter, SeatOutgoing, SeatVoter, SeatIncoming))
	l.lead()
	if !l.Membership().Joint() {
		t.Fatal("leaves the joint configuration before its no-op is committed")
	}
	l.ack(3)
	l.ack(4) // {1 3 4} and {1 2 3}: 1 and 3 are a majority of both
	if l.Membership().Joint() {
		t.Fatalf("still joint: %v", l.Membership())
	}
	if _, ok := l.Membership().Find(2); ok || l.Membership().Members[2].Seat != SeatVoter {
		t.Fatalf("%v, want voters 1, 3 and 4", l.Membership())
	}
}

// §4.3: acks are judged by the configuration in force when they are counted, not when they were sent.
func TestSection43AcksAreJudgedByTheConfigurationInForce(t *testing.T) {
	l := newLab(t, 1, seats(SeatVoter, SeatVoter, SeatVoter, SeatLearner, SeatLearner))
	l.lead()
	l.ack(2, 3, 4, 5)
	l.slow = true // its own copies do not count
	l.propose("a")
	l.local(ChangeMembership{Ref: 5, Change: Change{Promote: []MemberID{4, 5}, Remove: []MemberID{2, 3}}})
	l.step(2, 2, AppendReply{Match: 3})
	l.step(3, 2, AppendReply{Match: 3})
	if l.commit != 2 {
		t.Fatalf("commit %d: 3 was proposed under {1 2 3}, but {1 4 5} has a say by now", l.commit)
	}
	l.step(4, 2, AppendReply{Match: 3})
	l.step(5, 2, AppendReply{Match: 3})
	if l.commit != 3 {
		t.Fatalf("commit %d, want 3", l.commit)
	}
}

// ---- §5, snapshots

// Figure 5.3: a snapshot that covers what the log has is not installed and entries behind it stay; else the log
// begins anew.
func TestFigure53Snapshot(t *testing.T) {
	for _, c := range []struct {
		name string
		at   Position
		last Position // of the log afterwards
		base Index
	}{
		{"older than what is committed", Position{1, 1}, Position{4, 2}, 0},
		{"in the log", Position{3, 2}, Position{4, 2}, 0},
		{"in conflict with the log", Position{3, 3}, Position{3, 3}, 3},
		{"past the log", Position{9, 3}, Position{9, 3}, 9},
	} {
		l := newLab(t, 1, voters(3), 2, 2, 2)
		l.obey(2, 5)
		l.local(SnapshotReceived{From: 2, Base: Base{Position: c.at, Config: 1, Membership: voters(3)}})
		if l.log.last != c.last || l.log.base.Position.Index != c.base || l.commit < c.at.Index {
			t.Errorf("%s: log behind %v up to %v, commit %d; want behind %d up to %v", c.name, l.log.base.Position, l.log.last, l.commit, c.base, c.last)
		}
		if r := answer[AppendReply](l, 2); r.Rejected || r.Match < c.at.Index {
			t.Errorf("%s: answers %+v, want an ack of %d at least", c.name, r, c.at.Index)
		}
	}
}

// §5.4: a follower is sent a snapshot only when the log no longer has what it needs; while that is on its way
// nothing else is; success and failure both end it.
func TestSection54SnapshotIsSentOnce(t *testing.T) {
	for _, ok := range []bool{true, false} {
		base := Base{Position: Position{10, 1}, Config: 1, Membership: voters(3)}
		l := labOf(t, Config{ID: 1}, Restored{Base: base, Hard: HardState{Term: 1, Commit: 10}, Applied: 10})
		l.lead()
		l.ack(2)
		l.step(3, 2, AppendReply{Match: 10, Rejected: true})
		l.look()
		for range l.cfg.ElectionTicks {
			l.propose("a")
			l.tick(1)
			l.ack(2)
			l.step(3, 2, HeartbeatReply{})
		}
		if len(l.streams) != 1 || len(sentTo[Append](l, 3)) > 0 {
			t.Fatalf("%d streams, %d appends while the snapshot is on its way; want 1 and none", len(l.streams), len(sentTo[Append](l, 3)))
		}
		l.local(SnapshotSent{To: 3, At: Position{10, 1}, OK: ok})
		if !ok {
			l.tick(1)
			if len(l.streams) != 2 {
				t.Fatalf("%d streams after a failure, want another one", len(l.streams))
			}
			continue
		}
		if a := answer[Append](l, 3); a.Prev.Index != 10 {
			t.Fatalf("goes on with %+v, want behind the snapshot", a)
		}
		l.ack(3)
		if p := l.peer(3); p.mode != ModeStream || len(l.streams) != 1 {
			t.Fatalf("%v after %d streams, want stream after 1", p.mode, len(l.streams))
		}
	}
}

// ---- §6, clients

// §6.2: a leader that no majority answers for an election timeout steps down.
func TestSection62LeaderWithoutQuorumStepsDown(t *testing.T) {
	l := newLab(t, 1, voters(5))
	l.lead()
	for range 5 * l.cfg.ElectionTicks {
		l.tick(1)
		l.step(2, 2, HeartbeatReply{})
		l.step(3, 2, AppendReply{Match: 1})
	}
	l.wantRole(RoleLeader, 2)
	for range 2 * l.cfg.ElectionTicks {
		l.tick(1)
		l.step(2, 2, HeartbeatReply{}) // 3 is gone too
	}
	l.wantRole(RoleFollower, 2)
	if l.leader != 0 || l.stepDowns != 1 {
		t.Errorf("leader %v, %d step-downs; want none, 1", l.leader, l.stepDowns)
	}
}

// §6.4, step 1: reads wait for the commit of an entry of the leader's term.
// Step 2: readIndex is the commit index when the round begins.
// Step 3: a round of heartbeats to a majority, sent after that, confirms leadership.
// Step 5: one round serves all reads that came before it.
func TestSection64ReadIndex(t *testing.T) {
	l := newLab(t, 1, voters(5), 1, 1)
	l.lead()
	l.local(Read{Ref: 7})
	l.local(Read{Ref: 8})
	l.step(2, 2, HeartbeatReply{})
	if len(l.rounds) != 0 {
		t.Fatal("a round begins before the no-op is committed")
	}
	l.ack(2, 3)
	if len(l.rounds) != 1 || l.rounds[0].index != 4 || len(l.rounds[0].reads) != 2 {
		t.Fatalf("rounds %+v, want one at 4 for both reads", l.rounds)
	}
	l.step(2, 2, HeartbeatReply{}) // answers a heartbeat of before the round
	l.step(3, 2, HeartbeatReply{})
	l.step(2, 2, HeartbeatReply{Read: 1})
	if len(l.reads) != 0 {
		t.Fatal("granted by less than a majority of answers to the round")
	}
	l.propose("later")
	l.ack(2, 3)
	l.step(3, 2, HeartbeatReply{Read: 1})
	want := []ReadGrant{{Ref: 7, Index: 4}, {Ref: 8, Index: 4}}
	if !slices.Equal(l.reads, want) {
		t.Fatalf("granted %v, want %v", l.reads, want)
	}
}

// §6.4: while joint, a round needs a majority of both halves; learners confirm nothing.
func TestSection64JointRead(t *testing.T) {
	l := newLab(t, 1, seats(SeatVoter, SeatVoter, SeatVoter, SeatLearner, SeatLearner, SeatLearner))
	l.lead()
	l.ack(2, 3, 4, 5, 6)
	l.local(ChangeMembership{Ref: 5, Change: Change{Promote: []MemberID{4, 5}, Remove: []MemberID{2, 3}}})
	l.local(Read{Ref: 7})
	for _, id := range []MemberID{2, 3, 6} {
		l.step(id, 2, HeartbeatReply{Read: 1})
	}
	if len(l.reads) != 0 {
		t.Fatal("granted by the old half alone")
	}
	l.step(5, 2, HeartbeatReply{Read: 1})
	if len(l.reads) != 1 {
		t.Fatal("not granted by majorities of both halves")
	}
}

// §6.4: the contexts of rounds are never used twice, not even by a leader that leads again.
func TestSection64RoundsAreNeverUsedTwice(t *testing.T) {
	l := newLab(t, 1, voters(3))
	seen := map[uint64]bool{}
	for reign := range 3 {
		l.lead()
		l.ack(2, 3)
		for range 3 {
			l.look()
			l.local(Read{Ref: 7})
			round := answer[Heartbeat](l, 2).Read
			if round == 0 || seen[round] {
				t.Fatalf("reign %d: round %d is used twice", reign, round)
			}
			seen[round] = true
		}
		l.step(2, l.hard.Term+1, AppendReply{}) // somebody is in a higher term
		l.wantRole(RoleFollower, l.hard.Term)
	}
}

// §6.4: followers' reads go through the leader, and are refused by who is none.
func TestSection64FollowerRead(t *testing.T) {
	f := newLab(t, 2, voters(3))
	f.obey(1, 5)
	f.local(Read{Ref: 7})
	req := answer[ReadRequest](f, 1)
	f.step(1, 5, ReadReply{Ref: req.Ref, Index: 4})
	f.step(1, 5, ReadReply{Ref: req.Ref, Index: 4}) // doubled
	if !slices.Equal(f.reads, []ReadGrant{{Ref: 7, Index: 4}}) {
		t.Fatalf("granted %v, want read 7 once", f.reads)
	}
	f.look()
	f.step(3, 5, ReadRequest{Ref: 9})
	if r := answer[ReadReply](f, 3); r.Reason != RefusedNoLeader {
		t.Fatalf("answers %+v, want a refusal", r)
	}
}

// ---- §9.6, pre-vote; §10.2, pipelining and parallel writes

// §9.6: a pre-vote changes nothing on either side; a candidacy begins only after a majority would vote for it.
func TestSection96PreVoteChangesNothing(t *testing.T) {
	l := newLab(t, 1, voters(3))
	l.step(2, 5, VoteRequest{Pre: true, Last: l.log.last})
	if !answer[VoteReply](l, 2).Granted || l.hard.Term != 1 || l.hard.Vote != 0 || len(l.disk.disk.Entries) != 1 {
		t.Fatalf("hard state %+v after a pre-vote, want no change", l.hard)
	}
	l.look()
	l.step(3, 5, VoteRequest{Pre: true, Last: l.log.last})
	if !answer[VoteReply](l, 3).Granted {
		t.Fatal("a pre-vote is no promise: it may be given twice")
	}
	for range 5 {
		l.expire()
	}
	l.wantRole(RolePreCandidate, 1)
}

// §10.2.2: appends are sent ahead of their acknowledgements, and are found to be in order by the follower.
func TestSection1022AppendsArePipelined(t *testing.T) {
	l := newLab(t, 1, voters(3))
	l.lead()
	l.ack(2)
	l.look()
	for i := range 5 {
		l.propose(fmt.Sprint(i))
	}
	sent := sentTo[Append](l, 2)
	if len(sent) != 5 {
		t.Fatalf("%d appends left before any ack, want 5", len(sent))
	}
	f := newLab(t, 2, voters(3))
	f.step(1, 2, Append{Prev: Position{1, 1}, Entries: []Entry{sealed(2, 2, EntryNoop, nil)}})
	for _, i := range []int{1, 0, 1, 3, 2, 3, 4, 2, 0} { // reordered and doubled
		f.step(1, 2, sent[i])
	}
	if f.log.last != (Position{7, 2}) {
		t.Fatalf("log ends at %v, want 7@2", f.log.last)
	}
	f.look()
	f.step(1, 2, Append{Prev: Position{9, 2}, Entries: commands(9, 2)}) // one is missing before it
	if !answer[AppendReply](f, 1).Rejected {
		t.Fatal("takes an append that leaves a gap")
	}
}

// §10.2.1: the leader writes its own copy while the followers write theirs. It counts once it is durable, which
// may be after theirs; what the leader applies is durable in its own log.
func TestSection1021ParallelWrites(t *testing.T) {
	l := newLab(t, 1, voters(5))
	l.lead()
	l.ack(2, 3, 4, 5)
	l.slow = true
	l.look()
	l.propose("a")
	if len(sentTo[Append](l, 2)) != 1 {
		t.Fatal("the append waits for the leader's own disk")
	}
	l.ack(2, 3)
	if l.commit != 2 {
		t.Fatalf("commit %d: the leader's copy counts before it is durable", l.commit)
	}
	l.ack(4)
	if l.commit != 3 || l.applied[len(l.applied)-1].Index != 2 {
		t.Fatalf("commit %d, applied %v; want 3, and 3 not applied before it is durable here", l.commit, l.applied)
	}
	l.flush()
	if l.applied[len(l.applied)-1].Index != 3 {
		t.Fatal("not applied once it is durable")
	}
	l.propose("b")
	l.ack(2)
	l.ack(3)
	l.flush()
	if l.commit != 4 {
		t.Fatalf("commit %d, want 4: the own durable copy is the third", l.commit)
	}
}
