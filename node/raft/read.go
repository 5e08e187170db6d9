package raft

import (
	"slices"

	"raftsman.dev/node/raft/quorum"
)

// readRound is one confirmation of leadership (thesis §6.4): everything asked for before it was sent may
// be served at index once a quorum has answered it or a later one.
type readRound struct {
	number uint64
	index  Index
	reads  []pendingRead
}

// pendingRead is one Read of this member (from 0) or ReadRequest of a follower.
type pendingRead struct {
	from MemberID
	boot Boot
	ref  uint64
}

// read takes a Read of this member's clients, or sends it on to the leader.
func (c *Core) read(ref uint64) {
	switch {
	case c.role == RoleLeader:
		c.newReads = append(c.newReads, pendingRead{ref: ref})
	case c.leader != 0:
		c.remoteReads = append(c.remoteReads, ref)
		c.early(c.leader, ReadRequest{Ref: ref})
	default:
		c.refuse(ref, RefusedNoLeader)
	}
}

func (c *Core) readRequested(m Message, req ReadRequest) {
	if c.role != RoleLeader || m.Term > c.hard.Term {
		c.early(m.From, ReadReply{Ref: req.Ref, Reason: RefusedNoLeader})
		return
	}
	if p := c.peer(m.From); p != nil {
		p.lastRead = c.now
	}
	c.newReads = append(c.newReads, pendingRead{from: m.From, boot: m.FromBoot, ref: req.Ref})
}

// startReadRound begins one round for everything asked for since the last Take. Before the term's no-op is
// committed the leader does not know what is, so reads wait for it.
func (c *Core) startReadRound() {
	if len(c.newReads) == 0 || c.commit < c.noop {
		return
	}
	c.readSeq++
	c.rounds = append(c.rounds, readRound{number: c.readSeq, index: c.commit, reads: c.newReads})
	c.newReads = nil
	for _, p := range c.peers {
		if c.voters.Has(p.id) {
			c.heartbeat(p)
		}
	}
	c.confirmRounds()
}

// newestRound is the round that a heartbeat sent now confirms, 0 when none is open.
func (c *Core) newestRound() uint64 {
	if len(c.rounds) == 0 {
		return 0
	}
	return c.rounds[len(c.rounds)-1].number
}

// confirmRounds grants every round that a quorum of the configuration in force has answered.
func (c *Core) confirmRounds() {
	if len(c.rounds) == 0 {
		return
	}
	confirmed := quorum.Reached(c.voters, func(id MemberID) uint64 {
		if id == c.cfg.ID {
			return c.readSeq
		}
		if p := c.peer(id); p != nil {
			return p.readAck
		}
		return 0
	})
	n := 0
	for n < len(c.rounds) && c.rounds[n].number <= confirmed {
		for _, r := range c.rounds[n].reads {
			c.grantRead(r, c.rounds[n].index)
		}
		n++
	}
	c.rounds = slices.Delete(c.rounds, 0, n)
}

func (c *Core) grantRead(r pendingRead, index Index) {
	if r.from == 0 {
		c.out.Reads = append(c.out.Reads, ReadGrant{Ref: r.ref, Index: index})
		return
	}
	if p := c.peer(r.from); p != nil {
		p.awaits = max(p.awaits, index)
	}
	c.early(r.from, ReadReply{Ref: r.ref, Index: index})
	c.out.Early[len(c.out.Early)-1].ToBoot = r.boot
}

// refuseRound fails reads that this member can no longer answer as leader.
func (c *Core) refuseRound(reads []pendingRead) {
	for _, r := range reads {
		if r.from == 0 {
			c.refuse(r.ref, RefusedNoLeader)
			continue
		}
		c.early(r.from, ReadReply{Ref: r.ref, Reason: RefusedNoLeader})
		c.out.Early[len(c.out.Early)-1].ToBoot = r.boot
	}
}

func (c *Core) readReplied(r ReadReply) {
	i := slices.Index(c.remoteReads, r.Ref)
	if i < 0 {
		return
	}
	c.remoteReads = slices.Delete(c.remoteReads, i, i+1)
	if r.Reason != RefusedNot {
		c.refuse(r.Ref, r.Reason)
		return
	}
	c.out.Reads = append(c.out.Reads, ReadGrant{Ref: r.Ref, Index: r.Index})
}

// refuseRemoteReads fails what is on its way to a leader that may never answer.
func (c *Core) refuseRemoteReads() {
	for _, ref := range c.remoteReads {
		c.refuse(ref, RefusedNoLeader)
	}
	c.remoteReads = nil
}
