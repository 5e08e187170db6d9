package raft

import (
	"fmt"
	"slices"
)

// maxRepairRun bounds the entries that one RepairRequest asks for.
const maxRepairRun = 1024

// snapshotPatience is how many election timeouts a member that asked a peer for a snapshot waits before it asks
// the next one: a stream that has begun refuses others meanwhile.
const snapshotPatience = 2

// repair is a member's own damage, and what it does about that of others. Index, term and checksum of a lost entry
// are known, so everything that rests on positions goes on: votes, the agreement of logs, and acks up to the
// commit index. What rests on content waits for it: acks beyond that, applying, and leading.
type repair struct {
	lost   []Index // ascending; content unknown (a Lost entry in the log) or not durable here yet
	fills  []Entry // content that has come and that the log writer has not been given yet
	filled uint64  // entries whose content is durable again, since the start

	wait         int  // ticks until entries are asked for again
	snapshotWait int  // ticks until a snapshot is asked for again
	turn         int  // which peer is asked for entries next
	snapshotTurn int  // which is asked for a snapshot
	fruitless    int  // requests for entries since the last that brought one, or since a peer first answered as below
	cutOff       bool // a peer answered that its log begins behind the first lost entry

	rereading bool // entries of this member's own log are being read back, to be applied
	rest      int  // ticks until that is tried again after a failure

	reading   map[MemberID]RepairRequest // of peers, to be answered from the log
	streaming map[MemberID]bool          // peers to which a snapshot is on its way
}

// findLost notes which of the restored entries are lost.
func (c *Core) findLost() {
	c.repair.reading, c.repair.streaming = map[MemberID]RepairRequest{}, map[MemberID]bool{}
	for i := range c.log.entries {
		if c.log.entries[i].Lost() {
			c.repair.lost = append(c.repair.lost, c.log.entries[i].Index)
		}
	}
	if lost := c.repair.lost; len(lost) > 0 {
		c.out.Events = append(c.out.Events, EntriesLost{Member: c.cfg.ID, Count: len(lost), First: lost[0], Last: lost[len(lost)-1]})
	}
}

// rebuilding reports whether the store lacks what the log no longer has: it waits for a snapshot.
func (c *Core) rebuilding() bool { return c.applied < c.log.base.Position.Index }

// sound reports whether this member can read its whole log and its store can follow it. Only then may it lead.
func (c *Core) sound() bool { return len(c.repair.lost) == 0 && !c.rebuilding() }

// firstUnknown is the first entry whose content is unknown here, 0 for none.
func (c *Core) firstUnknown() Index { return c.unknownAfter(0) }

func (c *Core) unknownAfter(i Index) Index {
	for _, l := range c.repair.lost {
		if l > i && c.log.at(l).Lost() {
			return l
		}
	}
	return 0
}

// readable is how far up to i this member may acknowledge: above the commit index that it knows an ack promises
// content. What is committed is held by others, and repeating it promises nothing new.
func (c *Core) readable(i Index) Index {
	if l := c.unknownAfter(c.commit); l != 0 {
		return min(i, l-1)
	}
	return i
}

// applicable is how far the store may go: up to the commit index, and only through what is durable here.
func (c *Core) applicable() Index {
	if c.emitted < c.log.base.Position.Index {
		return c.emitted // rebuilding: nothing follows on the store but a snapshot
	}
	upTo := min(c.commit, c.durable)
	for _, l := range c.repair.lost {
		if l > c.emitted {
			return min(upTo, l-1)
		}
	}
	return upTo
}

// tickRepair asks a peer for what is lacking, each in turn. It needs no leader.
func (c *Core) tickRepair() {
	r := &c.repair
	r.rest--
	if r.wait--; r.wait <= 0 && len(r.lost) > 0 {
		c.askForEntries(0)
	}
	if r.snapshotWait--; r.snapshotWait <= 0 {
		c.askForSnapshot()
	}
}

