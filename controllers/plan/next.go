package plan

import (
	"fmt"
	"strings"
	"time"

	api "raftsman.dev/api/v1alpha1"
)

// DefaultDeadline is how long an operation may go without progress before the cluster is called stalled, where the
// spec says nothing. The operator goes on trying all the same.
const DefaultDeadline = 10 * time.Minute

// rule looks at the facts and either names the next step or leaves it to the rules after it.
type rule func(want Spec, seen Observation) (Step, bool)

// rules: the first that speaks wins; the order is the policy. What must not be touched comes first, then what
// brings members back without a quorum, then what needs one: unfinished membership changes before new ones,
// rescue before growth, growth and shrinking before rolling. Every volume says whose data it holds before the first
// client is served: it is the volumes by which a cluster is found again whose status was lost.
var rules = []rule{
	deleting, paused, strangers, adopt, objects, enlarge, hibernate, wake,
	dead, sizeBeforeBirth, abandon, birth, form, restore, awaitQuorum,
	finishMembership, initialize, annotate, open,
	stale, corrupt, vacate, removed, learn, replace, retire, shrink, raise, grow, lower, volumes, relax, relocate, recast, roll, settle, unmoved, enlarging,
}

// Next is the one step to take now. It is Rest when the cluster is as wanted or nothing may be done.
func Next(want Spec, seen Observation, now time.Time) Step {
	step := Step{Kind: Rest, Reason: api.ReasonQuorumHealthy, Why: "all members are healthy and as wanted"}
	judged := seen.frozen()
	for _, r := range rules {
		if s, ok := r(want, judged); ok {
			step = s
			break
		}
	}
	step.Storage = want.Storage
	if seen.Set != nil {
		step.From, step.Storage, step.Set = &seen.Set.Replicas, seen.Set.Storage, seen.Set
	}
	if step.Kind == Wait && step.Operation == "" && seen.Latched.Operation != nil {
		step.Operation = seen.Latched.Operation.Type
	}
	if step.Operation == api.OperationRoll && seen.Set.Revision != "" {
		step.Why = fmt.Sprintf("%s; %d of %d Pods run the new revision", step.Why, seen.updated(), len(seen.Pods))
	}
	return overdue(want, seen, unsupported(want, seen, step), now)
}

// unsupported says of a step that the wanted version is refused. What else there is to be done is done all the same.
func unsupported(want Spec, seen Observation, step Step) Step {
	why := Refusal(want.Version, seen)
	if why == "" || step.Stalled != "" || want.Paused || want.Deleting {
		return step
	}
	step.Stalled = api.ReasonUnsupportedUpgradePath
	if step.Kind == Rest && step.Reason == api.ReasonQuorumHealthy {
		step.Reason, step.Why = api.ReasonUnsupportedUpgradePath, why
	}
	step.Refusal = why
	return step
}

// overdue says of a step that its operation has gone without progress for too long.
func overdue(want Spec, seen Observation, step Step, now time.Time) Step {
	limit := want.Deadline
	if limit == 0 {
		limit = DefaultDeadline
	}
	last := seen.Latched.Operation
	if step.Operation == "" || step.Stalled != "" || last == nil || last.Type != step.Operation || seen.idle(now) <= limit {
		return step
	}
	if n := seen.achieved(); n > 0 && n != last.Progress {
		return step // this very step will say so
	}
	step.Stalled = api.ReasonDeadlineExceeded
	step.Why = fmt.Sprintf("%s, and %s has made no progress for %s", step.Why, step.Operation, limit)
	return step
}

func deleting(want Spec, _ Observation) (Step, bool) {
	return Step{Kind: Rest, Reason: api.ReasonRemovingMember, Why: "the RaftCluster is being deleted; its objects go with it"}, want.Deleting
}

func paused(want Spec, _ Observation) (Step, bool) {
	return Step{Kind: Rest, Reason: api.ReasonPaused, Why: "spec.paused is true: nothing is touched"}, want.Paused
}

// objects brings everything but sizes up to date with the spec. A StatefulSet that somebody deleted comes
// back with the size that its members need, not with the size wanted now.
func objects(want Spec, seen Observation) (Step, bool) {
	if len(seen.Outdated) == 0 && seen.Set != nil && seen.Guard != nil {
		return Step{}, false
	}
	size := want.Replicas
	if seen.Set != nil {
		size = seen.Set.Replicas
	} else if seen.Latched.ClusterID != "" {
		size = standing(want, seen)
	}
	guard, m := quorum(int(max(want.Replicas, seen.Latched.Hibernated, 1))), seen.Membership()
	switch {
	case seen.Guard != nil && m != nil:
		guard = max(*seen.Guard, guardOf(m))
	case seen.Guard != nil:
		guard = *seen.Guard
	case m != nil:
		guard = guardOf(m)
	}
	s := Step{
		Kind: Apply, Reason: api.ReasonApplyingObjects, Replicas: size, Guard: guard, Operation: birthOr(seen, ""),
		Why: "bringing up to date: " + strings.Join(seen.Outdated, ", "),
	}
	return recreated(want, seen, s), true
}

