package raft

import (
	"fmt"
	"slices"
)

// Index is a place in the log. The first entry has index 1; 0 means "none".
type Index uint64

// Term is a leader's reign. 0 is before the first election.
type Term uint64

// Boot counts the starts of one data directory. 0 means "not known yet".
type Boot uint64

// MemberID names one member for ever: 64 random bits drawn with its data directory. 0 means "none".
type MemberID uint64

// ClusterID names one cluster for ever: 64 random bits fixed at its birth. 0 means "none yet".
type ClusterID uint64

// String renders the ID the way logs, status and the admin endpoint show it: 16 hex digits.
func (id MemberID) String() string { return fmt.Sprintf("%016x", uint64(id)) }

// String renders the ID the way logs, status and the admin endpoint show it: 16 hex digits.
func (id ClusterID) String() string { return fmt.Sprintf("%016x", uint64(id)) }

// Position is an entry's index together with the term that wrote it. Two logs that agree on a
// position agree on everything up to it (thesis §3.5, Log Matching).
type Position struct {
	Index Index
	Term  Term
}

// String renders index@term.
func (p Position) String() string { return fmt.Sprintf("%d@%d", p.Index, p.Term) }

// AtLeast reports whether a log ending at p is at least as up to date as one ending at q (thesis §3.6.1).
func (p Position) AtLeast(q Position) bool {
	return p.Term > q.Term || p.Term == q.Term && p.Index >= q.Index
}

// HardState is what a member must never forget: the term it has seen, whom it voted for in that term,
// and (as a hint that may lag) the highest index that it knows to be committed.
type HardState struct {
	Term   Term
	Vote   MemberID
	Commit Index
}

// Seat is a member's place in a membership. Frozen: it is part of the log's format.
type Seat uint8

const (
	// SeatLearner receives the log and counts for nothing.
	SeatLearner Seat = 1
	// SeatVoter counts for quorum; in a joint membership it counts in both halves.
	SeatVoter Seat = 2
	// SeatIncoming counts in the new half only: it becomes a voter when the joint membership ends.
	SeatIncoming Seat = 3
	// SeatOutgoing counts in the old half only: it leaves when the joint membership ends.
	SeatOutgoing Seat = 4
)

// Member is one server as the membership records it.
type Member struct {
	ID MemberID
	// Name is the human name (the Pod's name in Kubernetes), at most 253 bytes.
	Name string
	// PeerAddress is a host:port hint where the member's peer port may answer.
	PeerAddress string
	// ClientURLs is what the member tells etcd clients of itself, at most 8.
	ClientURLs []string
	Seat       Seat
}

// Membership is one configuration of the cluster, sorted by member ID. The zero value has no members:
// it is what an unjoined member starts with.
type Membership struct {
	Members []Member
}

// Joint reports whether two majorities are needed (thesis §4.3).
func (m Membership) Joint() bool {
	return slices.ContainsFunc(m.Members, func(x Member) bool {
		return x.Seat == SeatIncoming || x.Seat == SeatOutgoing
	})
}

// Find returns the member with that ID.
func (m Membership) Find(id MemberID) (Member, bool) {
	i, ok := slices.BinarySearchFunc(m.Members, id, func(x Member, id MemberID) int {
		switch {
		case x.ID < id:
			return -1
		case x.ID > id:
			return 1
		}
		return 0
	})
	if !ok {
		return Member{}, false
	}
	return m.Members[i], true
}

// Voters returns the IDs that count in the new half and, when joint, those that count in the old half
// (nil when not joint).
func (m Membership) Voters() (incoming, outgoing []MemberID) {
	joint := m.Joint()
	for _, x := range m.Members {
		if x.Seat == SeatVoter || x.Seat == SeatIncoming {
			incoming = append(incoming, x.ID)
		}
		if joint && (x.Seat == SeatVoter || x.Seat == SeatOutgoing) {
			outgoing = append(outgoing, x.ID)
		}
	}
	return incoming, outgoing
}

// Change asks the leader for a new membership: newcomers as learners, members that have moved, and promotions and
// removals that together become one joint change.
type Change struct {
	// Planned is the configuration index the change was planned on; the leader refuses any other.
	Planned     Index
	AddLearners []Member
	Move        []Move
	Promote     []MemberID
	Remove      []MemberID
}

// Move gives a member another PeerAddress; its seat stays as it is.
type Move struct {
	ID          MemberID
	PeerAddress string
}

// EntryKind says what an entry's payload is. Frozen: it is part of the log's format.
type EntryKind uint8

const (
	// EntryLost stands where this member's own disk has lost an entry: index, term and checksum are known from
	// the log's second copy, kind and payload are not. It is never written and never sent.
	EntryLost EntryKind = 0
	// EntryNoop is the empty entry with which a leader starts its term.
	EntryNoop EntryKind = 1
	// EntryCommand carries a command of the store, opaque to the core.
	EntryCommand EntryKind = 2
	// EntryMembership carries an encoded Membership, in force from the moment it is in the log.
	EntryMembership EntryKind = 3
)

// Entry is one place of the log. Sum is made once, by the leader that creates the entry (Seal), and
// stays with it in every log and on every wire; it covers index, term, kind and payload.
type Entry struct {
	Index   Index
	Term    Term
	Kind    EntryKind
	Sum     uint32
	Payload []byte
}

// Lost reports whether only the entry's place and checksum are known here.
func (e Entry) Lost() bool { return e.Kind == EntryLost }

// Position is where the entry stands.
func (e Entry) Position() Position { return Position{Index: e.Index, Term: e.Term} }

// Span is a gap-free run of entries that follows Prev.
type Span struct {
	Prev    Position
	Entries []Entry
}

// Base is where a log begins: the last position that was cut away or covered by a snapshot, and the
// membership in force there with the index of the entry that made it. The zero Base is an empty log's.
type Base struct {
	Position   Position
	Config     Index
	Membership Membership
}

// Batch is what one Take asks the log to make durable, in this order: Base if set (a snapshot was
// installed: the log starts anew there), then hard state if set, then entries, the first of which may
// stand at or before the log's end and then replaces everything from there on. Seq grows by one with
// every batch that is not empty; Persisted names it when everything up to it is durable. A batch that was not
// answered when power failed is there as a whole or not at all; the core also survives one that has lost
// entries off its end. Fills come last and change no place of the log: each gives the content of an entry that
// was lost there, with the same index, term and checksum.
type Batch struct {
	Seq     uint64
	Base    *Base
	Hard    *HardState
	Entries []Entry
	Fills   []Entry
}

// Empty reports whether there is nothing to write.
func (b Batch) Empty() bool {
	return b.Base == nil && b.Hard == nil && len(b.Entries) == 0 && len(b.Fills) == 0
}

// Restored is what a member finds in its log and its store when it starts. Entries may be Lost.
type Restored struct {
	Base    Base
	Hard    HardState
	Entries []Entry // everything after Base, gap-free
	Applied Index   // what the store holds; less than Base.Position.Index where it is to be rebuilt from a snapshot
}
