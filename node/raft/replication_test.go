package raft

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// TestOneTakeSendsAllThatMayLeave: what fits into the window leaves at once, not one append at a turn.
func TestOneTakeSendsAllThatMayLeave(t *testing.T) {
	l := labOf(t, Config{ID: 1, MaxAppendBytes: 1, MaxInflightMessages: 3}, Restored{
		Hard: HardState{Term: 1, Commit: 1}, Entries: []Entry{sealed(1, 1, EntryMembership, voters(2).AppendTo(nil))},
	})
	l.lead()
	l.ack(2)
	var ps []Proposal
	for i := range 5 {
		ps = append(ps, Proposal{Ref: uint64(i), Payload: []byte("x")})
	}
	if err := l.Step(Message{Body: Propose{Proposals: ps}}); err != nil {
		t.Fatal(err)
	}
	sent := 0
	for _, m := range l.Take().Early {
		if _, ok := m.Body.(Append); ok {
			sent++
		}
	}
	if sent != 3 {
		t.Errorf("%d appends leave in one turn, the window is 3", sent)
	}
}

// TestProposalsAtTheBounds: the largest payload is taken and one byte more is not; a payload over the bound on
// uncommitted bytes is taken alone, and not beside another.
func TestProposalsAtTheBounds(t *testing.T) {
	l := newLab(t, 1, voters(3))
	l.lead()
	for _, c := range []struct {
		size int
		want Refusal
	}{{MaxPayload + 1, RefusedInvalid}, {MaxPayload, RefusedNot}} {
		l.refused = nil
		l.local(Propose{Proposals: []Proposal{{Ref: 5, Payload: make([]byte, c.size)}}})
		if refused := len(l.refused) == 1 && l.refused[0].Reason == c.want; refused != (c.want != RefusedNot) {
			t.Errorf("a payload of %d bytes: refused %v, want %s", c.size, l.refused, refusals[c.want])
		}
	}
	l = newLab(t, 1, voters(3))
	l.lead()
	l.ack(2, 3)
	l.cfg.MaxUncommittedBytes = 10
	l.propose("01234567890") // 11 bytes, alone
	if len(l.refused) != 0 {
		t.Fatalf("refused %v: a large command would never be taken", l.refused)
	}
	l.propose("a")
	if len(l.refused) != 1 || l.refused[0].Reason != RefusedBusy {
		t.Fatalf("refused %v, want the second as busy", l.refused)
	}
	l.ack(2)
	l.propose("0123456789") // the bound, exactly
	l.propose("b")
	if len(l.refused) != 2 {
		t.Fatalf("refused %v, want 10 bytes taken and one more not", l.refused)
	}
}

// behindTheTail is a leader whose memory no longer has what member 3 lacks: entries 2 to 5.
func behindTheTail(t *testing.T) *lab {
	l := newLab(t, 1, voters(3), 1, 1, 1, 1)
	l.cfg.TailBytes = 1
	l.lead()
	l.ack(2)
	l.local(Applied{Index: 6})
	l.step(3, 2, AppendReply{Match: 5, Rejected: true, Hint: Position{1, 1}})
	if len(l.fetches) != 1 || l.fetches[0].To != 3 || l.fetches[0].From != 2 {
		t.Fatalf("fetches %v, want one from 2 on", l.fetches)
	}
	l.look()
	return l
}

// TestFetchedEntriesAreSent: what was read back from the log goes on its way, once, if it is still what the peer lacks.
func TestFetchedEntriesAreSent(t *testing.T) {
	entries := commands(1, 1, 1, 1, 1)
	for name, c := range map[string]struct {
		span Span
		sent int
	}{
		"one entry":                  {Span{Prev: Position{1, 1}, Entries: entries[:1]}, 1},
		"all of them":                {Span{Prev: Position{1, 1}, Entries: entries}, 1},
		"behind another place":       {Span{Prev: Position{2, 1}, Entries: entries[1:]}, 0},
		"behind another term":        {Span{Prev: Position{1, 7}, Entries: entries}, 0},
		"of another term":            {Span{Prev: Position{1, 1}, Entries: commands(1, 7)}, 0},
		"past the end of the log":    {Span{Prev: Position{1, 1}, Entries: commands(1, slices.Repeat([]Term{1}, 9)...)}, 0},
		"for a member that is none":  {Span{}, 0},
		"while an answer is awaited": {Span{Prev: Position{1, 1}, Entries: entries}, 0},
	} {
		l := behindTheTail(t)
		f := Fetched{To: 3, Span: c.span}
		switch name {
		case "for a member that is none":
			f.To = 9
		case "while an answer is awaited":
			l.peer(3).waiting = true
		}
		l.local(f)
		if n := len(sentTo[Append](l, 3)); n != c.sent {
			t.Errorf("%s: %d appends leave, want %d", name, n, c.sent)
		}
		l.look()
		l.local(f) // the same answer again
		if n := len(sentTo[Append](l, 3)); n != 0 {
			t.Errorf("%s: sent again, %d times", name, n)
		}
	}
}

