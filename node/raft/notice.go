package raft

// A follower learns what is committed from appends and heartbeats. Where the commit index moves and no entry is there to
// carry it, a leader has a choice: etcd's sends an empty append to everybody at once, which is answered; that of
// hashicorp/raft lets it wait up to a CommitTimeout, 50 ms by default, for the next append. Here it is told at once
// where somebody waits for it, and waits for the next append, or the heartbeat that comes with every HeartbeatTicks,
// where nobody does. Those who wait are clients whose proposals or reads came to the leader through the peer, which the
// leader knows, and those that watch or read the peer's own state, of which the peer tells. Staleness is bounded as it is
// for a message that goes lost: by one heartbeat interval.

// owesCommit reports whether a peer to which nothing else is to be sent is to be told the commit index now.
func (c *Core) owesCommit(p *progress) bool {
	return p.sentCommit < min(c.commit, p.match) && (!p.unwatched || p.sentCommit < p.awaits)
}

// tellCommit tells the commit index where no entry is there to carry it. Nobody needs the answer. A peer that differs is
// told that as always: an older program would answer, and without the point that would take it back.
func (c *Core) tellCommit(p *progress) {
	if c.differs(p) {
		c.heartbeat(p)
		return
	}
	p.sentCommit = min(c.commit, p.match)
	c.early(p.id, Heartbeat{Commit: p.sentCommit, Space: c.verdict, Quiet: true})
}

// heartbeat is the one that is answered. It always tells the commit index: what went lost is made good.
func (c *Core) heartbeat(p *progress) {
	commit := min(c.commit, p.match)
	at, diverged := c.question(p)
	c.early(p.id, Heartbeat{Commit: commit, Read: c.newestRound(), Space: c.verdict, Point: at, Diverged: diverged})
	p.sentCommit = max(p.sentCommit, commit)
}

// heartbeaten is the follower's side.
func (c *Core) heartbeaten(from MemberID, b Heartbeat) {
	c.advanceCommit(b.Commit)
	c.heedSpace(b.Space)
	if !b.Quiet {
		c.early(from, c.heartbeatReply(b.Read, c.heedAttest(b)))
	}
}

func (c *Core) heartbeatReply(read uint64, at Point) HeartbeatReply {
	return HeartbeatReply{Read: read, Space: c.space, Point: at, Unwatched: c.unwatched}
}

// watched hears whether somebody looks. The leader is told at once of somebody who does, and with the next answer that
// nobody does any more. Nothing is confirmed by that: it answers no round, and repeats the point that was asked for last.
func (c *Core) watched(on bool) {
	began := on && c.unwatched
	c.unwatched = !on
	if began && c.role == RoleFollower && c.leader != 0 {
		c.early(c.leader, c.heartbeatReply(0, c.attest.at(c.attest.question)))
	}
}

func (c *Core) heartbeatReplied(from MemberID, r HeartbeatReply) {
	p := c.peer(from)
	if p == nil {
		return
	}
	p.active = true
	p.unwatched = r.Unwatched
	p.readAck = max(p.readAck, r.Read)
	if p.told = true; r.Space != p.space {
		p.space = r.Space
		c.judgeSpace()
	}
	c.attested(p, r)
	c.confirmRounds()
}
