package plan

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"

	api "raftsman.dev/api/v1alpha1"
)

// world is a Kubernetes with one RaftCluster in it, small enough to be wrong about nothing that the planner
// sees: Pods, claims with disks, and groups of members whose membership is kept in one place.
type world struct {
	rng     *rand.Rand
	now     time.Time
	want    Spec
	latched Latched
	set     *Set
	guard   *int32
	// stale says that the objects are behind the spec.
	stale bool
	// bad are revisions whose Pods never come up.
	bad    map[string]bool
	pods   map[int32]*podState
	claims map[int32]*claimState
	groups map[string]*group
	// orphaned is the StatefulSet that was taken away last; its template is what the next one is made from.
	orphaned *Set
	// rigid says that no volume may grow.
	rigid bool
	// members are what status said of them last.
	members []api.MemberStatus
	// silent are Pods that do not answer the operator just now.
	silent map[int32]bool
	ids    int
	// broken is what the planner did that it must never do.
	broken []string
	events map[string]int
	kinds  map[Kind]int
	log    []string
}

type podState struct {
	uid, revision string
	running       bool
	leaving       bool
}

// claimState is a claim and the disk behind it.
type claimState struct {
	uid       string
	annotated string
	leaving   bool
	member    string
	cluster   string
	corrupt   bool
	// size is what it asks for, capacity what it has.
	size, capacity resource.Quantity
	boot           uint64
	disk           Disk
}

type group struct {
	id      string
	index   uint64
	members []Member
	joint   bool
	open    bool
	leader  string
	caught  map[string]bool
	term    uint64
}

func newWorld(rng *rand.Rand, want Spec) *world {
	want.Storage = resource.MustParse("1Gi")
	return &world{
		rng: rng, now: time.Unix(1_800_000_000, 0), want: want, stale: true,
		bad: map[string]bool{}, pods: map[int32]*podState{}, claims: map[int32]*claimState{},
		groups: map[string]*group{}, silent: map[int32]bool{}, events: map[string]int{}, kinds: map[Kind]int{},
	}
}

func (w *world) id(prefix string) string {
	w.ids++
	return fmt.Sprintf("%s%d", prefix, w.ids)
}

// tick lets everybody but the operator take a turn.
func (w *world) tick() {
	w.now = w.now.Add(time.Second)
	w.runStatefulSet()
	for _, n := range sorted(w.pods) {
		w.runMember(n)
	}
	for _, name := range sorted(w.groups) {
		w.runGroup(w.groups[name])
	}
}

func sorted[K int32 | string, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }

func (w *world) runStatefulSet() {
	for _, n := range sorted(w.pods) {
		if w.pods[n].leaving {
			delete(w.pods, n)
		}
	}
	for _, n := range sorted(w.claims) {
		if _, used := w.pods[n]; w.claims[n].leaving && !used {
			delete(w.claims, n)
		}
	}
	w.runVolumes()
	if w.set != nil && w.set.Leaving && w.rng.IntN(2) == 0 {
		w.set.Leaving = false
		w.orphaned, w.set = w.set, nil
	}
	if w.set == nil || w.set.Leaving {
		return
	}
	for n := range w.set.Replicas {
		if w.claims[n] == nil {
			w.claims[n] = &claimState{uid: w.id("claim"), size: w.set.Storage, capacity: w.set.Storage}
		}
		if w.pods[n] == nil && !w.claims[n].leaving {
			w.pods[n] = &podState{uid: w.id("pod"), revision: w.set.Revision}
		}
	}
	for _, n := range sorted(w.pods) {
		if n >= w.set.Replicas {
			w.pods[n].leaving = true
		}
	}
}

func (w *world) runVolumes() {
	for _, n := range sorted(w.claims) {
		if c := w.claims[n]; c.capacity.Cmp(c.size) < 0 && w.rng.IntN(3) == 0 {
			c.capacity = c.size
		}
	}
}

