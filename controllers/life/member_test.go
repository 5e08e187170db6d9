package life

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"

	"raftsman.dev/node/admin"
)

// disk is what lies on a claim.
type disk struct {
	member, cluster string
	// removed says that the running member knows that its group has removed it.
	removed, corrupt bool
	// space is what it has left, nil for plenty.
	space *admin.Disk
}

// group is a Raft group as one thing that is never wrong about itself: its members share it.
type group struct {
	id        string
	index     uint64
	committed bool
	joint     bool
	members   []admin.Member
	leader    string
	term      uint64
	commit    uint64
	open      bool
	// caught are the members that have caught up; slow ones never do.
	caught map[string]bool
	slow   bool
	// changes are the membership changes in words; transfers count changes of leader that were asked for.
	changes   []string
	transfers int
}

func (g *group) find(id string) *admin.Member {
	i := slices.IndexFunc(g.members, func(m admin.Member) bool { return m.ID == id })
	if i < 0 {
		return nil
	}
	return &g.members[i]
}

func votesNew(m admin.Member) bool {
	return m.Seat == admin.SeatVoter || m.Seat == admin.SeatIncoming
}
func votesOld(m admin.Member) bool {
	return m.Seat == admin.SeatVoter || m.Seat == admin.SeatOutgoing
}

// quorate says that both halves of the membership have a majority among those that are up.
func (g *group) quorate(up map[string]bool) bool {
	for _, votes := range []func(admin.Member) bool{votesNew, votesOld} {
		all, n := 0, 0
		for _, m := range g.members {
			if votes(m) {
				all++
				if up[m.ID] {
					n++
				}
			}
		}
		if n < all/2+1 {
			return false
		}
	}
	return true
}

// voters are the names of the members that vote in the newest half.
func (g *group) voters() []string {
	var names []string
	for _, m := range g.members {
		if votesNew(m) {
			names = append(names, m.Name)
		}
	}
	slices.Sort(names)
	return names
}

// turn lets a moment pass: an election, a commit, the end of a joint membership, a learner's progress. Each happens
// by chance, so that the operator meets all states in between.
func (g *group) turn(up map[string]bool, rng *rand.Rand) {
	if !g.quorate(up) {
		g.leader = ""
		return
	}
	g.commit++
	if leads := g.find(g.leader); leads == nil || !up[g.leader] || !votesNew(*leads) {
		var can []string
		for _, m := range g.members {
			if votesNew(m) && up[m.ID] {
				can = append(can, m.ID)
			}
		}
		if len(can) == 0 {
			g.leader = ""
			return
		}
		g.leader, g.term = can[rng.IntN(len(can))], g.term+1
	}
	switch {
	case !g.committed:
		g.committed = rng.IntN(2) == 0
	case g.joint && rng.IntN(2) == 0:
		g.members = slices.DeleteFunc(g.members, func(m admin.Member) bool { return m.Seat == admin.SeatOutgoing })
		for i := range g.members {
			if g.members[i].Seat == admin.SeatIncoming {
				g.members[i].Seat = admin.SeatVoter
			}
		}
		g.joint, g.index = false, g.index+1
	}
	for _, m := range g.members {
		if up[m.ID] && !g.slow && rng.IntN(3) == 0 {
			g.caught[m.ID] = true
		}
	}
}

// member is one simulated member in one Pod.
type member struct {
	w               *world
	namespace, name string
	version         string
	disk            *disk
	// boot is one higher at each start.
	boot uint64
}

func (m *member) group() *group { return m.w.groups[m.disk.cluster] }

// Status is the member's report of itself.
func (m *member) Status(_ context.Context, options admin.StatusOptions) (admin.Status, error) {
	m.w.mu.Lock()
	defer m.w.mu.Unlock()
	s := admin.Status{MemberID: m.disk.member, Name: m.name, Version: m.version, Boot: m.boot, State: admin.StateUnjoined, Disk: m.disk.space}
	g := m.group()
	switch {
	case m.disk.corrupt:
		s.State, s.Problem = admin.StateCorrupt, "wal/0000: checksum at offset 512 does not match"
		return s, nil
	case m.disk.removed:
		s.State, s.ClusterID, s.Problem = admin.StateRemoved, m.disk.cluster, "its group has removed it: it draws a new ID at the next start"
		return s, nil
	case m.disk.cluster == "":
		return s, nil
	}
	s.State, s.ClusterID, s.Role = admin.StateJoined, m.disk.cluster, admin.RoleFollower
	if g == nil {
		return s, nil // the cluster of a stray volume is somewhere else
	}
	s.First, s.Last, s.NoSpace = 1, g.commit+1, s.Disk != nil && s.Disk.Low
	s.Term, s.Commit, s.Open, s.Ready, s.Leader = g.term, g.commit, g.open, m.serves(), g.leader
	s.Quorate = options.Quorum && g.leader != ""
	s.Membership = &admin.Membership{Index: g.index, Committed: g.committed, Joint: g.joint, Members: slices.Clone(g.members)}
	// No two members need list the membership in the same order.
	m.w.rng.Shuffle(len(g.members), func(i, j int) {
		l := s.Membership.Members
		l[i], l[j] = l[j], l[i]
	})
	if g.leader == m.disk.member {
		s.Role, s.Progress = admin.RoleLeader, m.w.progress(g)
	}
	return s, nil
}

