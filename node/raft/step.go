package raft

import "fmt"

// Step takes one message: from a peer, or (with a zero From) from this member itself. An error says that
// the message was malformed or not for this member; it changed nothing, and dropping it is right.
func (c *Core) Step(m Message) error {
	if m.From == 0 {
		return c.stepLocal(m.Body)
	}
	switch {
	case m.To != c.cfg.ID:
		return fmt.Errorf("message for member %v reached member %v: %w", m.To, c.cfg.ID, ErrMalformed)
	case m.From == c.cfg.ID:
		return fmt.Errorf("message of member %v to itself: %w", m.From, ErrMalformed)
	case m.FromBoot < c.boots[m.From]:
		return nil // from an earlier life of the sender
	}
	// Noted also where the message is for an earlier life of this member: two that each know only the other's
	// earlier life would drop everything that the other says for ever.
	c.met(m.From, m.FromBoot)
	if m.ToBoot != 0 && m.ToBoot != c.cfg.Boot {
		// What it answers is forgotten. A leader or candidate that has not noticed the restart is told of the
		// new boot: it might wait for this member alone.
		switch m.Body.(type) {
		case Heartbeat, VoteRequest:
			c.early(m.From, HeartbeatReply{Space: c.space})
		}
		return nil
	}
	if c.role == RoleLeader {
		if c.peer(m.From) == nil && c.isStranger(m.From) {
			c.early(m.From, Stranger{Config: c.log.configUpTo(c.commit).index})
			return nil
		}
	}
	return c.stepPeer(m)
}

// isStranger reports whether this leader knows for certain that the cluster goes on without that member.
func (c *Core) isStranger(id MemberID) bool {
	if c.commit < c.noop {
		return false
	}
	_, committed := c.log.configUpTo(c.commit).membership.Find(id)
	_, inForce := c.log.config().membership.Find(id)
	return !committed && !inForce
}

// stepPeer dispatches a message of another member, after the rules about terms (thesis §3.3).
func (c *Core) stepPeer(m Message) error {
	switch b := m.Body.(type) {
	case VoteRequest:
		c.voteRequested(m, b)
		return nil
	case VoteReply:
		c.voteReplied(m, b)
		return nil
	case Forward:
		c.forwarded(m, b)
		return nil
	case ForwardRefused:
		for _, ref := range b.Refs {
			c.out.Refused = append(c.out.Refused, Refused{Ref: ref, Reason: b.Reason, Forwarded: true})
		}
		return nil
	case ReadRequest:
		c.readRequested(m, b)
		return nil
	case ReadReply:
		c.readReplied(b)
		return nil
	case Stranger:
		c.strangerTold(b)
		return nil
	case RepairRequest:
		return c.repairRequested(m, b)
	case RepairReply:
		c.repairReplied(m.From, b)
		return nil
	case SnapshotRequest:
		c.snapshotRequested(m.From, b)
		return nil
	}
	return c.stepReign(m)
}

// stepReign dispatches the messages that belong to one leader's term: those of a higher term end the
// reign here, those of a lower one are answered so that their sender comes to know.
func (c *Core) stepReign(m Message) error {
	if m.Term < c.hard.Term {
		switch b := m.Body.(type) {
		case Append:
			c.early(m.From, AppendReply{Match: b.Prev.Index, Rejected: true})
		case Heartbeat:
			c.early(m.From, HeartbeatReply{})
		}
		return nil
	}
	switch b := m.Body.(type) {
	case Append:
		if err := checkAppend(b, m.Term); err != nil {
			return err
		}
		c.heedLeader(m)
		c.appended(m.From, b)
	case Heartbeat:
		c.heedLeader(m)
		c.heartbeaten(m.From, b)
	case AppendReply:
		if c.heedTerm(m) && c.role == RoleLeader {
			c.appendReplied(m.From, b)
		}
	case HeartbeatReply:
		if c.heedTerm(m) && c.role == RoleLeader {
			c.heartbeatReplied(m.From, b)
		}
	case TimeoutNow:
		c.timeoutNow(m)
	default:
		return fmt.Errorf("message of kind %T from member %v: %w", m.Body, m.From, ErrMalformed)
	}
	return nil
}

