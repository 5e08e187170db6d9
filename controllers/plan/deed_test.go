package plan

import (
	"fmt"
	"slices"
	"strconv"

	api "raftsman.dev/api/v1alpha1"
)

// operate lets the operator look and act once. With half, it dies after announcing.
func (w *world) operate(half bool) Step {
	s := w.observe()
	step := Next(s.want, s.seen, w.now)
	w.seen.kinds[step.Kind]++
	if w.story {
		if line := "  " + step.String(); len(w.log) == 0 || w.log[len(w.log)-1] != line {
			w.log = append(w.log, line)
		}
	}
	if face := faceOf(s.seen); face != w.face {
		w.face = face
		w.version++
	}
	w.remember(operation(s.seen, step, w.now))
	if w.rng.IntN(16) == 0 {
		w.judge(s, step)
	}
	if !half {
		w.perform(s, step)
	}
	return step
}

// wakeUp lets an operator act that has slept over some turns since it looked. What it plans is refused if anybody has
// written the RaftCluster since, as the API server would.
func (w *world) wakeUp() {
	if w.looks < len(w.sights) {
		return
	}
	s := w.sights[w.rng.IntN(len(w.sights))]
	if s.version != w.version {
		return
	}
	step := Next(s.want, s.seen, w.now)
	w.note("    an operator wakes: %s", step)
	w.perform(s, step)
}

// judge demands that a status does not contradict what was seen.
func (w *world) judge(s *sight, step Step) {
	status := &api.RaftClusterStatus{}
	Describe(status, 1, s.want, s.seen, step, w.now)
	is := map[string]bool{}
	for _, c := range status.Conditions {
		is[c.Type] = c.Status == "True"
	}
	ready := is[api.ConditionReady]
	switch {
	case ready && (is[api.ConditionReconciling] || is[api.ConditionStalled] || is[api.ConditionProgressing]):
		w.breaks("Ready and in flight: %v", status.Conditions)
	case ready && step.Reason != api.ReasonHibernated && (status.UpdatedReplicas != s.want.Replicas || status.VotingMembers != s.want.Replicas):
		w.breaks("Ready with %d voters and %d updated of %d", status.VotingMembers, status.UpdatedReplicas, s.want.Replicas)
	case is[api.ConditionAvailable] && !s.seen.Available():
		w.breaks("Available, and nobody answers")
	case !ready && !is[api.ConditionReconciling] && !is[api.ConditionStalled] && !s.want.Paused:
		w.breaks("neither Ready nor Reconciling nor Stalled: %s", step)
	}
}

func (w *world) breaks(format string, args ...any) {
	w.broken = append(w.broken, fmt.Sprintf(format, args...))
}

func (w *world) note(format string, args ...any) {
	if w.story {
		w.log = append(w.log, fmt.Sprintf(format, args...))
	}
}

// perform is what comes of a step that was planned on a sight. It refuses what the actor and the API server refuse.
func (w *world) perform(at *sight, s Step) {
	if !s.Kind.Acts() {
		return
	}
	if w.want.Paused || w.want.Deleting {
		w.breaks("%s, and the RaftCluster is paused %v, deleted %v", s, w.want.Paused, w.want.Deleting)
	}
	if s.Event != "" {
		w.seen.events[s.Event]++
	}
	switch s.Kind {
	case Apply, Scale:
		w.resize(at, s)
	case Protect:
		w.protect(s.Guard)
	case Latch:
		w.latch(s.Latch)
	case Annotate:
		if c := w.claims[w.ordinal(s.Claim.Pod)]; c != nil && c.uid == s.Claim.UID {
			c.annotated = s.Pod.Report.Member
		}
	case Enlarge:
		w.enlarge(at, s)
	case Orphan:
		w.orphan(at, s)
	case Evict, Remove:
		w.disrupt(s)
	case Drop:
		w.drop(s)
	default:
		w.request(at, s)
	}
}

// ordinal is where a name's Pod and claim are; the last place, where nothing ever is, for a name that is none.
func (w *world) ordinal(name string) int {
	n, ok := w.want.Ordinal(name)
	if !ok {
		return slots - 1
	}
	return int(n)
}