// serves says that clients are served: by voters, in a group that is open and led.
func (m *member) serves() bool {
	g := m.group()
	if g == nil || !g.open || g.leader == "" || m.disk.corrupt || m.disk.removed {
		return false
	}
	seat := g.find(m.disk.member)
	return seat != nil && (votesNew(*seat) || votesOld(*seat))
}

// progress is what the leader knows of the others.
func (w *world) progress(g *group) []admin.Progress {
	up := w.up(g)
	var all []admin.Progress
	for _, o := range g.members {
		if o.ID == g.leader {
			continue
		}
		p := admin.Progress{ID: o.ID, Active: up[o.ID], Caught: up[o.ID] && g.caught[o.ID], Mode: "probe", Match: g.commit}
		if p.Caught {
			p.Mode = "stream"
		}
		all = append(all, p)
	}
	return all
}

// Form founds a cluster, if this very member is meant and is empty.
func (m *member) Form(_ context.Context, r admin.FormRequest) error {
	m.w.mu.Lock()
	defer m.w.mu.Unlock()
	m.w.forms = append(m.w.forms, r)
	switch {
	case r.Founder != m.disk.member:
		return &admin.Error{Reason: admin.ReasonOtherFounder, Message: "the founder is " + r.Founder}
	case m.disk.cluster == r.ClusterID:
		return nil
	case m.disk.cluster != "" || m.disk.corrupt:
		return &admin.Error{Reason: admin.ReasonOtherCluster, Message: "it is in " + m.disk.cluster}
	}
	m.disk.cluster = r.ClusterID
	m.w.groups[r.ClusterID] = &group{
		id: r.ClusterID, index: 1, committed: true, leader: m.disk.member, term: 1, caught: map[string]bool{m.disk.member: true},
		members: []admin.Member{{ID: m.disk.member, Name: m.name, Seat: admin.SeatVoter}},
	}
	return nil
}

// leads is the group that this member leads.
func (m *member) leads(cluster string) (*group, error) {
	g := m.group()
	switch {
	case g == nil:
		return nil, &admin.Error{Reason: admin.ReasonNotJoined, Message: "no cluster"}
	case cluster != g.id:
		return nil, &admin.Error{Reason: admin.ReasonOtherCluster, Message: "it is in " + g.id}
	case g.leader != m.disk.member:
		return nil, &admin.Error{Reason: admin.ReasonNotLeader, Leader: g.leader, Message: "not the leader"}
	}
	return g, nil
}

// Change is one membership change, refused like a real leader refuses it.
func (m *member) Change(_ context.Context, r admin.ChangeRequest) error {
	m.w.mu.Lock()
	defer m.w.mu.Unlock()
	g, err := m.leads(r.ClusterID)
	if err != nil {
		return err
	}
	switch {
	case r.Index != g.index:
		return &admin.Error{Reason: admin.ReasonStaleIndex, Message: fmt.Sprintf("planned on %d, in force is %d", r.Index, g.index)}
	case g.joint || !g.committed:
		return &admin.Error{Reason: admin.ReasonInFlight, Message: "a change is in flight"}
	}
	next, words := slices.Clone(g.members), ""
	for _, a := range r.AddLearners {
		if g.find(a.ID) != nil {
			return &admin.Error{Reason: admin.ReasonExists, Message: a.ID}
		}
		a.Seat, words = admin.SeatLearner, words+" +"+a.Name
		next = append(next, a)
	}
	joint := false
	for i := range next {
		switch {
		case slices.Contains(r.Promote, next[i].ID):
			if next[i].Seat != admin.SeatLearner || !g.caught[next[i].ID] {
				return &admin.Error{Reason: admin.ReasonLagging, Message: next[i].ID}
			}
			next[i].Seat, joint, words = admin.SeatIncoming, true, words+" ^"+next[i].Name
		case slices.Contains(r.Remove, next[i].ID):
			words += " -" + next[i].Name
			if next[i].Seat == admin.SeatVoter {
				next[i].Seat, joint = admin.SeatOutgoing, true
			} else {
				next[i].Seat = ""
			}
		}
	}
	g.members = slices.DeleteFunc(next, func(e admin.Member) bool { return e.Seat == "" })
	g.index, g.joint, g.committed = g.index+1, joint, false
	g.changes = append(g.changes, words)
	if !g.quorate(m.w.up(g)) {
		m.w.broken = append(m.w.broken, fmt.Sprintf("the change%s takes the quorum of %s away", words, g.id))
	}
	return nil
}

// Transfer hands leadership over.
func (m *member) Transfer(_ context.Context, r admin.TransferRequest) error {
	m.w.mu.Lock()
	defer m.w.mu.Unlock()
	g, err := m.leads(r.ClusterID)
	if err != nil {
		return err
	}
	to := g.find(r.To)
	if to == nil || !votesNew(*to) {
		return &admin.Error{Reason: admin.ReasonUnknownMember, Message: r.To}
	}
	g.leader, g.term, g.transfers = r.To, g.term+1, g.transfers+1
	return nil
}

// Open opens the cluster to clients.
func (m *member) Open(_ context.Context, r admin.OpenRequest) error {
	m.w.mu.Lock()
	defer m.w.mu.Unlock()
	g, err := m.leads(r.ClusterID)
	if err != nil {
		return err
	}
	g.open = true
	return nil
}
