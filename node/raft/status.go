package raft

// Brief is the part of Status that costs nothing to ask for.
type Brief struct {
	Role        Role
	Term        Term
	Leader      MemberID
	Commit      Index
	Durable     Index // entries up to it are known to be durable in this member's own log
	First, Last Index
	Config      Index
	// Lost counts the entries of the log whose content is not durable here, Repaired those that have become so
	// again since the start. Rebuilding says that the store waits for a snapshot.
	Lost       int
	Repaired   uint64
	Rebuilding bool
	// DiskHangs says that the log writer has left a batch unanswered past its patience.
	DiskHangs bool
	// KeptBack is the first entry for which this leader lets a peer wait until it is told to Hurry, or a tick; 0 for none.
	KeptBack Index
	// Space is what the leader takes of clients' commands, as this member knows it.
	Space Space
	// Diverged is where this member's own state differs from the majority's: it must not serve.
	Diverged Divergence
	// Agreed is the newest index at which this leader has seen a majority agree on one state, Suspected the newest at
	// which states differ and no majority agrees; Differing counts the others that it has found to differ.
	Agreed, Suspected Index
	Differing         int
}

// Status is a core's report of itself.
type Status struct {
	Brief
	ID         MemberID
	Boot       Boot
	Vote       MemberID
	Applied    Index
	Membership Membership
	// ConfigCommitted says that the entry of the membership in force is known to be committed.
	ConfigCommitted bool
	Progress        []Progress // of each other member; leader only
	Transferee      MemberID
	StepDowns       uint64
	LastStepDown    string
	Uncommitted     int   // payload bytes of this leader's uncommitted entries
	OwnSpace        Space // of this member's own disk
}

// Progress is the leader's view of one other member.
type Progress struct {
	ID          MemberID
	Match, Next Index
	Mode        Mode
	Active      bool
	Caught      bool
	Space       Space
	Diverged    Divergence
}

// Brief reports what the owner of the core needs after every Take.
func (c *Core) Brief() Brief {
	return Brief{
		Role: c.role, Term: c.hard.Term, Leader: c.leader, Commit: c.commit, Durable: c.durable,
		First: c.log.base.Position.Index + 1, Last: c.log.last.Index, Config: c.config,
		Lost: len(c.repair.lost), Repaired: c.repair.filled, Rebuilding: c.rebuilding(),
		DiskHangs: c.diskHangs(), KeptBack: c.keptBack(), Space: c.verdict, Diverged: c.attest.diverged,
		Agreed: c.attest.agreed.Index, Suspected: c.attest.suspected, Differing: c.attest.differing,
	}
}

// Membership is the configuration in force.
func (c *Core) Membership() Membership { return c.log.config().membership }

// BaseAt describes a log that begins behind i, for cutting it there; false when i is not in the log.
func (c *Core) BaseAt(i Index) (Base, bool) { return c.log.baseAt(i) }

// Status reports everything.
func (c *Core) Status() Status {
	s := Status{
		Brief: c.Brief(), ID: c.cfg.ID, Boot: c.cfg.Boot, Vote: c.hard.Vote, Applied: c.applied,
		Membership: c.Membership(), ConfigCommitted: c.config <= c.commit,
		Transferee: c.transferee, StepDowns: c.stepDowns, LastStepDown: c.lastStepDown, Uncommitted: c.uncommitted,
		OwnSpace: c.space,
	}
	for _, p := range c.peers {
		s.Progress = append(s.Progress, Progress{ID: p.id, Match: p.match, Next: p.next, Mode: p.mode, Active: p.alive(), Caught: c.caughtUp(p), Space: p.space, Diverged: c.divergenceOf(p)})
	}
	return s
}
