package plan

import (
	"fmt"

	api "raftsman.dev/api/v1alpha1"
)

// relocate removes the member that a person wants replaced, while all others are in step. One that leads hands over
// first. Its volume goes next, and the ordinary way in gives its name to a new member.
func relocate(want Spec, seen Observation) (Step, bool) {
	leader, _ := seen.Leader()
	m := leader.Report.Membership
	e, member := m.Find(want.Replace)
	if !seen.Latched.Initialized || !member || !want.wanted(e.Name) || !movable(seen, leader, e) {
		return Step{}, false
	}
	s := Step{
		Kind: Change, Reason: api.ReasonReplacingMember, Pod: leader, Operation: api.OperationReplace, Event: api.EventMemberRemoved,
		Why: fmt.Sprintf("%s is to be replaced, as annotated: removing member %s", e.Name, e.ID),
	}
	if e.ID == leader.Report.Member {
		return handOver(seen, leader, without(m.Voters(), []string{e.ID}), s), true
	}
	s.Change = &MembershipChange{Index: m.Index, Remove: []string{e.ID}}
	return s, true
}

// movable says that a member can be done without: it does not vote, or at least two others do and all are in step.
func movable(seen Observation, leader Pod, e Member) bool {
	if !e.Voter {
		return true
	}
	rest := without(leader.Report.Membership.Voters(), []string{e.ID})
	return len(rest) > 1 && live(leader, rest, seen.doomed()) == int32(len(rest))
}

// vacate drops the volume of the member that was to be replaced and has left the group, and then its Pod: volume after
// membership.
func vacate(want Spec, seen Observation) (Step, bool) {
	m := seen.Membership()
	if _, member := m.Find(want.Replace); member || want.Replace == "" || !seen.Latched.Initialized {
		return Step{}, false
	}
	for _, c := range seen.Claims {
		p, there := seen.pod(c.Pod)
		if c.Member != want.Replace || !want.wanted(c.Pod) || !there {
			continue
		}
		if p.Report != nil {
			if _, member := m.Find(p.Report.Member); member {
				continue // the volume is somebody else's already
			}
		}
		s := Step{
			Kind: Wait, Reason: api.ReasonDeletingVolume, Pod: p, Claim: c, Operation: api.OperationReplace,
			Why: fmt.Sprintf("member %s has left the group, as annotated: its volume %s goes, and then its Pod", want.Replace, c.Name),
		}
		switch {
		case p.Leaving:
		case c.Leaving:
			s.Kind = Remove
		default:
			s.Kind = Drop
		}
		return s, true
	}
	return Step{}, false
}

// unmoved says why the member that is to be replaced is still there.
func unmoved(want Spec, seen Observation) (Step, bool) {
	e, member := seen.Membership().Find(want.Replace)
	return Step{
		Kind: Wait, Reason: api.ReasonReplacingMember, Operation: api.OperationReplace,
		Why: fmt.Sprintf("%s is to be replaced, as annotated, and can only be when at least two others vote and all of them are in step", e.Name),
	}, member && seen.Latched.Initialized
}
