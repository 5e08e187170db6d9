package sim

import (
	"fmt"

	"raftsman.dev/node/kv"
	"raftsman.dev/node/raft"
	"raftsman.dev/node/replica"
)

// Report is what a run did.
type Report struct {
	Seed    uint64
	Weather Weather
	// Seconds of virtual time, and Faults that took effect, by name.
	Seconds int64
	Faults  map[string]int
	// Events is how much has happened, and NextDraw what chance would have said next: runs that were the same agree.
	Events   int64
	NextDraw uint64
	// History is what the clients saw, in order of their calls' ends; Acked counts the writes among them.
	History []Operation
	Acked   int
}

// The lengths of a run in virtual time.
const (
	chaosTime = 60 * second
	birthTime = 60 * second
	// healTime is within which a healed group must have converged.
	healTime = 60 * second
	// restTime is within which everything that was asked for has been answered or given up.
	restTime = 10 * second
)

// Run turns the world of a seed: birth, chaos, healing. The error is the first thing that was not as it must be.
// tell, where it is not nil, hears one line for every change of state.
func Run(seed uint64, weather Weather, tell func(string)) (Report, error) {
	w := newWorld(seed, weather, tell)
	defer w.close()
	if err := w.born(); err != nil {
		return w.report(nil), err
	}
	var clients []*client
	for i := range weather.Clients {
		clients = append(clients, w.addClient(i))
	}
	w.begin()
	w.runUntil(w.now+chaosTime, nil)
	if w.failed == nil {
		w.converge()
	}
	return w.report(clients), w.failed
}

// born forms a group on the first host and grows it to its size, before any fault strikes.
func (w *World) born() error {
	w.calm = true
	founder := w.add(1)
	if err := founder.replica.Form(raft.Member{ID: 1, Name: "m1"}); err != nil {
		return fmt.Errorf("seed %d: form: %w", w.seed, err)
	}
	if err := founder.join(ours); err != nil {
		return fmt.Errorf("seed %d: join: %w", w.seed, err)
	}
	w.truth.founded(founder)
	founder.pump()
	var learners []raft.Member
	for id := raft.MemberID(2); int(id) <= w.weather.Members; id++ {
		w.add(id)
		learners = append(learners, raft.Member{ID: id, Name: fmt.Sprint("m", id)})
	}
	w.runUntil(w.now+birthTime, func() bool { return w.leader() != nil })
	asked := int64(-second)
	ok := w.runUntil(w.now+birthTime, func() bool {
		all := w.members()
		voters := 0
		change := raft.Change{}
		if l := w.leader(); l != nil && len(all) > 0 {
			s := l.replica.Status()
			in, _ := s.Membership.Voters()
			voters = len(in)
			if len(s.Membership.Members) == 1 {
				change.AddLearners = learners
			} else {
				for _, x := range learners {
					change.Promote = append(change.Promote, x.ID)
				}
			}
			if voters < w.weather.Members && w.now-asked > second {
				asked = w.now
				w.after(0, func() {
					w.request(l, func(done chan<- replica.ChangeOutcome) { l.replica.Change(change, done) }, "birth")
				})
			}
		}
		return voters == w.weather.Members
	})
	w.calm = false
	if !ok && w.failed == nil {
		w.fail("the group was not born within %d s", birthTime/second)
	}
	return w.failed
}

// converge heals everything and demands what a healthy group promises: one leader, a write that is answered,
// everything applied everywhere, equal states.
func (w *World) converge() {
	w.heal()
	w.story.line(w, 0, "everything heals")
	var last *replica.Proposal
	written := false
	ok := w.runUntil(w.now+healTime, func() bool {
		l := w.leader()
		if l == nil || w.now < l.resumes {
			return false
		}
		if last == nil {
			p, err := l.replica.Register(kv.Command{Txn: kv.Txn{Success: []kv.Op{{Put: &kv.PutRequest{Key: []byte("last"), Value: []byte("word")}}}}}, l.replica.Now())
			if err == nil {
				last = p
				l.later(0, func() { l.replica.Propose([]*replica.Proposal{p}); l.pump() })
			}
			return false
		}
		select {
		case o := <-last.Done():
			written = o.Err == nil
			if !written {
				last = nil
			}
		default:
		}
		return written && w.settled()
	})
	switch {
	case w.failed != nil:
	case !ok:
		w.fail("not converged %d s after everything healed: %s", healTime/second, w.situation())
	default:
		if err := w.truth.end(w.members()); err != nil {
			w.fail("after everything healed: %w", err)
		}
		w.rest()
	}
}