// runMember starts a Pod's member, which draws an identity where there is none.
func (w *world) runMember(n int32) {
	p, c := w.pods[n], w.claims[n]
	if p.leaving || w.bad[p.revision] {
		p.running = false
		return
	}
	if !p.running {
		c.boot++
	}
	p.running = true
	if c.member == "" {
		c.member = w.id("m")
	}
	if g := w.groups[c.cluster]; g != nil && !c.corrupt {
		if _, member := (&Membership{Members: g.members}).Find(c.member); !member && g.leader != "" {
			*c = claimState{uid: c.uid, annotated: c.annotated, leaving: c.leaving, member: w.id("m"), size: c.size, capacity: c.capacity, boot: c.boot}
		}
	}
}

// living are the IDs of a group's members that run on their own data.
func (w *world) living(g *group) map[string]bool {
	ids := map[string]bool{}
	for n, p := range w.pods {
		c := w.claims[n]
		if p.running && !p.leaving && c.cluster == g.id && !c.corrupt {
			ids[c.member] = true
		}
	}
	return ids
}

func (g *group) membership() *Membership {
	return &Membership{Index: g.index, Committed: true, Joint: g.joint, Members: slices.Clone(g.members)}
}

func quorate(m *Membership, up map[string]bool) bool {
	for _, voters := range [][]string{m.Voters(), m.OldVoters()} {
		n := 0
		for _, id := range voters {
			if up[id] {
				n++
			}
		}
		if n < int(quorum(len(voters))) {
			return false
		}
	}
	return true
}

// runGroup elects, leaves a joint membership, brings learners in and lets them catch up.
func (w *world) runGroup(g *group) {
	up, m := w.living(g), g.membership()
	if !quorate(m, up) {
		g.leader = ""
		return
	}
	if !up[g.leader] || !slices.Contains(m.Voters(), g.leader) {
		var can []string
		for _, id := range m.Voters() {
			if up[id] {
				can = append(can, id)
			}
		}
		g.leader, g.term = can[w.rng.IntN(len(can))], g.term+1
	}
	if g.joint && w.rng.IntN(2) == 0 {
		var members []Member
		for _, e := range g.members {
			if !e.Outgoing {
				e.Incoming = false
				members = append(members, e)
			}
		}
		g.members, g.joint, g.index = members, false, g.index+1
	}
	for _, e := range g.members {
		for n, c := range w.claims {
			if p := w.pods[n]; c.member == e.ID && p != nil && p.running && c.cluster == "" {
				c.cluster = g.id
			}
		}
		if up[e.ID] && w.rng.IntN(2) == 0 {
			g.caught[e.ID] = true
		}
	}
}

// observe is what the operator sees.
func (w *world) observe() Observation {
	o := Observation{Latched: w.latched, Guard: w.guard}
	if w.stale {
		o.Outdated = []string{"everything"}
	}
	if w.set != nil {
		set := *w.set
		o.Set = &set
	}
	for _, n := range sorted(w.pods) {
		o.Pods = append(o.Pods, w.pod(n))
	}
	for _, n := range sorted(w.claims) {
		c := w.claims[n]
		claim := Claim{Name: "data-" + w.want.Pod(n), UID: c.uid, Pod: w.want.Pod(n), Member: c.annotated, Leaving: c.leaving, Size: c.size, Capacity: c.capacity, Bound: true}
		if w.rigid && o.Enlarges(w.want, claim) {
			claim.Refusal = "forbidden"
		}
		o.Claims = append(o.Claims, claim)
	}
	return o
}

