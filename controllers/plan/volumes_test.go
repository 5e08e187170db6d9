package plan

import "k8s.io/apimachinery/pkg/api/resource"

// runVolumes lets volumes that were asked to grow do so, and a StatefulSet that was deleted go.
func (w *world) runVolumes() {
	for _, c := range w.claims {
		if c != nil && c.capacity.Cmp(c.size) < 0 && w.rng.IntN(3) == 0 {
			c.capacity = c.size
		}
	}
	if w.set != nil && w.set.Leaving && w.rng.IntN(2) == 0 {
		w.set = nil
	}
}

// volume is what is seen of a claim.
func (w *world) volume(n int, seen *Observation) Claim {
	c := w.claims[n]
	claim := Claim{
		Name: "data-" + w.names[n], UID: c.uid, Pod: w.names[n], Member: c.annotated, Leaving: c.leaving,
		Size: c.size, Capacity: c.capacity, Bound: true,
	}
	if w.rigid && seen.Enlarges(w.want, claim) {
		claim.Refusal = "forbidden"
	}
	return claim
}

// enlarge makes a claim ask for more, unless it is another one by now, has done so, or may not.
func (w *world) enlarge(at *sight, s Step) {
	for _, c := range at.seen.Claims {
		if c.Refusal != "" && at.seen.Enlarges(at.want, c) {
			w.breaks("%s, and %s may not grow", s, c.Name)
		}
	}
	c := w.claims[w.ordinal(s.Claim.Pod)]
	if c != nil && c.uid == s.Claim.UID && !w.rigid && c.size.Cmp(w.want.Storage) < 0 {
		c.size = w.want.Storage
	}
}

// orphan deletes the StatefulSet that was seen and leaves its Pods, for one that gives another size to new volumes.
func (w *world) orphan(at *sight, s Step) {
	for _, c := range at.seen.Claims {
		if n := w.ordinal(c.Pod); int32(n) < at.set.Replicas && c.Capacity.Cmp(at.want.Storage) < 0 {
			w.breaks("%s before %s has grown", s, c.Name)
		}
	}
	if w.set != nil && w.set.UID == at.set.UID && w.set.Replicas == at.set.Replicas {
		w.set.Leaving = true
	}
}

func (w *world) store(int) bool {
	w.want.Storage.Add(resource.MustParse("1Gi"))
	w.version++
	return true
}

// move is a person who wants a member replaced.
func (w *world) move(n int) bool {
	c := w.claims[n]
	if c == nil || c.member == "" {
		return false
	}
	w.want.Replace = c.member
	w.version++
	return true
}