// resize applies a size, if it was planned on the present one.
func (w *world) resize(at *sight, s Step) {
	if (s.From == nil) != (w.set == nil) || s.From != nil && *s.From != w.set.Replicas {
		return
	}
	if w.set == nil {
		w.sets++
		w.set = &Set{UID: "set" + strconv.Itoa(w.sets), Storage: s.Storage}
	}
	if at.seen.Set != nil && at.set.Storage.Cmp(s.Storage) != 0 {
		w.breaks("%s changes the size of new volumes from %s", s, at.set.Storage.String())
	}
	if w.set.Leaving || w.set.Storage.Cmp(s.Storage) != 0 {
		return // it cannot be changed any more, or is another one by now
	}
	if g := w.served; g != nil && s.Replicas > 0 && s.Replicas < w.set.Replicas {
		for n, p := range w.pods {
			if p == nil || int32(n) < s.Replicas {
				continue
			}
			if _, member := g.now.Find(w.claims[n].member); member {
				w.breaks("%s takes %s away, which is a member", s, w.names[n])
			}
		}
	}
	if at.release != w.set.Version && w.set.Version != "" && w.forbidden(minorIn(at.release)) {
		w.breaks("%s applies version %s", s, at.release)
	}
	w.set.Replicas, w.set.Revision, w.set.Version = s.Replicas, at.revision, at.release
	if s.Kind == Apply {
		if w.guard != nil && s.Guard < *w.guard && w.tooLow(at, s) {
			w.breaks("%s lowers the budget from %d", s, *w.guard)
		}
		if leader, ok := at.seen.Leader(); ok && w.served != nil && s.Guard < needed(leader.Report.Membership) {
			w.breaks("%s makes a budget below the %d that are needed", s, needed(leader.Report.Membership))
		}
		guard := s.Guard
		w.stale, w.guard = false, &guard
	}
}

// protect sets the budget, which must never keep fewer than the voters that count just now need.
func (w *world) protect(guard int32) {
	if w.guard == nil {
		return
	}
	if g := w.truth(); g != nil && w.served != nil && guard < needed(g.now) {
		w.breaks("the budget is set to %d while %d are needed", guard, needed(g.now))
	}
	w.guard = &guard
}

// tooLow says that an operator knowingly lowers the budget by an Apply, or below what the members need. One that has
// slept since somebody deleted the budget, and another operator made it anew, may come with the one from before.
func (w *world) tooLow(at *sight, s Step) bool {
	return at.seen.Guard != nil && s.Guard < *at.seen.Guard || w.served != nil && s.Guard < needed(w.served.now)
}

// needed is the larger majority of a membership's halves.
func needed(m *Membership) int32 {
	var now, old int32
	for _, e := range m.Members {
		if e.Voter {
			now++
		}
		if e.Outgoing || e.Voter && !e.Incoming {
			old++
		}
	}
	return max(now, old)/2 + 1
}

func (w *world) latch(l *LatchChange) {
	if (l.Found != nil || l.Abandon) && w.served != nil {
		w.breaks("a cluster is founded or abandoned after one has served clients")
	}
	switch {
	case l.Found != nil:
		w.latched.ClusterID, w.latched.Founder = w.id("cluster"), *l.Found
	case l.Adopt != nil:
		w.latched.ClusterID = *l.Adopt
	case l.Abandon:
		w.latched.ClusterID, w.latched.Founder = "", ""
	}
	if l.Initialize {
		w.latched.Initialized = true
	}
	if l.Hibernated != nil {
		w.latched.Hibernated = *l.Hibernated
	}
	w.version++
}

// disrupt takes a Pod away and looks whether its group can still commit, if it could before.
func (w *world) disrupt(s Step) {
	n := w.ordinal(s.Pod.Name)
	p := w.pods[n]
	if p == nil || p.uid != s.Pod.UID || p.leaving {
		return
	}
	if s.Kind == Evict && !w.allowed() {
		return
	}
	if s.Operation == api.OperationRoll && w.forbidden(minorIn(w.set.Version)) {
		w.breaks("%s takes a member to version %s", s, w.set.Version)
	}
	g := w.group(w.claims[n].cluster)
	before := g != nil && quorate(g.now, w.living(g))
	p.leaving = true
	if before && needed(g.now) > 1 && len(g.now.Voters()) > 2 && !quorate(g.now, w.living(g)) {
		w.breaks("%s took the quorum away", s)
	}
	if before && s.Kind == Evict && g.leader == w.claims[n].member && len(g.now.Voters()) > 1 {
		w.breaks("%s evicts the leader", s)
	}
}

// allowed is the disruption budget's answer.
func (w *world) allowed() bool {
	var ready int32
	for n, p := range w.pods {
		if p == nil || p.leaving {
			continue
		}
		if w.ready(n) {
			ready++
		}
	}
	return w.guard == nil || ready > *w.guard
}

func (w *world) drop(s Step) {
	n := w.ordinal(s.Claim.Pod)
	c := w.claims[n]
	if c == nil || c.uid != s.Claim.UID || c.leaving {
		return
	}
	p := w.pods[n]
	if s.Pod.Name == "" && (p != nil || w.set == nil || int32(n) < w.set.Replicas) || s.Pod.Name != "" && (p == nil || p.uid != s.Pod.UID || p.leaving) {
		return // as act refuses it
	}
	if g := w.served; g != nil {
		if _, member := g.now.Find(c.member); member {
			w.breaks("%s deletes the data of a member", s)
		}
	}
	c.leaving = true
}

