package raft

import (
	"fmt"

	"raftsman.dev/node/raft/quorum"
)

// mayCampaign reports whether this member may ask to be elected: it votes in the configuration in force, or
// in the committed one while that in force is not. A member that is being removed may be the only one whose
// log lets it win until its removal is committed (thesis §4.2.2). Who cannot read its whole log asks nobody.
func (c *Core) mayCampaign() bool {
	if !c.sound() {
		return false
	}
	if c.voters.Has(c.cfg.ID) {
		return true
	}
	m, ok := c.log.configUpTo(c.commit).membership.Find(c.cfg.ID)
	return ok && m.Seat != SeatLearner
}

// becomePreCandidate asks whether an election would be won, without disturbing the term (thesis §9.6).
func (c *Core) becomePreCandidate() {
	c.mustNotLead()
	c.follow(0)
	c.role = RolePreCandidate
	c.startBallot()
	c.note("")
	c.requestVotes(VoteRequest{Pre: true, Campaign: c.campaign, Last: c.log.last}, c.hard.Term+1)
	c.ballots[c.cfg.ID] = true
	c.countBallots()
}

// becomeCandidate begins an election. The own vote counts once it is durable; the requests leave with it.
func (c *Core) becomeCandidate(transfer bool) {
	c.mustNotLead()
	c.follow(0)
	c.role = RoleCandidate
	c.hard.Term, c.hard.Vote = c.hard.Term+1, c.cfg.ID
	c.startBallot()
	c.note("")
	c.requestVotes(VoteRequest{Transfer: transfer, Campaign: c.campaign, Last: c.log.last}, c.hard.Term)
}

// mustNotLead stops a leader that would campaign without having stepped down.
func (c *Core) mustNotLead() {
	if c.role == RoleLeader {
		panic(fmt.Sprintf("raft: member %v leads term %d and would campaign", c.cfg.ID, c.hard.Term))
	}
}

func (c *Core) startBallot() {
	c.campaign++
	c.ballots = map[MemberID]bool{}
	c.resetElectionTimer()
}

// requestVotes asks every voter of both halves. All requests leave late: a real one promises a term and a
// vote that must be durable first.
func (c *Core) requestVotes(req VoteRequest, term Term) {
	for _, x := range c.log.config().membership.Members {
		if x.ID == c.cfg.ID || !c.voters.Has(x.ID) {
			continue
		}
		c.late(x.ID, req)
		c.out.Late[len(c.out.Late)-1].Term = term
	}
}

// countOwnVote counts this candidate's vote for itself, now that it may be durable.
func (c *Core) countOwnVote() {
	if c.sureVote.Term == c.hard.Term && c.sureVote.Vote == c.cfg.ID {
		c.ballots[c.cfg.ID] = true
		c.countBallots()
	}
}

func (c *Core) countBallots() {
	outcome := quorum.Vote(c.voters, func(id MemberID) (bool, bool) {
		yes, ok := c.ballots[id]
		return yes, ok
	})
	switch {
	case outcome == quorum.Lost:
		c.becomeFollower(c.hard.Term, 0, "")
	case outcome == quorum.Won && c.role == RolePreCandidate:
		c.becomeCandidate(false)
	case outcome == quorum.Won:
		c.becomeLeader()
	}
}

// voteRequested answers whatever role this member believes it has: a learner that has not seen the joint
// entry yet may already be a voter.
func (c *Core) voteRequested(m Message, req VoteRequest) {
	if m.Term < c.hard.Term {
		c.answerVote(m, req, false, c.hard.Term)
		return
	}
	// Stickiness (thesis §4.2.3): who hears a leader lends no ear, unless the leader itself asked for it.
	hearsLeader := c.leader != 0 && c.elapsed < c.cfg.ElectionTicks
	if hearsLeader && !req.Transfer && m.Term > c.hard.Term {
		return
	}
	upToDate := req.Last.AtLeast(c.log.last)
	if req.Pre {
		granted := upToDate && m.Term > c.hard.Term
		term := c.hard.Term
		if granted {
			term = m.Term
		}
		c.answerVote(m, req, granted, term)
		if !upToDate && m.Term > c.hard.Term {
			c.campaignSoon()
		}
		return
	}
	if m.Term > c.hard.Term {
		c.becomeFollower(m.Term, 0, "member "+m.From.String()+" campaigns in a higher term")
	}
	granted := upToDate && (c.hard.Vote == m.From || c.hard.Vote == 0 && c.leader == 0)
	if granted {
		c.hard.Vote = m.From
		c.resetElectionTimer()
	}
	c.answerVote(m, req, granted, c.hard.Term)
}

// campaignSoon cuts the wait of a member that has been asked for its vote by one that lacks entries: nobody has a leader,
// and that one cannot win. A leader may leave some followers behind, which would cost another election timeout half of the
// time. With three voters only this member can be meant; with more, those that are, take their turns.
func (c *Core) campaignSoon() {
	if c.role == RoleFollower {
		turns := max(1, len(c.voters.Incoming)-2)
		c.timeout = min(c.timeout, c.elapsed+1+c.cfg.Rand.IntN(turns))
	}
}

func (c *Core) answerVote(m Message, req VoteRequest, granted bool, term Term) {
	c.late(m.From, VoteReply{Pre: req.Pre, Granted: granted, Campaign: req.Campaign})
	reply := &c.out.Late[len(c.out.Late)-1]
	reply.Term, reply.ToBoot = term, m.FromBoot
}

func (c *Core) voteReplied(m Message, reply VoteReply) {
	if m.Term > c.hard.Term && !(reply.Pre && reply.Granted) {
		c.becomeFollower(m.Term, 0, "member "+m.From.String()+" is in a higher term")
		return
	}
	// A pre-vote is granted in the term that was asked about, and refused in the voter's own.
	asked := c.role == RoleCandidate && !reply.Pre && m.Term == c.hard.Term ||
		c.role == RolePreCandidate && reply.Pre && (!reply.Granted || m.Term == c.hard.Term+1)
	if !asked || reply.Campaign != c.campaign {
		return
	}
	if _, ok := c.ballots[m.From]; !ok {
		c.ballots[m.From] = reply.Granted
		c.countBallots()
	}
}

// becomeLeader starts a reign with a no-op: only an entry of its own term lets it know what is committed
// (thesis §3.6.2, §6.4).
func (c *Core) becomeLeader() {
	if c.role != RoleCandidate {
		panic(fmt.Sprintf("raft: member %v would go from %v to leader in term %d", c.cfg.ID, c.role, c.hard.Term))
	}
	c.role, c.ballots = RoleLeader, nil
	c.leader = c.cfg.ID
	c.elapsed, c.sinceHeartbeat, c.transferee = 0, 0, 0
	c.peers, c.rounds, c.uncommitted = nil, nil, 0
	for i := c.commit + 1; i <= c.log.last.Index; i++ {
		c.uncommitted += len(c.log.slice(i, i, 1)[0].Payload)
	}
	c.adoptPeers(c.log.config().membership)
	c.judgeSpace()
	c.attest.lead()
	c.noop = c.log.last.Index + 1
	c.append(EntryNoop, nil)
	for _, p := range c.peers {
		p.probe(c.noop)
	}
	c.note("")
}

// abandonLeadership fails what only a leader could have answered.
func (c *Core) abandonLeadership() {
	for _, r := range c.rounds {
		c.refuseRound(r.reads)
	}
	c.refuseRound(c.newReads)
	c.peers, c.rounds, c.newReads, c.transferee = nil, nil, nil, 0
}
