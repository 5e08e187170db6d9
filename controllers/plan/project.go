package plan

import "slices"

// quorum is the majority of n voters.
func quorum(n int) int32 { return int32(n/2 + 1) }

// guardOf is what the disruption budget must keep available for a membership: the quorum of its voters, of
// both halves while it is joint.
func guardOf(m *Membership) int32 {
	return max(quorum(len(m.Voters())), quorum(len(m.OldVoters())))
}

// alive says that the leader has heard from a member lately and that the member is in step with it. A
// learner that has not caught up counts as failed, and so does an unreachable member. A voter under load may
// trail by more than a learner may, as long as entries flow to it.
func alive(leader Pod, id string) bool {
	if id == leader.Report.Member {
		return true
	}
	p := leader.Report.Peers[id]
	e, _ := leader.Report.Membership.Find(id)
	return p.Active && (p.Caught || p.Streaming && (e.Voter || e.Outgoing))
}

// active says that the leader has heard from a member lately.
func active(leader Pod, id string) bool {
	return id == leader.Report.Member || leader.Report.Peers[id].Active
}

// survives projects a change onto the voters it leads to and says whether both the voters before and the
// voters after could commit without the members that are failed or to be disrupted.
func survives(leader Pod, before, after, disrupted []string) bool {
	return live(leader, before, disrupted) >= quorum(len(before)) && live(leader, after, disrupted) >= quorum(len(after))
}

// leaving are the IDs of members whose Pod is being deleted: the leader still hears from them, and soon it will not.
func (o Observation) leaving() []string {
	return o.members(func(p Pod) bool { return p.Leaving })
}

// doomed are the IDs of members whose Pod or volume is being deleted. A volume stays as long as its Pod, and goes
// with it: such a member votes as well as any other, and is not to be relied upon.
func (o Observation) doomed() []string {
	return o.members(func(p Pod) bool {
		claim, _ := o.claim(p.Name)
		return p.Leaving || claim.Leaving
	})
}

// members are the IDs of the members in some Pods: as these say themselves, or, where they say nothing, as the
// membership does; one of the two may be gone already if a name stands there twice.
func (o Observation) members(which func(Pod) bool) []string {
	var ids []string
	m := o.Membership()
	for _, p := range o.Pods {
		switch {
		case !which(p):
		case p.Report != nil:
			ids = append(ids, p.Report.Member)
		case m != nil:
			ids = append(ids, m.ids(func(e Member) bool { return e.Name == p.Name })...)
		}
	}
	return ids
}

func live(leader Pod, voters, disrupted []string) int32 {
	var n int32
	for _, id := range voters {
		if alive(leader, id) && !slices.Contains(disrupted, id) {
			n++
		}
	}
	return n
}

// without is the list less what is dropped from it.
func without(ids, dropped []string) []string {
	return slices.DeleteFunc(slices.Clone(ids), func(id string) bool { return slices.Contains(dropped, id) })
}
