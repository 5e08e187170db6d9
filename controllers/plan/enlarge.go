package plan

import (
	"fmt"

	"k8s.io/apimachinery/pkg/api/resource"

	api "raftsman.dev/api/v1alpha1"
)

// inUse are the claims of Pods that there are or that hibernation has stopped; those that retention keeps of members
// that have gone stay as they are.
func (o Observation) inUse(want Spec) []Claim {
	var used []Claim
	for _, c := range o.Claims {
		if o.uses(want, c) {
			used = append(used, c)
		}
	}
	return used
}

func (o Observation) uses(want Spec, c Claim) bool {
	n, ok := want.Ordinal(c.Pod)
	return ok && o.Set != nil && !c.Leaving && n < max(o.Set.Replicas, o.Latched.Hibernated)
}

// Enlarges says that a claim is in use and is to ask for more than it does. One that has no volume yet cannot.
func (o Observation) Enlarges(want Spec, c Claim) bool {
	return o.uses(want, c) && c.Bound && c.Size.Cmp(want.Storage) < 0
}

// refusal is the first claim in use that cannot be given the wanted size.
func (o Observation) refusal(want Spec) (Claim, bool) {
	for _, c := range o.inUse(want) {
		if c.Refusal != "" {
			return c, true
		}
	}
	return Claim{}, false
}

// enlarge makes the claims ask for the wanted size, one after the other; none of them where one is refused. Nothing
// is waited for here: rescue goes on while volumes grow, and a full disk may be what it waits for.
func enlarge(want Spec, seen Observation) (Step, bool) {
	if _, refused := seen.refusal(want); refused {
		return Step{}, false
	}
	for _, c := range seen.Claims {
		if seen.Enlarges(want, c) {
			return Step{
				Kind: Enlarge, Reason: api.ReasonExpandingVolumes, Claim: c, Operation: birthOr(seen, api.OperationExpand),
				Why: fmt.Sprintf("volume %s grows from %s to %s", c.Name, c.Size.String(), want.Storage.String()),
			}, true
		}
	}
	return Step{}, false
}

// recast makes a StatefulSet anew whose template gives a smaller size than is wanted, when all volumes have grown: the
// template cannot be changed. Its Pods stay; the new one takes them over. Not while the wanted version is refused: the old
// one remembers the image that is kept in its place.
func recast(want Spec, seen Observation) (Step, bool) {
	used := seen.inUse(want)
	if !seen.Latched.Initialized || Refusal(want.Version, seen) != "" || seen.Set.Leaving || seen.Set.Storage.Cmp(want.Storage) >= 0 || len(used) < int(seen.Set.Replicas) {
		return Step{}, false
	}
	for _, c := range used {
		if c.Size.Cmp(want.Storage) < 0 || c.Capacity.Cmp(want.Storage) < 0 && !c.Remount {
			return Step{}, false
		}
	}
	return Step{
		Kind: Orphan, Reason: api.ReasonExpandingVolumes, Operation: api.OperationExpand,
		Why: fmt.Sprintf("all volumes have grown to %s: making the StatefulSet anew around its Pods", want.Storage.String()),
	}, true
}

// recreated tells that the StatefulSet which is applied is the one that recast has taken away.
func recreated(want Spec, seen Observation, s Step) Step {
	if seen.Set == nil && seen.ongoing() == api.OperationExpand {
		s.Operation, s.Reason, s.Event = api.OperationExpand, api.ReasonExpandingVolumes, api.EventVolumeExpanded
		s.Why = fmt.Sprintf("the volumes have %s, and new ones will: the StatefulSet takes its Pods over", want.Storage.String())
	}
	return s
}

// enlarging waits for volumes that grow, last of all; or says that they cannot, and what a person can do.
func enlarging(want Spec, seen Observation) (Step, bool) {
	if c, refused := seen.refusal(want); refused {
		has := seen.volumeSize(want)
		return Step{
			Kind: Rest, Reason: api.ReasonVolumeExpansionRefused, Stalled: api.ReasonVolumeExpansionRefused,
			Why: fmt.Sprintf("the volumes stay at %s, because %s cannot grow to %s: let its StorageClass have allowVolumeExpansion: true if its driver can do it, or set storage.size to %s again (%s)",
				has.String(), c.Name, want.Storage.String(), has.String(), c.Refusal),
		}, true
	}
	s := Step{Kind: Wait, Reason: api.ReasonExpandingVolumes, Operation: api.OperationExpand}
	for _, c := range seen.inUse(want) {
		switch {
		case !c.Bound || c.Capacity.Cmp(want.Storage) >= 0 || c.Size.Cmp(want.Storage) < 0:
			continue
		case c.Remount:
			s.Why = fmt.Sprintf("volume %s has grown to %s and its file system not yet: if it stays so, its driver needs %s to be restarted", c.Name, want.Storage.String(), c.Pod)
		default:
			s.Why = fmt.Sprintf("waiting until volume %s has grown to %s", c.Name, want.Storage.String())
		}
		return s, true
	}
	s.Why = "waiting until the StatefulSet has let its Pods go and is made anew"
	return s, seen.Set.Leaving || seen.Set.Storage.Cmp(want.Storage) < 0
}

// volumeSize is the largest size that a claim in use asks for; zero when there is none.
func (o Observation) volumeSize(want Spec) resource.Quantity {
	var largest resource.Quantity
	for _, c := range o.inUse(want) {
		if c.Size.Cmp(largest) > 0 {
			largest = c.Size
		}
	}
	return largest
}
