package raft

import (
	"strings"
	"testing"
)

// hangDisk gives a leader of three a write that its disk never answers; the others hold it.
func hangDisk(t *testing.T) *lab {
	l := newLab(t, 1, voters(3))
	l.lead()
	l.slow = true
	l.propose("stuck")
	l.ack(2, 3)
	l.look()
	return l
}

// TestHungDiskHandsOver: past its patience a leader tells the best voter to take over, and takes no proposals
// meanwhile.
func TestHungDiskHandsOver(t *testing.T) {
	l := hangDisk(t)
	for range l.cfg.DiskPatienceTicks {
		if len(sentTo[TimeoutNow](l, 2))+len(sentTo[TimeoutNow](l, 3)) > 0 {
			t.Fatal("hands over before its patience ends")
		}
		l.tick(1)
		l.ack(2, 3)
	}
	if len(sentTo[TimeoutNow](l, 2)) == 0 {
		t.Fatalf("does not hand over: %v", l.sent)
	}
	if !l.Brief().DiskHangs {
		t.Fatal("does not say that its disk hangs")
	}
	l.propose("more")
	if len(l.refused) != 1 || l.refused[0].Reason != RefusedTransferring {
		t.Fatalf("refused %v, want a proposal refused as transferring", l.refused)
	}
	l.step(2, 3, VoteRequest{Transfer: true, Last: l.log.last})
	l.wantRole(RoleFollower, 3)
}

// TestHungDiskStopsLeading: when nobody takes over within an election timeout the leader goes silent, so that
// the others elect one; it does not campaign before its disk answers.
func TestHungDiskStopsLeading(t *testing.T) {
	l := hangDisk(t)
	for range l.cfg.DiskPatienceTicks + l.cfg.ElectionTicks {
		l.tick(1)
		l.step(2, 2, HeartbeatReply{})
		l.step(3, 2, HeartbeatReply{})
	}
	l.wantRole(RoleFollower, 2)
	if !strings.Contains(l.lastStepDown, "disk") {
		t.Errorf("stepped down because %q, want the disk named", l.lastStepDown)
	}
	l.look()
	l.tick(5 * l.cfg.ElectionTicks)
	l.wantRole(RoleFollower, 2)
	if len(l.sent) > 0 {
		t.Fatalf("is not silent: %v", l.sent)
	}
	l.flush()
	if l.Brief().DiskHangs {
		t.Fatal("says that its disk hangs once that has answered")
	}
	l.tick(2 * l.cfg.ElectionTicks)
	l.wantRole(RolePreCandidate, 2)
}

// TestSlowDiskKeepsLeading: patience begins anew with every batch that is answered.
func TestSlowDiskKeepsLeading(t *testing.T) {
	l := hangDisk(t)
	for i := range 5 * l.cfg.DiskPatienceTicks {
		l.tick(1)
		l.propose("more")
		l.ack(2, 3)
		if i%(l.cfg.DiskPatienceTicks/2) == 0 {
			l.flush()
		}
	}
	l.wantRole(RoleLeader, 2)
	if len(sentTo[TimeoutNow](l, 2))+len(sentTo[TimeoutNow](l, 3)) > 0 {
		t.Fatal("hands over although its disk answers")
	}
}
