package raft

import (
	"fmt"
	"slices"
)

// broken names the first rule of the core's own bookkeeping that does not hold, or "". The world asks after
// every Take.
func (c *Core) broken() string {
	rules := []struct {
		holds bool
		rule  string
	}{
		{c.commit <= c.log.last.Index, "the commit index lies in the log"},
		{c.handed == c.log.last.Index, "the log writer has been given the whole log"},
		{c.durable <= c.handed, "nothing is durable that the log writer was not given"},
		{c.emitted <= c.commit && c.emitted <= max(c.durable, c.log.base.Position.Index), "what is given out to apply is committed and durable, here or in a snapshot"},
		{c.hard.Term >= c.log.last.Term, "no entry is of a higher term than the member"},
		{c.hard.Commit == c.commit, "the hard state knows the commit index"},
		{(c.role == RoleLeader) == (c.leader == c.cfg.ID), "a member follows itself if it leads, and only then"},
		{c.role == RoleLeader || c.peers == nil && c.rounds == nil && c.newReads == nil && c.transferee == 0, "only a leader keeps progress, rounds and a transfer"},
		{c.transferee == 0 || c.stays(c.transferee) && c.peer(c.transferee) != nil, "who is to take over stays in the membership"},
		{c.role == RoleFollower || len(c.remoteReads) == 0, "only a follower waits for a leader's answer"},
		{c.config == c.log.config().index, "the membership in force is the newest in the log"},
		{payload(c.log.entries) == c.log.bytes, "the bytes in memory are counted"},
		{c.lostAreInMemory(), "what is lost or not durable again is on the books, and in memory"},
		{c.sound() || c.role == RoleFollower, "only who can read its whole log campaigns or leads"},
	}
	for _, r := range rules {
		if !r.holds {
			return r.rule
		}
	}
	if c.role == RoleLeader {
		return c.brokenLeader()
	}
	return ""
}

func (c *Core) brokenLeader() string {
	uncommitted := 0
	if c.commit < c.log.last.Index {
		uncommitted = payload(c.log.slice(c.commit+1, c.log.last.Index, 1<<40))
	}
	if uncommitted != c.uncommitted {
		return fmt.Sprintf("uncommitted bytes are counted: %d, not %d", uncommitted, c.uncommitted)
	}
	if t, ok := c.log.term(c.noop); ok && t != c.hard.Term || c.noop > c.log.last.Index {
		return "the no-op is of the leader's term"
	}
	if !slices.IsSortedFunc(c.rounds, func(a, b readRound) int { return int(a.number) - int(b.number) }) {
		return "rounds are numbered upwards"
	}
	for _, p := range c.peers {
		bytes := 0
		for _, f := range p.inflight {
			bytes += f.bytes
		}
		switch {
		case p.match >= p.next || p.match > c.log.last.Index:
			return "match < next, within the log"
		case p.mode != ModeStream && len(p.inflight) > 0:
			return "only a stream has appends in flight"
		case bytes != p.flightBytes:
			return "bytes in flight are counted"
		case len(p.inflight) > c.cfg.MaxInflightMessages || p.flightBytes > c.cfg.MaxInflightBytes+c.cfg.MaxAppendBytes:
			return "what is in flight is within its bounds"
		}
	}
	return ""
}

func (c *Core) lostAreInMemory() bool {
	for _, i := range c.repair.lost {
		if i < c.log.firstInMemory() || i > c.log.last.Index {
			return false
		}
	}
	for _, e := range c.log.entries {
		if e.Lost() && !slices.Contains(c.repair.lost, e.Index) {
			return false
		}
	}
	return slices.IsSorted(c.repair.lost)
}

func payload(entries []Entry) int {
	n := 0
	for i := range entries {
		n += len(entries[i].Payload)
	}
	return n
}
