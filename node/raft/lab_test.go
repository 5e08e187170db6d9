package raft

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// lab is one core on the bench: inputs go in one by one, everything that comes out is kept. Its disk and
// its applier answer at once unless slow is set.
type lab struct {
	*Core
	t        testing.TB
	slow     bool // the disk answers only when told to, with flush
	seq      uint64
	batches  []Batch   // wait for the disk
	late     []Message // wait for it too
	disk     node      // what is durable
	sent     []Message // left since the last look
	applied  []Entry
	reads    []ReadGrant
	accepted []Accepted
	refused  []Refused
	fetches  []Fetch
	streams  []MemberID
	removed  bool
	events   []Event
}

// seats makes a membership of members 1, 2, ... in these seats.
func seats(of ...Seat) Membership {
	var m Membership
	for i, s := range of {
		m.Members = append(m.Members, Member{ID: MemberID(i + 1), Seat: s})
	}
	return m
}

// voters makes a membership of n voters.
func voters(n int) Membership { return seats(slices.Repeat([]Seat{SeatVoter}, n)...) }

// sealed makes one entry as its leader would.
func sealed(index Index, term Term, kind EntryKind, payload []byte) Entry {
	e := Entry{Index: index, Term: term, Kind: kind, Payload: payload}
	e.Seal()
	return e
}

// commands makes a run of commands behind index, one for each term named.
func commands(behind Index, terms ...Term) []Entry {
	var entries []Entry
	for i, t := range terms {
		entries = append(entries, sealed(behind+1+Index(i), t, EntryCommand, fmt.Appendf(nil, "c%d", behind+1+Index(i))))
	}
	return entries
}

// newLab makes a member whose log holds the membership as its committed entry 1@1 and then one command of
// each of terms.
func newLab(t testing.TB, id MemberID, m Membership, terms ...Term) *lab {
	t.Helper()
	entries := append([]Entry{sealed(1, 1, EntryMembership, m.AppendTo(nil))}, commands(1, terms...)...)
	return labOf(t, Config{ID: id}, Restored{Hard: HardState{Term: entries[len(entries)-1].Term, Commit: 1}, Entries: entries})
}

func labOf(t testing.TB, cfg Config, r Restored) *lab {
	t.Helper()
	cfg.Boot, cfg.Rand = 1, rand.New(rand.NewPCG(1, uint64(cfg.ID)))
	c, err := New(cfg, r)
	if err != nil {
		t.Fatal(err)
	}
	l := &lab{Core: c, t: t, disk: node{disk: r}}
	l.run()
	return l
}

// step hands in a message of a peer.
func (l *lab) step(from MemberID, term Term, b Body) {
	l.t.Helper()
	if err := l.Step(Message{From: from, To: l.cfg.ID, FromBoot: 1, Term: term, Body: b}); err != nil {
		l.t.Fatalf("%T from %d: %v", b, uint64(from), err)
	}
	l.run()
}

func (l *lab) local(b Body) {
	l.t.Helper()
	if err := l.Step(Message{Body: b}); err != nil {
		l.t.Fatalf("%T: %v", b, err)
	}
	l.run()
}

func (l *lab) tick(n int) {
	for range n {
		l.Tick()
		l.run()
	}
}

// expire ticks until the election timer fires.
func (l *lab) expire() { l.tick(l.timeout - l.elapsed) }

func (l *lab) run() {
	for {
		out := l.Take()
		l.sent = append(l.sent, out.Early...)
		l.late = append(l.late, out.Late...)
		l.seq = max(l.seq, out.Persist.Seq)
		l.batches = append(l.batches, out.Persist)
		l.applied = append(l.applied, out.Commit...)
		l.reads = append(l.reads, out.Reads...)
		l.accepted = append(l.accepted, out.Accepted...)
		l.refused = append(l.refused, out.Refused...)
		l.fetches = append(l.fetches, out.Fetches...)
		l.streams = append(l.streams, out.Snapshots...)
		l.events = append(l.events, out.Events...)
		l.removed = l.removed || out.Removed
		if len(out.Commit) > 0 {
			_ = l.Step(Message{Body: Applied{Index: out.Commit[len(out.Commit)-1].Index}})
		}
		if !l.slow && (!out.Persist.Empty() || len(l.late) > 0) {
			l.flush()
			continue
		}
		if len(out.Commit)+len(out.Early) == 0 {
			return
		}
	}
}