// standing is the number of Pods that a formed cluster without a StatefulSet had.
func standing(want Spec, seen Observation) int32 {
	if seen.Latched.Hibernated > 0 && want.Replicas == 0 {
		return 0
	}
	var n int32
	leader, led := seen.Leader()
	if led { // who is a member is known, and volumes that are kept of those that were say nothing
		n = leader.Report.Membership.pods(want)
	}
	for _, c := range seen.Claims {
		if o, ok := want.Ordinal(c.Pod); ok && !led { // whatever it says: it may not have been annotated yet
			n = max(n, o+1)
		}
	}
	for _, p := range seen.Pods {
		if o, ok := want.Ordinal(p.Name); ok {
			n = max(n, o+1)
		}
	}
	if n == 0 {
		return want.Replicas
	}
	return n
}

// hibernate stops Pods and leaves membership and volumes as they are.
func hibernate(want Spec, seen Observation) (Step, bool) {
	if want.Replicas != 0 {
		return Step{}, false
	}
	s := Step{Reason: api.ReasonHibernated, Operation: api.OperationHibernate, Why: "replicas is 0: stopping all Pods"}
	switch {
	case seen.Set.Replicas > 0 && seen.Latched.Hibernated == 0:
		size := seen.Set.Replicas
		s.Kind, s.Latch = Latch, &LatchChange{Hibernated: &size}
	case seen.Set.Replicas > 0:
		s.Kind = Scale
	case len(seen.Pods) > 0:
		s.Kind = Wait
	default:
		s.Kind, s.Operation, s.Why = Rest, "", "replicas is 0: all Pods are stopped, membership and volumes are kept"
	}
	return s, true
}

// wake brings back as many Pods as hibernation stopped; any other size is a matter for later.
func wake(_ Spec, seen Observation) (Step, bool) {
	if seen.Latched.Hibernated == 0 {
		return Step{}, false
	}
	s := Step{Reason: api.ReasonWaitingForFirstMember, Operation: api.OperationWake, Why: "waking from hibernation"}
	if seen.Set.Replicas < seen.Latched.Hibernated {
		s.Kind, s.Replicas = Scale, seen.Latched.Hibernated
		return s, true
	}
	var none int32
	s.Kind, s.Latch = Latch, &LatchChange{Hibernated: &none}
	return s, true
}

// restore brings back the Pods of members that nobody has removed: somebody else has lowered the StatefulSet. Without
// a quorum every member is needed; with one, those that are to stay. More Pods than are needed do no harm and are
// taken away later.
func restore(want Spec, seen Observation) (Step, bool) {
	if !seen.Latched.Initialized {
		return Step{}, false
	}
	_, led := seen.Leader()
	s := Step{Kind: Scale, Reason: api.ReasonQuorumLost}
	if led {
		s.Reason = api.ReasonMemberUnhealthy
	}
	if m := seen.Membership(); m != nil {
		for _, e := range m.Members {
			if o, ok := want.Ordinal(e.Name); ok && (!led || o < want.Replicas) {
				s.Replicas = max(s.Replicas, o+1)
			}
		}
	} else {
		s.Replicas = standing(want, seen)
	}
	if seen.Set.Replicas >= s.Replicas {
		return Step{}, false
	}
	s.Why = fmt.Sprintf("the StatefulSet has been lowered to %d, and its members need %d Pods", seen.Set.Replicas, s.Replicas)
	return s, true
}

// dead removes Pods of an old template in which nothing lives, so that a bad template can be reverted. A
// member that is only out of the operator's reach may be holding the quorum up, so silence alone is not death;
// before birth there is nothing to hold up.
func dead(_ Spec, seen Observation) (Step, bool) {
	for _, p := range seen.Pods {
		if seen.outdated(p) && !p.Leaving && !p.Ready && p.Report == nil && (!p.Running || seen.Latched.ClusterID == "") {
			return Step{
				Kind: Remove, Reason: api.ReasonRollingUpdate, Pod: p, Operation: birthOr(seen, api.OperationRoll), Event: api.EventPodRolled,
				Why: fmt.Sprintf("%s is of an old revision and nothing lives in it", p.Name),
			}, true
		}
	}
	return Step{}, false
}

// outdated says that a Pod was made from another template than the present one.
func (o Observation) outdated(p Pod) bool {
	return o.Set != nil && o.Set.Revision != "" && p.Revision != o.Set.Revision
}

// birthOr is the operation before the latch, which is always Form, and op after it.
func birthOr(seen Observation, op api.OperationType) api.OperationType {
	if !seen.Latched.Initialized {
		return api.OperationForm
	}
	return op
}
