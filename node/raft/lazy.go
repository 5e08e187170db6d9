package raft

import "raftsman.dev/node/raft/quorum"

// An entry is committed once a quorum holds it durably; what the other voters do then is news to nobody. The leaders of etcd
// and hashicorp/raft send every entry to everybody at once all the same. Where entries crowd, that is nearly free, because
// they share messages and syncs. Where they come one by one, each costs every member a message, a sync and an ack, of which
// a third is for nothing. So a leader that has nothing else on its way lets those that it does not wait for have an entry
// together with the next one, or a moment later: it is told to Hurry by its owner, and by every tick. A leader may always
// send as late as it likes, and nothing is committed without a quorum of acks: this is about speed alone.
//
// Never kept waiting are followers at which clients or watchers wait, and as many more as a quorum needs. Should they, or
// the leader's own disk, take longer than that moment, the first ack of another one completes the quorum, and that one is
// needed from then on.

const (
	lazyEntries = 32       // that a peer may lack
	lazyBytes   = 64 << 10 // of their payload
)

// hurry lets nobody wait any longer.
func (c *Core) hurry() { c.hurried = true }

// mayWait reports whether a peer can have what it lacks a moment later.
func (c *Core) mayWait(p *progress) bool {
	if c.hurried || !c.unhurried(p) || !c.calm() || !c.isLittle(p.next) {
		return false
	}
	needed := quorum.Size(len(c.voters.Incoming)) - 1 // beside this leader
	for _, q := range c.peers {
		if q != p && c.countsOn(q) && (q.next > c.log.last.Index || !c.unhurried(q) || q.precedes(p)) {
			needed--
		}
	}
	return needed <= 0
}

// calm reports whether one entry at most is on its way, and nothing that changes who is asked.
func (c *Core) calm() bool {
	return c.log.last.Index <= c.commit+1 && c.transferee == 0 && len(c.voters.Outgoing) == 0 && c.voters.Has(c.cfg.ID)
}

// unhurried reports whether nobody at a voter waits for what it lacks. Where somebody has read a moment ago somebody may
// read again, and a reader waits until the member has all that is committed.
func (c *Core) unhurried(p *progress) bool {
	return c.voters.Has(p.id) && p.mode == ModeStream && p.unwatched && p.awaits < p.next &&
		c.now >= p.lastRead+uint64(c.cfg.ElectionTicks)
}

// isLittle reports whether the log holds commands from an index on, and nothing else, and few.
func (c *Core) isLittle(from Index) bool {
	if from > c.log.last.Index || c.log.last.Index-from >= lazyEntries || from < c.log.firstInMemory() {
		return false
	}
	bytes := 0
	for _, e := range c.log.entries[from-c.log.firstInMemory():] {
		if bytes += len(e.Payload); e.Kind != EntryCommand || bytes > lazyBytes {
			return false
		}
	}
	return true
}

// countsOn reports whether a peer's ack is to be expected, and counts.
func (c *Core) countsOn(p *progress) bool {
	return c.voters.Has(p.id) && p.alive() && !p.space.Out && c.caughtUp(p)
}

// precedes is the order in which voters are waited for: those whose acks completed a quorum last come first.
func (p *progress) precedes(q *progress) bool {
	return p.decided > q.decided || p.decided == q.decided && p.id < q.id
}

// keptBack is the first entry for which a peer waits, 0 for none.
func (c *Core) keptBack() Index {
	first := Index(0)
	for _, p := range c.peers {
		if p.waits && (first == 0 || p.next < first) {
			first = p.next
		}
	}
	return first
}
