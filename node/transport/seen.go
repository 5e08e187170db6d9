package transport

import (
	"errors"
	"fmt"

	"raftsman.dev/node/raft"
)

// ErrRolledBack: a peer has seen more of this member than its own volume knows of.
var ErrRolledBack = errors.New("this member's volume is an older copy of itself")

// Held is what a member's disk held when its boot began.
type Held struct {
	Term raft.Term
	Last raft.Index // of the log, lost entries included
}

// HeldBy is that of a disk as it was found at the start.
func HeldBy(found raft.Restored) Held {
	return Held{Term: found.Hard.Term, Last: found.Base.Position.Index + raft.Index(len(found.Entries))}
}

// Claim is what a member has said of its own disk, the highest of each. Boot is that of the newest claim.
type Claim struct {
	Boot raft.Boot
	Term raft.Term
	Kept raft.Index // acknowledged as durable, and known to be committed
}

// Seen is what one member knows of the lives of another, in memory only. A start of a member is known by its boot
// and by a number, its life, that is drawn at that start: two starts with the same boot are two copies of one volume.
// Life 0 is that of a start that speaks version 1 of the protocol, which does not tell it: two of those cannot be told
// apart, but from every other.
type Seen struct {
	Boot  raft.Boot // the newest that has sent messages or accepted some, 0 for none
	Life  uint64
	Claim Claim
}

// Meet notes that this life of the member takes part.
func (s *Seen) Meet(boot raft.Boot, life uint64) {
	if boot > s.Boot {
		s.Boot, s.Life = boot, life
	}
}

// Hear notes what a message of the member claims of its disk. committed is an index that the listener knew to be
// committed in term at, or before.
//
// Only what cannot be taken back counts. Real vote requests, the answers to them and positive acks leave after the
// term in them is durable; every other message may leave before, and those of pre-votes carry terms that nobody is
// in. An acknowledged entry may be dropped again for another leader's, but not one that was committed in a term up to
// the ack's: whoever led that term had it, and the ack says that the two logs agree there. A leader's own commit index
// proves nothing of its own disk, which may be the slowest.
func (s *Seen) Hear(m *raft.Message, committed raft.Index, at raft.Term) {
	kept := raft.Index(0)
	switch b := m.Body.(type) {
	case raft.VoteRequest:
		if b.Pre {
			return
		}
	case raft.VoteReply:
		if b.Pre {
			return
		}
	case raft.AppendReply:
		if b.Rejected {
			return
		}
		if at <= m.Term {
			kept = min(b.Match, committed)
		}
	default:
		return
	}
	c := &s.Claim
	c.Boot, c.Term, c.Kept = max(c.Boot, m.FromBoot), max(c.Term, m.Term), max(c.Kept, kept)
}

// Outlived reports whether a later life of the member has been seen, or another one in the same boot.
func (s Seen) Outlived(id Identity) bool {
	return s.Boot > id.Boot || s.Boot == id.Boot && s.Boot != 0 && s.Life != id.Life
}

// Refutes says why a member of that identity, whose disk held that when its boot began, runs from an older copy of its
// volume; nil when nothing tells. The error matches ErrRolledBack. What the same boot has claimed is not compared: it
// is this life's own, and newer than what the disk held.
func (s Seen) Refutes(id Identity, held Held) error {
	switch {
	case s.Boot > id.Boot:
		return fmt.Errorf("%w: boot %d of it has been seen, and this is boot %d", ErrRolledBack, s.Boot, id.Boot)
	case s.Outlived(id):
		return fmt.Errorf("%w: another start with this very boot %d has been seen", ErrRolledBack, id.Boot)
	case s.Claim.Boot >= id.Boot:
		return nil
	case s.Claim.Term > held.Term:
		return fmt.Errorf("%w: in boot %d it promised term %d, and in boot %d its disk knows of term %d only", ErrRolledBack, s.Claim.Boot, s.Claim.Term, id.Boot, held.Term)
	case s.Claim.Kept > held.Last:
		return fmt.Errorf("%w: in boot %d it acknowledged committed entry %d, and in boot %d its log ends at %d", ErrRolledBack, s.Claim.Boot, s.Claim.Kept, id.Boot, held.Last)
	}
	return nil
}

// maxSeen bounds what is remembered of members that are no peers (any longer).
const maxSeen = 1024

// seenOf is what this member knows of another.
func (t *Transport) seenOf(id raft.MemberID) Seen {
	t.mu.Lock()
	defer t.mu.Unlock()
	if s := t.mu.seen[id]; s != nil {
		return *s
	}
	return Seen{}
}

// witnessLocked is where this member notes what it learns of another.
func (t *Transport) witnessLocked(id raft.MemberID) *Seen {
	s := t.mu.seen[id]
	if s != nil {
		return s
	}
	if len(t.mu.seen) >= maxSeen {
		for other := range t.mu.seen {
			if t.mu.peers[other] == nil {
				delete(t.mu.seen, other)
				break
			}
		}
	}
	s = &Seen{}
	t.mu.seen[id] = s
	return s
}

// meet notes a life that takes part: one that has accepted this member's hello, with what that says of it.
func (t *Transport) meet(id Identity) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.witnessLocked(id.Member).Meet(id.Boot, id.Life)
}

// hear notes what a peer's messages say of it. That it has sent some says that it has not been refuted by this
// member's answer: from an older copy nothing is heard, and the right volume may still come back.
func (t *Transport) hear(from Identity, batch []raft.Message) {
	var committed raft.Index
	var at raft.Term
	if t.cfg.Committed != nil {
		committed, at = t.cfg.Committed()
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.witnessLocked(from.Member)
	s.Meet(from.Boot, from.Life)
	for i := range batch {
		if batch[i].FromBoot == from.Boot {
			s.Hear(&batch[i], committed, at)
		}
	}
}
