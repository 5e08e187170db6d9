package raft

import (
	"errors"
	"strings"
	"testing"
)

// Each test here shows a bug that the core once had: what it does now, and what it did then. Where a seed of
// TestChaos found it, the seed is named.

// TestRemovedMemberCampaignsUntilItsRemovalIsCommitted: the leader 2 has appended the membership without
// itself and stepped down before anybody else got that entry. Its log is the longest of the old half {2, 5},
// so nobody but itself can win there; it used to sit still because it was no voter in its newest membership,
// and the cluster stayed without a leader for ever. Seed 16788 of TestChaos as it was then.
func TestRemovedMemberCampaignsUntilItsRemovalIsCommitted(t *testing.T) {
	joint := seats(SeatOutgoing, SeatVoter, SeatIncoming, SeatIncoming)
	final := Membership{Members: voters(4).Members[1:]}
	entries := []Entry{
		sealed(1, 1, EntryMembership, seats(SeatVoter, SeatVoter, SeatLearner, SeatLearner).AppendTo(nil)),
		sealed(2, 1, EntryMembership, joint.AppendTo(nil)),
		sealed(3, 1, EntryMembership, final.AppendTo(nil)),
	}
	l := labOf(t, Config{ID: 1}, Restored{Hard: HardState{Term: 1, Commit: 2}, Entries: entries})
	l.lead()
	// Once its removal is committed it steps down, and never asks again.
	l.ack(2, 3)
	l.wantRole(RoleFollower, 2)
	if !l.removed {
		t.Error("the member is not told that it was removed")
	}
	l.tick(100)
	l.wantRole(RoleFollower, 2)
}

// TestLongClientURLIsRefused: the leader used to encode a membership with an over-long client URL, which no
// member could read back; every leader that was asked so stopped.
func TestLongClientURLIsRefused(t *testing.T) {
	l := newLab(t, 1, voters(1))
	l.lead()
	long := Member{ID: 9, ClientURLs: []string{strings.Repeat("u", maxString+1)}}
	l.local(ChangeMembership{Ref: 5, Change: Change{AddLearners: []Member{long}}})
	if len(l.refused) != 1 || l.refused[0].Reason != RefusedInvalid {
		t.Fatalf("refused %v, want one invalid change", l.refused)
	}
}

// TestVoteRequestsDoNotKeepALeader: a leader whose peers hear nothing of it, but whom it hears campaigning,
// used to count their vote requests as contact and led on without being able to commit anything.
func TestVoteRequestsDoNotKeepALeader(t *testing.T) {
	l := newLab(t, 1, voters(3))
	l.lead()
	for range 3 * l.cfg.ElectionTicks {
		l.tick(1)
		l.step(2, 3, VoteRequest{Pre: true, Last: Position{1, 1}})
		l.step(3, 3, VoteRequest{Pre: true, Last: Position{1, 1}})
	}
	l.wantRole(RolePreCandidate, 2) // those who ask lack what it has
	if l.stepDowns != 1 {
		t.Errorf("it has stepped down %d times", l.stepDowns)
	}
}

// TestTimeoutNowIsSaidAgain: TimeoutNow used to be sent once, and a target that was just asking for
// pre-votes ignored it: the transfer then failed after an election timeout without need.
func TestTimeoutNowIsSaidAgain(t *testing.T) {
	l := newLab(t, 1, voters(3))
	l.lead()
	l.ack(2, 3)
	l.look()
	l.local(Transfer{Ref: 1, To: 2})
	answer[TimeoutNow](l, 2)
	l.look()
	l.tick(l.cfg.HeartbeatTicks)
	answer[TimeoutNow](l, 2)

	target := newLab(t, 2, voters(3))
	target.expire()
	target.wantRole(RolePreCandidate, 1)
	target.step(1, 2, TimeoutNow{})
	target.wantRole(RoleCandidate, 3)
	target.step(1, 2, TimeoutNow{}) // a second one is of a term that has passed
	target.wantRole(RoleCandidate, 3)
}

