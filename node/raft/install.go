package raft

// snapshotReceived decides what a received snapshot is good for. A leader holds whatever is committed.
func (c *Core) snapshotReceived(s SnapshotReceived) {
	at := s.Base.Position
	switch {
	case c.role == RoleLeader:
	case c.log.holds(at) && c.mends(at.Index):
		c.keepLog(s.Base)
	case at.Index <= c.commit:
	case c.log.holds(at):
		c.advanceCommit(at.Index)
	default:
		c.restartLog(s.Base)
	}
	if c.leader == s.From {
		c.late(s.From, AppendReply{Match: c.commit})
	}
}

// mends reports whether a snapshot at an index that the log holds makes up for damage: the store has nothing to go
// on from, or an entry up to there is lost. What has been given out to apply is never undone.
func (c *Core) mends(at Index) bool {
	if c.emitted < c.log.base.Position.Index {
		return true
	}
	return at >= c.emitted && len(c.repair.lost) > 0 && c.repair.lost[0] <= at
}

// keepLog lets the store switch to a snapshot and the log go on behind it: what this member has promised there
// stays.
func (c *Core) keepLog(base Base) {
	at := base.Position.Index
	c.advanceCommit(at)
	c.emitted = at
	c.out.Install = &Install{Base: base, KeepLog: true}
	c.compact(base)
}

// restartLog begins the log anew behind a snapshot. Nothing that may be committed is dropped: the log ends before
// the snapshot, or conflicts with what is committed there.
func (c *Core) restartLog(base Base) {
	at := base.Position.Index
	switch {
	case base.Position.Term > c.hard.Term:
		c.becomeFollower(base.Position.Term, 0, "")
	case c.role != RoleFollower:
		c.becomeFollower(c.hard.Term, 0, "")
	}
	c.forgetLost(0, c.log.last.Index)
	c.log.reset(base)
	c.advanceCommit(at)
	c.emitted, c.handed = at, at
	c.durable = at
	for i := range c.marks {
		c.marks[i].last = 0
	}
	c.reset = &base
	c.out.Install = &Install{Base: base}
	c.adoptConfig()
}

// compact lets the log begin behind base.
func (c *Core) compact(base Base) {
	c.forgetLost(0, base.Position.Index)
	c.log.compact(base)
	if c.log.config().index != c.config {
		c.adoptConfig() // the membership at base was among what is lost
	}
}

// trim forgets what the store holds from memory, but for places whose content is lost. While the store is rebuilt it
// forgets what is committed: that is read back from the log once the store can take it.
func (c *Core) trim() {
	upTo := min(c.applied, c.durable)
	if c.emitted < c.log.base.Position.Index {
		upTo = min(c.commit, c.durable)
	}
	if len(c.repair.lost) > 0 {
		upTo = min(upTo, c.repair.lost[0]-1)
	}
	c.log.trim(upTo, c.cfg.TailBytes)
}
