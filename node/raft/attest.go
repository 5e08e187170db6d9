package raft

import (
	"fmt"

	"raftsman.dev/node/raft/quorum"
)

// Point is a checksum of all that the commands up to Index have left in one member's store. Members whose sums differ
// at one index have come to differ. The zero Point is none.
type Point struct {
	Index Index
	Sum   uint32
}

// Divergence says that a member's sum at Index is Own while a majority has Majority. The zero Divergence is none.
type Divergence struct {
	Index         Index
	Own, Majority uint32
}

// Diverged says that a member's state differs from that of the majority: reported by that member, which stops
// serving, and by the leader that found it.
type Diverged struct {
	Member, Who MemberID
	Divergence  Divergence
}

// String is stable: golden scripts print it.
func (e Diverged) String() string {
	d := e.Divergence
	return fmt.Sprintf("the state of %v differs at index %d: its sum is %08x, that of the majority %08x", e.Who, d.Index, d.Own, d.Majority)
}

// Suspected says that the members' states differ, and no majority agrees on any.
type Suspected struct {
	Member MemberID
	Index  Index
}

// String is stable: golden scripts print it.
func (e Suspected) String() string {
	return fmt.Sprintf("the members' states differ at index %d, and no majority agrees on one", e.Index)
}

// maxPoints bounds the points that a member keeps of itself, so that one who lags by a little is still compared.
const maxPoints = 64

// attestation is what a member knows of its own state and, as leader, of the others'.
type attestation struct {
	points   []Point    // its own newest, in order
	diverged Divergence // its own
	question Index      // the leader's last one

	// Leader: one point is asked of everybody at a time, until all have answered or its time is over.
	asked     Point
	askedAt   uint64
	sums      map[MemberID]uint32
	agreed    Point // the newest on which a majority agrees
	suspected Index // the newest on which none can
	differing int   // peers that differ, at the last heartbeat
}

// pass takes points that the store has passed.
func (a *attestation) pass(points []Point) {
	a.points = append(a.points, points...)
	if n := len(a.points) - maxPoints; n > 0 {
		a.points = append(a.points[:0], a.points[n:]...)
	}
}

// at is this member's own point at i, or none if it does not have it (any more, or yet).
func (a *attestation) at(i Index) Point {
	for _, p := range a.points {
		if p.Index == i {
			return p
		}
	}
	return Point{}
}

// forget begins anew with another state.
func (a *attestation) forget() { a.points, a.diverged = nil, Divergence{} }

// lead begins the attestation of a reign.
func (a *attestation) lead() { a.asked, a.sums, a.differing = Point{}, nil, 0 }

// tickAttest asks for the next point, and hands leadership over where this leader's own state differs: its log is as
// good as ever, but it can serve nobody.
func (c *Core) tickAttest() {
	a := &c.attest
	a.differing = 0
	for _, p := range c.peers {
		if c.differs(p) {
			a.differing++
		}
	}
	over := a.asked.Index == 0 || c.answered() || c.now-a.askedAt >= uint64(c.cfg.ElectionTicks)
	if n := len(a.points); n > 0 && a.points[n-1] != a.asked && over {
		a.asked, a.askedAt = a.points[n-1], c.now
		a.sums = map[MemberID]uint32{c.cfg.ID: a.asked.Sum}
		c.judgeState()
	}
	if a.diverged.Index == 0 || c.transferee != 0 {
		return
	}
	if heir := c.heir(); heir != nil && heir.told && heir.alive() && !c.differs(heir) {
		c.handOver(heir, "its state differs from the majority's")
	}
}

// answered reports whether everybody has answered what was asked.
func (c *Core) answered() bool {
	for _, p := range c.peers {
		if _, ok := c.attest.sums[p.id]; !ok {
			return false
		}
	}
	return true
}

// question is what a heartbeat to a peer asks, or tells one that differs.
func (c *Core) question(p *progress) (at Point, diverged bool) {
	if c.differs(p) {
		return Point{p.divergence.Index, p.divergence.Majority}, true
	}
	return c.attest.asked, false
}