// TestFetchThatFindsNothing: what the log no longer has is brought by a snapshot.
func TestFetchThatFindsNothing(t *testing.T) {
	l := behindTheTail(t)
	l.local(Fetched{To: 3})
	if !slices.Equal(l.streams, []MemberID{3}) || l.peer(3).mode != ModeSnapshot {
		t.Fatalf("streams to %v, want one to 3", l.streams)
	}
}

// TestFetchIsAskedOnce: while entries are being read nothing is read again, and another failure starts it anew.
func TestFetchIsAskedOnce(t *testing.T) {
	l := behindTheTail(t)
	l.step(3, 2, HeartbeatReply{})
	l.tick(3)
	if len(l.fetches) != 1 {
		t.Fatalf("%d fetches, want one", len(l.fetches))
	}
}

// TestMembershipIsReadToItsEnd: what follows a membership is no part of it, so it is damage.
func TestMembershipIsReadToItsEnd(t *testing.T) {
	if _, err := DecodeMembership(append(sampleMembership().AppendTo(nil), 0)); !errors.Is(err, ErrMalformed) {
		t.Errorf("a byte too many: error %v, want %v", err, ErrMalformed)
	}
}

// TestTransferOutlivesTheEndOfAJointMembership: the final membership comes into force by itself while leadership is
// being handed over; the target stays in it, so the transfer goes on.
func TestTransferOutlivesTheEndOfAJointMembership(t *testing.T) {
	l := newLab(t, 1, voters(4))
	l.lead()
	l.ack(2, 3, 4)
	l.local(ChangeMembership{Ref: 5, Change: Change{Remove: []MemberID{4}}})
	l.local(Transfer{Ref: 6, To: 2})
	l.ack(3, 4) // commits the joint membership; the final one begins
	if l.Membership().Joint() || l.transferee != 2 {
		t.Fatalf("membership %v, transferee %v; want the final one and 2", l.Membership(), l.transferee)
	}
	l.look()
	l.ack(2)
	answer[TimeoutNow](l, 2)
}

