package raft

import "fmt"

// transfer begins to hand leadership to a voter that stays (thesis §3.10). Proposals are refused until it
// ends, by another leader or after an election timeout.
func (c *Core) transfer(req Transfer) {
	if c.role != RoleLeader {
		c.refuse(req.Ref, RefusedNoLeader)
		return
	}
	heir := c.heir()
	if req.To != 0 {
		heir = c.peer(req.To)
	}
	switch {
	case c.transferee != 0 && (heir == nil || c.transferee != heir.id):
		c.refuse(req.Ref, RefusedTransferring)
		return
	case heir == nil || !c.stays(heir.id):
		c.refuse(req.Ref, RefusedUnknownMember)
		return
	}
	c.out.Accepted = append(c.out.Accepted, Accepted{Ref: req.Ref})
	if c.transferee == 0 {
		c.handOver(heir, "asked to")
	}
}

// handOver begins to hand leadership to a voter that stays.
func (c *Core) handOver(heir *progress, reason string) {
	c.transferee, c.transferAge = heir.id, 0
	c.out.Events = append(c.out.Events, HandingOver{Member: c.cfg.ID, To: heir.id, Reason: reason})
	c.maybeFinishTransfer(heir)
}

// tickTransfer gives up a transfer that nobody completes, and begins one when this leader's own disk hangs:
// it can confirm nothing that it did itself, and its clients would wait for what it cannot apply.
func (c *Core) tickTransfer() {
	if c.transferee != 0 {
		if c.transferAge++; c.transferAge >= c.cfg.ElectionTicks {
			c.peer(c.transferee).declined = true
			c.transferee = 0
		}
	}
	if age := c.diskAge(); c.transferee == 0 && age >= c.cfg.DiskPatienceTicks {
		if heir := c.heir(); heir != nil {
			c.handOver(heir, fmt.Sprintf("its disk has not answered for %d ticks", age))
		}
	}
}

// maybeFinishTransfer tells the transferee to campaign once it holds the whole log.
func (c *Core) maybeFinishTransfer(p *progress) {
	if c.transferee == p.id && p.match == c.log.last.Index {
		c.early(p.id, TimeoutNow{})
	}
}

// stays reports whether a member votes in the new half of the membership.
func (c *Core) stays(id MemberID) bool {
	x, ok := c.log.config().membership.Find(id)
	return ok && (x.Seat == SeatVoter || x.Seat == SeatIncoming)
}

// heir is the voter that stays and is furthest ahead: those that answer before those that do not, those with space
// and a sound state before those without, and those that did not take over when they were told to, such as one whose
// store is being rebuilt, last; nil if there is none.
func (c *Core) heir() *progress {
	var best *progress
	better := func(p *progress) bool {
		switch {
		case best == nil:
			return true
		case p.alive() != best.alive():
			return p.alive()
		case p.declined != best.declined:
			return best.declined
		case p.space.Out != best.space.Out:
			return best.space.Out
		case c.differs(p) != c.differs(best):
			return c.differs(best)
		}
		return p.match > best.match
	}
	for _, p := range c.peers {
		if c.stays(p.id) && better(p) {
			best = p
		}
	}
	return best
}
