package raft

import (
	"strings"
	"testing"
)

// calmed makes a leader of n voters whose followers have everything, and have said for a while that nobody watches or
// reads there.
func calmed(t *testing.T, n int) *lab {
	l := newLab(t, 1, voters(n))
	l.lead()
	for range l.cfg.ElectionTicks + 1 {
		for id := 2; id <= n; id++ {
			l.ack(MemberID(id))
			l.step(MemberID(id), l.hard.Term, HeartbeatReply{Unwatched: true})
		}
		l.tick(1)
	}
	l.look()
	return l
}

// reached lists to whom entries have gone since the last look.
func reached(l *lab) string {
	var to []string
	for _, x := range l.log.config().membership.Members {
		if len(sentTo[Append](l, x.ID)) > 0 {
			to = append(to, string('0'+rune(x.ID)))
		}
	}
	return strings.Join(to, " ")
}

// TestLeadersWaitForAQuorum: whom a leader needs, and at whom somebody waits, has a command at once; where one command is
// all that is on its way, others have it a moment later.
func TestLeadersWaitForAQuorum(t *testing.T) {
	put := func(l *lab) { l.propose("a") }
	learner := ChangeMembership{Ref: 9, Change: Change{AddLearners: []Member{{ID: 4}}}}
	for _, c := range []struct {
		name string
		of   int
		do   func(*lab)
		want string
	}{
		{"one of one other is needed", 2, put, "2"},
		{"one of two others is", 3, put, "2"},
		{"two of three others are", 4, put, "2 3"},
		{"two of four others are", 5, put, "2 3"},
		{"a client of 3 waits", 3, func(l *lab) {
			l.step(3, l.hard.Term, Forward{Proposals: []Proposal{{Ref: 9, Payload: []byte("a")}}})
		}, "3"},
		{"somebody watches at 3", 3, func(l *lab) {
			l.step(3, l.hard.Term, HeartbeatReply{})
			put(l)
		}, "3"},
		{"somebody watches at both", 3, func(l *lab) {
			l.step(2, l.hard.Term, HeartbeatReply{})
			l.step(3, l.hard.Term, HeartbeatReply{})
			put(l)
		}, "2 3"},
		{"somebody has read at 3 just now", 3, func(l *lab) {
			l.step(3, l.hard.Term, ReadRequest{Ref: 9})
			l.step(2, l.hard.Term, HeartbeatReply{Read: l.readSeq, Unwatched: true})
			put(l)
		}, "3"},
		{"somebody has read at 3 nearly an election timeout ago", 3, func(l *lab) {
			l.peer(3).lastRead = l.now - uint64(l.cfg.ElectionTicks) + 1
			put(l)
		}, "3"},
		{"somebody has read at 3 an election timeout ago", 3, func(l *lab) {
			l.peer(3).lastRead = l.now - uint64(l.cfg.ElectionTicks)
			put(l)
		}, "2"},
		{"another command is on its way", 3, func(l *lab) {
			put(l)
			l.look()
			put(l)
		}, "2 3"},
		{"two commands at once", 3, func(l *lab) {
			l.local(Propose{Proposals: []Proposal{{Ref: 1, Payload: []byte("a")}, {Ref: 2, Payload: []byte("b")}}})
		}, "2 3"},
		{"3 has completed the last quorum", 3, func(l *lab) {
			put(l)
			l.local(Hurry{})
			l.ack(3)
			l.look()
			put(l)
		}, "3"},
		{"3 has acknowledged what was committed already", 3, func(l *lab) {
			put(l)
			l.local(Hurry{})
			l.ack(2, 3)
			l.look()
			put(l)
		}, "2"},
		{"2 is silent", 3, func(l *lab) {
			l.peer(2).active, l.peer(2).recent = false, false
			put(l)
		}, "2 3"},
		{"2 cannot be reached", 3, func(l *lab) {
			l.local(Unreachable{Peer: 2})
			put(l)
		}, "3"},
		{"2 is far behind", 3, func(l *lab) {
			l.peer(2).match = 0
			l.cfg.CaughtUpLag = 1
			put(l)
		}, "2 3"},
		{"the disk of 2 is full", 3, func(l *lab) {
			l.step(2, l.hard.Term, HeartbeatReply{Space: Space{Low: true, Out: true}, Unwatched: true})
			put(l)
		}, "3"},
		{"3 lacks many commands", 3, func(l *lab) {
			for range lazyEntries {
				put(l)
				l.ack(2)
			}
			if reached(l) != "2" {
				t.Errorf("%d commands went to %s", lazyEntries, reached(l))
			}
			l.look()
			put(l)
		}, "2 3"},
		{"a large command", 3, func(l *lab) { l.propose(strings.Repeat("a", lazyBytes+1)) }, "2 3"},
		{"one not quite as large", 3, func(l *lab) { l.propose(strings.Repeat("a", lazyBytes)) }, "2"},
		{"a change of the membership", 3, func(l *lab) { l.local(learner) }, "2 3 4"},
		{"a joint membership", 3, func(l *lab) {
			l.voters.Outgoing = []MemberID{1, 2, 3}
			put(l)
		}, "2 3"},
		{"a leader that does not vote", 3, func(l *lab) {
			l.voters.Incoming = []MemberID{2, 3}
			put(l)
		}, "2 3"},
		{"a learner", 3, func(l *lab) {
			l.local(learner)
			l.ack(2, 3, 4)
			l.step(4, l.hard.Term, HeartbeatReply{Unwatched: true})
			l.look()
			put(l)
		}, "2 4"},
	} {
		l := calmed(t, c.of)
		c.do(l)
		if got := reached(l); got != c.want {
			t.Errorf("%s: it goes to %s, want %s", c.name, got, c.want)
		}
	}
}