// TestPlansOfMembership: what a change leads to, or why it is refused.
func TestPlansOfMembership(t *testing.T) {
	url := Member{ID: 7, Name: "m7", PeerAddress: "h:1", ClientURLs: []string{"u"}, Seat: SeatVoter}
	for name, c := range map[string]struct {
		change Change
		want   Membership // without members: refused
		reason Refusal
	}{
		"a learner more": {change: Change{AddLearners: []Member{url}}, want: func() Membership {
			m := seats(SeatVoter, SeatVoter, SeatVoter, SeatLearner, SeatLearner)
			url := url
			url.Seat = SeatLearner
			m.Members = append(m.Members, url)
			return m
		}()},
		"two learners, out of order": {change: Change{AddLearners: []Member{{ID: 9}, {ID: 8}}}, want: Membership{Members: append(
			seats(SeatVoter, SeatVoter, SeatVoter, SeatLearner, SeatLearner).Members, Member{ID: 8, Seat: SeatLearner}, Member{ID: 9, Seat: SeatLearner})}},
		"a promotion":               {change: Change{Promote: []MemberID{4}}, want: seats(SeatVoter, SeatVoter, SeatVoter, SeatIncoming, SeatLearner)},
		"a voter removed":           {change: Change{Remove: []MemberID{3}}, want: seats(SeatVoter, SeatVoter, SeatOutgoing, SeatLearner, SeatLearner)},
		"a learner removed":         {change: Change{Remove: []MemberID{5}}, want: seats(SeatVoter, SeatVoter, SeatVoter, SeatLearner)},
		"one for another":           {change: Change{Promote: []MemberID{4}, Remove: []MemberID{1}}, want: seats(SeatOutgoing, SeatVoter, SeatVoter, SeatIncoming, SeatLearner)},
		"a voter moved":             {change: Change{Move: []Move{{2, "there:1"}}}, want: seats(SeatVoter, SeatVoter, SeatVoter, SeatLearner, SeatLearner)},
		"moved and removed":         {change: Change{Move: []Move{{3, "there:1"}}, Remove: []MemberID{3}}, want: seats(SeatVoter, SeatVoter, SeatOutgoing, SeatLearner, SeatLearner)},
		"a stranger moved":          {change: Change{Move: []Move{{9, "there:1"}}}, reason: RefusedUnknownMember},
		"moved too far":             {change: Change{Move: []Move{{2, string(make([]byte, maxString+1))}}}, reason: RefusedInvalid},
		"planned on this":           {change: Change{Planned: 1, Remove: []MemberID{3}}, want: seats(SeatVoter, SeatVoter, SeatOutgoing, SeatLearner, SeatLearner)},
		"planned on another":        {change: Change{Planned: 2, Remove: []MemberID{3}}, reason: RefusedStaleConfig},
		"nothing":                   {reason: RefusedInvalid},
		"nobody":                    {change: Change{AddLearners: []Member{{}}}, reason: RefusedInvalid},
		"somebody who is there":     {change: Change{AddLearners: []Member{{ID: 2}}}, reason: RefusedExists},
		"the leader itself":         {change: Change{AddLearners: []Member{{ID: 1}}}, reason: RefusedExists},
		"the same twice":            {change: Change{AddLearners: []Member{{ID: 9}, {ID: 9}}}, reason: RefusedExists},
		"a stranger promoted":       {change: Change{Promote: []MemberID{9}}, reason: RefusedUnknownMember},
		"a voter promoted":          {change: Change{Promote: []MemberID{2}}, reason: RefusedUnknownMember},
		"promoted twice":            {change: Change{Promote: []MemberID{4, 4}}, reason: RefusedUnknownMember},
		"a newcomer promoted":       {change: Change{AddLearners: []Member{{ID: 9}}, Promote: []MemberID{9}}, reason: RefusedLagging},
		"a stranger removed":        {change: Change{Remove: []MemberID{9}}, reason: RefusedUnknownMember},
		"a voter removed twice":     {change: Change{Remove: []MemberID{3, 3}}, reason: RefusedInvalid},
		"promoted and removed":      {change: Change{Promote: []MemberID{4}, Remove: []MemberID{4}}, reason: RefusedInvalid},
		"all voters removed":        {change: Change{Remove: []MemberID{1, 2, 3}}, reason: RefusedInvalid},
		"a name over the bound":     {change: Change{AddLearners: []Member{{ID: 9, Name: string(make([]byte, maxString+1))}}}, reason: RefusedInvalid},
		"a learner that lags":       {change: Change{Promote: []MemberID{5}}, reason: RefusedLagging},
		"beside one that lags":      {change: Change{Promote: []MemberID{4, 5}}, reason: RefusedLagging},
		"a learner removed, lagged": {change: Change{Remove: []MemberID{5, 4}}, want: voters(3)},
	} {
		l := newLab(t, 1, seats(SeatVoter, SeatVoter, SeatVoter, SeatLearner, SeatLearner))
		l.lead()
		l.ack(2, 3, 4) // 5 has not answered
		got, reason := l.planChange(c.change)
		if reason != c.reason || got.String() != c.want.String() {
			t.Errorf("%s: %v, %s; want %v, %s", name, got, refusals[reason], c.want, refusals[c.reason])
		}
		if x, ok := got.Find(7); ok && (x.Name != "m7" || x.PeerAddress != "h:1" || len(x.ClientURLs) != 1) {
			t.Errorf("%s: the newcomer is recorded as %+v", name, x)
		}
		for _, move := range c.change.Move {
			if x, ok := got.Find(move.ID); ok && x.PeerAddress != move.PeerAddress {
				t.Errorf("%s: moved to %q", name, x.PeerAddress)
			}
			if x, _ := l.log.config().membership.Find(move.ID); x.PeerAddress != "" {
				t.Errorf("%s: the membership in force has moved too, to %q", name, x.PeerAddress)
			}
		}
	}
}

