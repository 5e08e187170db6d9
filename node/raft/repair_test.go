package raft

import (
	"bytes"
	"errors"
	"slices"
	"testing"
)

// hurt makes member 1 of three voters with commands of these terms behind its membership 1@1, some of which are lost,
// and what it knows to be committed.
func hurt(t *testing.T, commit Index, terms []Term, lost ...Index) *lab {
	t.Helper()
	entries := append([]Entry{sealed(1, 1, EntryMembership, voters(3).AppendTo(nil))}, commands(1, terms...)...)
	return labOf(t, Config{ID: 1}, Restored{Hard: HardState{Term: entries[len(entries)-1].Term, Commit: commit}, Entries: without(entries, lost...), Applied: 1})
}

// without replaces entries by their places and checksums.
func without(entries []Entry, lost ...Index) []Entry {
	entries = slices.Clone(entries)
	for i := range entries {
		if e := &entries[i]; slices.Contains(lost, e.Index) {
			*e = Entry{Index: e.Index, Term: e.Term, Sum: e.Sum}
		}
	}
	return entries
}

func (l *lab) wantLost(lost ...Index) {
	l.t.Helper()
	if !slices.Equal(l.repair.lost, lost) {
		l.t.Fatalf("lost %d, want %d", l.repair.lost, lost)
	}
	if rule := l.broken(); rule != "" {
		l.t.Fatalf("this does not hold: %s", rule)
	}
}

func (l *lab) wantApplied(upTo Index) {
	l.t.Helper()
	if l.emitted != upTo {
		l.t.Fatalf("has given out entries up to %d to apply, want %d", l.emitted, upTo)
	}
}

// A vote promises positions, and those are known: damage changes no vote. But who cannot read its whole log asks for
// none, not even when its leader tells it to.
func TestDamagedMemberVotesAndDoesNotCampaign(t *testing.T) {
	for last, want := range map[Position]bool{{3, 1}: false, {4, 1}: true, {5, 1}: true, {2, 2}: true} {
		l := hurt(t, 1, []Term{1, 1, 1}, 4)
		l.step(2, 2, VoteRequest{Campaign: 1, Last: last})
		if got := answer[VoteReply](l, 2); got.Granted != want {
			t.Errorf("a vote for a log up to %v: %v, want %v", last, got.Granted, want)
		}
	}
	l := hurt(t, 1, []Term{1, 1, 1}, 2)
	l.tick(5 * l.cfg.ElectionTicks)
	l.wantRole(RoleFollower, 1)
	l.obey(2, 2)
	l.step(2, 2, TimeoutNow{})
	l.wantRole(RoleFollower, 2)
	l.step(3, 1, RepairReply{First: 1, Entries: commands(1, 1)})
	l.wantLost()
	l.step(2, 2, TimeoutNow{})
	l.wantRole(RoleCandidate, 3)
}

// Above the commit index that the member knows an ack promises content; at or below it, it promises nothing new.
func TestAcksStopBeforeTheFirstLostEntryAboveCommit(t *testing.T) {
	for _, c := range []struct {
		commit Index // known before
		append Append
		lost   []Index
		want   Index
	}{
		{1, Append{Prev: Position{5, 1}, Commit: 1}, []Index{4}, 3},
		{1, Append{Prev: Position{5, 1}, Commit: 1}, []Index{2, 4}, 1},
		{3, Append{Prev: Position{5, 1}, Commit: 1}, []Index{2, 4}, 3},
		{4, Append{Prev: Position{5, 1}, Commit: 1}, []Index{2, 4}, 5},
		{1, Append{Prev: Position{5, 1}, Commit: 4}, []Index{2, 4}, 5}, // the append itself says what is committed
		{1, Append{Prev: Position{5, 1}, Entries: commands(5, 2)}, []Index{4}, 3},
		{1, Append{Prev: Position{3, 1}, Entries: commands(3, 1, 1)}, []Index{4}, 5}, // and this one brings it
		{1, Append{Prev: Position{3, 1}, Entries: commands(3, 2)}, []Index{4}, 4},    // or replaces it
		{5, Append{Prev: Position{1, 1}, Entries: commands(1, 1)}, []Index{3}, 5},
	} {
		l := hurt(t, c.commit, []Term{1, 1, 1, 1}, c.lost...)
		l.step(2, 2, c.append)
		if got := answer[AppendReply](l, 2); got.Rejected || got.Match != c.want {
			t.Errorf("commit %d, lost %d: %+v is answered with %+v, want an ack of %d", c.commit, c.lost, c.append, got, c.want)
		}
	}
}