// TestNobodyIsKeptWaitingAtFirst: a leader that has just begun to lead does not know who reads where.
func TestNobodyIsKeptWaitingAtFirst(t *testing.T) {
	l := notified(t)
	l.propose("a")
	if got := reached(l); got != "2 3" {
		t.Errorf("the first command goes to %s", got)
	}
}

// TestKeptBackIsSent: whatever makes somebody need what a peer was not sent yet, sends it.
func TestKeptBackIsSent(t *testing.T) {
	for name, now := range map[string]func(*lab){
		"the owner says so":       func(l *lab) { l.local(Hurry{}) },
		"a tick":                  func(l *lab) { l.tick(1) },
		"somebody watches there":  func(l *lab) { l.step(3, l.hard.Term, HeartbeatReply{}) },
		"a client of the peer's":  func(l *lab) { l.step(3, l.hard.Term, Forward{Proposals: []Proposal{{Ref: 9, Payload: []byte("b")}}}) },
		"another client":          func(l *lab) { l.propose("b") },
		"the other one is gone":   func(l *lab) { l.local(Unreachable{Peer: 2}) },
		"it is to take over":      func(l *lab) { l.local(Transfer{Ref: 9, To: 3}) },
		"it speaks of a new life": func(l *lab) { l.local(Connected{Peer: 3, Boot: 2}) },
		"it is granted a read": func(l *lab) {
			l.ack(2)
			l.step(3, l.hard.Term, ReadRequest{Ref: 9})
			l.step(2, l.hard.Term, HeartbeatReply{Read: l.readSeq, Unwatched: true})
		},
	} {
		l := calmed(t, 3)
		l.propose("a")
		first := l.log.last.Index
		if got := l.Brief().KeptBack; got != first {
			t.Fatalf("keeps %d back, want %d", got, first)
		}
		now(l)
		if sent := sentTo[Append](l, 3); len(sent) == 0 || sent[0].Prev.Index >= first || l.Brief().KeptBack != 0 {
			t.Errorf("%s: %+v went to the peer, and %d is kept back", name, sent, l.Brief().KeptBack)
		}
	}
}

// TestKeptBackIsNotSentTwice: once it is sent, what is not acknowledged is asked for as ever.
func TestKeptBackIsNotSentTwice(t *testing.T) {
	l := calmed(t, 3)
	l.propose("a")
	l.local(Hurry{})
	l.local(Hurry{})
	if sent := answer[Append](l, 3); len(sent.Entries) != 1 {
		t.Errorf("sent %+v", sent)
	}
	l.ack(2)
	l.propose("b")
	if got := l.Brief().KeptBack; got != l.log.last.Index {
		t.Errorf("keeps %d back, want %d: it is calm again", got, l.log.last.Index)
	}
}