// differs reports whether a peer was found to differ, in the life that it is in.
func (c *Core) differs(p *progress) bool {
	return p.divergence.Index != 0 && p.divergedBoot == c.boots[p.id]
}

// divergenceOf is where a peer was found to differ in the life that it is in.
func (c *Core) divergenceOf(p *progress) Divergence {
	if c.differs(p) {
		return p.divergence
	}
	return Divergence{}
}

// heedAttest answers a leader's question. Told that it differs, this member looks for itself: the leader may speak of
// a state that is gone.
func (c *Core) heedAttest(b Heartbeat) Point {
	c.attest.question = b.Point.Index
	own := c.attest.at(b.Point.Index)
	if b.Diverged && own.Index != 0 && own.Sum != b.Point.Sum {
		c.diverge(Divergence{Index: own.Index, Own: own.Sum, Majority: b.Point.Sum})
	}
	return own
}

// diverge marks this member's own state. It stays so until it has another one.
func (c *Core) diverge(d Divergence) {
	if c.attest.diverged.Index == 0 {
		c.attest.diverged = d
		c.out.Events = append(c.out.Events, Diverged{Member: c.cfg.ID, Who: c.cfg.ID, Divergence: d})
	}
}

// attested takes a peer's answer. One that was found to differ and does not have that point any more may have another
// state: it is asked like the others again.
func (c *Core) attested(p *progress, r HeartbeatReply) {
	a := &c.attest
	if c.differs(p) && r.Point.Index == 0 {
		p.divergence = Divergence{}
	}
	if r.Point.Index == 0 || r.Point.Index != a.asked.Index {
		return
	}
	if _, known := a.sums[p.id]; !known {
		a.sums[p.id] = r.Point.Sum
		c.judgeState()
	}
}

// judgeState looks for a sum on which a majority of the voters, of both halves while joint, agrees. Who has another
// one differs, voter or not. Where everybody has answered and no majority agrees, nobody can be told wrong.
func (c *Core) judgeState() {
	a := &c.attest
	for _, sum := range c.sumsInOrder() {
		switch c.voteOn(sum) {
		case quorum.Won:
			a.agreed = Point{a.asked.Index, sum}
			c.compare(a.agreed)
			return
		case quorum.Pending:
			return
		}
	}
	if a.suspected != a.asked.Index {
		a.suspected = a.asked.Index
		c.out.Events = append(c.out.Events, Suspected{Member: c.cfg.ID, Index: a.suspected})
	}
}

// sumsInOrder lists the answers in the order of the members, this one's first.
func (c *Core) sumsInOrder() []uint32 {
	sums := []uint32{c.attest.asked.Sum}
	for _, p := range c.peers {
		if sum, ok := c.attest.sums[p.id]; ok {
			sums = append(sums, sum)
		}
	}
	return sums
}

func (c *Core) voteOn(sum uint32) quorum.Outcome {
	return quorum.Vote(c.voters, func(id MemberID) (yes, ok bool) {
		got, ok := c.attest.sums[id]
		return got == sum, ok
	})
}

// compare holds every answer to what the majority agrees on.
func (c *Core) compare(agreed Point) {
	if own := c.attest.asked.Sum; own != agreed.Sum {
		c.diverge(Divergence{Index: agreed.Index, Own: own, Majority: agreed.Sum})
	}
	for _, p := range c.peers {
		sum, ok := c.attest.sums[p.id]
		switch {
		case !ok:
		case sum == agreed.Sum:
			p.divergence = Divergence{}
		case !c.differs(p):
			p.divergence, p.divergedBoot = Divergence{Index: agreed.Index, Own: sum, Majority: agreed.Sum}, c.boots[p.id]
			c.out.Events = append(c.out.Events, Diverged{Member: c.cfg.ID, Who: p.id, Divergence: p.divergence})
		}
	}
}
