package plan

import (
	"fmt"
	"slices"
	"strings"

	api "raftsman.dev/api/v1alpha1"
)

// finishMembership waits for a change that is in flight. A new leader leaves a joint membership by itself.
func finishMembership(_ Spec, seen Observation) (Step, bool) {
	leader, _ := seen.Leader()
	m := leader.Report.Membership
	if !m.Joint && m.Committed {
		return Step{}, false
	}
	reason := api.ReasonRemovingMember
	if slices.ContainsFunc(m.Members, func(e Member) bool { return e.Incoming }) {
		reason = api.ReasonPromotingLearners
	}
	return Step{Kind: Wait, Reason: reason, Operation: birthOr(seen, ""), Why: fmt.Sprintf("membership change at index %d is in flight", m.Index)}, true
}

// initialize latches that the wanted number of voters was reached for the first time.
func initialize(want Spec, seen Observation) (Step, bool) {
	leader, _ := seen.Leader()
	voters := leader.Report.Membership.Voters()
	if seen.Latched.Initialized || len(voters) != int(want.Replicas) || live(leader, voters, nil) < int32(len(voters)) {
		return Step{}, false
	}
	return Step{
		Kind: Latch, Reason: api.ReasonOpeningToClients, Latch: &LatchChange{Initialize: true}, Operation: api.OperationForm,
		Why: fmt.Sprintf("all %d voters are there", len(voters)),
	}, true
}

// open tells the members to serve clients, after the latch and never before.
func open(_ Spec, seen Observation) (Step, bool) {
	leader, _ := seen.Leader()
	if !seen.Latched.Initialized || leader.Report.Open {
		return Step{}, false
	}
	return Step{Kind: Open, Reason: api.ReasonOpeningToClients, Pod: leader, Operation: api.OperationForm, Why: "the cluster is complete: opening it to clients"}, true
}

// annotate writes on each claim whose data lies there, once there is data worth it.
func annotate(_ Spec, seen Observation) (Step, bool) {
	if !seen.Latched.Initialized {
		return Step{}, false
	}
	m := seen.Membership()
	for _, c := range seen.Claims {
		p, ok := seen.pod(c.Pod)
		if !ok || c.Leaving || !seen.ours(p) || p.Report.Member == c.Member {
			continue
		}
		if _, member := m.Find(p.Report.Member); member {
			return Step{
				Kind: Annotate, Reason: api.ReasonApplyingObjects, Pod: p, Claim: c,
				Operation: seen.ongoing(), Why: fmt.Sprintf("%s holds the data of member %s", c.Name, p.Report.Member),
			}, true
		}
	}
	return Step{}, false
}

// ongoing is the announced operation's type, empty when there is none.
func (o Observation) ongoing() api.OperationType {
	if o.Latched.Operation == nil {
		return ""
	}
	return o.Latched.Operation.Type
}

// superseded says that the Pod of a member's name answers with another, empty identity: this member's data
// is gone for good.
func (o Observation) superseded(e Member) bool {
	p, ok := o.pod(e.Name)
	if !ok || p.Report == nil || p.Report.Member == "" || p.Report.Member == e.ID {
		return false
	}
	return p.Report.State == Unjoined || o.ours(p)
}

// stale removes learners whose data is gone, which never counted, and voters whose data is gone when another
// voter of their name has taken their place already.
func stale(want Spec, seen Observation) (Step, bool) {
	leader, _ := seen.Leader()
	m := leader.Report.Membership
	var gone []string
	for _, e := range m.Members {
		if want.wanted(e.Name) && seen.superseded(e) && (!e.Voter || len(namesakes(m, e)) > 0) {
			gone = append(gone, e.ID)
		}
	}
	if len(gone) == 0 || !survives(leader, m.Voters(), without(m.Voters(), gone), seen.leaving()) {
		return Step{}, false
	}
	return Step{
		Kind: Change, Reason: api.ReasonRemovingMember, Pod: leader, Change: &MembershipChange{Index: m.Index, Remove: gone},
		Operation: birthOr(seen, api.OperationReplace), Event: api.EventMemberRemoved, Why: "removing members whose disks are lost: " + strings.Join(gone, ", "),
	}, true
}

