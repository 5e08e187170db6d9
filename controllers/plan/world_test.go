package plan

import (
	"math/rand/v2"
	"slices"
	"strconv"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"

	api "raftsman.dev/api/v1alpha1"
)

// slots are more Pods than any spec may ask for.
const slots = 16

// world is a Kubernetes with one RaftCluster in it, small enough to be wrong about nothing that the planner
// sees: Pods, claims with disks, and groups of members whose membership is kept in one place. Turns are what the
// tests spend their time on, so it lives in arrays by ordinal and writes its story only when somebody reads it.
type world struct {
	rng     *rand.Rand
	now     time.Time
	want    Spec
	latched Latched
	// version counts the writes of the RaftCluster, spec and status alike: an operator that has seen an older one is
	// refused. face is what the last status said of the world.
	version int
	face    uint64
	set     *Set
	guard   *int32
	// sets counts the StatefulSets that there have been.
	sets int
	// rigid says that no volume may grow.
	rigid bool
	// members are what status said of them last.
	members []api.MemberStatus
	// revision is of the template that the spec gives; it is the StatefulSet's from the next Apply on.
	revision string
	// minor is of the version that the spec's image is called, 1.minor.0.
	minor int
	// stale says that the objects are behind the spec.
	stale bool
	// bad are revisions whose Pods never come up.
	bad    []string
	pods   [slots]*podState
	claims [slots]*claimState
	groups []*group
	// served is the group that has been opened to clients, nil before that.
	served *group
	// silent are Pods that do not answer the operator just now.
	silent [slots]bool
	// loose worlds let members lag behind the group in what they say, commit late and notice late.
	loose  bool
	ids    int
	names  [slots]string
	sights [4]*sight
	looks  int
	up     ids
	// going counts the turns until a RaftCluster that is being deleted has gone.
	going int
	// broken is what the planner did that it must never do.
	broken []string
	seen   *tally
	story  bool
	log    []string
}

// tally counts what worlds have seen.
type tally struct {
	worlds, turns int
	events        map[string]int
	kinds         map[Kind]int
	faults        map[string]int
}

func newTally() *tally {
	return &tally{events: map[string]int{}, kinds: map[Kind]int{}, faults: map[string]int{}}
}

func (t *tally) add(o *tally) {
	t.worlds, t.turns = t.worlds+o.worlds, t.turns+o.turns
	for k, n := range o.events {
		t.events[k] += n
	}
	for k, n := range o.kinds {
		t.kinds[k] += n
	}
	for k, n := range o.faults {
		t.faults[k] += n
	}
}

type podState struct {
	uid, revision string
	minor         int
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
	// removed says that the running member knows that its group has removed it.
	removed bool
	// caught says that the member has caught up; behind, that it has not heard of the newest membership.
	caught, behind bool
}

// group is a Raft group as one thing that is never wrong about itself. Memberships are replaced, never changed.
type group struct {
	id     string
	now    *Membership
	before *Membership
	open   bool
	leader string
	term   uint64
}

// ids are a few member IDs.
type ids []string

func (s ids) has(id string) bool { return slices.Contains(s, id) }

func newWorld(rng *rand.Rand, want Spec) *world {
	want.Storage = resource.MustParse("1Gi")
	w := &world{rng: rng, now: time.Unix(1_800_000_000, 0), want: want, stale: true, revision: "r1", minor: 5, seen: newTally()}
	w.want.Version = version(w.minor)
	for n := range w.names {
		w.names[n] = want.Pod(int32(n))
	}
	return w
}

// version is what the image of a minor is called, and minorIn the way back.
func version(minor int) string { return "1." + strconv.Itoa(minor) + ".0" }

func minorIn(version string) int {
	m, _ := minorOf(version)
	return int(m.minor)
}

func (w *world) id(prefix string) string {
	w.ids++
	return prefix + strconv.Itoa(w.ids)
}

func (w *world) group(id string) *group {
	for _, g := range w.groups {
		if g.id == id {
			return g
		}
	}
	return nil
}

// truth is the group that matters: the one that serves clients, or the one that status names before that.
func (w *world) truth() *group {
	if w.served != nil {
		return w.served
	}
	return w.group(w.latched.ClusterID)
}

// count is how many of an array are there.
func count[T any](all [slots]*T) int {
	n := 0
	for _, one := range all {
		if one != nil {
			n++
		}
	}
	return n
}

// tick lets everybody but the operator take a turn.
func (w *world) tick() {
	w.now = w.now.Add(time.Second)
	w.seen.turns++
	w.runCollector()
	w.runStatefulSet()
	for n, p := range w.pods {
		if p != nil {
			w.runMember(int32(n))
		}
	}
	for _, g := range w.groups {
		w.runGroup(g)
	}
}

