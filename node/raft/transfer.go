package raft

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
	if c.transferee != 0 {
		return
	}
	c.transferee, c.transferAge = heir.id, 0
	c.maybeFinishTransfer(heir)
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

// heir is the voter that stays and is furthest ahead, nil if there is none.
func (c *Core) heir() *progress {
	var best *progress
	for _, p := range c.peers {
		if c.stays(p.id) && (best == nil || p.match > best.match) {
			best = p
		}
	}
	return best
}
