package main

import "path/filepath"

// bug is one that somebody could have written: each has been, in one system or another.
type bug struct {
	name   string
	pieces []piece
}

// piece is one place of the source and what the bug makes of it.
type piece struct {
	file     string
	from, to string
}

// homes are the packages that the bug changes.
func (b bug) homes() []string {
	var homes []string
	for _, p := range b.pieces {
		homes = append(homes, "./"+filepath.Dir(p.file))
	}
	return homes
}

// one is a bug of a single piece.
func one(name, file, from, to string) bug { return bug{name, []piece{{file, from, to}}} }

// planted are the bugs that the checks must catch.
func planted() []bug {
	var all []bug
	for _, some := range [][]bug{elections(), reads(), storage(), membership(), duplicates(), more(), crossings(), planner()} {
		all = append(all, some...)
	}
	return all
}

// elections are bugs of promises: of votes, terms and what is committed.
func elections() []bug {
	return []bug{
		one("a vote granted before its term is durable", "node/raft/election.go",
			"	c.late(m.From, VoteReply{Pre: req.Pre, Granted: granted, Campaign: req.Campaign})\n	reply := &c.out.Late[len(c.out.Late)-1]",
			"	c.early(m.From, VoteReply{Pre: req.Pre, Granted: granted, Campaign: req.Campaign})\n	reply := &c.out.Early[len(c.out.Early)-1]"),
		one("vote requests sent before their term is durable", "node/raft/election.go",
			"		c.late(x.ID, req)\n		c.out.Late[len(c.out.Late)-1].Term = term",
			"		c.early(x.ID, req)\n		c.out.Early[len(c.out.Early)-1].Term = term"),
		one("an entry of an old term committed by counting", "node/raft/replicate.go",
			"	if t, ok := c.log.term(reached); !ok || t != c.hard.Term {", "	if _, ok := c.log.term(reached); !ok {"),
		{"the hard state forgotten at restart", []piece{
			{"node/raft/core.go", "cfg: cfg, hard: r.Hard, log: log,", "cfg: cfg, hard: HardState{Term: log.last.Term}, log: log,"},
			{"node/raft/core.go", "	c.becomeFollower(r.Hard.Term, 0, \"\")\n	return c, nil", "	c.becomeFollower(c.hard.Term, 0, \"\")\n	return c, nil"},
		}},
		one("an entry applied twice", "node/raft/core.go",
			"	c.out.Commit = c.log.slice(c.emitted+1, upTo, maxCommitBytes)", "	c.out.Commit = c.log.slice(max(1, c.emitted), upTo, maxCommitBytes)"),
	}
}

// reads are bugs of linearizable reads.
func reads() []bug {
	return []bug{
		one("a read context reused after a leader change", "node/replica/reads.go",
			"	r.refused = append(r.refused, r.rounds[ref]...)\n	r.drop(ref)\n",
			"	r.refused = append(r.refused, r.rounds[ref]...)\n	r.drop(ref)\n	if len(r.rounds) == 0 {\n		r.next = ref\n	}\n"),
		one("ReadIndex before the term's no-op", "node/raft/read.go",
			"	if len(c.newReads) == 0 || c.commit < c.noop {", "	if len(c.newReads) == 0 {"),
	}
}

// storage are bugs of the log, and of the order between log and store.
func storage() []bug {
	return []bug{
		one("a directory entry not synced", "node/wal/write.go",
			"	if err := l.fs.SyncDir(l.dir); err != nil {\n		return errors.Join(fmt.Errorf(\"sync the directory after",
			"	if err := error(nil); err != nil {\n		return errors.Join(fmt.Errorf(\"sync the directory after"),
		one("a torn record accepted", "node/wal/segment.go",
			"			return h, nil, from, false", "			return h, records, 0, true"),
		one("a damaged record taken for the end of the log", "node/wal/replay.go",
			"	if !proven {\n		return true, r.finish(bad)", "	if !proven || err == nil {\n		return true, r.finish(bad)"),
		{"the log cut past what the store made durable", []piece{
			{"node/kv/store.go", "	_, m, err := readMeta(v.gen.db.NewDurableIter)", "	_, m, err := readMeta(v.gen.db.NewIter)"},
			{"node/kv/store.go", "	return v.gen.db.Flush()\n}\n\n// Size", "	return nil\n}\n\n// Size"},
		}},
		one("applied before locally durable", "node/raft/repair.go",
			"	upTo := min(c.commit, c.durable)\n	for", "	upTo := c.commit\n	for"),
	}
}

