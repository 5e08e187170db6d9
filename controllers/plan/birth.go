package plan

import (
	"fmt"

	api "raftsman.dev/api/v1alpha1"
)

// strangers stops everything when a member belongs to another cluster than status says: whose data is right
// is a person's decision.
func strangers(_ Spec, seen Observation) (Step, bool) {
	if seen.Latched.ClusterID == "" {
		return Step{}, false
	}
	first := map[string]string{}
	for _, p := range seen.Pods {
		if other := first[p.id()]; other != "" {
			return Step{
				Kind: Rest, Reason: api.ReasonClusterIDMismatch, Stalled: api.ReasonClusterIDMismatch,
				Why: fmt.Sprintf("%s and %s both hold member %s: the volume of one is a copy, and two must never act as one; delete the copy's claim and Pod", other, p.Name, p.id()),
			}, true
		}
		if p.id() != "" {
			first[p.id()] = p.Name
		}
		if p.Report != nil && p.Report.State == Joined && p.Report.Cluster != seen.Latched.ClusterID {
			return Step{
				Kind: Rest, Reason: api.ReasonClusterIDMismatch, Stalled: api.ReasonClusterIDMismatch,
				Why: fmt.Sprintf("%s is a member of cluster %s, not of %s: give it the right volume or an empty one", p.Name, p.Report.Cluster, seen.Latched.ClusterID),
			}, true
		}
	}
	return Step{}, false
}

// id is the member that lives in a Pod on sound data; empty when there is none or it does not answer.
func (p Pod) id() string {
	if p.Report == nil || p.Report.State != Joined {
		return ""
	}
	return p.Report.Member
}

// adopt takes over members that already share a cluster when status knows of none.
func adopt(_ Spec, seen Observation) (Step, bool) {
	if seen.Latched.ClusterID != "" {
		return Step{}, false
	}
	shared, served := "", false
	for _, p := range seen.Pods {
		if p.Report == nil || p.Report.State != Joined {
			continue
		}
		if shared != "" && p.Report.Cluster != shared {
			return Step{
				Kind: Rest, Reason: api.ReasonClusterIDMismatch, Stalled: api.ReasonClusterIDMismatch,
				Why: fmt.Sprintf("members are of different clusters, %s and %s: remove the Pods and volumes of the one that is not wanted", shared, p.Report.Cluster),
			}, true
		}
		shared, served = p.Report.Cluster, served || p.Report.Open
	}
	if shared == "" {
		return Step{}, false
	}
	return Step{
		Kind: Latch, Reason: api.ReasonForming, Operation: api.OperationForm, Latch: &LatchChange{Adopt: &shared, Initialize: served},
		Why: fmt.Sprintf("adopting cluster %s, which the members already share", shared),
	}, true
}

// sizeBeforeBirth follows the spec while no cluster is known. It takes away only Pods that say they are empty, and it
// starts those, too, whose volume holds the data of a member: the cluster may be there already, under a status that
// was lost.
func sizeBeforeBirth(want Spec, seen Observation) (Step, bool) {
	if seen.Latched.ClusterID != "" {
		return Step{}, false
	}
	s := Step{Kind: Scale, Reason: api.ReasonWaitingForFirstMember, Replicas: want.Replicas, Operation: api.OperationForm, Why: "starting the wanted number of Pods"}
	for _, c := range seen.Claims {
		if o, ok := want.Ordinal(c.Pod); ok && c.Member != "" && o >= s.Replicas {
			s.Replicas, s.Why = o+1, fmt.Sprintf("the volume %s holds the data of member %s: starting its Pod", c.Name, c.Member)
		}
	}
	if seen.Set.Replicas == s.Replicas {
		return Step{}, false
	}
	for _, p := range seen.Pods {
		if o, ok := want.Ordinal(p.Name); (!ok || o >= s.Replicas) && (p.Report == nil || p.Report.State != Unjoined) {
			s.Kind, s.Why = Wait, fmt.Sprintf("%s is not wanted but does not say that it is empty", p.Name)
		}
	}
	return s, true
}

// abandon forgets a cluster that has lost its founder before it ever served anybody. Disks that took part in
// it are wiped first, one by one.
func abandon(want Spec, seen Observation) (Step, bool) {
	if seen.Latched.ClusterID == "" || seen.Latched.Initialized || seen.Available() || !hopeless(want, seen) {
		return Step{}, false
	}
	s := Step{Reason: api.ReasonForming, Operation: api.OperationForm, Why: "the founder was lost before the cluster served anybody: beginning birth anew"}
	for _, p := range seen.Pods {
		if p.Report.State == Unjoined {
			continue
		}
		s.Pod = p
		if c, ok := seen.claim(p.Name); ok && !c.Leaving {
			s.Kind, s.Claim = Drop, c
			return s, true
		}
		s.Kind = Remove
		if p.Leaving {
			s.Kind = Wait
		}
		return s, true
	}
	s.Kind, s.Latch = Latch, &LatchChange{Abandon: true}
	return s, true
}

