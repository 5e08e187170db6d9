package sim

import (
	"slices"

	"raftsman.dev/node/raft"
)

// mend is the operator's part: members whose data are lost are replaced by new identities with empty disks, one
// step at a time, by either of two ways: the newcomer first, or the lost one out first.
func (w *World) mend() {
	l := w.leader()
	if l == nil {
		return
	}
	s := l.replica.Status()
	if s.Membership.Joint() || !s.ConfigCommitted {
		return
	}
	lost, caught, waiting := w.census(s)
	if len(lost) == 0 && len(caught) == 0 {
		return
	}
	change, what := raft.Change{Planned: s.Config}, "lost member replaced"
	if len(lost) == 0 {
		what = "learner promoted"
	}
	voters, _ := s.Membership.Voters()
	switch {
	case len(caught) > 0:
		change.Promote = caught
		change.Remove = lost
	case !slices.Contains(voters, lost[0]) || len(voters) > 2 && w.rng.IntN(2) == 0:
		change.Remove = lost[:1]
	case !waiting && len(w.ids) < mostEver:
		change.AddLearners = []raft.Member{w.newcomer()}
	default:
		return
	}
	w.change(l, voters, change, what)
}

// mostEver bounds the hosts that ever were, replacements included.
const mostEver = 40

// census sorts the members: those whose data are lost, the learners to be promoted, and whether one still catches up.
func (w *World) census(s raft.Status) (lost, caught []raft.MemberID, waiting bool) {
	for _, x := range s.Membership.Members {
		h := w.hosts[x.ID]
		switch {
		case h.ill.lost:
			lost = append(lost, x.ID)
		case x.Seat == raft.SeatLearner && h.up() && !h.doomed() && slices.ContainsFunc(s.Progress, func(p raft.Progress) bool { return p.ID == x.ID && p.Caught }):
			caught = append(caught, x.ID)
		case x.Seat == raft.SeatLearner:
			waiting = true
		}
	}
	return lost, caught, waiting
}

// newcomer is an unjoined host that waits to be added, or a new one.
func (w *World) newcomer() raft.Member {
	for _, id := range w.ids {
		if h := w.hosts[id]; h.up() && h.dir.Identity().Cluster == 0 {
			return raft.Member{ID: id, Name: h.name}
		}
	}
	h := w.add(raft.MemberID(len(w.ids) + 1))
	return raft.Member{ID: h.id, Name: h.name}
}

// mended reports whether no member of the group is lost.
func (w *World) mended() bool {
	return !slices.ContainsFunc(w.members(), func(h *host) bool { return h.ill.lost })
}
