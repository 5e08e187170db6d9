package raft

import (
	"fmt"

	"raftsman.dev/node/raft/quorum"
)

// append puts one new entry of this leader at the end of the log.
func (c *Core) append(kind EntryKind, payload []byte) Position {
	e := Entry{Index: c.log.last.Index + 1, Term: c.hard.Term, Kind: kind, Payload: payload}
	e.Seal()
	if err := c.log.append([]Entry{e}); err != nil {
		panic(fmt.Sprintf("raft: leader %v made an entry that it cannot read: %v", c.cfg.ID, err))
	}
	c.uncommitted += len(payload)
	if kind == EntryMembership {
		c.adoptConfig()
	}
	return e.Position()
}

// propose takes the commands of this member's clients into the log, or sends them on to the leader.
func (c *Core) propose(ps []Proposal) {
	switch {
	case c.role == RoleLeader:
		c.accept(ps, c.refuse)
	case c.leader != 0:
		c.early(c.leader, Forward{Proposals: ps})
	default:
		for _, p := range ps {
			c.refuse(p.Ref, RefusedNoLeader)
		}
	}
}

// accept appends proposals as far as the bounds allow and refuses the rest.
func (c *Core) accept(ps []Proposal, refuse func(ref uint64, reason Refusal)) {
	for _, p := range ps {
		switch {
		case c.transferee != 0:
			refuse(p.Ref, RefusedTransferring)
		case c.refusesSpace(p.Grows):
			refuse(p.Ref, RefusedNoSpace)
		case len(p.Payload) > MaxPayload:
			refuse(p.Ref, RefusedInvalid)
		case c.uncommitted > 0 && c.uncommitted+len(p.Payload) > c.cfg.MaxUncommittedBytes:
			refuse(p.Ref, RefusedBusy)
		default:
			c.append(EntryCommand, p.Payload)
		}
	}
}

// forwarded takes what a follower sent on; what is not taken goes back, so that nothing is left hanging.
func (c *Core) forwarded(m Message, f Forward) {
	refused := map[Refusal][]uint64{}
	refuse := func(ref uint64, reason Refusal) { refused[reason] = append(refused[reason], ref) }
	if c.role == RoleLeader && m.Term <= c.hard.Term {
		before := c.log.last.Index
		c.accept(f.Proposals, refuse)
		if p := c.peer(m.From); p != nil && c.log.last.Index > before {
			p.awaits = c.log.last.Index
		}
	} else {
		for _, p := range f.Proposals {
			refuse(p.Ref, RefusedNoLeader)
		}
	}
	for reason := RefusedNot; reason <= RefusedNoSpace; reason++ {
		if refs := refused[reason]; len(refs) > 0 {
			c.early(m.From, ForwardRefused{Refs: refs, Reason: reason})
		}
	}
}

// replicate sends a peer what it lacks, within the bounds in flight.
func (c *Core) replicate(p *progress) {
	p.waits = false
	for !p.full(&c.cfg) && !c.spares(p) {
		p.waits = c.mayWait(p)
		if p.waits || p.mode == ModeStream && p.next > c.log.last.Index {
			if c.owesCommit(p) {
				c.tellCommit(p)
			}
			return
		}
		if !c.sendAppend(p) {
			return
		}
	}
}

// sendAppend sends the entries from p.next on; false means that it cannot go on from memory.
func (c *Core) sendAppend(p *progress) bool {
	prev := p.next - 1
	term, ok := c.log.term(prev)
	if !ok {
		c.startSnapshot(p)
		return false
	}
	var entries []Entry
	if p.next <= c.log.last.Index {
		if p.next < c.log.firstInMemory() {
			c.fetch(p)
			return false
		}
		entries = c.log.slice(p.next, c.log.last.Index, c.appendBytes(p))
	}
	c.sendEntries(p, Span{Prev: Position{prev, term}, Entries: entries})
	return true
}

// appendBytes bounds the payload of the next append to a peer.
func (c *Core) appendBytes(p *progress) int {
	if p.mode == ModeProbe {
		return min(c.cfg.MaxAppendBytes, maxProbeBytes)
	}
	return c.cfg.MaxAppendBytes
}

func (c *Core) sendEntries(p *progress, s Span) {
	c.early(p.id, Append{Prev: s.Prev, Commit: c.commit, Entries: s.Entries})
	p.sent(s.Entries)
	p.sentCommit = min(c.commit, s.Prev.Index+Index(len(s.Entries)))
}

func (c *Core) fetch(p *progress) {
	if !p.fetching {
		p.fetching = true
		c.out.Fetches = append(c.out.Fetches, Fetch{To: p.id, From: p.next, MaxBytes: c.appendBytes(p)})
	}
}

// fetched sends entries that were read back from the log, unless the peer is elsewhere by now.
func (c *Core) fetched(f Fetched) {
	p := c.peer(f.To)
	if c.role != RoleLeader || p == nil || !p.fetching {
		return
	}
	p.fetching = false
	switch {
	case len(f.Span.Entries) == 0 && p.next < c.log.firstInMemory():
		c.startSnapshot(p)
	case len(f.Span.Entries) == 0:
		// The peer needs nothing of the disk any more.
	case p.next == f.Span.Prev.Index+1 && c.log.holds(f.Span.Prev) && c.log.holds(f.Span.Entries[len(f.Span.Entries)-1].Position()) && !p.full(&c.cfg):
		c.sendEntries(p, f.Span)
	}
}