// TestTimeoutNowIsNotHeededByWhoLeaves: an old TimeoutNow that reached a member after it had begun to leave
// used to make it campaign.
func TestTimeoutNowIsNotHeededByWhoLeaves(t *testing.T) {
	for _, seat := range []Seat{SeatOutgoing, SeatLearner} {
		l := newLab(t, 1, seats(seat, SeatVoter, SeatVoter))
		l.obey(2, 1)
		l.step(2, 1, TimeoutNow{})
		l.wantRole(RoleFollower, 1)
	}
}

// TestTransferPrefersWhoAnswers: asked to choose, a leader used to choose the first of those furthest ahead,
// also if that one had been down for long.
func TestTransferPrefersWhoAnswers(t *testing.T) {
	l := newLab(t, 1, voters(3))
	l.lead()
	l.ack(2, 3)
	for range 3 * l.cfg.ElectionTicks {
		l.tick(1)
		l.step(3, 2, HeartbeatReply{})
	}
	l.look()
	l.local(Transfer{Ref: 1})
	answer[TimeoutNow](l, 3)
}

// TestLearnerForgetsASilentLeader: a member that may not campaign used to send reads to a leader long gone
// and to wait for its answer for ever.
func TestLearnerForgetsASilentLeader(t *testing.T) {
	l := newLab(t, 3, seats(SeatVoter, SeatVoter, SeatLearner))
	l.obey(1, 2)
	l.local(Read{Ref: 7})
	answer[ReadRequest](l, 1)
	l.expire()
	if l.leader != 0 || len(l.refused) != 1 || l.refused[0] != (Refused{Ref: 7, Reason: RefusedNoLeader}) {
		t.Fatalf("leader %v, refused %v; want no leader and read 7 refused", l.leader, l.refused)
	}
	l.wantRole(RoleFollower, 2)
}

// TestStaleFetchStartsNoSnapshot: the answer "the log has no such entries" used to start a snapshot even if
// the peer had caught up by itself meanwhile.
func TestStaleFetchStartsNoSnapshot(t *testing.T) {
	l := newLab(t, 1, voters(3), 1, 1, 1)
	l.cfg.TailBytes = 1
	l.lead()
	l.ack(2)
	l.local(Applied{Index: 5}) // and the memory of them goes
	l.step(3, 2, AppendReply{Match: 4, Rejected: true, Hint: Position{1, 1}})
	if len(l.fetches) != 1 {
		t.Fatalf("fetches %v, want one", l.fetches)
	}
	l.ack(3)
	l.local(Fetched{To: 3})
	if len(l.streams) != 0 {
		t.Fatalf("snapshot streams to %v, want none", l.streams)
	}
}

// TestProbesAreSmall: a probe whose entries were read back from the log used to be as large as any append,
// although it may be sent many times.
func TestProbesAreSmall(t *testing.T) {
	l := newLab(t, 1, voters(3), 1, 1, 1)
	l.cfg.TailBytes = 1
	l.lead()
	l.ack(2)
	l.local(Applied{Index: 5})
	l.step(3, 2, AppendReply{Match: 4, Rejected: true, Hint: Position{1, 1}})
	if got := l.fetches[0].MaxBytes; got != maxProbeBytes {
		t.Fatalf("fetches %d bytes for a probe, the bound is %d", got, maxProbeBytes)
	}
}

