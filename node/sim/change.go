package sim

import (
	"fmt"
	"slices"

	"raftsman.dev/node/raft"
	"raftsman.dev/node/replica"
)

// mostMembers bounds the group, and mostHosts all that ever were.
const (
	mostMembers = 7
	mostHosts   = 16
)

// stormy is the mean time between transfers, in milliseconds, below which it is a storm.
const stormy = 500

// reshape asks the leader for a random membership change: the core decides what is possible.
func (w *World) reshape() {
	l := w.leader()
	if l == nil {
		return
	}
	s := l.replica.Status()
	change := raft.Change{}
	if w.rng.IntN(2) == 0 {
		change.Planned = s.Config
	}
	for _, p := range s.Progress {
		if x, _ := s.Membership.Find(p.ID); x.Seat == raft.SeatLearner && p.Caught && !w.hosts[p.ID].doomed() {
			change.Promote = append(change.Promote, p.ID)
		}
	}
	incoming, _ := s.Membership.Voters()
	name := "membership change: promote"
	switch {
	case len(change.Promote) == 0 && len(s.Membership.Members) < mostMembers && len(w.ids) < mostHosts && w.rng.IntN(2) == 0:
		id := raft.MemberID(len(w.ids) + 1)
		w.add(id)
		change.AddLearners = []raft.Member{{ID: id, Name: fmt.Sprint("m", id)}}
		name = "membership change: add"
	case len(incoming) > 3:
		change.Remove = []raft.MemberID{pick(w, incoming)}
		name = "membership change: remove"
	case len(change.Promote) == 0:
		change.Move = []raft.Move{{ID: pick(w, incoming), PeerAddress: fmt.Sprint("moved:", w.rng.IntN(9))}}
		name = "membership change: move"
	}
	w.change(l, incoming, change, name)
}

// change asks the leader for a membership change, unless it is not borne any more when the leader comes to it.
func (w *World) change(l *host, voters []raft.MemberID, c raft.Change, name string) {
	w.request(l, func(done chan<- replica.ChangeOutcome) {
		if w.bearsChange(voters, c) {
			l.replica.Change(c, done)
		}
	}, name)
}

// bearsChange reports whether a change leaves a quorum of voters that are there already and healthy, as the operator's
// planner asks it. A leader takes a member whose data were just destroyed for alive, and a newcomer may hold entries of
// a leader that is gone: then it refuses its vote, and cannot campaign before it knows of its seat.
func (w *World) bearsChange(voters []raft.MemberID, c raft.Change) bool {
	sound := func(id raft.MemberID) bool { return !w.hosts[id].doomed() && !w.hosts[id].altered.pending() }
	for _, id := range c.Promote {
		if !sound(id) {
			return false
		}
	}
	healthy, remain := 0, 0
	for _, id := range voters {
		if slices.Contains(c.Remove, id) {
			continue
		}
		remain++
		if sound(id) {
			healthy++
		}
	}
	return healthy == remain || healthy > (remain+len(c.Promote))/2
}

// transfer asks the leader to hand over, to anybody.
func (w *World) transfer() {
	if l := w.leader(); l != nil {
		to := raft.MemberID(0)
		if w.rng.IntN(2) == 0 {
			to = pick(w, w.ids)
		}
		name := "leadership transfer"
		if w.weather.Transfer > 0 && w.weather.Transfer < stormy {
			name = "leadership transfer in a storm"
		}
		w.request(l, func(done chan<- replica.ChangeOutcome) { l.replica.Transfer(to, done) }, name)
	}
}

func (w *World) request(l *host, ask func(chan<- replica.ChangeOutcome), name string) {
	done := make(chan replica.ChangeOutcome, 1)
	l.later(0, func() {
		ask(done)
		l.pump()
		select {
		case o := <-done:
			if o.Err == nil {
				w.fault(name)
			}
		default:
		}
	})
}

// members are the hosts of the membership in force at the leader; nil without one, or while it is changing.
func (w *World) members() []*host {
	l := w.leader()
	if l == nil {
		return nil
	}
	s := l.replica.Status()
	if s.Membership.Joint() || !s.ConfigCommitted {
		return nil
	}
	var all []*host
	for _, x := range s.Membership.Members {
		all = append(all, w.hosts[x.ID])
	}
	return all
}