// startSnapshot asks for a snapshot stream to a peer. Preparing one is expensive: a peer that answers nothing
// is asked again at the next heartbeat.
func (c *Core) startSnapshot(p *progress) {
	switch {
	case p.mode == ModeSnapshot:
	case !p.alive():
		p.probe(p.match + 1)
		p.waiting = true
	default:
		p.mode = ModeSnapshot
		p.inflight, p.flightBytes = p.inflight[:0], 0
		c.stream(p.id)
	}
}

// snapshotSent goes back to probing; only the peer's own ack moves its match.
func (c *Core) snapshotSent(s SnapshotSent) {
	delete(c.repair.streaming, s.To)
	p := c.peer(s.To)
	if c.role != RoleLeader || p == nil || p.mode != ModeSnapshot {
		return
	}
	if s.OK {
		p.divergence = Divergence{}
		p.probe(s.At.Index + 1)
		return
	}
	p.probe(p.match + 1)
	p.waiting = true // until the next heartbeat, so that a failing stream is not begun again at once
}

func (c *Core) unreachable(id MemberID) {
	if c.role == RoleLeader {
		if p := c.peer(id); p != nil && p.mode == ModeStream {
			p.probe(p.match + 1)
			p.waiting = true
		}
	}
	if id == c.leader {
		c.refuseRemoteReads()
	}
}

// nudge asks a streaming peer that has acknowledged nothing since the last heartbeat where it stands: what is
// in flight may be lost, and a rejection of the empty append tells.
func (c *Core) nudge(p *progress) {
	if p.mode == ModeStream && p.match == p.lastTick && p.match+1 < p.next {
		if term, ok := c.log.term(p.next - 1); ok {
			c.early(p.id, Append{Prev: Position{p.next - 1, term}, Commit: c.commit})
		} else {
			c.startSnapshot(p)
		}
	}
	p.lastTick = p.match
}

// appended is the follower's side of replication (thesis §3.5).
func (c *Core) appended(from MemberID, a Append) {
	if c.roomless(a) {
		return // sent again once this member says that it has space
	}
	last := a.Prev.Index + Index(len(a.Entries))
	entries := a.Entries
	c.fill(entries)
	// What lies at or before the commit index is the same everywhere: skip it.
	if a.Prev.Index < c.commit {
		skip := min(Index(len(entries)), c.commit-a.Prev.Index)
		entries = entries[skip:]
		if len(entries) == 0 {
			c.advanceCommit(min(a.Commit, last))
			c.late(from, AppendReply{Match: max(c.commit, last)})
			return
		}
	} else if !c.log.holds(a.Prev) {
		c.early(from, AppendReply{Match: a.Prev.Index, Rejected: true, Hint: c.log.agree(a.Prev.Index, a.Prev.Term)})
		return
	}
	c.merge(entries)
	c.advanceCommit(min(a.Commit, last))
	c.late(from, AppendReply{Match: c.readable(last)})
}

// merge appends entries, dropping what conflicts with them; entries that are there already stay.
func (c *Core) merge(entries []Entry) {
	for len(entries) > 0 && c.log.holds(entries[0].Position()) {
		entries = entries[1:]
	}
	if len(entries) == 0 {
		return
	}
	if entries[0].Index <= c.log.last.Index {
		c.truncate(entries[0].Index)
	}
	before := c.log.config().index
	if err := c.log.append(entries); err != nil {
		panic(fmt.Sprintf("raft: member %v accepted entries it cannot read: %v", c.cfg.ID, err))
	}
	if c.log.config().index != before {
		c.adoptConfig()
	}
}

func (c *Core) appendReplied(from MemberID, r AppendReply) {
	p := c.peer(from)
	if p == nil {
		return
	}
	p.active = true
	if r.Rejected {
		c.appendRejected(p, r)
		return
	}
	if r.Match > c.log.last.Index {
		panic(fmt.Sprintf("raft: member %v acknowledges entry %d to leader %v, whose log ends at %d", from, r.Match, c.cfg.ID, c.log.last.Index))
	}
	news := p.acked(r.Match)
	if p.mode != ModeStream && !(p.mode == ModeSnapshot && p.match < c.log.base.Position.Index) {
		p.stream()
	}
	if news {
		before := c.commit
		c.maybeCommit()
		if c.commit > before {
			c.decisions++
			p.decided = c.decisions
		}
		c.maybeFinishTransfer(p)
	}
}

// appendRejected moves back to where the two logs may agree, by whole terms (thesis §3.5, p. 21).
func (c *Core) appendRejected(p *progress, r AppendReply) {
	stale := p.mode == ModeSnapshot || r.Match <= p.match || p.mode == ModeProbe && r.Match != p.next-1
	if stale {
		return
	}
	agree := c.log.agree(min(r.Hint.Index, r.Match-1), r.Hint.Term)
	p.probe(agree.Index + 1)
}

// maybeCommit moves the commit index to what a quorum of the configuration in force holds durably, if that
// is of this leader's own term (thesis §3.6.2), and does what waited for it.
func (c *Core) maybeCommit() {
	reached := quorum.Reached(c.voters, func(id MemberID) Index {
		if id == c.cfg.ID {
			return c.durable
		}
		if p := c.peer(id); p != nil {
			return p.match
		}
		return 0
	})
	if t, ok := c.log.term(reached); !ok || t != c.hard.Term {
		return
	}
	before := c.commit
	if !c.advanceCommit(reached) {
		return
	}
	c.releaseUncommitted(before)
	c.leaveJoint()
	c.maybeRetire()
}

// releaseUncommitted gives back the room of what has been committed since.
func (c *Core) releaseUncommitted(before Index) {
	first := c.log.firstInMemory()
	for i := max(before+1, first); i <= c.commit; i++ {
		c.uncommitted -= len(c.log.entries[i-first].Payload)
	}
	c.uncommitted = max(0, c.uncommitted)
}
