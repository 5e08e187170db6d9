package plan

// sight is what an operator saw at one moment: a copy, because operators remember it while the world goes on.
type sight struct {
	want    Spec
	seen    Observation
	version int
	// revision and release are of the template that this operator applies: the present one where the wanted is refused.
	revision, release string
	set               Set
	guard             int32
	pods              [slots]Pod
	reports           [slots]Report
	peers             [slots]map[string]Peer
	claims            [slots]Claim
}

// observe is what the operator sees. A sight is overwritten after a few more.
func (w *world) observe() *sight {
	at := &w.sights[w.looks%len(w.sights)]
	w.looks++
	if *at == nil {
		*at = &sight{}
	}
	s := *at
	s.want, s.version = w.want, w.version
	s.seen = Observation{Latched: w.latched, Pods: s.pods[:0], Claims: s.claims[:0]}
	if w.latched.Operation != nil {
		op := *w.latched.Operation
		s.seen.Latched.Operation = &op
	}
	if w.guard != nil {
		s.guard = *w.guard
		s.seen.Guard = &s.guard
	}
	if w.set != nil {
		s.set = *w.set
		s.seen.Set = &s.set
	}
	s.revision, s.release = w.revision, w.want.Version
	for n, p := range w.pods {
		if p != nil {
			s.seen.Pods = append(s.seen.Pods, w.pod(s, n))
		}
	}
	if w.set != nil && Refusal(w.want.Version, s.seen) != "" {
		s.revision, s.release = w.set.Revision, w.set.Version
	}
	if w.stale || w.set != nil && (w.set.Revision != s.revision || w.set.Version != s.release) {
		s.seen.Outdated = []string{"everything"}
	}
	for n := range w.claims {
		if w.claims[n] != nil {
			s.seen.Claims = append(s.seen.Claims, w.volume(n, &s.seen))
		}
	}
	return s
}

func (w *world) pod(s *sight, n int) Pod {
	p, c := w.pods[n], w.claims[n]
	seen := Pod{Name: w.names[n], UID: p.uid, Revision: p.revision, Version: version(p.minor), Leaving: p.leaving, Running: p.running, Ready: w.ready(n)}
	g := w.group(c.cluster)
	if !p.running || w.silent[n] {
		return seen
	}
	r := &s.reports[n]
	*r = Report{Member: c.member, State: Unjoined, Version: seen.Version, Boot: c.boot}
	if c.disk.LowBytes > 0 {
		r.Disk = &c.disk
	}
	seen.Report = r
	switch {
	case c.corrupt:
		r.State = Corrupt
	case c.removed:
		r.State, r.Cluster = Removed, c.cluster
	case g != nil:
		r.State, r.Cluster, r.Term, r.Open, r.Ready = Joined, g.id, g.term, g.open, seen.Ready
		r.Last, r.Commit, r.NoSpace = g.now.Index, g.now.Index, c.disk.Low && g.leader == c.member
		r.Membership, r.Quorate, r.Leads = g.now, g.leader != "", g.leader == c.member
		if c.behind && !r.Leads && g.before != nil {
			r.Membership = g.before
		}
		if r.Leads {
			r.Peers = w.progress(s, g, n)
		}
	}
	return seen
}

// progress is what the leader in a Pod knows of the others.
func (w *world) progress(s *sight, g *group, n int) map[string]Peer {
	if s.peers[n] == nil {
		s.peers[n] = map[string]Peer{}
	}
	peers := s.peers[n]
	clear(peers)
	up := w.living(g)
	for _, e := range g.now.Members {
		caught := w.caught(e.ID)
		peers[e.ID] = Peer{Active: up.has(e.ID), Caught: caught, Streaming: caught}
	}
	return peers
}

// faceOf says in one number what a status would tell of a sight, so that a change of it is a write.
func faceOf(seen Observation) uint64 {
	face := uint64(len(seen.Pods))
	mix := func(v uint64) { face = face*1099511628211 ^ v }
	bit := func(is bool) {
		if is {
			mix(1)
		} else {
			mix(2)
		}
	}
	for _, p := range seen.Pods {
		bit(p.Ready && !p.Leaving)
		bit(seen.outdated(p))
		bit(p.Report != nil)
		if p.Report != nil {
			bit(p.Report.Leads)
			mix(uint64(len(p.Report.State)))
			if p.Report.Leads && p.Report.Membership != nil {
				mix(p.Report.Membership.Index)
			}
		}
	}
	return face
}