// An entry that was brought back counts once its fill is durable: the ack that needs it leaves after that, and only
// then it is applied.
func TestFillIsDurableBeforeItCounts(t *testing.T) {
	l := hurt(t, 1, []Term{1, 1, 1}, 3)
	l.slow = true
	l.step(2, 2, Append{Prev: Position{2, 1}, Commit: 4, Entries: commands(2, 1, 1)})
	l.wantLost(3)
	l.wantApplied(2)
	if acks := sentTo[AppendReply](l, 2); len(acks) > 0 {
		t.Fatalf("%+v has left before the fill is durable", acks)
	}
	given := slices.DeleteFunc(slices.Clone(l.batches), Batch.Empty)
	if len(given) != 1 || len(given[0].Fills) != 1 || given[0].Fills[0].Position() != (Position{3, 1}) || len(given[0].Entries) > 0 {
		t.Fatalf("%+v is given to the disk, want a fill of 3@1 and no entries", given)
	}
	l.flush()
	l.wantLost()
	l.wantApplied(4)
	if got := answer[AppendReply](l, 2); got.Match != 4 {
		t.Fatalf("%+v, want an ack of 4", got)
	}
	if l.Brief().Repaired != 1 {
		t.Errorf("%d entries repaired, want 1", l.Brief().Repaired)
	}
}

// What comes must be what was lost: same place, same checksum, and content that verifies.
func TestRepairTakesOnlyWhatWasLost(t *testing.T) {
	good := commands(2, 1)[0]
	other := sealed(3, 1, EntryCommand, []byte("another"))
	torn, elsewhere, unsealed := good, commands(2, 2)[0], good
	torn.Payload = []byte("c4")
	unsealed.Payload, unsealed.Kind, unsealed.Sum = nil, EntryLost, good.Sum
	for _, e := range []Entry{other, torn, elsewhere, unsealed, commands(3, 1)[0], commands(9, 1)[0]} {
		l := hurt(t, 4, []Term{1, 1, 1}, 3)
		l.step(3, 7, RepairReply{First: 1, Entries: []Entry{e}})
		l.wantLost(3)
		l.wantApplied(2)
		l.wantRole(RoleFollower, 1) // a repair has no term
		if !l.log.at(3).Lost() || !bytes.Equal(l.log.at(4).Payload, []byte("c4")) {
			t.Errorf("%+v was taken for 3@1", e)
		}
	}
	l := hurt(t, 4, []Term{1, 1, 1}, 3)
	l.step(3, 7, RepairReply{First: 1, Entries: []Entry{good}})
	l.wantLost()
	l.wantApplied(4)
	if !bytes.Equal(l.applied[1].Payload, []byte("c3")) {
		t.Errorf("%q was applied at 3", l.applied[1].Payload)
	}
}

// A lost membership is in force again from the moment that it is known, in its place among the others.
func TestLostMembershipIsAdopted(t *testing.T) {
	first, second := seats(SeatVoter, SeatVoter, SeatVoter, SeatLearner), seats(SeatVoter, SeatVoter, SeatVoter)
	entries := []Entry{sealed(1, 1, EntryMembership, voters(3).AppendTo(nil)), sealed(2, 1, EntryMembership, first.AppendTo(nil)), sealed(3, 1, EntryMembership, second.AppendTo(nil))}
	l := labOf(t, Config{ID: 1}, Restored{Hard: HardState{Term: 1, Commit: 3}, Entries: without(entries, 2, 3), Applied: 1})
	for _, c := range []struct {
		bring Entry
		want  Index
	}{{entries[2], 3}, {entries[1], 3}} {
		l.step(2, 1, RepairReply{First: 1, Entries: []Entry{c.bring}})
		if l.config != c.want || l.log.configUpTo(2).index > 2 {
			t.Fatalf("after %v: membership of %d in force, want %d", c.bring.Position(), l.config, c.want)
		}
	}
	l.wantLost()
	if at := l.log.configUpTo(2); at.index != 2 || len(at.membership.Members) != 4 {
		t.Errorf("the membership in force at 2 is that of %d: %v", at.index, at.membership)
	}
}

