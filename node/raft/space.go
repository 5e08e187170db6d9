package raft

import (
	"fmt"
	"slices"

	"raftsman.dev/node/raft/quorum"
)

// Space says how much room there is: on one member's disk, or, as a leader judges it, in the whole cluster.
//
//	low  what lets the data grow is refused; everything else goes on
//	out  hardly any is left: nothing more is taken into the log by choice
//
// As a message it is this member's own measure of its disk (local); as a leader's verdict it travels in heartbeats.
type Space struct {
	// Low is also set when Out is.
	Low, Out bool
}

// String names it.
func (s Space) String() string {
	switch {
	case s.Out:
		return "out of space"
	case s.Low:
		return "low on space"
	}
	return "has space"
}

// SpaceChanged says that the cluster's space, as the leader judges it and as its followers hear of it, is new.
type SpaceChanged struct {
	Member MemberID
	Space  Space
}

// String is stable: golden scripts print it.
func (e SpaceChanged) String() string { return "the cluster " + e.Space.String() }

// outPatience is how many times its own election timeout a member without space, or with a state that differs from
// the majority's, leaves it to others to campaign. Its log is as good as any: where nobody else can be elected, the
// others' clients are served through it.
const outPatience = 4

// yields reports whether this member leaves it to others to campaign for now: it could take nothing, or serve nobody.
func (c *Core) yields() bool {
	return (c.space.Out || c.attest.diverged.Index != 0) && c.elapsed < outPatience*c.timeout
}

// measured takes this member's own measure of its disk.
func (c *Core) measured(s Space) {
	s.Low = s.Low || s.Out
	c.space = s
	if c.role == RoleLeader {
		c.judgeSpace()
	}
}

// judgeSpace says what this leader takes: nothing that grows while it is low itself, or while there is no quorum
// without those that are; and nothing at all while that holds of those that are out.
func (c *Core) judgeSpace() {
	c.heedSpace(Space{
		Low: c.space.Low || c.needs(func(s Space) bool { return s.Low }),
		Out: c.space.Out || c.needs(func(s Space) bool { return s.Out }),
	})
}

// needs reports whether no quorum is left, in one half at least, without the voters of which short holds.
func (c *Core) needs(short func(Space) bool) bool {
	return quorum.Vote(c.voters, func(id MemberID) (bool, bool) {
		if id == c.cfg.ID {
			return !short(c.space), true
		}
		p := c.peer(id)
		return p == nil || !short(p.space), true
	}) != quorum.Won
}

// heedSpace takes a verdict into force, this leader's own or the one that it hears of.
func (c *Core) heedSpace(s Space) {
	if s != c.verdict {
		c.verdict = s
		c.out.Events = append(c.out.Events, SpaceChanged{Member: c.cfg.ID, Space: s})
	}
}

// refusesSpace reports whether this leader has no room for a proposal.
func (c *Core) refusesSpace(grows bool) bool { return c.verdict.Out || grows && c.verdict.Low }

// roomless reports whether this member has no room for what a leader sends it.
func (c *Core) roomless(a Append) bool {
	return c.space.Out && a.Prev.Index+Index(len(a.Entries)) > c.log.last.Index && !bare(a.Entries)
}

// spares reports whether a peer is not sent what it lacks, because it would not take it.
func (c *Core) spares(p *progress) bool {
	if !p.space.Out || p.next > c.log.last.Index {
		return false
	}
	return p.next < c.log.firstInMemory() || !bare(c.log.slice(p.next, c.log.last.Index, c.cfg.MaxAppendBytes))
}

// bare reports whether entries carry nothing of clients. Those few bytes are always taken: without a no-op of its
// term a leader could not serve reads, and without memberships a member without space could not be replaced.
func bare(entries []Entry) bool {
	return len(entries) <= maxBare && !slices.ContainsFunc(entries, func(e Entry) bool { return e.Kind == EntryCommand })
}

// maxBare bounds what is taken so at once.
const maxBare = 16

// tickSpace hands leadership to a member that has space, if there is one.
func (c *Core) tickSpace() {
	if !c.space.Out || c.transferee != 0 {
		return
	}
	if heir := c.heir(); heir != nil && heir.told && heir.alive() && !heir.space.Out {
		c.handOver(heir, fmt.Sprintf("it is %v", c.space))
	}
}