// runCollector takes the objects of a deleted RaftCluster away, and then makes one of the same name.
func (w *world) runCollector() {
	if !w.want.Deleting {
		return
	}
	w.set, w.guard = nil, nil
	for _, p := range w.pods {
		if p != nil {
			p.leaving = true
		}
	}
	if w.going--; w.going > 0 || count(w.pods) > 0 {
		return
	}
	w.want.Deleting, w.want.Paused, w.want.Replace = false, false, ""
	if at, ok := w.newest(); ok {
		w.version, w.minor = w.version+1, at
		w.want.Version = version(at)
	}
	w.latched, w.stale, w.version, w.silent = Latched{}, true, w.version+1, [slots]bool{}
	w.want.Replicas = []int32{1, 3, 5}[w.rng.IntN(3)]
	if w.rng.IntN(2) == 0 {
		// The volumes stay, and the cluster on them is adopted. What is not written on them only a person knows, who gives
		// the new one the old size.
		if slices.ContainsFunc(w.claims[:], func(c *claimState) bool { return c != nil && c.cluster == w.served.id && c.annotated != c.member }) {
			w.want.Replicas = int32(count(w.claims) | 1)
		}
		return
	}
	w.served, w.groups = nil, nil
	for _, c := range w.claims {
		if c != nil {
			c.leaving = true
		}
	}
}

func (w *world) runStatefulSet() {
	for n, p := range w.pods {
		if p != nil && p.leaving {
			w.pods[n] = nil
		}
	}
	for n, c := range w.claims {
		if c != nil && c.leaving && w.pods[n] == nil {
			w.claims[n] = nil
		}
	}
	w.runVolumes()
	if w.set == nil || w.set.Leaving {
		return
	}
	for n := range w.set.Replicas {
		if w.claims[n] == nil {
			w.claims[n] = &claimState{uid: w.id("claim"), size: w.set.Storage, capacity: w.set.Storage}
		}
		if w.pods[n] == nil && !w.claims[n].leaving {
			w.pods[n] = &podState{uid: w.id("pod"), revision: w.set.Revision, minor: minorIn(w.set.Version)}
		}
	}
	for _, p := range w.pods[w.set.Replicas:] {
		if p != nil {
			p.leaving = true
		}
	}
}

// runMember starts a Pod's member, which draws an identity where there is none.
func (w *world) runMember(n int32) {
	p, c := w.pods[n], w.claims[n]
	if p.leaving || slices.Contains(w.bad, p.revision) {
		p.running = false
		return
	}
	fresh := !p.running
	if p.running = true; fresh {
		c.boot++
	}
	if c.member == "" {
		c.member = w.id("m")
	}
	if w.loose && c.behind && w.rng.IntN(2) == 0 {
		c.behind = false
	}
	g := w.group(c.cluster)
	if g == nil || c.corrupt || g.leader == "" {
		return
	}
	if _, member := g.now.Find(c.member); !member {
		// What it was told while it ran it acts upon at the next start.
		if c.removed = w.loose && !fresh; !c.removed {
			*c = claimState{uid: c.uid, annotated: c.annotated, leaving: c.leaving, member: w.id("m"), size: c.size, capacity: c.capacity, boot: c.boot}
		}
	}
}

// living are the IDs of a group's members that run on their own data. They are good until the next call.
func (w *world) living(g *group) ids {
	w.up = w.up[:0]
	for n, p := range w.pods {
		if p == nil {
			continue
		}
		c := w.claims[n]
		if p.running && !p.leaving && c.cluster == g.id && !c.corrupt && !c.removed {
			w.up = append(w.up, c.member)
		}
	}
	return w.up
}

// quorate counts both halves of a membership by itself: it is the planner's arithmetic that is on trial.
func quorate(m *Membership, up ids) bool {
	var all, alive, oldAll, oldAlive int
	for _, e := range m.Members {
		there := up.has(e.ID)
		if e.Voter {
			all++
			if there {
				alive++
			}
		}
		if e.Outgoing || e.Voter && !e.Incoming {
			oldAll++
			if there {
				oldAlive++
			}
		}
	}
	return 2*alive > all && 2*oldAlive > oldAll
}