// membership are bugs of who counts.
func membership() []bug {
	return []bug{
		one("a joint commit counted in one half only", "node/raft/quorum/quorum.go",
			"	return min(in, reached(j.Outgoing, value))", "	return in"),
		one("a removed member still counted", "node/raft/types.go",
			"		if x.Seat == SeatVoter || x.Seat == SeatIncoming {", "		if x.Seat != SeatLearner {"),
		one("an ack past a hole", "node/raft/replicate.go",
			"AppendReply{Match: c.readable(last)}", "AppendReply{Match: last}"),
		one("an ack past what is durable", "node/raft/core.go",
			"c.durable = max(c.durable, c.marks[n].last)", "c.durable = max(c.durable, c.handed)"),
	}
}

// duplicates are bugs of what comes twice, late, or in pieces.
func duplicates() []bug {
	return []bug{
		one("a duplicate forward applied", "node/kv/window.go",
			"	if w.bits[word]&bit != 0 {\n		return false\n	}", "	if w.bits[word]&bit != 0 {\n		return true\n	}"),
		one("a message of an earlier boot accepted", "node/raft/step.go",
			"	if m.ToBoot != 0 && m.ToBoot != c.cfg.Boot {", "	if m.ToBoot > c.cfg.Boot {"),
		one("a snapshot installed without switching atomically", "node/kv/generation.go",
			"	if err := s.engine.SetCurrent(i.gen.number); err != nil {", "	if err := error(nil); err != nil {"),
	}
}

// more are others of the same kinds.
func more() []bug {
	return []bug{
		one("an election won in one half only", "node/raft/quorum/quorum.go",
			"	case in == Won && out == Won:", "	case in == Won:"),
		one("a leader that has removed itself counts for everybody", "node/raft/replicate.go",
			"	reached := quorum.Reached(c.voters, func(id MemberID) Index {\n		if id == c.cfg.ID {\n			return c.durable\n		}",
			"	reached := quorum.Reached(c.voters, func(id MemberID) Index {\n		if !c.voters.Has(c.cfg.ID) || id == c.cfg.ID {\n			return c.durable\n		}"),
		one("two leaders elected by a vote for anybody", "node/raft/election.go",
			"	granted := upToDate && (c.hard.Vote == m.From || c.hard.Vote == 0 && c.leader == 0)", "	granted := upToDate"),
		one("a vote for a log that is behind", "node/raft/election.go",
			"	upToDate := req.Last.AtLeast(c.log.last)", "	upToDate := true"),
		one("a vote in a known term not made durable", "node/raft/core.go",
			"	changed := hard.Term != c.savedHard.Term || hard.Vote != c.savedHard.Vote", "	changed := hard.Term != c.savedHard.Term"),
		one("a read round's number used again in one reign", "node/raft/read.go",
			"	c.readSeq++\n", "	c.readSeq = 1\n"),
		one("a read served before the store holds its index", "node/replica/reads.go",
			"		if b.index <= applied {", "		if b.index <= applied+2 {"),
		one("a follower's acknowledgement before its sync", "node/replica/pump.go",
			"		r.write(out.Persist, out.Late)\n", "		r.send(out.Late)\n		r.write(out.Persist, nil)\n"),
		one("the log restarted before the store has switched to a snapshot", "node/replica/pump.go",
			"	if r.switching {\n		r.held = append(r.held, heldBatch{b, late})\n		return\n	}", "	if r.switching && len(r.held) > 1<<30 {\n		return\n	}"),
	}
}

// crossings are bugs where log, store and core meet: each room by itself is right.
func crossings() []bug {
	return []bug{
		one("the vote forgotten where the log begins anew at the store's position", "node/replica/replica.go",
			"		if found.Hard.Term < at.Term {", "		if found.Hard.Term <= at.Term {"),
		one("the log restarted for a snapshot that the store has not been told of", "node/replica/pump.go",
			"		r.install(out.Install)\n		r.write(out.Persist, out.Late)\n", "		r.write(out.Persist, out.Late)\n		r.install(out.Install)\n"),
		one("what is queued for the log taken for written", "node/replica/replica.go",
			"		r.step(raft.Persisted{Seq: w.Seq})", "		r.step(raft.Persisted{Seq: max(w.Seq, r.given)})"),
		one("the log cut before what it was given is written", "node/replica/repair.go",
			"!r.cutting && r.written >= k.after {", "!r.cutting {"),
		one("answers that waited for a switch forgotten", "node/replica/pump.go",
			"		r.queue(h.batch, h.late)\n	}\n	r.held = nil", "		r.queue(h.batch, nil)\n	}\n	r.held = nil"),
		one("writes that waited for a switch in the wrong order", "node/replica/pump.go",
			"	for _, h := range r.held {\n		r.queue(h.batch, h.late)\n	}", "	for i := range r.held {\n		h := r.held[len(r.held)-1-i]\n		r.queue(h.batch, h.late)\n	}"),
	}
}
