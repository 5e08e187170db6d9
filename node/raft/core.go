package raft

import (
	"fmt"

	"raftsman.dev/node/raft/quorum"
)

// Role is what a member is doing at this moment. Whether it may vote is its seat, not its role.
type Role uint8

const (
	// RoleFollower follows a leader, or waits for one.
	RoleFollower Role = iota
	// RolePreCandidate asks whether it would be elected (thesis §9.6).
	RolePreCandidate
	// RoleCandidate asks to be elected.
	RoleCandidate
	// RoleLeader leads.
	RoleLeader
)

// String names the role.
func (r Role) String() string {
	return [...]string{"follower", "pre-candidate", "candidate", "leader"}[r]
}

// Core is one Raft member as a deterministic machine: same inputs, same order, same outputs.
type Core struct {
	cfg    Config
	hard   HardState
	role   Role
	leader MemberID
	log    memlog
	voters quorum.Joint[MemberID] // of the configuration in force
	config Index                  // index of the configuration in force

	commit  Index
	applied Index
	emitted Index // everything up to here has been given out to apply
	handed  Index // everything up to here has been given to the log writer
	durable Index // everything up to here is durable in this member's own log

	// What the log writer has been given and not answered yet.
	batchSeq  uint64
	marks     []mark
	sureVote  HardState // the newest hard state that is durable
	savedHard HardState // the newest hard state given to the log writer

	// Time, in ticks.
	now                              uint64 // since the start
	elapsed, timeout, sinceHeartbeat int

	campaign uint64
	ballots  map[MemberID]bool

	peers       []*progress // leader only, by ID
	noop        Index       // index of this leader's first entry
	uncommitted int         // payload bytes after commit, of this reign
	decisions   uint64      // acks that have moved the commit index
	hurried     bool        // nobody is kept waiting, see mayWait
	transferee  MemberID
	transferAge int

	readSeq      uint64 // number of the newest read round; never goes back in one boot
	rounds       []readRound
	newReads     []pendingRead // asked for since the last Take
	remoteReads  []uint64      // refs sent to the leader, unanswered
	boots        map[MemberID]Boot
	stepDowns    uint64
	lastStepDown string

	space   Space // of this member's own disk
	verdict Space // what the leader takes, as last heard or judged
	attest  attestation

	unwatched bool // nobody here looks at what is committed without asking the leader

	repair repair
	reset  *Base // a snapshot's base that the next batch restarts the log at
	out    Output
}

// mark remembers what a batch made durable once its Persisted arrives.
type mark struct {
	seq  uint64
	last Index
	hard *HardState
	fill []Index // entries whose lost content it brings back
	at   uint64  // tick at which it was given out
}

// New starts a core from what its disk holds. Errors match ErrMalformed when that contradicts itself.
func New(cfg Config, r Restored) (*Core, error) {
	cfg.Default()
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	log, err := newMemlog(r.Base, r.Entries)
	if err != nil {
		return nil, err
	}
	if r.Applied > log.last.Index {
		return nil, fmt.Errorf("applied index %d lies behind the end of the log, %d: %w", r.Applied, log.last.Index, ErrMalformed)
	}
	if r.Hard.Term < log.last.Term {
		return nil, fmt.Errorf("hard state of term %d is older than the log's last entry %v: %w", r.Hard.Term, log.last, ErrMalformed)
	}
	c := &Core{
		cfg: cfg, hard: r.Hard, log: log, applied: r.Applied, emitted: r.Applied,
		handed: log.last.Index, durable: log.last.Index,
		sureVote: r.Hard, savedHard: r.Hard, boots: map[MemberID]Boot{},
	}
	c.findLost()
	c.commit = max(r.Applied, r.Base.Position.Index, min(r.Hard.Commit, log.last.Index))
	c.hard.Commit = c.commit
	c.trim()
	c.adoptConfig()
	c.becomeFollower(r.Hard.Term, 0, "")
	return c, nil
}

// Birth is what a founder writes into its empty log to be a cluster of one: term 1 with its own vote, and
// one committed entry that makes it the only voter.
func Birth(m Member) Batch {
	m.Seat = SeatVoter
	e := Entry{Index: 1, Term: 1, Kind: EntryMembership, Payload: Membership{Members: []Member{m}}.AppendTo(nil)}
	e.Seal()
	return Batch{Seq: 1, Hard: &HardState{Term: 1, Vote: m.ID, Commit: 1}, Entries: []Entry{e}}
}

// Tick moves time by one tick.
func (c *Core) Tick() {
	c.now++
	c.elapsed++
	c.hurry()
	c.tickRepair()
	if c.role == RoleLeader {
		c.tickLeader()
		return
	}
	switch {
	case c.elapsed < c.timeout:
	case c.mayCampaign() && !c.diskHangs() && !c.yields():
		c.becomePreCandidate()
	case c.leader != 0:
		c.becomeFollower(c.hard.Term, 0, "")
	}
}

