package raft

import "testing"

// Each test here shows a bug that the core once had: what it does now, and what it did then. Where a seed of
// TestChaos found it, the seed is named.

// TestRemovedMemberCampaignsUntilItsRemovalIsCommitted: the leader 2 has appended the membership without
// itself and stepped down before anybody else got that entry. Its log is the longest of the old half {2, 5},
// so nobody but itself can win there; it used to sit still because it was no voter in its newest membership,
// and the cluster stayed without a leader for ever. Seed 16788.
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
