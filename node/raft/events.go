package raft

import "fmt"

// RoleChanged says that the member's role, term or leader is new. Reason is set when a leader stepped down.
type RoleChanged struct {
	Member MemberID
	Role   Role
	Term   Term
	Leader MemberID
	Reason string
}

// String is stable: golden scripts print it.
func (e RoleChanged) String() string {
	s := fmt.Sprintf("%s in term %d", e.Role, e.Term)
	if e.Leader != 0 {
		s += fmt.Sprintf(", leader %v", e.Leader)
	}
	if e.Reason != "" {
		s += ": " + e.Reason
	}
	return s
}

// HandingOver says that a leader has begun to hand leadership over.
type HandingOver struct {
	Member, To MemberID
	Reason     string
}

// String is stable: golden scripts print it.
func (e HandingOver) String() string {
	return fmt.Sprintf("hands leadership over to %v: %s", e.To, e.Reason)
}

// ConfigChanged says that another membership is in force.
type ConfigChanged struct {
	Member     MemberID
	Index      Index
	Membership Membership
}

// String is stable: golden scripts print it.
func (e ConfigChanged) String() string {
	kind := "membership"
	if e.Membership.Joint() {
		kind = "joint membership"
	}
	return fmt.Sprintf("%s of index %d: %v", kind, e.Index, e.Membership)
}

// EntriesLost says that the member found entries in its log of which only place and checksum are left.
type EntriesLost struct {
	Member      MemberID
	Count       int
	First, Last Index
}

// String is stable: golden scripts print it.
func (e EntriesLost) String() string {
	return fmt.Sprintf("has lost %d entries between %d and %d", e.Count, e.First, e.Last)
}

// EntriesRepaired says that the content of lost entries is durable again.
type EntriesRepaired struct {
	Member      MemberID
	Count, Left int
}

// String is stable: golden scripts print it.
func (e EntriesRepaired) String() string {
	return fmt.Sprintf("has repaired %d entries, %d are still lost", e.Count, e.Left)
}

// String lists the members with their seats, for events and scripts.
func (m Membership) String() string {
	s := "["
	for i, x := range m.Members {
		if i > 0 {
			s += " "
		}
		s += fmt.Sprintf("%v:%v", x.ID, x.Seat)
	}
	return s + "]"
}

// String names the seat.
func (s Seat) String() string {
	switch s {
	case SeatLearner:
		return "learner"
	case SeatVoter:
		return "voter"
	case SeatIncoming:
		return "incoming"
	case SeatOutgoing:
		return "outgoing"
	}
	return fmt.Sprintf("seat %d", uint8(s))
}