// askForEntries asks for the first run of entries that are unknown: that peer, or with 0 the next one.
func (c *Core) askForEntries(peer MemberID) {
	r := &c.repair
	from := c.firstUnknown()
	if from == 0 {
		return
	}
	if peer == 0 {
		peer = c.nextPeer(&r.turn)
	}
	if peer == 0 {
		return
	}
	to := from
	for to < c.log.last.Index && to-from < maxRepairRun-1 && c.log.at(to+1).Lost() {
		to++
	}
	r.wait = c.cfg.HeartbeatTicks
	if r.fruitless >= len(c.others()) {
		r.wait = c.cfg.ElectionTicks // everybody has been asked in vain
	}
	r.fruitless++
	c.early(peer, RepairRequest{From: from, To: to})
}

// askForSnapshot asks the next peer for a snapshot, where only that helps.
func (c *Core) askForSnapshot() {
	from, ok := c.snapshotNeeded()
	if !ok {
		return
	}
	if peer := c.nextPeer(&c.repair.snapshotTurn); peer != 0 {
		c.repair.snapshotWait = snapshotPatience * c.cfg.ElectionTicks
		sure := min(from, c.commit)
		term, _ := c.log.term(sure)
		c.early(peer, SnapshotRequest{Min: from, Committed: Position{sure, term}})
	}
}

// snapshotNeeded says from which index on a snapshot would help: at the log's base for a store that is to be
// rebuilt, at the first unknown entry where every peer has been asked, and had time to answer, and some have cut it off.
func (c *Core) snapshotNeeded() (Index, bool) {
	if c.emitted < c.log.base.Position.Index {
		return c.log.base.Position.Index, true
	}
	first := c.firstUnknown()
	return max(first, c.emitted), first != 0 && c.repair.cutOff && c.repair.fruitless > len(c.others())
}

// nextPeer is the peer whose turn it is, 0 when there is none.
func (c *Core) nextPeer(turn *int) MemberID {
	peers := c.others()
	if len(peers) == 0 {
		return 0
	}
	*turn++
	return peers[*turn%len(peers)]
}