func (c *Core) tickLeader() {
	c.sinceHeartbeat++
	if c.diskAge() >= c.cfg.DiskPatienceTicks+c.cfg.ElectionTicks {
		c.becomeFollower(c.hard.Term, 0, "its disk does not answer, and nobody took over")
		return
	}
	c.tickTransfer()
	c.tickSpace()
	if c.elapsed >= c.cfg.ElectionTicks {
		c.elapsed = 0
		if !c.heardFromQuorum() {
			c.becomeFollower(c.hard.Term, 0, "lost contact with a quorum")
			return
		}
	}
	if c.sinceHeartbeat >= c.cfg.HeartbeatTicks {
		c.sinceHeartbeat = 0
		c.tickAttest()
		for _, p := range c.peers {
			p.waiting = false // a probe that went lost is sent again
			c.heartbeat(p)
			c.nudge(p)
			c.maybeFinishTransfer(p)
		}
	}
}

// heardFromQuorum is CheckQuorum (thesis §6.2): has a majority of each half answered since last asked?
func (c *Core) heardFromQuorum() bool {
	heard := map[MemberID]bool{c.cfg.ID: true}
	for _, p := range c.peers {
		heard[p.id] = p.active
		p.recent, p.active = p.active, false
	}
	return quorum.Vote(c.voters, func(id MemberID) (bool, bool) { return heard[id], true }) == quorum.Won
}

// becomeFollower is the only way back from every role. reason is for leaders that step down.
func (c *Core) becomeFollower(term Term, leader MemberID, reason string) {
	if c.role == RoleLeader {
		c.stepDowns++
		c.lastStepDown = reason
		c.abandonLeadership()
	} else {
		reason = ""
	}
	if term < c.hard.Term {
		panic(fmt.Sprintf("raft: member %v would go back from term %d to %d", c.cfg.ID, c.hard.Term, term))
	}
	if term > c.hard.Term {
		c.hard.Term, c.hard.Vote = term, 0
	}
	c.role, c.ballots = RoleFollower, nil
	c.follow(leader)
	c.resetElectionTimer()
	c.note(reason)
}

func (c *Core) follow(leader MemberID) {
	if leader != c.leader {
		c.leader = leader
		c.refuseRemoteReads()
	}
}

func (c *Core) resetElectionTimer() {
	c.elapsed = 0
	c.timeout = c.cfg.ElectionTicks + c.cfg.Rand.IntN(c.cfg.ElectionTicks)
}

// note emits the core's role as an event.
func (c *Core) note(reason string) {
	c.out.Events = append(c.out.Events, RoleChanged{Member: c.cfg.ID, Role: c.role, Term: c.hard.Term, Leader: c.leader, Reason: reason})
}

// adoptConfig takes the newest membership of the log into force (thesis §4.1: from the moment it is there).
func (c *Core) adoptConfig() {
	in := c.log.config()
	c.config = in.index
	c.voters.Incoming, c.voters.Outgoing = in.membership.Voters()
	if c.role == RoleLeader {
		c.adoptPeers(in.membership)
	}
	c.out.Events = append(c.out.Events, ConfigChanged{Member: c.cfg.ID, Index: in.index, Membership: in.membership})
}

// adoptPeers keeps the progress of members that stay and starts that of newcomers.
func (c *Core) adoptPeers(m Membership) {
	var peers []*progress
	for _, x := range m.Members {
		if x.ID == c.cfg.ID {
			continue
		}
		p := c.peer(x.ID)
		if p == nil {
			// A newcomer counts as heard from until the next CheckQuorum has asked it, and as read at just now. What it
			// forwarded to earlier leaders, or may read at by their word, lies in this log or is lost.
			p = &progress{id: x.ID, next: c.log.last.Index + 1, active: true, lastRead: c.now, awaits: c.log.last.Index}
		}
		peers = append(peers, p)
	}
	c.peers = peers
}

func (c *Core) peer(id MemberID) *progress {
	for _, p := range c.peers {
		if p.id == id {
			return p
		}
	}
	return nil
}

// Take drains what is to be done now. The zero Output means idle.
func (c *Core) Take() Output {
	if c.role == RoleLeader {
		c.startReadRound()
		for _, p := range c.peers {
			c.replicate(p)
		}
	}
	c.hurried = false
	c.takeBatch()
	c.takeCommitted()
	out := c.out
	c.out = Output{}
	return out
}