// TestSilentPeerGetsNoSnapshot: a leader used to begin a snapshot for a peer that was down at every
// heartbeat.
func TestSilentPeerGetsNoSnapshot(t *testing.T) {
	base := Base{Position: Position{10, 1}, Config: 1, Membership: voters(3)}
	l := labOf(t, Config{ID: 1}, Restored{Base: base, Hard: HardState{Term: 1, Commit: 10}, Applied: 10})
	l.lead()
	for range 4 * l.cfg.ElectionTicks {
		l.tick(1)
		l.ack(2)
	}
	// A new leader finds that 3 has nothing, while 3 does not answer any more.
	l.step(3, 2, AppendReply{Match: 10, Rejected: true})
	if len(l.streams) != 1 {
		t.Fatalf("streams to %v, want one to 3", l.streams)
	}
	for range 4 * l.cfg.ElectionTicks {
		l.local(SnapshotSent{To: 3})
		l.tick(1)
		l.ack(2)
	}
	begun := len(l.streams)
	for range 4 * l.cfg.ElectionTicks {
		l.local(SnapshotSent{To: 3})
		l.tick(1)
		l.ack(2)
	}
	if len(l.streams) != begun {
		t.Fatalf("%d streams were begun to a peer that is down", len(l.streams)-begun)
	}
	l.step(3, 2, HeartbeatReply{})
	l.tick(1)
	if len(l.streams) != begun+1 {
		t.Fatal("no stream is begun to the peer that is back")
	}
}

// TestAppendOfAHigherTermThanItsLeader: a follower used to take entries of a term above its leader's, and
// then refused to start again, because its log was ahead of its hard state.
func TestAppendOfAHigherTermThanItsLeader(t *testing.T) {
	l := newLab(t, 1, voters(3))
	m := Message{From: 2, To: 1, FromBoot: 1, Term: 2, Body: Append{Prev: Position{1, 1}, Entries: commands(1, 2, 3)}}
	if err := l.Step(m); !errors.Is(err, ErrMalformed) {
		t.Fatalf("error %v, want %v", err, ErrMalformed)
	}
	l.wantRole(RoleFollower, 1)
}

// TestRoundIsConfirmedByASmallerQuorum: a read round that had the answers of a quorum of the new membership
// used to wait for a fresh answer after the old one ended.
func TestRoundIsConfirmedByASmallerQuorum(t *testing.T) {
	l := newLab(t, 1, voters(5))
	l.lead()
	l.ack(2, 3, 4, 5)
	l.local(Read{Ref: 7})
	l.step(2, 2, HeartbeatReply{Read: 1})
	l.local(ChangeMembership{Ref: 8, Change: Change{Remove: []MemberID{4, 5}}})
	l.ack(2, 3) // commits the joint membership, begins the final one: voters 1, 2 and 3
	l.step(2, 2, HeartbeatReply{})
	if len(l.reads) != 1 {
		t.Fatalf("granted %v, want read 7", l.reads)
	}
}

// TestForwardOfAHigherTermDeposesNobody: a forwarded proposal of a higher term used to make a leader step
// down; whoever sends one takes it for the leader of a term that it does not lead, and is told so.
func TestForwardOfAHigherTermDeposesNobody(t *testing.T) {
	l := newLab(t, 1, voters(3))
	l.lead()
	l.step(2, 9, Forward{Proposals: []Proposal{{Ref: 5, Payload: []byte("a")}}})
	l.wantRole(RoleLeader, 2)
	if got := answer[ForwardRefused](l, 2); got.Reason != RefusedNoLeader {
		t.Fatalf("refused as %s, want no leader", refusals[got.Reason])
	}
}

// TestTornBatchCommitsNothing: the hard state used to carry the commit index of entries that were behind it in
// the same batch. Had the batch lost those, the member would have started with their index as committed, and
// have applied the entries of a lower term that they were to replace. The log writes a batch as a whole, so no
// member was ever hurt. Seeds 54908 and 65628 of TestChaos as it was then, the first that tore batches.
func TestTornBatchCommitsNothing(t *testing.T) {
	l := newLab(t, 1, voters(3), 2, 2)
	l.slow = true
	l.step(2, 3, Append{Prev: Position{1, 1}, Commit: 3, Entries: commands(1, 3, 3)})
	if l.commit != 3 {
		t.Fatalf("commit %d, want 3", l.commit)
	}
	for i := range l.batches {
		l.batches[i].Entries = nil
	}
	l.flush()
	if again := l.restart(); again.commit != 1 || len(again.Core.log.entries) != 3 {
		t.Fatalf("starts with commit %d, want 1: 2@2 and 3@2 are in its log", again.commit)
	}
}