// others are all members that this one has ever heard of, in order: the membership in force may be among what is
// lost.
func (c *Core) others() []MemberID {
	var ids []MemberID
	for _, in := range c.log.configs {
		for _, x := range in.membership.Members {
			ids = append(ids, x.ID)
		}
	}
	for id := range c.boots {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	ids = slices.Compact(ids)
	return slices.DeleteFunc(ids, func(id MemberID) bool { return id == c.cfg.ID })
}

// repairRequested answers a peer with what this member holds undamaged of the range, in any role and term: from
// memory, or read back from the log.
func (c *Core) repairRequested(m Message, req RepairRequest) error {
	if req.From == 0 || req.To < req.From {
		return fmt.Errorf("repair request of member %v for entries %d to %d: %w", m.From, req.From, req.To, ErrMalformed)
	}
	_, reading := c.repair.reading[m.From]
	from := max(req.From, c.log.base.Position.Index+1)
	to := min(req.To, c.log.last.Index)
	switch {
	case reading:
		// The answer to its last request is on its way.
	case from <= to && from < c.log.firstInMemory():
		c.repair.reading[m.From] = req
		c.out.Fetches = append(c.out.Fetches, Fetch{To: m.From, From: from, MaxBytes: c.cfg.MaxAppendBytes, Repair: true})
	case from <= to:
		c.replyRepair(m.From, req, c.log.slice(from, to, c.cfg.MaxAppendBytes))
	default:
		c.replyRepair(m.From, req, nil)
	}
	return nil
}

// repairFetched answers a peer with what was read back from the log.
func (c *Core) repairFetched(f Fetched) {
	if req, ok := c.repair.reading[f.To]; ok {
		delete(c.repair.reading, f.To)
		c.replyRepair(f.To, req, f.Span.Entries)
	}
}

func (c *Core) replyRepair(to MemberID, req RepairRequest, held []Entry) {
	reply := RepairReply{First: c.log.base.Position.Index + 1}
	for _, e := range held {
		if !e.Lost() && e.Index >= req.From && e.Index <= req.To {
			reply.Entries = append(reply.Entries, e)
		}
	}
	c.early(to, reply)
}

// repairReplied takes what is lost here, and goes on with the same peer as long as it helps.
func (c *Core) repairReplied(from MemberID, reply RepairReply) {
	first := c.firstUnknown()
	switch {
	case first == 0:
	case c.fill(reply.Entries):
		c.askForEntries(from)
	case reply.First > first && !c.repair.cutOff:
		// From now on a snapshot may be asked for: the others once more first, for they may have been down when they were asked.
		c.repair.cutOff, c.repair.fruitless = true, 1
	}
}

// fill takes the content of entries that are lost here. It does not matter who brings them: place and checksum are
// known, and what does not agree with them is left alone.
func (c *Core) fill(entries []Entry) bool {
	if len(c.repair.lost) == 0 {
		return false
	}
	some := false
	for _, e := range entries {
		if _, ok := slices.BinarySearch(c.repair.lost, e.Index); ok && c.log.fill(e) {
			c.repair.fills = append(c.repair.fills, e)
			some = true
		}
	}
	if some {
		slices.SortFunc(c.repair.fills, func(a, b Entry) int { return int(a.Index) - int(b.Index) })
		c.repair.fruitless, c.repair.cutOff = 0, false
		if c.log.config().index != c.config {
			c.adoptConfig() // one of them was a membership
		}
	}
	return some
}

// fillsDurable counts entries as repaired whose content the log writer has made durable.
func (c *Core) fillsDurable(indexes []Index) {
	if len(indexes) == 0 {
		return
	}
	before := len(c.repair.lost)
	c.repair.lost = slices.DeleteFunc(c.repair.lost, func(i Index) bool {
		_, durable := slices.BinarySearch(indexes, i)
		return durable
	})
	if n := before - len(c.repair.lost); n > 0 {
		c.repair.filled += uint64(n)
		c.out.Events = append(c.out.Events, EntriesRepaired{Member: c.cfg.ID, Count: n, Left: len(c.repair.lost)})
	}
}

// forgetLost drops from the books what is lost in the range: it is no longer part of the log.
func (c *Core) forgetLost(from, to Index) {
	within := func(i Index) bool { return i >= from && i <= to }
	c.repair.lost = slices.DeleteFunc(c.repair.lost, within)
	c.repair.fills = slices.DeleteFunc(c.repair.fills, func(e Entry) bool { return within(e.Index) })
}

// takeFills moves what has come to the next batch.
func (c *Core) takeFills() (fills []Entry, indexes []Index) {
	fills, c.repair.fills = c.repair.fills, nil
	for _, e := range fills {
		indexes = append(indexes, e.Index)
	}
	return fills, indexes
}

// snapshotRequested streams this member's state to a peer that asks, in any role and term: it is committed state,
// and claims nothing else. Where it has not applied enough, it may have learned just now that it can: the peer asks
// again. (A leader moves its commit index by its own count only.)
func (c *Core) snapshotRequested(from MemberID, req SnapshotRequest) {
	if c.role != RoleLeader && c.log.holds(req.Committed) {
		c.advanceCommit(req.Committed.Index)
	}
	if !c.rebuilding() && c.applied > 0 && c.applied >= req.Min {
		c.stream(from)
	}
}

// stream starts a snapshot stream to a peer, one at a time.
func (c *Core) stream(to MemberID) {
	if !c.repair.streaming[to] {
		c.repair.streaming[to] = true
		c.out.Snapshots = append(c.out.Snapshots, to)
	}
}

// reread asks the log for entries that are to be applied and have left memory while the store was rebuilt.
func (c *Core) reread() {
	if r := &c.repair; !r.rereading && r.rest <= 0 {
		r.rereading = true
		c.out.Fetches = append(c.out.Fetches, Fetch{To: c.cfg.ID, From: c.emitted + 1, MaxBytes: maxCommitBytes})
	}
}

// wasReread gives them out, unless a snapshot has overtaken them.
func (c *Core) wasReread(s Span) {
	c.repair.rereading = false
	n := 0
	for n < len(s.Entries) && s.Entries[n].Index <= c.applicable() && c.log.holds(s.Entries[n].Position()) {
		n++
	}
	switch {
	case n == 0:
		c.repair.rest = c.cfg.ElectionTicks
	case s.Entries[0].Index == c.emitted+1:
		c.out.Commit = append(c.out.Commit, s.Entries[:n]...)
		c.emitted += Index(n)
	}
}
