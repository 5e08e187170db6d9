package plan

import (
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	api "raftsman.dev/api/v1alpha1"
)

// Describe fills in a status from what was seen and what is to be done about it. Only what is latched is
// kept of the status given; generation is the one of the spec that was judged.
func Describe(status *api.RaftClusterStatus, generation int64, want Spec, seen Observation, step Step, now time.Time) {
	status.ObservedGeneration = generation
	status.Replicas = int32(len(seen.Pods))
	status.ReadyReplicas, status.UpdatedReplicas = 0, seen.updated()
	for _, p := range seen.Pods {
		if p.Ready && !p.Leaving {
			status.ReadyReplicas++
		}
	}
	status.VotingMembers, status.Learners = 0, 0
	if m := seen.Membership(); m != nil {
		status.VotingMembers, status.Learners = int32(len(m.Voters())), int32(len(m.Learners()))
	}
	status.Leader = ""
	if leader, ok := seen.Leader(); ok {
		status.Leader = leader.Name
	}
	before := status.Members
	status.Members = members(want, seen)
	disks(status.Members, before, seen)
	if seen.lost(want) {
		remains(status.Members, before, seen)
	}
	status.Version = commonVersion(seen)
	if size := seen.volumeSize(want); !size.IsZero() { // while the StatefulSet is made anew, what was true stays
		status.VolumeSize = &size
	}
	status.Operation = operation(seen, step, now)
	conditions(status, generation, want, seen, step, now)
}

// operation carries the start of an operation, and what it has achieved, over from one step to the next.
func operation(seen Observation, step Step, now time.Time) *api.Operation {
	if step.Operation == "" {
		return nil
	}
	at := metav1.NewTime(now.Truncate(time.Second))
	op := &api.Operation{Type: step.Operation, Step: string(step.Kind), Member: step.Pod.Name, StartedAt: at, ProgressedAt: at, Progress: seen.achieved()}
	last := seen.Latched.Operation
	if last == nil || last.Type != op.Type {
		return op
	}
	op.StartedAt = last.StartedAt
	if op.Progress == last.Progress || op.Progress == 0 {
		op.Progress, op.ProgressedAt = last.Progress, last.ProgressedAt
		if last.ProgressedAt.IsZero() {
			op.ProgressedAt = last.StartedAt
		}
	}
	return op
}

func commonVersion(seen Observation) string {
	version := ""
	for _, p := range seen.Pods {
		if p.Report == nil {
			continue
		}
		if version != "" && p.Report.Version != version {
			return ""
		}
		version = p.Report.Version
	}
	return version
}

// members lists the Pods and those members that have none, by ordinal.
func members(want Spec, seen Observation) []api.MemberStatus {
	var list []api.MemberStatus
	m := seen.Membership()
	for _, p := range seen.Pods {
		s := api.MemberStatus{Name: p.Name, Role: "unknown", Ready: p.Ready && !p.Leaving}
		if p.Report != nil {
			s.ID, s.Version, s.Role = p.Report.Member, p.Report.Version, string(p.Report.State)
			if seen.ours(p) {
				s.Role, s.Lag = role(m, p.Report.Member), lag(seen, p.Report.Member)
			}
		}
		list = append(list, s)
	}
	if m != nil {
		for _, e := range m.Members {
			if slices.ContainsFunc(list, func(s api.MemberStatus) bool { return s.ID == e.ID }) {
				continue
			}
			i := slices.IndexFunc(list, func(s api.MemberStatus) bool { return s.Name == e.Name && s.ID == "" })
			if i < 0 {
				list, i = append(list, api.MemberStatus{Name: e.Name}), len(list)
			}
			list[i].ID, list[i].Role = e.ID, "unknown"
		}
	}
	slices.SortStableFunc(list, func(a, b api.MemberStatus) int {
		x, _ := want.Ordinal(a.Name)
		y, _ := want.Ordinal(b.Name)
		return int(x) - int(y)
	})
	if leader, ok := seen.Leader(); ok {
		for i := range list {
			if list[i].ID == leader.Report.Member {
				list[i].Role = "leader"
			}
		}
	}
	return list
}