// hopeless says that every Pod has answered and that the members of the cluster among them cannot
// make a quorum again.
func hopeless(want Spec, seen Observation) bool {
	if seen.Set.Replicas == 0 || !answered(want, seen) {
		return false
	}
	for _, p := range seen.Pods {
		if p.Report == nil || p.Report.Member == seen.Latched.Founder && p.Report.State == Unjoined {
			return false
		}
	}
	m := seen.Membership()
	if m == nil {
		return true
	}
	return !possible(seen, m.Voters()) || !possible(seen, m.OldVoters())
}

// possible says that the voters that may still come back are a quorum.
func possible(seen Observation, voters []string) bool {
	var n int32
	for _, id := range voters {
		if p, ok := seen.home(id); ok && p.Report.State == Joined {
			n++
		}
	}
	return n >= quorum(len(voters))
}

// claim is the claim of a Pod.
func (o Observation) claim(pod string) (Claim, bool) {
	for _, c := range o.Claims {
		if c.Pod == pod {
			return c, true
		}
	}
	return Claim{}, false
}

// birth waits until every wanted Pod says that it is empty, and then latches a new cluster with its founder.
func birth(want Spec, seen Observation) (Step, bool) {
	if seen.Latched.ClusterID != "" {
		return Step{}, false
	}
	s := Step{Kind: Wait, Reason: api.ReasonWaitingForFirstMember, Operation: api.OperationForm}
	if seen.Latched.Initialized {
		s.Kind, s.Operation, s.Stalled = Rest, "", api.ReasonAllMembersLost
		s.Reason, s.Why = api.ReasonAllMembersLost, "the cluster once served clients but its ID is gone from status: restore the status, or delete the RaftCluster"
		return s, true
	}
	for _, c := range seen.Claims {
		p, there := seen.pod(c.Pod)
		if c.Member != "" && !(there && p.Report != nil && p.Report.Member == c.Member) {
			s.Why = fmt.Sprintf("the volume %s holds the data of member %s, which does not answer", c.Name, c.Member)
			return s, true
		}
	}
	for n := range want.Replicas {
		p, ok := seen.pod(want.Pod(n))
		switch {
		case !ok || p.Report == nil:
			s.Why = fmt.Sprintf("waiting for %s to answer%s", want.Pod(n), because(p.Silence))
			return s, true
		case p.Report.State != Unjoined:
			s.Why = fmt.Sprintf("%s is %s, not empty%s", p.Name, p.Report.State, because(p.Report.Problem))
			return s, true
		}
	}
	founder, _ := seen.pod(want.Pod(0))
	s.Kind, s.Reason, s.Latch = Latch, api.ReasonForming, &LatchChange{Found: &founder.Report.Member}
	s.Why = fmt.Sprintf("all Pods are empty: %s is to found the cluster", founder.Name)
	return s, true
}

func because(reason string) string {
	if reason == "" {
		return ""
	}
	return ": " + reason
}

// form asks the latched founder, and never after the cluster has been initialized.
func form(_ Spec, seen Observation) (Step, bool) {
	if seen.Latched.Initialized || seen.Latched.Founder == "" {
		return Step{}, false
	}
	p, ok := seen.home(seen.Latched.Founder)
	if !ok || p.Report.State != Unjoined {
		return Step{}, false
	}
	return Step{
		Kind: Form, Reason: api.ReasonForming, Pod: p, Operation: api.OperationForm, Event: api.EventMemberAdded,
		Why: fmt.Sprintf("%s forms cluster %s", p.Name, seen.Latched.ClusterID),
	}, true
}

// awaitQuorum speaks while no leader has a quorum behind it. Nothing is repaired here: Pods come back by
// themselves, and what does not come back is a person's decision.
func awaitQuorum(want Spec, seen Observation) (Step, bool) {
	if _, ok := seen.Leader(); ok {
		return Step{}, false
	}
	s := Step{Kind: Wait, Reason: api.ReasonQuorumLost, Why: "no leader answers with a quorum behind it"}
	if !seen.Latched.Initialized {
		s.Reason, s.Operation, s.Why = api.ReasonForming, api.OperationForm, "waiting for the founder to lead"
		return s, true
	}
	if !answered(want, seen) {
		s.Why += ", and not all Pods answer: " + inventory(want, seen)
		return s, true
	}
	m := seen.Membership()
	switch {
	case m == nil:
		s.Kind, s.Reason, s.Stalled = Rest, api.ReasonAllMembersLost, api.ReasonAllMembersLost
		s.Why = fmt.Sprintf("no Pod holds data of cluster %s any more: restore the volumes, or delete the RaftCluster and make it anew: %s", seen.Latched.ClusterID, inventory(want, seen))
	case !possible(seen, m.Voters()) || !possible(seen, m.OldVoters()):
		s.Kind, s.Stalled = Rest, api.ReasonQuorumLost
		s.Why = "a majority of the voters has lost its data: restore their volumes; nothing is repaired automatically: " + inventory(want, seen)
	default:
		s.Why += ": " + inventory(want, seen)
	}
	return s, true
}

// answered says that every Pod that there should be has given a report.
func answered(want Spec, seen Observation) bool {
	for n := range seen.Set.Replicas {
		if p, ok := seen.pod(want.Pod(n)); !ok || p.Report == nil {
			return false
		}
	}
	return true
}