// A lost place that the leader's log replaces is no longer lost; what was on its way to fill it is dropped.
func TestTruncatedIsNotLost(t *testing.T) {
	l := hurt(t, 1, []Term{1, 1, 1, 1}, 3, 5)
	l.slow = true
	l.step(3, 1, RepairReply{First: 1, Entries: commands(2, 1)})
	l.step(2, 2, Append{Prev: Position{4, 1}, Entries: commands(4, 2)})
	l.wantLost(3)
	l.flush()
	l.wantLost()

	l = hurt(t, 1, []Term{1, 1, 1, 1}, 3)
	c := l.Core
	for _, m := range []Message{
		{From: 3, To: 1, FromBoot: 1, Term: 1, Body: RepairReply{First: 1, Entries: commands(2, 1)}},
		{From: 2, To: 1, FromBoot: 1, Term: 2, Body: Append{Prev: Position{2, 1}, Entries: commands(2, 2)}},
	} {
		if err := c.Step(m); err != nil {
			t.Fatal(err)
		}
	}
	if b := c.Take().Persist; len(b.Fills) > 0 || len(b.Entries) != 1 {
		t.Errorf("the disk is given %+v: it would fill a place that the same batch replaces", b)
	}
	l.wantLost()
}

// Any member answers with what it holds undamaged of the range, from memory or from its log, in any role.
func TestRepairIsAnsweredFromMemoryAndLog(t *testing.T) {
	l := hurt(t, 4, []Term{1, 1, 1}, 3)
	l.step(2, 9, RepairRequest{From: 2, To: 9})
	got := answer[RepairReply](l, 2)
	if len(got.Entries) != 2 || got.Entries[0].Index != 2 || got.Entries[1].Index != 4 || got.First != 1 {
		t.Fatalf("%+v, want 2 and 4", got)
	}
	l.wantRole(RoleFollower, 1)

	base := Base{Position: Position{10, 1}, Config: 1, Membership: voters(3)}
	l = labOf(t, Config{ID: 1, TailBytes: 1}, Restored{Base: base, Hard: HardState{Term: 1, Commit: 14}, Entries: commands(10, 1, 1, 1, 1), Applied: 10})
	l.look()
	l.step(2, 1, RepairRequest{From: 9, To: 12})
	if len(l.fetches) != 1 || l.fetches[0].From != 11 || !l.fetches[0].Repair || l.fetches[0].To != 2 {
		t.Fatalf("fetches %+v, want from 11 on for member 2", l.fetches)
	}
	l.step(2, 1, RepairRequest{From: 12, To: 12}) // again before the answer: not read twice
	l.local(Fetched{To: 2, Repair: true, Span: Span{Prev: Position{10, 1}, Entries: commands(10, 1, 1, 1)}})
	if got := answer[RepairReply](l, 2); len(got.Entries) != 2 || got.Entries[1].Index != 12 || got.First != 11 || len(l.fetches) != 1 {
		t.Fatalf("%+v with %d fetches, want 11 and 12 with 1", got, len(l.fetches))
	}
	for _, bad := range []RepairRequest{{From: 0, To: 1}, {From: 2, To: 1}} {
		if err := l.Step(Message{From: 2, To: 1, FromBoot: 1, Term: 1, Body: bad}); !errors.Is(err, ErrMalformed) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
	if err := l.Step(Message{From: 2, To: 1, FromBoot: 1, Term: 1, Body: Append{Prev: l.log.last, Entries: []Entry{{Index: 15, Term: 1}}}}); !errors.Is(err, ErrMalformed) {
		t.Errorf("an append of a lost entry: %v", err)
	}
}

// A peer's new boot may have lost what the boot before acknowledged: its match starts over, and nothing is committed by
// it before it has said anew what it holds. What is committed stays so.
func TestMatchStartsOverWithANewBoot(t *testing.T) {
	l := newLab(t, 1, voters(3))
	l.lead()
	l.ack(2, 3)
	l.slow = true
	l.propose("not yet durable here")
	l.ack(2)
	if l.commit != 2 {
		t.Fatalf("commit %d, want 2: one of three holds 3@2 durably", l.commit)
	}
	l.local(Connected{Peer: 2, Boot: 7})
	l.flush()
	if l.commit != 2 || l.peer(2).match != 0 {
		t.Fatalf("commit %d with match %d of the new boot, want 2 and 0", l.commit, l.peer(2).match)
	}
	if err := l.Step(Message{From: 2, To: 1, FromBoot: 7, Term: l.hard.Term, Body: AppendReply{Match: 2}}); err != nil {
		t.Fatal(err)
	}
	if l.run(); l.commit != 2 || l.peer(2).match != 2 {
		t.Fatalf("commit %d, match %d after an ack up to the hole", l.commit, l.peer(2).match)
	}
	l.ack(3)
	if l.commit != 3 {
		t.Fatalf("commit %d, want 3 with the third member's ack", l.commit)
	}
}

// cutLab is member 1 of three voters whose log begins behind 10@1, with entries of term 1 behind that; applied 0 is a
// store that is to be rebuilt.
func cutLab(t *testing.T, applied Index, lost ...Index) *lab {
	t.Helper()
	base := Base{Position: Position{10, 1}, Config: 1, Membership: voters(3)}
	return labOf(t, Config{ID: 1}, Restored{Base: base, Hard: HardState{Term: 1, Commit: 11}, Entries: without(commands(10, 1, 1, 1, 1), lost...), Applied: applied})
}

// While its store is gone a member votes, follows and acknowledges, and neither applies, campaigns nor serves a
// snapshot. It asks for one at its log's base or later, and goes on from there with the log it has.
func TestRebuilding(t *testing.T) {
	l := cutLab(t, 0)
	l.tick(5 * l.cfg.ElectionTicks)
	l.wantRole(RoleFollower, 1)
	asked := map[MemberID]int{}
	for _, m := range l.look() {
		if r, ok := m.Body.(SnapshotRequest); ok {
			asked[m.To]++
			if r.Min != 10 || r.Committed != (Position{10, 1}) {
				t.Errorf("asks for %+v, want 10 and nothing less", r)
			}
		}
	}
	if asked[2] == 0 || asked[3] == 0 || asked[2]+asked[3] > 4 {
		t.Errorf("has asked %v in five election timeouts, want each peer in turn", asked)
	}
	l.step(2, 2, Append{Prev: Position{14, 1}, Commit: 14, Entries: commands(14, 2)})
	if got := answer[AppendReply](l, 2); got.Match != 15 {
		t.Errorf("%+v, want an ack of 15", got)
	}
	l.step(3, 2, SnapshotRequest{Min: 1})
	if len(l.applied) > 0 || len(l.streams) > 0 || !l.Brief().Rebuilding {
		t.Fatalf("applied %d entries, streams to %v, without a store", len(l.applied), l.streams)
	}
	early := Base{Position: Position{9, 1}, Config: 1, Membership: voters(3)}
	l.local(SnapshotReceived{From: 3, Base: early})
	if !l.Brief().Rebuilding || l.log.base.Position.Index != 10 {
		t.Fatal("took a snapshot that its log does not go on from")
	}
	at := Base{Position: Position{12, 1}, Config: 1, Membership: voters(3)}
	l.local(SnapshotReceived{From: 3, Base: at})
	l.wantApplied(14)
	l.local(Applied{Index: 14})
	if b := l.Brief(); b.Rebuilding || b.First != 13 || b.Last != 15 || len(l.applied) != 2 {
		t.Fatalf("%+v with %d entries applied, want a log from 13 to 15 and 13 and 14 applied", b, len(l.applied))
	}
	l.step(3, 2, SnapshotRequest{Min: 12})
	if !slices.Equal(l.streams, []MemberID{3}) {
		t.Errorf("streams to %v, want 3: its store is whole again", l.streams)
	}
}

// A snapshot makes up for lost entries up to its position; the log stays, with what is behind it.
func TestSnapshotMakesUpForLostEntries(t *testing.T) {
	l := cutLab(t, 10, 12, 14)
	l.wantApplied(11)
	l.local(SnapshotReceived{From: 3, Base: Base{Position: Position{11, 1}, Config: 1, Membership: voters(3)}})
	l.wantLost(12, 14) // that ended before the first
	l.local(SnapshotReceived{From: 3, Base: Base{Position: Position{13, 1}, Config: 1, Membership: voters(3)}})
	l.wantLost(14)
	l.wantApplied(13)
	if l.log.last != (Position{14, 1}) || l.log.base.Position.Index != 13 || l.commit != 13 {
		t.Fatalf("log behind %v up to %v, commit %d; want behind 13 up to 14@1", l.log.base.Position, l.log.last, l.commit)
	}
	if l.reset != nil || len(l.disk.disk.Entries) != 4 {
		t.Errorf("the log was restarted: %d entries left on disk", len(l.disk.disk.Entries))
	}
}

// A snapshot of whoever sends it is committed state and nothing more: it makes nobody follow its sender, and a leader
// has no use for it.
func TestSnapshotHasNoAuthority(t *testing.T) {
	l := cutLab(t, 10)
	l.local(SnapshotReceived{From: 3, Base: Base{Position: Position{30, 4}, Config: 1, Membership: voters(3)}})
	l.wantRole(RoleFollower, 4)
	if l.leader != 0 || l.log.last.Index != 30 || len(sentTo[AppendReply](l, 3)) > 0 {
		t.Errorf("follows %v with a log up to %v; sent %v", l.leader, l.log.last, l.sent)
	}
	l = cutLab(t, 10)
	l.lead()
	l.local(SnapshotReceived{From: 3, Base: Base{Position: Position{30, 4}, Config: 1, Membership: voters(3)}})
	l.wantRole(RoleLeader, 2)
	if l.log.last.Index != 15 {
		t.Errorf("a leader's log ends at %v after a snapshot", l.log.last)
	}
}

// A member learns from a request what is committed, where its own log holds that place, and serves it once it has
// applied enough. A leader counts for itself.
func TestSnapshotRequestTellsWhatIsCommitted(t *testing.T) {
	l := cutLab(t, 10)
	l.wantApplied(11)
	l.step(2, 1, SnapshotRequest{Min: 13, Committed: Position{13, 2}})
	l.wantApplied(11)
	l.step(2, 1, SnapshotRequest{Min: 13, Committed: Position{13, 1}})
	l.wantApplied(13)
	l.step(2, 1, SnapshotRequest{Min: 13, Committed: Position{13, 1}})
	l.step(2, 1, SnapshotRequest{Min: 13, Committed: Position{13, 1}}) // one stream at a time
	if !slices.Equal(l.streams, []MemberID{2}) {
		t.Fatalf("streams to %v, want 2 once", l.streams)
	}
	l.local(SnapshotSent{To: 2})
	l.step(2, 1, SnapshotRequest{Min: 14})
	if len(l.streams) != 1 {
		t.Fatalf("streams to %v: it has not applied 14", l.streams)
	}
	l = cutLab(t, 10)
	l.lead()
	l.step(2, 1, SnapshotRequest{Min: 13, Committed: Position{13, 1}})
	if l.commit != 11 {
		t.Errorf("a leader's commit moved to %d by hearsay", l.commit)
	}
}

// A voter that was told to take over and did not is the last to be told again.
func TestTransferLeavesOutWhoDeclined(t *testing.T) {
	l := newLab(t, 1, voters(3))
	l.lead()
	l.ack(2, 3)
	l.look()
	l.local(Transfer{Ref: 1})
	first := l.transferee
	l.tick(l.cfg.ElectionTicks - 1)
	l.ack(2, 3)
	l.tick(1)
	l.look()
	l.local(Transfer{Ref: 2})
	if l.transferee == first || l.transferee == 0 {
		t.Errorf("hands over to %v, after %v did not take over", l.transferee, first)
	}
}

// While the store is rebuilt, what is committed and durable leaves memory; once the store can take it, it is read back
// from the member's own log, in order, each entry once.
func TestRebuildingKeepsLittleInMemory(t *testing.T) {
	base := Base{Position: Position{10, 1}, Config: 1, Membership: voters(3)}
	l := labOf(t, Config{ID: 1, TailBytes: 8}, Restored{Base: base, Hard: HardState{Term: 1, Commit: 10}})
	for i := Index(10); i < 40; i++ {
		l.step(2, 1, Append{Prev: Position{i, 1}, Commit: i, Entries: commands(i, 1)})
	}
	if len(l.log.entries) > 8 {
		t.Fatalf("%d entries are in memory", len(l.log.entries))
	}
	at := Base{Position: Position{12, 1}, Config: 1, Membership: voters(3)}
	l.local(SnapshotReceived{From: 3, Base: at})
	l.local(Applied{Index: 12})
	for l.emitted < 39 {
		if n := len(l.fetches); n != 1 || l.fetches[0].To != 1 || l.fetches[0].From != l.emitted+1 {
			t.Fatalf("%d entries applied, and it fetches %+v", len(l.applied), l.fetches)
		}
		l.fetches = nil
		from := l.emitted
		if from == 20 {
			l.local(Fetched{To: 1}) // the log could not be read: tried again, after a while
			if len(l.fetches) > 0 {
				t.Fatal("tries again at once")
			}
			l.tick(l.cfg.ElectionTicks)
			l.fetches = nil
		}
		l.local(Fetched{To: 1, Span: Span{Prev: Position{from, 1}, Entries: commands(from, 1, 1, 1, 1)}})
	}
	for i, e := range l.applied {
		if e.Index != Index(13+i) {
			t.Fatalf("applied %d at place %d", e.Index, i)
		}
	}
	if len(l.applied) != 27 {
		t.Errorf("%d entries applied, want 27", len(l.applied))
	}
}