// flush makes everything durable that the disk was given.
func (l *lab) flush() {
	for _, b := range l.batches {
		l.disk.write(b)
	}
	l.sent = append(l.sent, l.late...)
	l.late, l.batches = nil, nil
	_ = l.Step(Message{Body: Persisted{Seq: l.seq}})
	if l.slow {
		l.run()
	}
}

// restart is the member after a power failure: what its disk had not answered is gone.
func (l *lab) restart() *lab {
	l.t.Helper()
	r := l.disk.disk
	r.Applied = r.Base.Position.Index
	return labOf(l.t, Config{ID: l.cfg.ID}, r)
}

// look returns what has left since the last look.
func (l *lab) look() []Message {
	sent := l.sent
	l.sent = nil
	return sent
}

// sentTo returns the bodies of one kind that have left for a member, in order, without forgetting them.
func sentTo[B Body](l *lab, to MemberID) []B {
	var found []B
	for _, m := range l.sent {
		if b, ok := m.Body.(B); ok && m.To == to {
			found = append(found, b)
		}
	}
	return found
}

// answer returns the only message of its kind that has left for a member since the last look.
func answer[B Body](l *lab, to MemberID) B {
	l.t.Helper()
	found := sentTo[B](l, to)
	if len(found) != 1 {
		var none B
		l.t.Fatalf("%d messages of kind %T left for %d, want 1: %v", len(found), none, uint64(to), l.sent)
	}
	return found[0]
}

func (l *lab) wantRole(r Role, term Term) {
	l.t.Helper()
	if l.role != r || l.hard.Term != term {
		l.t.Fatalf("%v in term %d, want %v in term %d", l.role, l.hard.Term, r, term)
	}
}

// campaign makes the member a candidate: its timer fires and every other voter says that it would vote.
func (l *lab) campaign() {
	l.t.Helper()
	l.expire()
	if l.role == RolePreCandidate {
		l.ballot(true)
	}
}

// lead makes the member leader with the votes of all.
func (l *lab) lead() {
	l.t.Helper()
	l.campaign()
	if l.role == RoleCandidate {
		l.ballot(false)
	}
	if l.role != RoleLeader {
		l.t.Fatalf("%v after everybody voted for it", l.role)
	}
	l.look()
}

// ballot answers the campaign in progress with every voter's yes.
func (l *lab) ballot(pre bool) {
	term, campaign := l.hard.Term, l.Core.campaign
	if pre {
		term++
	}
	for _, x := range l.log.config().membership.Members {
		if x.ID != l.cfg.ID && l.voters.Has(x.ID) && l.role != RoleLeader {
			l.step(x.ID, term, VoteReply{Pre: pre, Granted: true, Campaign: campaign})
		}
	}
}

// obey makes the member a follower of the leader of a term.
func (l *lab) obey(leader MemberID, term Term) {
	l.t.Helper()
	l.step(leader, term, Heartbeat{})
	l.wantRole(RoleFollower, term)
	l.look()
}

// ack lets a peer acknowledge everything this leader holds.
func (l *lab) ack(from ...MemberID) {
	l.t.Helper()
	for _, id := range from {
		l.step(id, l.hard.Term, AppendReply{Match: l.log.last.Index})
	}
}

func (l *lab) propose(payload string) {
	l.t.Helper()
	l.local(Propose{Proposals: []Proposal{{Ref: 1, Payload: []byte(payload)}}})
}
