package raft

import "slices"

// changeMembership begins a membership change on the leader: newcomers become learners and members move at once;
// promotions and removals go through one joint membership (thesis §4.3).
func (c *Core) changeMembership(req ChangeMembership) {
	next, reason := c.planChange(req.Change)
	if reason != RefusedNot {
		c.refuse(req.Ref, reason)
		return
	}
	at := c.append(EntryMembership, next.AppendTo(nil))
	c.out.Accepted = append(c.out.Accepted, Accepted{Ref: req.Ref, At: at})
}

// planChange computes the membership that a change begins with, or why it is refused.
func (c *Core) planChange(change Change) (Membership, Refusal) {
	in := c.log.config()
	switch {
	case c.role != RoleLeader:
		return Membership{}, RefusedNoLeader
	case c.transferee != 0:
		return Membership{}, RefusedTransferring
	case c.verdict.Out:
		return Membership{}, RefusedNoSpace
	case change.Planned != 0 && change.Planned != in.index:
		return Membership{}, RefusedStaleConfig
	case c.commit < c.noop || in.index > c.commit || in.membership.Joint():
		return Membership{}, RefusedInFlight
	case len(change.AddLearners)+len(change.Move)+len(change.Promote)+len(change.Remove) == 0:
		return Membership{}, RefusedInvalid
	}
	next := Membership{Members: slices.Clone(in.membership.Members)}
	for _, step := range []func(*Membership, Change) Refusal{c.addLearners, c.move, c.promote, c.remove} {
		if reason := step(&next, change); reason != RefusedNot {
			return Membership{}, reason
		}
	}
	if incoming, _ := next.Voters(); len(incoming) == 0 || next.Check() != nil {
		return Membership{}, RefusedInvalid
	}
	return next, RefusedNot
}

func (c *Core) addLearners(m *Membership, change Change) Refusal {
	for _, x := range change.AddLearners {
		if x.ID == 0 {
			return RefusedInvalid
		}
		if _, ok := m.Find(x.ID); ok {
			return RefusedExists
		}
		x.Seat = SeatLearner
		m.Members = append(m.Members, x)
		m.sort()
	}
	return RefusedNot
}

func (c *Core) move(m *Membership, change Change) Refusal {
	for _, x := range change.Move {
		i := m.place(x.ID)
		if i < 0 {
			return RefusedUnknownMember
		}
		m.Members[i].PeerAddress = x.PeerAddress
	}
	return RefusedNot
}

func (c *Core) promote(m *Membership, change Change) Refusal {
	for _, id := range change.Promote {
		i := m.place(id)
		if i < 0 || m.Members[i].Seat != SeatLearner {
			return RefusedUnknownMember
		}
		if p := c.peer(id); p == nil || !c.caughtUp(p) {
			return RefusedLagging
		}
		m.Members[i].Seat = SeatIncoming
	}
	return RefusedNot
}

func (c *Core) remove(m *Membership, change Change) Refusal {
	for _, id := range change.Remove {
		i := m.place(id)
		switch {
		case i < 0:
			return RefusedUnknownMember
		case m.Members[i].Seat == SeatVoter:
			m.Members[i].Seat = SeatOutgoing
		case m.Members[i].Seat == SeatLearner:
			m.Members = slices.Delete(m.Members, i, i+1)
		default: // named twice, or promoted and removed in one change
			return RefusedInvalid
		}
	}
	return RefusedNot
}

func (m *Membership) sort() {
	slices.SortFunc(m.Members, func(a, b Member) int {
		if a.ID < b.ID {
			return -1
		}
		return 1
	})
}

func (m *Membership) place(id MemberID) int {
	return slices.IndexFunc(m.Members, func(x Member) bool { return x.ID == id })
}

// caughtUp reports whether a learner may be promoted: it is heard from, streams, and lacks little of the
// commit index.
func (c *Core) caughtUp(p *progress) bool {
	return p.mode == ModeStream && p.match+c.cfg.CaughtUpLag >= c.commit
}

// leaveJoint ends a committed joint membership. Any leader does so by itself, also one that found it in its
// log.
func (c *Core) leaveJoint() {
	in := c.log.config()
	if c.role != RoleLeader || !in.membership.Joint() || in.index > c.commit || c.commit < c.noop {
		return
	}
	var next Membership
	for _, x := range in.membership.Members {
		switch x.Seat {
		case SeatOutgoing:
			continue
		case SeatIncoming:
			x.Seat = SeatVoter
		}
		next.Members = append(next.Members, x)
	}
	c.append(EntryMembership, next.AppendTo(nil))
}

// maybeRetire steps down once the membership without this leader is committed (thesis §4.2.2), after
// telling the others the commit index and the best of them to take over. Nobody else will tell it that it is
// gone, because it asks nobody any more. Only a leader commits by counting, and so comes here.
func (c *Core) maybeRetire() {
	in := c.log.config()
	if in.index > c.commit || c.voters.Has(c.cfg.ID) {
		return
	}
	for _, p := range c.peers {
		c.heartbeat(p)
	}
	if heir := c.heir(); heir != nil && heir.match == c.log.last.Index {
		c.early(heir.id, TimeoutNow{})
	}
	c.out.Removed = true
	c.becomeFollower(c.hard.Term, 0, "removed from the membership")
}
