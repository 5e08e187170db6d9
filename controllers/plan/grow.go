package plan

import (
	"fmt"
	"strings"

	api "raftsman.dev/api/v1alpha1"
)

// learn adds every wanted member that is empty and waits to be asked, all at once, as learners.
func learn(want Spec, seen Observation) (Step, bool) {
	leader, _ := seen.Leader()
	m := leader.Report.Membership
	s := Step{Kind: Change, Reason: api.ReasonAddingLearner, Pod: leader, Operation: birthOr(seen, api.OperationGrow), Event: api.EventMemberAdded, Change: &MembershipChange{Index: m.Index}}
	var names []string
	for _, p := range seen.Pods {
		if p.Report == nil || p.Report.State != Unjoined || p.Report.Member == "" || p.Leaving || !want.wanted(p.Name) {
			continue
		}
		if _, known := m.Find(p.Report.Member); known {
			continue
		}
		if len(m.ids(func(e Member) bool { return e.Name == p.Name })) > 0 {
			s.Operation, s.Reason = birthOr(seen, api.OperationReplace), api.ReasonReplacingMember
		}
		s.Change.Add = append(s.Change.Add, NewMember{ID: p.Report.Member, Name: p.Name, PeerAddress: p.PeerAddress, ClientURL: p.ClientURL})
		names = append(names, p.Name)
	}
	s.Why = "adding as learners: " + strings.Join(names, ", ")
	return s, len(names) > 0
}

// namesakes are the other voters with a learner's name. It was made a learner because its Pod had answered
// with its ID and not with theirs: their data is gone, whether or not the Pod answers just now.
func namesakes(m *Membership, e Member) []string {
	return m.ids(func(o Member) bool { return o.Voter && o.Name == e.Name && o.ID != e.ID })
}

// newcomers are the learners of wanted names, parted into those that replace a voter whose data is gone and
// those that make the group larger.
func newcomers(want Spec, seen Observation, m *Membership) (replacing, fresh []string) {
	for _, e := range m.Members {
		if e.Voter || e.Outgoing || !want.wanted(e.Name) || seen.superseded(e) {
			continue
		}
		if len(namesakes(m, e)) > 0 {
			replacing = append(replacing, e.ID)
		} else {
			fresh = append(fresh, e.ID)
		}
	}
	return replacing, fresh
}

// replace promotes the newcomers that have caught up in place of the voters whose data is gone: one joint
// change removes the old IDs and promotes the new.
func replace(want Spec, seen Observation) (Step, bool) {
	leader, _ := seen.Leader()
	m := leader.Report.Membership
	replacing, _ := newcomers(want, seen, m)
	if len(replacing) == 0 {
		return Step{}, false
	}
	s := Step{Kind: Wait, Reason: api.ReasonReplacingMember, Pod: leader, Operation: birthOr(seen, api.OperationReplace)}
	change := &MembershipChange{Index: m.Index}
	for _, id := range replacing {
		if !alive(leader, id) {
			continue
		}
		e, _ := m.Find(id)
		change.Promote = append(change.Promote, id)
		change.Remove = append(change.Remove, namesakes(m, e)...)
	}
	if len(change.Promote) == 0 {
		s.Why = "waiting until the new members have caught up: " + strings.Join(replacing, ", ")
		return s, true
	}
	after := append(without(m.Voters(), change.Remove), change.Promote...)
	if !survives(leader, m.Voters(), after, seen.leaving()) {
		s.Why = "waiting, because too few voters are healthy to replace " + strings.Join(change.Remove, ", ")
		return s, true
	}
	s.Kind, s.Change, s.Event = Change, change, api.EventMemberReplaced
	s.Why = fmt.Sprintf("replacing %s by %s", strings.Join(change.Remove, ", "), strings.Join(change.Promote, ", "))
	return s, true
}

// raise starts the Pods that the wanted size lacks, once volumes of earlier members with their names are gone.
func raise(want Spec, seen Observation) (Step, bool) {
	if seen.Set.Replicas >= want.Replicas {
		return Step{}, false
	}
	s := Step{Kind: Scale, Reason: api.ReasonAddingLearner, Replicas: want.Replicas, Operation: birthOr(seen, api.OperationGrow), Why: fmt.Sprintf("scaling out from %d to %d Pods", seen.Set.Replicas, want.Replicas)}
	for _, c := range seen.Claims {
		if o, ok := want.Ordinal(c.Pod); ok && o >= seen.Set.Replicas && c.Leaving {
			s.Kind, s.Reason, s.Why = Wait, api.ReasonDeletingVolume, fmt.Sprintf("waiting until the old volume %s is gone", c.Name)
		}
	}
	return s, true
}

