package raft

import (
	"strings"
	"testing"
)

// stops demands that the member stops rather than go on, and says why.
func stops(t *testing.T, why string, do func()) {
	t.Helper()
	defer func() {
		t.Helper()
		stop := recover()
		if text, _ := stop.(string); !strings.Contains(text, why) {
			t.Errorf("stopped with %v, want a word about %q", stop, why)
		}
	}()
	do()
}

// TestAssertionsFire: what cannot happen while the protocol is right stops the member. A check that is never seen to
// fire is none.
func TestAssertionsFire(t *testing.T) {
	stops(t, "back from term 5 to 4", func() { inRole(t, RoleFollower).becomeFollower(4, 0, "") })
	inRole(t, RoleFollower).becomeFollower(5, 2, "") // the same term is no way back
	for _, role := range []Role{RoleFollower, RolePreCandidate, RoleLeader} {
		stops(t, "to leader in term 5", func() { inRole(t, role).becomeLeader() })
	}
	stops(t, "would campaign", func() { inRole(t, RoleLeader).becomePreCandidate() })
	stops(t, "would campaign", func() { inRole(t, RoleLeader).becomeCandidate(true) })
	stops(t, "both lead term 5", func() { inRole(t, RoleLeader).heedLeader(Message{From: 2, Term: 5}) })
	stops(t, "acknowledges entry", func() {
		l := inRole(t, RoleLeader)
		l.appendReplied(2, AppendReply{Match: l.log.last.Index + 1})
	})
	stops(t, "cannot read", func() { inRole(t, RoleLeader).append(EntryMembership, []byte("no membership")) })
	stops(t, "cannot read", func() {
		l := inRole(t, RoleFollower)
		l.merge([]Entry{sealed(l.log.last.Index+1, 5, EntryMembership, []byte("no membership"))})
	})
}

// TestCommittedEntriesStay: a log gives up what is not committed, and stops rather than give up what is.
func TestCommittedEntriesStay(t *testing.T) {
	for _, from := range []Index{1, 2} {
		l := newLab(t, 1, voters(3), 2, 2)
		l.step(2, 2, Append{Prev: Position{2, 2}, Commit: 2})
		stops(t, "is committed", func() { l.truncate(from) })
	}
	l := newLab(t, 1, voters(3), 2, 2)
	l.step(2, 2, Append{Prev: Position{2, 2}, Commit: 2})
	l.truncate(3)
	if l.log.last != (Position{2, 2}) {
		t.Errorf("log ends at %v, want 2@2", l.log.last)
	}
}