func role(m *Membership, id string) string {
	if m == nil {
		return "unknown"
	}
	e, ok := m.Find(id)
	switch {
	case !ok:
		return string(Removed)
	case e.Voter || e.Outgoing:
		return "voter"
	}
	return "learner"
}

func lag(seen Observation, id string) string {
	leader, ok := seen.Leader()
	if !ok {
		return ""
	}
	switch {
	case alive(leader, id):
		return "ok"
	case leader.Report.Peers[id].Far || !active(leader, id):
		return "far"
	}
	return "behind"
}

// conditions writes the closed set of conditions. Reconciling and Stalled are there only while they are true.
func conditions(status *api.RaftClusterStatus, generation int64, want Spec, seen Observation, step Step, now time.Time) {
	set := func(kind string, is bool, reason, message string) {
		value := metav1.ConditionFalse
		if is {
			value = metav1.ConditionTrue
		}
		meta.SetStatusCondition(&status.Conditions, metav1.Condition{
			Type: kind, Status: value, Reason: reason, Message: message, ObservedGeneration: generation,
			LastTransitionTime: metav1.NewTime(now.Truncate(time.Second)), // kept only where the status changes
		})
	}
	available := seen.Available()
	resting := step.Kind == Rest && step.Stalled == "" && step.Reason != api.ReasonPaused && !want.Deleting
	ready := resting && (available || step.Reason == api.ReasonHibernated)
	set(api.ConditionReady, ready, step.Reason, step.Why)

	switch {
	case available:
		set(api.ConditionAvailable, true, api.ReasonQuorumHealthy, "a quorum answered a linearizable read")
	case seen.Latched.Initialized && !want.Deleting && step.Reason != api.ReasonHibernated && step.Stalled != api.ReasonAllMembersLost:
		set(api.ConditionAvailable, false, api.ReasonQuorumLost, step.Why)
	default:
		set(api.ConditionAvailable, false, step.Reason, step.Why)
	}

	set(api.ConditionProgressing, step.Operation != "" || !step.Quiet(), step.Reason, step.Why)
	degraded, reason, message := degradation(want, seen)
	switch short := shortage(status.Members, seen); {
	case short != "" && degraded:
		message += "; " + short
	case short != "":
		degraded, reason, message = true, api.ReasonLowDiskSpace, short
	}
	set(api.ConditionDegraded, degraded, reason, message)
	if seen.Latched.Initialized {
		set(api.ConditionInitialized, true, api.ReasonQuorumHealthy, "the wanted number of voters has been reached")
	} else {
		set(api.ConditionInitialized, false, step.Reason, step.Why)
	}

	if step.Stalled != "" {
		why := step.Why
		if step.Stalled == api.ReasonUnsupportedUpgradePath {
			why = step.Refusal
		}
		set(api.ConditionStalled, true, step.Stalled, why)
	} else {
		meta.RemoveStatusCondition(&status.Conditions, api.ConditionStalled)
	}
	if !ready && step.Stalled == "" && step.Reason != api.ReasonPaused {
		set(api.ConditionReconciling, true, step.Reason, step.Why)
	} else {
		meta.RemoveStatusCondition(&status.Conditions, api.ConditionReconciling)
	}
}

// degradation says whether fewer failures are survived than the spec promises, and why.
func degradation(want Spec, seen Observation) (bool, string, string) {
	if !seen.Latched.Initialized || want.Replicas == 0 {
		return false, api.ReasonQuorumHealthy, "no voter is missing"
	}
	leader, ok := seen.Leader()
	if !ok {
		return true, api.ReasonQuorumLost, "no leader answers with a quorum behind it"
	}
	voters := leader.Report.Membership.Voters()
	down := int32(len(voters)) - live(leader, voters, nil)
	if down > 0 {
		return true, api.ReasonMemberUnhealthy, fmt.Sprintf("%d of %d voters are not in step", down, len(voters))
	}
	return false, api.ReasonQuorumHealthy, "no voter is missing"
}