// grow makes all newcomers voters in one joint change, when each of them has caught up and there are as many
// as are wanted: the group never has another size in between.
func grow(want Spec, seen Observation) (Step, bool) {
	leader, _ := seen.Leader()
	m := leader.Report.Membership
	before := m.Voters()
	staying := m.ids(func(e Member) bool { return e.Voter && want.wanted(e.Name) })
	if len(staying) >= int(want.Replicas) {
		return Step{}, false
	}
	_, fresh := newcomers(want, seen, m)
	s := Step{Kind: Wait, Reason: api.ReasonWaitingForLearnerCatchUp, Pod: leader, Operation: birthOr(seen, api.OperationGrow)}
	for _, id := range fresh {
		if !alive(leader, id) {
			s.Why = fmt.Sprintf("waiting until learner %s has caught up", id)
			return s, true
		}
	}
	after := append(without(before, nil), fresh...)
	if there := len(staying) + len(fresh); there < int(want.Replicas) {
		s.Reason, s.Why = api.ReasonAddingLearner, fmt.Sprintf("%d of %d members are there: waiting for the other Pods", there, want.Replicas)
		return s, true
	}
	if !survives(leader, before, after, seen.leaving()) {
		s.Why = "waiting, because too few voters are healthy to change the membership"
		return s, true
	}
	if need := max(quorum(len(before)), quorum(len(after))); *seen.Guard < need {
		s.Kind, s.Guard, s.Reason, s.Why = Protect, need, api.ReasonPromotingLearners, "raising the disruption budget before the group grows"
		return s, true
	}
	s.Kind, s.Reason, s.Event, s.Change = Change, api.ReasonPromotingLearners, api.EventMemberPromoted, &MembershipChange{Index: m.Index, Promote: fresh}
	s.Why = "promoting to voters: " + strings.Join(fresh, ", ")
	return s, true
}

// lower takes away the Pods of members that have been removed from the group.
func lower(want Spec, seen Observation) (Step, bool) {
	if seen.Set.Replicas <= want.Replicas {
		return Step{}, false
	}
	for _, e := range seen.Membership().Members {
		if o, ok := want.Ordinal(e.Name); ok && o >= want.Replicas {
			return Step{Kind: Wait, Reason: api.ReasonRemovingMember, Why: fmt.Sprintf("%s is still a member", e.Name)}, true
		}
	}
	return Step{
		Kind: Scale, Reason: api.ReasonRemovingMember, Replicas: want.Replicas, Operation: birthOr(seen, api.OperationShrink),
		Why: fmt.Sprintf("removing Pods from ordinal %d on: their members have left the group", want.Replicas),
	}, true
}

// volumes deletes what members removed by scaling in have left behind: after the Pod, after the membership.
func volumes(want Spec, seen Observation) (Step, bool) {
	m := seen.Membership()
	for _, c := range seen.Claims {
		o, ok := want.Ordinal(c.Pod)
		if !ok || o < want.Replicas || o < seen.Set.Replicas {
			continue
		}
		s := Step{Kind: Wait, Reason: api.ReasonDeletingVolume, Claim: c, Operation: birthOr(seen, api.OperationShrink)}
		if _, there := seen.pod(c.Pod); there {
			s.Reason, s.Why = api.ReasonRemovingMember, fmt.Sprintf("waiting until Pod %s is gone", c.Pod)
			return s, true
		}
		if want.KeepVolumes {
			continue
		}
		if _, member := m.Find(c.Member); member {
			continue
		}
		s.Why = fmt.Sprintf("the member of volume %s has left the group", c.Name)
		if !c.Leaving {
			s.Kind = Drop
		}
		return s, true
	}
	return Step{}, false
}

// relax brings the disruption budget to what the present voters need.
func relax(_ Spec, seen Observation) (Step, bool) {
	need := guardOf(seen.Membership())
	if *seen.Guard == need {
		return Step{}, false
	}
	return Step{
		Kind: Protect, Reason: api.ReasonApplyingObjects, Guard: need, Operation: seen.ongoing(),
		Why: fmt.Sprintf("the disruption budget must keep %d voters", need),
	}, true
}
