package raft

import (
	"flag"
	"fmt"
	"testing"
)

// A longer hunt: go test ./node/raft -run TestChaos -args -chaos.from=1000 -chaos.seeds=20000
var (
	chaosFrom  = flag.Uint64("chaos.from", 0, "first seed of TestChaos")
	chaosSeeds = flag.Uint64("chaos.seeds", 300, "number of seeds of TestChaos")
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
	var damaged, mended damages
	for seed := *chaosFrom; seed < *chaosFrom+seeds; seed++ {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			w := chaos(t, seed)
			damaged.add(w.damaged)
			mended.add(w.mended)
		})
	}
	t.Logf("damaged: %+v; mended: %+v", damaged, mended)
	if seeds >= 200 && (mended.entries < 100 || mended.stores < 10) {
		t.Errorf("the worlds are too kind: of %+v damaged, %+v were mended by peers", damaged, mended)
	}
}

func chaos(t *testing.T, seed uint64) *world {
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
	w.mend()
	w.settle(200)
	w.converged()
	return w
}

// chaosStep lets one thing happen. Weather changes every 150 steps: in calm weather the cluster works, in
// rough weather things break now and then, in wild weather it hardly ever has a quorum.
func (w *world) chaosStep(step int) {
	if step%150 == 0 {
		w.wild = []int{0, 1, 2, 10}[w.rng.IntN(4)]
		if w.wild == 0 {
			w.mend()
		}
	}
	n := w.nodes[w.ids[w.rng.IntN(len(w.ids))]]
	if w.rng.IntN(1000) < 6*w.wild {
		w.fault(n)
		return
	}
	switch dice := w.rng.IntN(100); {
	case !n.up:
		if dice < 20 {
			w.start(n.id)
		}
	case dice < 52:
		for range 1 + w.rng.IntN(4) {
			w.someMessage()
		}
	case dice < 67:
		w.someDisk()
	case dice < 69:
		if len(w.streams) > 0 {
			w.endStream(w.rng.IntN(len(w.streams)), w.rng.IntN(3) > 0)
		}
	case dice < 74:
		n.core.Tick()
		w.drain(n)
	case dice < 78:
		for _, id := range w.ids {
			if m := w.nodes[id]; m.up {
				m.core.Tick()
				w.drain(m)
			}
		}
	case dice < 92:
		w.propose(n, fmt.Sprintf("%d:%d", n.id, step))
	case dice < 96:
		w.read(n)
	case dice < 97:
		w.local(n, Watched{On: w.rng.IntN(2) == 0})
	case dice < 98:
		w.local(n, Hurry{})
	default:
		w.request(n)
	}
}

// someMessage delivers one of the oldest messages, mostly.
func (w *world) someMessage() {
	if len(w.bag) == 0 {
		return
	}
	reach := len(w.bag)
	if w.rng.IntN(10) > 0 {
		reach = min(reach, 1+w.rng.IntN(8))
	}
	w.deliver(w.rng.IntN(reach))
}

// someDisk lets one of the disks that have something to do answer, in part or in full.
func (w *world) someDisk() {
	var busy []*node
	for _, id := range w.ids {
		if n := w.nodes[id]; n.up && !n.hung && len(n.queue) > 0 {
			busy = append(busy, n)
		}
	}
	if len(busy) > 0 {
		n := busy[w.rng.IntN(len(busy))]
		w.sync(n, 1+w.rng.IntN(len(n.queue)))
	}
}

// request asks for a membership change or a transfer, or nothing.
func (w *world) request(n *node) {
	switch w.rng.IntN(8) {
	case 0, 1:
		w.randomChange()
	case 2:
		if l := w.leader(); l != nil {
			n = l
		}
		w.nextRef++
		w.local(n, Transfer{Ref: w.nextRef})
	}
}

// fault breaks something, or mends it.
func (w *world) fault(n *node) {
	other := w.ids[w.rng.IntN(len(w.ids))]
	switch dice := w.rng.IntN(100); {
	case dice < 25: // double a message
		if len(w.bag) > 0 {
			w.bag = append(w.bag, w.bag[w.rng.IntN(len(w.bag))])
		}
	case dice < 55: // lose one
		if len(w.bag) > 0 {
			i := w.rng.IntN(len(w.bag))
			w.bag = append(w.bag[:i], w.bag[i+1:]...)
		}
	case dice < 65:
		w.powerFails(n)
	case dice < 72:
		w.isolate(n.id, true)
	case dice < 76: // one direction of one link
		w.cut[[2]MemberID{n.id, other}] = true
	case dice < 80:
		n.hung = !n.hung
	case dice < 85:
		if n.up {
			w.local(n, Unreachable{Peer: other})
		}
	default:
		n.hung = false
		w.isolate(n.id, false)
	}
}

// powerFails stops a member. Of what its disk had not answered a part may be written all the same, cut anywhere;
// and its store may have kept less than it applied.
func (w *world) powerFails(n *node) {
	if !n.up {
		return
	}
	for range w.rng.IntN(len(n.queue) + 1) {
		n.write(n.queue[0].batch)
		n.queue = n.queue[1:]
	}
	if len(n.queue) > 0 {
		torn := n.queue[0].batch
		torn.Entries = torn.Entries[:w.rng.IntN(len(torn.Entries)+1)]
		torn.Fills = nil
		n.write(torn)
	}
	if n.applied > n.disk.Base.Position.Index {
		n.applied -= Index(w.rng.IntN(int(n.applied-n.disk.Base.Position.Index) + 1))
	}
	w.crash(n.id)
	if w.rng.IntN(3) == 0 {
		w.damage(n)
	}
}

// mend heals all links, wakes all disks and starts everybody.
func (w *world) mend() {
	clear(w.cut)
	w.connect()
	for _, id := range w.ids {
		w.nodes[id].hung = false
		if !w.nodes[id].up {
			w.start(id)
		}
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