// request is what a member makes of a request.
func (w *world) request(at *sight, s Step) {
	n := w.ordinal(s.Pod.Name)
	c, p := w.claims[n], w.pods[n]
	if c == nil || p == nil || !p.running || p.leaving || w.silent[n] {
		return
	}
	if s.Kind == Form {
		w.form(at, s, c)
		return
	}
	g := w.group(c.cluster)
	if g == nil || g.leader != c.member {
		return
	}
	switch s.Kind {
	case Open:
		if !w.latched.Initialized {
			w.breaks("opened before the latch")
		}
		if w.served != nil && w.served != g {
			w.breaks("a second group is opened to clients")
		}
		g.open, w.served = true, g
	case Transfer:
		if e, _ := g.now.Find(s.To); e.Voter && w.living(g).has(s.To) {
			g.leader, g.term = s.To, g.term+1
		}
	case Change:
		w.change(at, g, s.Change)
	}
}

func (w *world) form(at *sight, s Step, c *claimState) {
	if w.served != nil {
		w.breaks("%s: a cluster is formed after one has served clients", s)
	}
	if s.Pod.Report.Member != at.seen.Latched.Founder {
		w.breaks("%s: asked a member that is not the founder", s)
	}
	if c.cluster == "" && !c.corrupt && !c.removed && c.member == w.latched.Founder {
		c.cluster, c.caught = w.latched.ClusterID, true
		w.groups = append(w.groups, &group{
			id: c.cluster, leader: c.member, term: 1,
			now: &Membership{Index: 1, Committed: true, Members: []Member{{ID: c.member, Name: s.Pod.Name, Voter: true}}},
		})
	}
}

// change is what a leader makes of a membership change. One that was planned on another membership than the leader
// had told, or beside another change, is a mistake of the planner; one that is merely late is refused.
func (w *world) change(at *sight, g *group, change *MembershipChange) {
	told, _ := at.seen.Leader()
	if m := told.Report.Membership; change.Index != m.Index || m.Joint || !m.Committed {
		w.breaks("change%s was planned on index %d, joint %v, committed %v", change, m.Index, m.Joint, m.Committed)
		return
	}
	if change.Index != g.now.Index || g.now.Joint || !g.now.Committed {
		return
	}
	members := slices.Clone(g.now.Members)
	for _, m := range change.Add {
		if _, known := g.now.Find(m.ID); known {
			return
		}
		members = append(members, Member{ID: m.ID, Name: m.Name})
	}
	joint := false
	members = slices.DeleteFunc(members, func(e Member) bool { return !e.Voter && slices.Contains(change.Remove, e.ID) })
	for i := range members {
		e := &members[i]
		switch {
		case slices.Contains(change.Promote, e.ID):
			if !w.caught(e.ID) {
				return
			}
			e.Voter, e.Incoming, joint = true, true, true
		case slices.Contains(change.Remove, e.ID):
			e.Voter, e.Outgoing, joint = false, true, true
		}
	}
	w.fair(at, g, change)
	before := quorate(g.now, w.living(g))
	old := g.now
	w.agree(g, members, joint)
	if before && !quorate(g.now, w.living(g)) {
		w.breaks("change%s took the quorum away", change)
	}
	if w.served != nil && len(g.now.Voters()) > len(old.Voters()) && len(g.now.Voters()) > 2 && (w.guard == nil || *w.guard < needed(g.now)) && len(change.Remove) == 0 {
		w.breaks("the group grows under a budget that does not keep %d", needed(g.now))
	}
}

// fair demands that nobody is removed who should stay: a voter goes when it is not wanted, when its data is damaged, or
// when another takes its place in the same change; a learner, when its data is gone.
func (w *world) fair(at *sight, g *group, change *MembershipChange) {
	for _, id := range change.Remove {
		e, ok := g.now.Find(id)
		if !ok {
			w.breaks("change%s removes %s, which is no member", change, id)
			continue
		}
		if !at.want.wanted(e.Name) {
			continue
		}
		if id == at.want.Replace { // a person wants it
			if e.Voter && len(g.now.Voters()) < 3 {
				w.breaks("change%s removes %s, which cannot be done without", change, id)
			}
			continue
		}
		c := w.claims[w.ordinal(e.Name)]
		lost := c == nil || c.member != id || c.corrupt || c.removed
		replaced := slices.ContainsFunc(g.now.Members, func(o Member) bool {
			return o.ID != id && o.Name == e.Name && (o.Voter && !slices.Contains(change.Remove, o.ID) || slices.Contains(change.Promote, o.ID))
		})
		switch {
		case !lost:
			w.breaks("change%s removes %s of %s, whose data is there", change, id, e.Name)
		case e.Voter && !replaced && (c == nil || !c.corrupt):
			w.breaks("change%s removes %s of %s before another votes in its place", change, id, e.Name)
		}
	}
}