// corrupt replaces a member whose data cannot be trusted: membership first, then its volume and Pod.
func corrupt(want Spec, seen Observation) (Step, bool) {
	leader, _ := seen.Leader()
	m := leader.Report.Membership
	for _, p := range seen.Pods {
		if p.Report == nil || p.Report.State != Corrupt || !want.wanted(p.Name) {
			continue
		}
		s := Step{Reason: api.ReasonReplacingMember, Pod: p, Operation: birthOr(seen, api.OperationReplace), Why: fmt.Sprintf("the data of %s is damaged%s", p.Name, because(p.Report.Problem))}
		ids := m.ids(func(e Member) bool { return e.Name == p.Name })
		claim, held := seen.claim(p.Name)
		switch {
		case len(ids) > 0:
			after := without(m.Voters(), ids)
			if len(after) == 0 || !survives(leader, m.Voters(), after, append(seen.leaving(), ids...)) {
				s.Kind, s.Why = Wait, s.Why+", and too few healthy voters are left to remove it"
				return s, true
			}
			s.Kind, s.Pod, s.Event = Change, leader, api.EventMemberRemoved
			s.Change = &MembershipChange{Index: m.Index, Remove: ids}
		case held && !claim.Leaving:
			s.Kind, s.Claim = Drop, claim
		case !p.Leaving:
			s.Kind = Remove
		default:
			s.Kind = Wait
		}
		return s, true
	}
	return Step{}, false
}

// removed restarts a wanted member that was removed from the group and has not drawn a new identity yet.
func removed(want Spec, seen Observation) (Step, bool) {
	for _, p := range seen.Pods {
		if p.Report != nil && p.Report.State == Removed && want.wanted(p.Name) && !p.Leaving {
			return Step{
				Kind: Remove, Reason: api.ReasonReplacingMember, Pod: p, Operation: birthOr(seen, api.OperationReplace),
				Why: fmt.Sprintf("%s was removed from the group: it starts again under a new ID", p.Name),
			}, true
		}
	}
	return Step{}, false
}

// shrink removes the members with the highest ordinals, by ID, in one change; one that leads hands over
// first. Newcomers that stay and have caught up become voters in the same change.
func shrink(want Spec, seen Observation) (Step, bool) {
	leader, _ := seen.Leader()
	m := leader.Report.Membership
	victims := m.ids(func(e Member) bool { o, ok := want.Ordinal(e.Name); return ok && o >= want.Replicas })
	_, fresh := newcomers(want, seen, m)
	fresh = slices.DeleteFunc(fresh, func(id string) bool { return !alive(leader, id) })
	before, after := m.Voters(), append(without(m.Voters(), victims), fresh...)
	if len(victims) == 0 || len(after) == 0 {
		return Step{}, false
	}
	s := Step{Reason: api.ReasonRemovingMember, Pod: leader, Operation: birthOr(seen, api.OperationShrink), Why: "scaling in: removing members " + strings.Join(victims, ", ")}
	if !survives(leader, before, after, seen.leaving()) || live(leader, after, seen.doomed()) < quorum(len(after)) {
		s.Kind, s.Why = Wait, s.Why+"; waiting, because too few of those that stay are healthy"
		if n := m.pods(want); seen.Set.Replicas < n { // who stays may only be healed while the others are there
			s.Kind, s.Reason, s.Replicas = Scale, api.ReasonMemberUnhealthy, n
			s.Why = fmt.Sprintf("the StatefulSet has been lowered to %d, and too few of those that stay are healthy: the members need %d Pods first", seen.Set.Replicas, n)
		}
		return s, true
	}
	if need := max(quorum(len(before)), quorum(len(after))); *seen.Guard < need {
		s.Kind, s.Guard = Protect, need
		return s, true
	}
	if slices.Contains(victims, leader.Report.Member) {
		if stay := without(before, victims); len(stay) > 0 {
			return handOver(seen, leader, stay, s), true
		}
	}
	s.Kind, s.Event, s.Change = Change, api.EventMemberRemoved, &MembershipChange{Index: m.Index, Promote: fresh, Remove: victims}
	return s, true
}

// handOver makes s a transfer of leadership to the best of the candidates: one of the wanted revision before
// others, then the lowest ordinal.
func handOver(seen Observation, leader Pod, candidates []string, s Step) Step {
	best, found := Pod{}, false
	for _, p := range seen.Pods {
		if p.Report == nil || p.Name == leader.Name || p.Leaving || !slices.Contains(candidates, p.Report.Member) || !alive(leader, p.Report.Member) {
			continue
		}
		if !found || seen.outdated(best) && !seen.outdated(p) {
			best, found = p, true
		}
	}
	s.Pod, s.Reason = leader, api.ReasonTransferringLeadership
	if !found {
		s.Kind, s.Why = Wait, s.Why+"; waiting for a healthy voter that can take over leadership"
		return s
	}
	s.Kind, s.To, s.ToName, s.Event = Transfer, best.Report.Member, best.Name, api.EventLeadershipTransferred
	s.Why = fmt.Sprintf("%s hands leadership to %s before it is touched", leader.Name, best.Name)
	return s
}