func (w *world) pod(n int32) Pod {
	p, c := w.pods[n], w.claims[n]
	seen := Pod{Name: w.want.Pod(n), UID: p.uid, Revision: p.revision, Leaving: p.leaving, Running: p.running}
	g := w.groups[c.cluster]
	if g != nil && p.running && !c.corrupt {
		e, _ := g.membership().Find(c.member)
		seen.Ready = g.open && e.Voter && g.leader != ""
	}
	if !p.running || w.silent[n] {
		return seen
	}
	r := &Report{Member: c.member, State: Unjoined, Version: "v1", Boot: c.boot}
	if c.disk.LowBytes > 0 {
		r.Disk = &c.disk
	}
	seen.Report = r
	switch {
	case c.corrupt:
		r.State = Corrupt
	case g != nil:
		r.State, r.Cluster, r.Term, r.Open, r.Ready = Joined, g.id, g.term, g.open, seen.Ready
		r.Last, r.Commit, r.NoSpace = g.index, g.index, c.disk.Low && g.leader == c.member
		r.Membership, r.Quorate, r.Leads = g.membership(), g.leader != "", g.leader == c.member
		if r.Leads {
			r.Peers = map[string]Peer{}
			up := w.living(g)
			for _, e := range g.members {
				r.Peers[e.ID] = Peer{Active: up[e.ID], Caught: g.caught[e.ID], Streaming: g.caught[e.ID]}
			}
		}
	}
	return seen
}

// operate lets the operator look and act once. With half, it dies after announcing.
func (w *world) operate(half bool) Step {
	seen := w.observe()
	step := Next(w.want, seen, w.now)
	status := &api.RaftClusterStatus{}
	Describe(status, 1, w.want, seen, step, w.now)
	if line := "  " + step.String(); len(w.log) == 0 || w.log[len(w.log)-1] != line {
		w.log = append(w.log, line)
	}
	w.kinds[step.Kind]++
	w.latched.Operation = status.Operation
	if !half {
		w.perform(step)
	}
	return step
}

func (w *world) breaks(format string, args ...any) {
	w.broken = append(w.broken, fmt.Sprintf(format, args...))
}

func (w *world) perform(s Step) {
	if s.Event != "" {
		w.events[s.Event]++
	}
	switch s.Kind {
	case Apply, Scale:
		if w.set != nil && w.set.Leaving {
			return // it cannot be changed any more
		}
		w.resize(s)
	case Protect:
		w.guard = &s.Guard
	case Latch:
		w.latch(s.Latch)
	case Annotate:
		n, _ := w.want.Ordinal(s.Claim.Pod)
		w.claims[n].annotated = s.Pod.Report.Member
	case Enlarge:
		w.enlarge(s)
	case Orphan:
		w.orphan(s)
	case Evict, Remove:
		w.disrupt(s)
	case Drop:
		w.drop(s)
	default:
		w.request(s)
	}
}

// resize applies the StatefulSet, and with Apply all other objects.
func (w *world) resize(s Step) {
	if w.set == nil {
		w.set = &Set{Revision: "r1", UID: "set", Storage: w.want.Storage}
		if w.orphaned != nil {
			w.set.Revision = w.orphaned.Revision
		}
	}
	if w.set.Storage.Cmp(s.Storage) != 0 {
		w.breaks("%s changes the size of new volumes from %s", s, w.set.Storage.String())
	}
	w.set.Replicas = s.Replicas
	if s.Kind == Apply {
		w.stale, w.guard = false, &s.Guard
	}
}

func (w *world) enlarge(s Step) {
	n, _ := w.want.Ordinal(s.Claim.Pod)
	c := w.claims[n]
	switch {
	case c == nil || c.uid != s.Claim.UID:
	case w.rigid:
		w.breaks("%s: it may not grow", s)
	case c.size.Cmp(w.want.Storage) >= 0:
		w.breaks("%s: it is large enough", s)
	default:
		c.size = w.want.Storage
	}
}

func (w *world) orphan(s Step) {
	for n := range w.set.Replicas {
		if c := w.claims[n]; c == nil || c.capacity.Cmp(w.want.Storage) < 0 {
			w.breaks("%s before volume %d has grown", s, n)
		}
	}
	w.set.Leaving = true
}