// takeBatch collects what the log has not been given yet.
func (c *Core) takeBatch() {
	b := Batch{Base: c.reset}
	c.reset = nil
	fills, filled := c.takeFills()
	b.Fills = fills
	if c.handed < c.log.last.Index {
		first := c.log.firstInMemory()
		b.Entries = c.log.entries[c.handed+1-first:]
		b.Entries = b.Entries[:len(b.Entries):len(b.Entries)]
	}
	// Should this batch lose its entries, the hard state must not call committed what they were to replace.
	hard := c.hard
	hard.Commit = min(c.commit, c.durable)
	changed := hard.Term != c.savedHard.Term || hard.Vote != c.savedHard.Vote
	if changed || !b.Empty() && hard.Commit != c.savedHard.Commit || b.Base != nil {
		b.Hard = &hard
		c.savedHard = hard
	}
	if b.Empty() {
		return
	}
	c.batchSeq++
	b.Seq = c.batchSeq
	c.handed = c.log.last.Index
	c.marks = append(c.marks, mark{seq: b.Seq, last: c.handed, hard: b.Hard, fill: filled, at: c.now})
	c.out.Persist = b
}

// maxCommitBytes bounds the payload of one Output's Commit; the next Take goes on.
const maxCommitBytes = 4 << 20

// maxProbeBytes bounds the entries of a probe, which may be sent many times to a peer that does not answer.
const maxProbeBytes = 64 << 10

// takeCommitted gives out what is committed and also durable here.
func (c *Core) takeCommitted() {
	upTo := c.applicable()
	if upTo <= c.emitted || len(c.out.Commit) > 0 {
		return
	}
	if c.emitted+1 < c.log.firstInMemory() {
		c.reread()
		return
	}
	c.out.Commit = c.log.slice(c.emitted+1, upTo, maxCommitBytes)
	c.emitted += Index(len(c.out.Commit))
}

// persisted counts what the log writer has made durable: entries, and this member's own vote.
func (c *Core) persisted(seq uint64) {
	n := 0
	for n < len(c.marks) && c.marks[n].seq <= seq {
		c.durable = max(c.durable, c.marks[n].last)
		if h := c.marks[n].hard; h != nil {
			c.sureVote = *h
		}
		c.fillsDurable(c.marks[n].fill)
		n++
	}
	c.marks = append(c.marks[:0], c.marks[n:]...)
	if c.emitted < c.log.base.Position.Index {
		c.trim() // the store does not, for a long time perhaps
	}
	switch c.role {
	case RoleCandidate:
		c.countOwnVote()
	case RoleLeader:
		c.maybeCommit()
	}
}

// diskAge is how many ticks the oldest batch has waited for its Persisted.
func (c *Core) diskAge() int {
	if len(c.marks) == 0 {
		return 0
	}
	return int(c.now - c.marks[0].at)
}

// diskHangs reports whether the log writer has left a batch unanswered for too long.
func (c *Core) diskHangs() bool { return c.diskAge() >= c.cfg.DiskPatienceTicks }

// truncate drops the log from index on, and what was promised about it by batches still on their way.
func (c *Core) truncate(from Index) {
	if from <= c.commit {
		panic(fmt.Sprintf("raft: member %v would drop entry %d, but %d is committed", c.cfg.ID, from, c.commit))
	}
	before := c.config
	c.forgetLost(from, c.log.last.Index)
	c.log.truncate(from)
	c.handed = min(c.handed, from-1)
	c.durable = min(c.durable, from-1)
	for i := range c.marks {
		c.marks[i].last = min(c.marks[i].last, from-1)
	}
	if c.log.config().index != before {
		c.adoptConfig()
	}
}

// advanceCommit moves the commit index, never back.
func (c *Core) advanceCommit(to Index) bool {
	to = min(to, c.log.last.Index)
	if to <= c.commit {
		return false
	}
	c.commit, c.hard.Commit = to, to
	return true
}

func (c *Core) early(to MemberID, b Body) { c.out.Early = append(c.out.Early, c.message(to, b)) }
func (c *Core) late(to MemberID, b Body)  { c.out.Late = append(c.out.Late, c.message(to, b)) }

// met notes the boot of another member. What an earlier life of it had acknowledged may be lost to its disk since:
// a leader asks it anew where it stands. What is committed stays so.
func (c *Core) met(id MemberID, boot Boot) {
	if boot <= c.boots[id] {
		return
	}
	c.boots[id] = boot
	delete(c.attest.sums, id) // its state may be another one now
	if p := c.peer(id); p != nil {
		p.startOver()
	}
}

func (c *Core) message(to MemberID, b Body) Message {
	return Message{From: c.cfg.ID, To: to, FromBoot: c.cfg.Boot, ToBoot: c.boots[to], Term: c.hard.Term, Body: b}
}