// timeoutNow campaigns at once, if this member votes in the membership that is to stay, can read its whole log and
// is not the leader or a candidate of that term already. The leader says it again until somebody leads.
func (c *Core) timeoutNow(m Message) {
	c.heedTerm(m)
	if (c.role == RoleFollower || c.role == RolePreCandidate) && c.stays(c.cfg.ID) && c.sound() {
		c.becomeCandidate(true)
	}
}

// heedTerm follows a higher term; it reports whether the message is of the term this member was in.
func (c *Core) heedTerm(m Message) bool {
	if m.Term == c.hard.Term {
		return true
	}
	c.becomeFollower(m.Term, 0, fmt.Sprintf("member %v is in the higher term %d", m.From, m.Term))
	return false
}

// heedLeader follows the sender, who leads m.Term.
func (c *Core) heedLeader(m Message) {
	if m.Term == c.hard.Term && c.role == RoleLeader {
		panic(fmt.Sprintf("raft: members %v and %v both lead term %d", m.From, c.cfg.ID, m.Term))
	}
	if m.Term > c.hard.Term || c.role != RoleFollower || c.leader != m.From {
		c.becomeFollower(m.Term, m.From, fmt.Sprintf("member %v leads the higher term %d", m.From, m.Term))
		return
	}
	c.resetElectionTimer()
}

// checkAppend holds a leader's run of entries to its form before anything is changed.
func checkAppend(a Append, term Term) error {
	at := a.Prev
	for i := range a.Entries {
		e := &a.Entries[i]
		if e.Index != at.Index+1 || e.Term < at.Term {
			return fmt.Errorf("append: entry %v does not follow %v: %w", e.Position(), at, ErrMalformed)
		}
		if e.Lost() {
			return fmt.Errorf("append: entry %v has no content: %w", e.Position(), ErrMalformed)
		}
		if e.Kind == EntryMembership {
			if _, err := DecodeMembership(e.Payload); err != nil {
				return fmt.Errorf("append: entry %v: %w", e.Position(), err)
			}
		}
		at = e.Position()
	}
	if at.Term > term {
		return fmt.Errorf("append: position %v is of a higher term than its leader's, %d: %w", at, term, ErrMalformed)
	}
	return nil
}

// stepLocal dispatches what this member tells itself.
func (c *Core) stepLocal(body Body) error {
	switch b := body.(type) {
	case Propose:
		c.propose(b.Proposals)
	case Read:
		c.read(b.Ref)
	case ChangeMembership:
		c.changeMembership(b)
	case Transfer:
		c.transfer(b)
	case Persisted:
		c.persisted(b.Seq)
	case Applied:
		c.applied = max(c.applied, b.Index)
		if b.Installed {
			c.attest.forget()
		}
		c.attest.pass(b.Points)
		c.trim()
	case Fetched:
		switch {
		case b.To == c.cfg.ID:
			c.wasReread(b.Span)
		case b.Repair:
			c.repairFetched(b)
		default:
			c.fetched(b)
		}
	case SnapshotReceived:
		c.snapshotReceived(b)
	case SnapshotSent:
		c.snapshotSent(b)
	case Compacted:
		if b.Base.Position.Index > c.log.base.Position.Index && b.Base.Position.Index <= c.applied {
			c.compact(b.Base)
		}
	case Connected:
		c.met(b.Peer, b.Boot)
	case Unreachable:
		c.unreachable(b.Peer)
	case Space:
		c.measured(b)
	case Watched:
		c.watched(b.On)
	case Hurry:
		c.hurry()
	default:
		return fmt.Errorf("local message of kind %T: %w", body, ErrMalformed)
	}
	return nil
}

func (c *Core) refuse(ref uint64, reason Refusal) {
	c.out.Refused = append(c.out.Refused, Refused{Ref: ref, Reason: reason})
}

// strangerTold hears from a leader that its cluster goes on without this member. A leader cannot be meant: it
// holds whatever is committed.
func (c *Core) strangerTold(s Stranger) {
	_, inForce := c.log.config().membership.Find(c.cfg.ID)
	_, committed := c.log.configUpTo(c.commit).membership.Find(c.cfg.ID)
	if (inForce || committed) && s.Config >= c.config && c.role != RoleLeader {
		c.out.Removed = true
	}
}