func (w *world) latch(l *LatchChange) {
	if (l.Found != nil || l.Abandon) && w.latched.Initialized {
		w.breaks("a cluster is founded or abandoned after the latch")
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
}

// disrupt takes a Pod away and looks whether its group can still commit, if it could before.
func (w *world) disrupt(s Step) {
	n, _ := w.want.Ordinal(s.Pod.Name)
	p := w.pods[n]
	if p == nil || p.uid != s.Pod.UID {
		return
	}
	g := w.groups[w.claims[n].cluster]
	before := g != nil && quorate(g.membership(), w.living(g))
	p.leaving = true
	if before && len(g.membership().Voters()) > 2 && !quorate(g.membership(), w.living(g)) {
		w.breaks("%s took the quorum away", s)
	}
	if before && s.Kind == Evict && g.leader == w.claims[n].member {
		w.breaks("%s evicts the leader", s)
	}
}

func (w *world) drop(s Step) {
	n, _ := w.want.Ordinal(s.Claim.Pod)
	c := w.claims[n]
	if c == nil || c.uid != s.Claim.UID {
		return
	}
	if g := w.groups[w.latched.ClusterID]; g != nil && w.latched.Initialized {
		if _, member := g.membership().Find(c.member); member {
			w.breaks("%s deletes the data of a member", s)
		}
	}
	c.leaving = true
}

// request is what a member makes of a request.
func (w *world) request(s Step) {
	n, named := w.want.Ordinal(s.Pod.Name)
	c := w.claims[n]
	if !named || c == nil || w.pods[n] == nil || !w.pods[n].running {
		return
	}
	if s.Kind == Form {
		if w.latched.Initialized {
			w.breaks("a cluster is formed after the latch")
		}
		if c.cluster == "" && c.member == w.latched.Founder {
			c.cluster = w.latched.ClusterID
			w.groups[c.cluster] = &group{id: c.cluster, index: 1, members: []Member{{ID: c.member, Name: s.Pod.Name, Voter: true}}, leader: c.member, caught: map[string]bool{c.member: true}}
		}
		return
	}
	g := w.groups[c.cluster]
	if g == nil || g.leader != c.member {
		return
	}
	switch s.Kind {
	case Open:
		if !w.latched.Initialized {
			w.breaks("opened before the latch")
		}
		g.open = true
	case Transfer:
		if w.living(g)[s.To] {
			g.leader, g.term = s.To, g.term+1
		}
	case Change:
		w.change(g, s.Change)
	}
}

func (w *world) change(g *group, change *MembershipChange) {
	if change.Index != g.index || g.joint {
		w.breaks("a change on index %d of %d, joint %v", change.Index, g.index, g.joint)
		return
	}
	for _, m := range change.Add {
		g.members = append(g.members, Member{ID: m.ID, Name: m.Name})
	}
	var members []Member
	for _, e := range g.members {
		switch {
		case slices.Contains(change.Promote, e.ID):
			if !g.caught[e.ID] {
				w.breaks("%s is promoted before it has caught up", e.ID)
			}
			e.Voter, e.Incoming, g.joint = true, true, true
		case slices.Contains(change.Remove, e.ID) && e.Voter:
			e.Voter, e.Outgoing, g.joint = false, true, true
		case slices.Contains(change.Remove, e.ID):
			continue
		}
		members = append(members, e)
	}
	before := quorate(g.membership(), w.living(g))
	g.members, g.index = members, g.index+1
	if before && !quorate(g.membership(), w.living(g)) {
		w.breaks("change %s took the quorum away", change)
	}
	if *w.guard < min(guardOf(g.membership()), int32(len(w.living(g)))) && w.latched.Initialized && len(change.Promote) > len(change.Remove) {
		w.breaks("the group grows under a budget of %d", *w.guard)
	}
}
