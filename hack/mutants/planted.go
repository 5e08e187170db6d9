package main

// bug is one that somebody could have written: each has been, in one system or another.
type bug struct {
	name     string
	file     string
	from, to string
}

// planted are the bugs that the checks must catch.
func planted() []bug { return append(inCore(), aroundIt()...) }

// inCore are bugs of elections, replication and reads.
func inCore() []bug {
	return []bug{
		{
			"a vote granted before its term is durable", "node/raft/election.go",
			"	c.late(m.From, VoteReply{Pre: req.Pre, Granted: granted, Campaign: req.Campaign})\n	reply := &c.out.Late[len(c.out.Late)-1]",
			"	c.early(m.From, VoteReply{Pre: req.Pre, Granted: granted, Campaign: req.Campaign})\n	reply := &c.out.Early[len(c.out.Early)-1]",
		}, {
			"vote requests sent before the own vote is durable", "node/raft/election.go",
			"		c.late(x.ID, req)\n		c.out.Late[len(c.out.Late)-1].Term = term",
			"		c.early(x.ID, req)\n		c.out.Early[len(c.out.Early)-1].Term = term",
		}, {
			"an entry of an old term committed by counting", "node/raft/replicate.go",
			"	if t, ok := c.log.term(reached); !ok || t != c.hard.Term {", "	if _, ok := c.log.term(reached); !ok {",
		}, {
			"the hard state forgotten at restart", "node/raft/core.go",
			"cfg: cfg, hard: r.Hard, log: log,", "cfg: cfg, hard: HardState{Term: r.Hard.Term, Commit: r.Hard.Commit}, log: log,",
		}, {
			"an entry applied twice", "node/raft/core.go",
			"	c.out.Commit = c.log.slice(c.emitted+1, upTo, maxCommitBytes)", "	c.out.Commit = c.log.slice(max(1, c.emitted), upTo, maxCommitBytes)",
		}, {
			"a read context used again", "node/raft/read.go",
			"	c.readSeq++\n", "	c.readSeq = 1\n",
		}, {
			"ReadIndex before the term's no-op is committed", "node/raft/read.go",
			"	if len(c.newReads) == 0 || c.commit < c.noop {", "	if len(c.newReads) == 0 {",
		}, {
			"applied before it is locally durable", "node/raft/core.go",
			"	upTo := min(c.commit, c.durable)", "	upTo := c.commit",
		}, {
			"a joint membership counted in one half only", "node/raft/quorum/quorum.go",
			"	return min(in, reached(j.Outgoing, value))", "	return in",
		}, {
			"an election won in one half only", "node/raft/quorum/quorum.go",
			"	case in == Won && out == Won:", "	case in == Won:",
		}, {
			"a removed member still counted", "node/raft/replicate.go",
			"	reached := quorum.Reached(c.voters, func(id MemberID) Index {\n		if id == c.cfg.ID {\n			return c.durable\n		}",
			"	reached := quorum.Reached(c.voters, func(id MemberID) Index {\n		if !c.voters.Has(c.cfg.ID) || id == c.cfg.ID {\n			return c.durable\n		}",
		}, {
			"an acknowledgement past what is durable", "node/raft/core.go",
			"c.durable = max(c.durable, c.marks[n].last)", "c.durable = max(c.durable, c.handed)",
		}, {
			"a message of an earlier boot accepted", "node/raft/step.go",
			"	case m.ToBoot != 0 && m.ToBoot != c.cfg.Boot:", "	case m.ToBoot > c.cfg.Boot:",
		}, {
			"two leaders elected by a vote for anybody", "node/raft/election.go",
			"	granted := upToDate && (c.hard.Vote == m.From || c.hard.Vote == 0 && c.leader == 0)", "	granted := upToDate",
		}, {
			"a vote for a log that is behind", "node/raft/election.go",
			"	upToDate := req.Last.AtLeast(c.log.last)", "	upToDate := true",
		},
	}
}

// aroundIt are bugs of the log, the store and the order of effects.
func aroundIt() []bug {
	return []bug{
		{
			"a directory entry not synced", "node/wal/log.go",
			"	if w.fresh {\n		if err := l.fs.SyncDir(l.dir)", "	if w.fresh && l.number == 0 {\n		if err := l.fs.SyncDir(l.dir)",
		}, {
			"a torn record accepted", "node/wal/open.go",
			"		if !ok || kind == kindHead {\n			return nil, from\n		}", "		if !ok || kind == kindHead {\n			return records, 0\n		}",
		}, {
			"a damaged record taken for the end of the log", "node/wal/open.go",
			"func (r *replay) provenLater(i int, b []byte, from int64) (uint64, error) {\n", "func (r *replay) provenLater(i int, b []byte, from int64) (uint64, error) {\n	if i >= 0 {\n		return 0, nil\n	}\n",
		}, {
			"a follower's acknowledgement before its sync", "node/replica/pump.go",
			"		r.write(out.Persist, out.Late)\n", "		r.send(out.Late)\n		r.write(out.Persist, nil)\n",
		}, {
			"a duplicate command applied", "node/kv/window.go",
			"	if w.bits[word]&bit != 0 {\n		return false\n	}", "	if w.bits[word]&bit != 0 {\n		return true\n	}",
		}, {
			"a snapshot installed without waiting for the store", "node/replica/pump.go",
			"	if r.switching {\n		r.held = append(r.held, heldBatch{b, late})\n		return\n	}", "	if r.switching && len(r.held) > 1<<30 {\n		return\n	}",
		}, {
			"a read served before the store holds its index", "node/replica/reads.go",
			"		if b.index <= applied {", "		if b.index <= applied+2 {",
		},
	}
}
