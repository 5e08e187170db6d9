package raft

import (
	"flag"
	"fmt"
	"testing"
)

// A longer hunt: go test ./node/raft -run TestChaos -args -chaos.from=1000 -chaos.seeds=20000
var (
	chaosFrom  = flag.Uint64("chaos.from", 0, "first seed of TestChaos")
	chaosSeeds = flag.Uint64("chaos.seeds", 600, "number of seeds of TestChaos")
)

// TestChaos runs seeded clusters through loss, duplication, reordering, partitions, crashes that lose what
// was not synced, membership changes, transfers, reads and cuts of the log; then it heals everything and
// demands convergence. The world checks election safety, leader completeness, log matching, state-machine
// safety and linearizable read points as it goes.
func TestChaos(t *testing.T) {
	seeds := *chaosSeeds
	if testing.Short() {
		seeds = min(seeds, 50)
	}
	for seed := *chaosFrom; seed < *chaosFrom+seeds; seed++ {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) { chaos(t, seed) })
	}
}

func chaos(t *testing.T, seed uint64) {
	w := newWorld(t, seed, 3+int(seed%3))
	if seed%2 == 0 {
		w.keep = 8
	}
	for id := len(w.ids) + 1; id <= 7; id++ {
		w.add(MemberID(id), Restored{})
	}
	for step := range 3000 {
		w.chaosStep(step)
		if step%100 == 0 {
			w.matching()
		}
	}
	clear(w.cut)
	w.connect()
	for _, id := range w.ids {
		w.nodes[id].hung = false
		if !w.nodes[id].up {
			w.start(id)
		}
	}
	w.settle(200)
	w.converged()
}

func (w *world) chaosStep(step int) {
	n := w.nodes[w.ids[w.rng.IntN(len(w.ids))]]
	dice := w.rng.IntN(1000)
	switch {
	case dice < 500 && len(w.bag) > 0:
		w.deliver(w.rng.IntN(len(w.bag)))
	case dice < 530 && len(w.bag) > 0: // duplicate
		w.bag = append(w.bag, w.bag[w.rng.IntN(len(w.bag))])
	case dice < 550 && len(w.bag) > 0: // lose
		i := w.rng.IntN(len(w.bag))
		w.bag = append(w.bag[:i], w.bag[i+1:]...)
	case !n.up:
		if dice%4 == 0 {
			w.start(n.id)
		}
	case dice < 560:
		if len(w.streams) > 0 {
			w.endStream(w.rng.IntN(len(w.streams)), dice < 557)
		}
	case dice < 730:
		if len(n.queue) > 0 && !n.hung {
			w.sync(n, 1+w.rng.IntN(len(n.queue)))
		}
	case dice < 880:
		n.core.Tick()
		w.drain(n)
	case dice < 930:
		w.propose(n, fmt.Sprintf("%d:%d", n.id, step))
	case dice < 950:
		w.read(n)
	case dice < 956:
		w.crash(n.id)
	case dice < 962:
		w.isolate(n.id, true)
	case dice < 964: // one direction of one link
		w.cut[[2]MemberID{n.id, w.ids[w.rng.IntN(len(w.ids))]}] = true
	case dice < 966:
		n.hung = !n.hung
	case dice < 975:
		n.hung = false
		w.isolate(n.id, false)
	case dice < 980:
		w.nextRef++
		w.local(n, Transfer{Ref: w.nextRef})
	case dice < 985:
		w.local(n, Unreachable{Peer: w.ids[w.rng.IntN(len(w.ids))]})
	default:
		w.randomChange()
	}
}

// randomChange asks whoever leads for additions, promotions and removals at once.
func (w *world) randomChange() {
	n := w.leader()
	if n == nil {
		return
	}
	in := n.core.Membership()
	var c Change
	for _, id := range w.ids {
		m, ok := in.Find(id)
		switch dice := w.rng.IntN(6); {
		case !ok && dice == 0 && w.nodes[id].core.Brief().Last == 0:
			c.AddLearners = append(c.AddLearners, Member{ID: id, Name: fmt.Sprint("m", id)})
		case ok && m.Seat == SeatLearner && dice < 4:
			c.Promote = append(c.Promote, id)
		case ok && m.Seat == SeatVoter && dice == 0 && len(in.Members) > 3:
			c.Remove = append(c.Remove, id)
		}
	}
	w.change(n, c)
}

// converged demands one leader, whose members all hold and have applied the same log.
func (w *world) converged() {
	l := w.leader()
	if l == nil {
		w.t.Fatalf("no leader after healing:\n%s", w.dump())
	}
	in := l.core.Membership()
	if in.Joint() {
		w.t.Fatalf("still joint after healing: %v", in)
	}
	before := len(w.chosen)
	w.propose(l, "after healing")
	ref := w.read(w.nodes[in.Members[0].ID])
	w.settle(5)
	if len(w.chosen) <= before {
		w.t.Fatalf("nothing is committed after healing:\n%s", w.dump())
	}
	if _, ok := w.granted[ref]; !ok {
		w.t.Fatalf("read %d is not granted after healing (refused: %v):\n%s", ref, w.refused[ref], w.dump())
	}
	for _, x := range in.Members {
		if got := w.nodes[x.ID].applied; got != Index(len(w.chosen)) {
			w.t.Fatalf("member %v applied %d of %d:\n%s", x.ID, got, len(w.chosen), w.dump())
		}
	}
}

func (w *world) dump() string {
	s := ""
	for _, id := range w.ids {
		n := w.nodes[id]
		s += fmt.Sprintf("%v up=%v boot=%d applied=%d %+v\n", id, n.up, n.boot, n.applied, n.core.Status())
	}
	return s
}
