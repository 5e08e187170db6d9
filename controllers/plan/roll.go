package plan

import (
	"fmt"

	api "raftsman.dev/api/v1alpha1"
)

// roll replaces Pods of an old template one by one: unready ones first, then followers from the highest
// ordinal down, the leader last and only after it has handed over. The next one goes only when all others
// are in step.
func roll(_ Spec, seen Observation) (Step, bool) {
	leader, _ := seen.Leader()
	victim, ok := nextToRoll(seen, leader)
	if !ok {
		return Step{}, false
	}
	s := Step{Reason: api.ReasonRollingUpdate, Pod: victim, Operation: birthOr(seen, api.OperationRoll), Event: api.EventPodRolled, Why: fmt.Sprintf("replacing Pod %s by one of the new revision", victim.Name)}
	voters := leader.Report.Membership.Voters()
	claim, _ := seen.claim(victim.Name)
	if claim.Leaving && len(voters) < 3 {
		s.Kind, s.Event = Wait, ""
		s.Why = fmt.Sprintf("volume %s is being deleted and goes with its Pod: too few others hold the data to take it away; grow to 3 first", claim.Name)
		return s, true
	}
	for _, p := range seen.Pods {
		if p.Name == victim.Name {
			continue
		}
		if p.Leaving || !p.Ready || p.Report == nil || !alive(leader, p.Report.Member) {
			s.Kind, s.Why, s.Event = Wait, fmt.Sprintf("waiting for %s before %s is replaced", p.Name, victim.Name), ""
			return s, true
		}
	}
	if len(seen.Pods) < int(seen.Set.Replicas) || victim.Leaving {
		s.Kind, s.Why, s.Event = Wait, "waiting until all Pods are back", ""
		return s, true
	}
	if victim.Name == leader.Name && len(voters) > 1 {
		return handOver(seen, leader, without(voters, []string{leader.Report.Member}), s), true
	}
	s.Kind = Evict
	// A group of one or two survives no disruption, so the budget would refuse for ever: the person who
	// changed the template has asked for this one.
	if len(voters) <= 2 {
		s.Kind = Remove
	}
	return s, true
}

// retire takes away the Pod of a wanted member whose volume somebody is deleting, while there is a quorum without it:
// its data is lost at the next restart anyway, and that may come at a worse moment. The member is replaced then.
func retire(want Spec, seen Observation) (Step, bool) {
	leader, _ := seen.Leader()
	voters := leader.Report.Membership.Voters()
	if !seen.Latched.Initialized || len(voters) < 3 {
		return Step{}, false
	}
	for _, p := range seen.Pods {
		claim, ok := seen.claim(p.Name)
		if !ok || !claim.Leaving || p.Leaving || !want.wanted(p.Name) || !seen.ours(p) ||
			!survives(leader, voters, voters, append(seen.leaving(), p.Report.Member)) {
			continue
		}
		s := Step{
			Kind: Evict, Reason: api.ReasonReplacingMember, Pod: p, Operation: api.OperationReplace, Event: api.EventPodRolled,
			Why: fmt.Sprintf("volume %s is being deleted: replacing its member while the others are healthy", claim.Name),
		}
		if need := guardOf(leader.Report.Membership); *seen.Guard > need {
			// It was raised for a growth that has not come yet, and would refuse the eviction for ever.
			s.Kind, s.Guard, s.Event = Protect, need, ""
		} else if p.Name == leader.Name {
			s = handOver(seen, leader, without(voters, []string{p.Report.Member}), s)
		}
		return s, s.Kind != Wait
	}
	return Step{}, false
}

// nextToRoll is the Pod of an old template whose turn it is.
func nextToRoll(seen Observation, leader Pod) (Pod, bool) {
	var next Pod
	found := false
	for i := len(seen.Pods) - 1; i >= 0; i-- {
		p := seen.Pods[i]
		if !seen.outdated(p) {
			continue
		}
		if !p.Ready || p.Leaving {
			return p, true
		}
		if !found || next.Name == leader.Name {
			next, found = p, true
		}
	}
	return next, found
}

// settle waits for members that should be there and are not in step.
func settle(want Spec, seen Observation) (Step, bool) {
	leader, _ := seen.Leader()
	s := Step{Kind: Wait, Reason: api.ReasonMemberUnhealthy}
	if seen.Set.Revision == "" {
		s.Reason, s.Why = api.ReasonRollingUpdate, "waiting until the StatefulSet's newest template has been looked at"
		return s, true
	}
	for n := range want.Replicas {
		p, ok := seen.pod(want.Pod(n))
		switch {
		case !ok:
			s.Why = fmt.Sprintf("Pod %s is missing", want.Pod(n))
		case p.Leaving:
			s.Why = fmt.Sprintf("Pod %s is being replaced", p.Name)
		case p.Report == nil:
			s.Why = fmt.Sprintf("%s does not answer%s", p.Name, because(p.Silence))
		case !alive(leader, p.Report.Member):
			s.Why = fmt.Sprintf("%s is behind its leader", p.Name)
		case !p.Ready || !p.Report.Ready:
			s.Why = fmt.Sprintf("%s does not serve clients yet", p.Name)
		default:
			continue
		}
		return s, true
	}
	return Step{}, false
}