// rest demands that nothing is left hanging once nobody asks any more.
func (w *World) rest() {
	var left string
	w.runUntil(w.now+restTime, func() bool {
		left = w.leftovers()
		return left == ""
	})
	if left != "" && w.failed == nil {
		w.fail("%d s after the group has converged: %s", restTime/second, left)
	}
}

// leftovers names the first thing that somebody still holds.
func (w *World) leftovers() string {
	for _, h := range w.living() {
		switch {
		case h.replica.Waiting() > 0:
			return fmt.Sprintf("member %d has %d proposals without an outcome", h.id, h.replica.Waiting())
		case h.receiving:
			return fmt.Sprintf("member %d holds a snapshot that nobody sends", h.id)
		case len(h.held) > 0:
			return fmt.Sprintf("member %d has not done %d things", h.id, len(h.held))
		}
	}
	if n := w.net.held(); n > 0 {
		return fmt.Sprintf("%d messages wait in the network", n)
	}
	return ""
}

// heal ends every fault, and starts whatever has data to start from.
func (w *World) heal() {
	w.calm = true
	w.net.heal()
	for _, id := range w.ids {
		h := w.hosts[id]
		h.disk.SetSize(0)
		if h.ill.damaged && !h.ill.lost && !h.up() {
			h.start() // it must be refused
		}
		if !h.ill.lost {
			h.ill = illness{}
		}
		if h.up() {
			h.faulty.Set()
			h.ground().sicken(nil)
			h.diskDelay, h.lag, h.clock, h.resumes = 0, 0, clock{}, 0
			h.wake()
		}
		h.restart()
	}
	w.after(0, w.mendOn)
}

// mendOn is the operator in the healed world.
func (w *World) mendOn() {
	w.mend()
	w.probeOn()
	for _, id := range w.ids {
		w.hosts[id].scrub()
	}
	w.after(second, w.mendOn)
}

// settled reports whether every member has applied all that the leader has.
func (w *World) settled() bool {
	all := w.members()
	l := w.leader()
	if len(all) == 0 || !w.mended() {
		return false
	}
	for _, h := range all {
		if !h.up() || h.store.Applied().Index < uint64(l.replica.Brief().Last) || !w.truth.sound(h) || h.altered.tainted || h.diverged {
			return false
		}
	}
	return true
}

func (w *World) situation() string {
	text := ""
	for _, h := range w.living() {
		b := h.replica.Brief()
		text += fmt.Sprintf("; m%d %v term %d leader %d commit %d log %d-%d applied %d lost %d rebuilding %v", h.id, b.Role, b.Term, b.Leader, b.Commit, b.First, b.Last, h.store.Applied().Index, b.Lost, b.Rebuilding)
	}
	return text
}

func (w *World) report(clients []*client) Report {
	r := Report{Seed: w.seed, Weather: w.weather, Seconds: w.now / second, Faults: w.Faults, Events: w.order, NextDraw: w.rng.Uint64()}
	for _, c := range clients {
		if c.pending != nil {
			c.doubt()
		}
		for _, op := range c.history {
			if op.Kind != Get && !op.Unknown {
				r.Acked++
			}
			r.History = append(r.History, op)
		}
	}
	return r
}

// close lets go of what the hosts hold.
func (w *World) close() {
	for _, h := range w.living() {
		h.replica.Stop()
		h.forgetCut()
		if err := h.store.Close(); err != nil && w.failed == nil {
			w.fail("member %d: close the store: %w", h.id, err)
		}
	}
}