// runGroup elects, commits, leaves a joint membership, brings learners in and lets them catch up.
func (w *world) runGroup(g *group) {
	up := w.living(g)
	if !quorate(g.now, up) {
		g.leader = ""
		return
	}
	if e, _ := g.now.Find(g.leader); !up.has(g.leader) || !e.Voter {
		can := 0
		for _, e := range g.now.Members {
			if e.Voter && up.has(e.ID) {
				if can++; w.rng.IntN(can) == 0 {
					g.leader = e.ID
				}
			}
		}
		g.term++
	}
	switch {
	case !g.now.Committed:
		if w.rng.IntN(2) == 0 {
			m := *g.now
			m.Committed = true
			g.now = &m
		}
	case g.now.Joint && w.rng.IntN(2) == 0:
		var members []Member
		for _, e := range g.now.Members {
			if !e.Outgoing {
				e.Incoming = false
				members = append(members, e)
			}
		}
		w.agree(g, members, false)
	}
	for n, c := range w.claims {
		p := w.pods[n]
		if c == nil || p == nil || !p.running || c.member == "" {
			continue
		}
		if _, member := g.now.Find(c.member); member && c.cluster == "" {
			c.cluster = g.id
		}
		if c.cluster == g.id && !c.corrupt && !p.leaving && w.rng.IntN(2) == 0 {
			c.caught = true
		}
	}
}

// agree gives a group another membership. In a loose world it is committed later, and not everybody hears of it at once.
func (w *world) agree(g *group, members []Member, joint bool) {
	g.before = g.now
	g.now = &Membership{Index: g.before.Index + 1, Committed: !w.loose || w.rng.IntN(2) == 0, Joint: joint, Members: members}
	if !w.loose {
		return
	}
	for _, c := range w.claims {
		if c != nil && c.cluster == g.id {
			c.behind = w.rng.IntN(3) == 0
		}
	}
}

// caught says that the member with an ID has caught up.
func (w *world) caught(id string) bool {
	return slices.ContainsFunc(w.claims[:], func(c *claimState) bool { return c != nil && c.member == id && c.caught })
}

// born makes a world in which the wanted members serve clients already.
func (w *world) born() {
	size := w.want.Replicas
	guard := quorum(int(size))
	w.set, w.guard, w.stale = &Set{Replicas: size, Revision: w.revision, Version: w.want.Version, Storage: w.want.Storage}, &guard, false
	g := &group{id: w.id("cluster"), now: &Membership{Index: 1, Committed: true}, open: true, term: 1}
	for n := range size {
		id := w.id("m")
		w.pods[n] = &podState{uid: w.id("pod"), revision: w.revision, minor: w.minor, running: true}
		w.claims[n] = &claimState{uid: w.id("claim"), annotated: id, member: id, cluster: g.id, caught: true, size: w.want.Storage, capacity: w.want.Storage, boot: 1}
		g.now.Members = append(g.now.Members, Member{ID: id, Name: w.names[n], Voter: true})
	}
	w.rng.Shuffle(int(size), func(i, j int) { m := g.now.Members; m[i], m[j] = m[j], m[i] })
	g.leader = w.claims[w.rng.IntN(int(size))].member
	w.groups, w.served = []*group{g}, g
	w.latched = Latched{ClusterID: g.id, Founder: w.claims[0].member, Initialized: true}
}

// remember writes what the status says is being done.
func (w *world) remember(op *api.Operation) {
	old := w.latched.Operation
	if (old == nil) != (op == nil) || op != nil && *old != *op {
		w.version++
	}
	w.latched.Operation = op
}

// trusted are the Pods whose members hold the group's data and show it: they answer, or are ready.
func (w *world) trusted(n int) bool {
	p, c := w.pods[n], w.claims[n]
	return p != nil && p.running && w.served != nil && c.cluster == w.served.id && !c.corrupt && !c.removed && (!w.silent[n] || w.ready(n))
}

// ready says that a Pod serves clients.
func (w *world) ready(n int) bool {
	p, c := w.pods[n], w.claims[n]
	g := w.group(c.cluster)
	if g == nil || !p.running || c.corrupt || c.removed || !g.open || g.leader == "" {
		return false
	}
	e, _ := g.now.Find(c.member)
	return e.Voter || e.Outgoing
}

// newest is the newest minor that a member runs.
func (w *world) newest() (minor int, ok bool) {
	for n, p := range w.pods {
		if w.trusted(n) {
			minor, ok = max(minor, p.minor), true
		}
	}
	return minor, ok
}

// forbidden says that no member may be taken to a minor, counted without the planner's words.
func (w *world) forbidden(to int) bool {
	older, far, same := false, false, false
	for n, p := range w.pods {
		if !w.trusted(n) {
			continue
		}
		switch d := to - p.minor; {
		case d > 1:
			far = true
		case d < 0:
			older = true
		case d == 0:
			same = true
		}
	}
	return (older || far) && !same
}