// TestCaughtUpAtTheBound: a learner that streams and lacks exactly the bound may be promoted, one more and it may not.
func TestCaughtUpAtTheBound(t *testing.T) {
	l := newLab(t, 1, voters(3))
	l.commit, l.cfg.CaughtUpLag = 20, 5
	for _, c := range []struct {
		mode  Mode
		match Index
		want  bool
	}{{ModeStream, 15, true}, {ModeStream, 14, false}, {ModeStream, 20, true}, {ModeStream, 30, true}, {ModeProbe, 20, false}, {ModeSnapshot, 20, false}} {
		if got := l.caughtUp(&progress{mode: c.mode, match: c.match}); got != c.want {
			t.Errorf("%v at %d of 20: caught up %v", c.mode, c.match, got)
		}
	}
}

// TestFormsComeBack: what is written is read back as it was, up to the bounds of the format.
func TestFormsComeBack(t *testing.T) {
	wide := Membership{}
	for i := range maxMembers {
		wide.Members = append(wide.Members, Member{ID: MemberID(i + 1), Seat: SeatLearner})
	}
	long := strings.Repeat("x", maxString)
	full := Membership{Members: []Member{{ID: 1, Name: long, PeerAddress: long, ClientURLs: slices.Repeat([]string{long}, maxClientURLs), Seat: SeatVoter}}}
	for name, m := range map[string]Membership{"sample": sampleMembership(), "empty": {}, "as many members as may be": wide, "as long as may be": full} {
		got, err := DecodeMembership(m.AppendTo(nil))
		if err != nil || !reflect.DeepEqual(got, m) || m.Check() != nil {
			t.Errorf("%s: error %v, check %v, or it has changed", name, err, m.Check())
		}
	}
	for name, e := range map[string]Entry{"empty": sealed(1, 1, EntryNoop, nil), "largest": sealed(9, 2, EntryCommand, make([]byte, MaxPayload))} {
		got, rest, err := DecodeEntry(e.AppendTo(nil))
		if err != nil || len(rest) != 0 || !reflect.DeepEqual(got, e) || e.Check() != nil {
			t.Errorf("%s: error %v, %d bytes left, check %v, or it has changed", name, err, len(rest), e.Check())
		}
	}
}

// TestBatchesAreTheirOwn: what is on its way to the disk does not share room with what the log gets next.
func TestBatchesAreTheirOwn(t *testing.T) {
	l := newLab(t, 1, voters(3))
	l.lead()
	l.slow = true
	for range 5 {
		l.propose("a")
	}
	for _, b := range l.batches {
		if cap(b.Entries) != len(b.Entries) {
			t.Fatalf("a batch of %d entries has room for %d", len(b.Entries), cap(b.Entries))
		}
	}
}

// TestDiskPatienceToTheTick: a member campaigns while its disk is one tick short of its patience, and not after.
func TestDiskPatienceToTheTick(t *testing.T) {
	for _, c := range []struct {
		age  int
		want Role
	}{{29, RolePreCandidate}, {30, RoleFollower}} {
		l := newLab(t, 1, voters(3))
		l.slow = true
		l.step(2, 1, Append{Prev: Position{1, 1}, Entries: commands(1, 1)})
		l.elapsed, l.timeout = l.cfg.ElectionTicks-1, l.cfg.ElectionTicks
		l.marks[0].at = l.now + 1 - uint64(c.age)
		l.tick(1)
		if l.role != c.want {
			t.Errorf("a disk that owes an answer for %d of %d ticks: %v, want %v", c.age, l.cfg.DiskPatienceTicks, l.role, c.want)
		}
	}
	for _, c := range []struct {
		age   int
		hands bool
	}{{29, false}, {30, true}} {
		l := newLab(t, 1, voters(3))
		l.lead()
		l.ack(2, 3)
		l.slow = true
		l.propose("a")
		l.marks[0].at = l.now + 1 - uint64(c.age)
		l.tick(1)
		if hands := l.transferee != 0; hands != c.hands {
			t.Errorf("a leader whose disk owes an answer for %d of %d ticks hands over: %v", c.age, l.cfg.DiskPatienceTicks, hands)
		}
	}
}