// TestTwoRestartsDoNotPartMembersForEver: member 1 knows an earlier life of member 2, and what member 2 says
// names an earlier life of member 1. Each used to drop everything of the other. Seed 269350650862041 of node/sim.
func TestTwoRestartsDoNotPartMembersForEver(t *testing.T) {
	l := newLab(t, 1, voters(3))
	hear := func(boot, to Boot) []Message {
		t.Helper()
		if err := l.Step(Message{From: 2, To: 1, FromBoot: boot, ToBoot: to, Term: 2, Body: Heartbeat{}}); err != nil {
			t.Fatal(err)
		}
		return l.Take().Early
	}
	mine := l.cfg.Boot
	hear(3, mine) // the earlier life of member 2 is known
	told := hear(4, mine+1)
	if len(told) != 1 || told[0].ToBoot != 4 {
		t.Fatalf("a heartbeat of life 4 to another life is answered by %+v, want an answer to life 4", told)
	}
	// So is a candidate, which might need this member's vote and would ask the earlier life for ever (seed 6).
	if err := l.Step(Message{From: 2, To: 1, FromBoot: 4, ToBoot: mine + 1, Term: 3, Body: VoteRequest{Pre: true, Last: Position{9, 2}}}); err != nil {
		t.Fatal(err)
	}
	if told := l.Take(); len(told.Early) != 1 || told.Early[0].ToBoot != 4 || len(told.Late) != 0 {
		t.Fatalf("a vote request to another life is answered by %+v and %+v, want only this boot", told.Early, told.Late)
	}
	if late := hear(3, mine); len(late) != 0 {
		t.Fatalf("a heartbeat of life 3 after one of life 4 is answered by %+v", late)
	}
}

// TestOldStateIsNotHeldAgainstTheNew: what the store had applied between the decision to install a snapshot and the
// switch to it used to be kept as points of the new state; then a member with a sound state was told that it differs,
// looked for itself, and agreed.
func TestOldStateIsNotHeldAgainstTheNew(t *testing.T) {
	for _, keep := range []bool{false, true} {
		restored := Restored{Hard: HardState{Term: 1, Commit: 1}, Entries: Birth(Member{ID: 1, Name: "1"}).Entries}
		base := Base{Position: Position{8, 1}, Config: 1, Membership: voters(3)}
		if keep { // a log that goes on behind the snapshot, and a store that has nothing to go on from
			restored = Restored{Base: Base{Position: Position{6, 1}, Config: 1, Membership: voters(3)}, Hard: HardState{Term: 1, Commit: 8}}
			for i := Index(7); i <= 9; i++ {
				e := Entry{Index: i, Term: 1, Kind: EntryNoop}
				e.Seal()
				restored.Entries = append(restored.Entries, e)
			}
		}
		l := labOf(t, Config{ID: 1}, restored)
		l.obey(2, 2)
		l.local(SnapshotReceived{From: 2, Base: base})
		l.local(Applied{Index: 4, Points: []Point{{4, 99}}})
		l.local(Applied{Index: 8, Points: []Point{{8, 8}}, Installed: true})
		for _, p := range []Point{{4, 4}, {8, 8}} {
			l.step(2, 2, Heartbeat{Point: p, Diverged: true})
		}
		if d := l.Core.attest.diverged; d != (Divergence{}) {
			t.Errorf("log kept %v: takes its state for different: %+v", keep, d)
		}
		l.step(2, 2, Heartbeat{Point: Point{8, 7}, Diverged: true})
		if d := l.Core.attest.diverged; d.Index != 8 {
			t.Errorf("log kept %v: does not know the point of its new state: %+v", keep, d)
		}
	}
}
