package raft

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// world is a small deterministic cluster of cores: messages in a bag, disks with a synced part, time by
// hand. It checks the protocol's invariants as it goes.
type world struct {
	t       testing.TB
	rng     *rand.Rand
	nodes   map[MemberID]*node
	ids     []MemberID
	bag     []Message
	cut     map[[2]MemberID]bool
	leaders map[Term]MemberID
	chosen  []Entry // committed entries by index-1, as first seen anywhere
	nextRef uint64
	granted map[uint64]Index
	refused map[uint64]Refusal
	floor   map[uint64]Index                 // for a read: what was committed when it was asked for
	wild    int                              // the weather, see chaosStep
	keep    Index                            // entries kept when cutting, 0: never cut
	streams []stream                         // snapshots on their way
	holding bool                             // and they stay so
	every   Index                            // the stores' points of attestation, 0: none
	tuning  Config                           // what every member is made of; identity and Rand are filled in
	tell    func(format string, args ...any) // hears what happens; nil: nobody

	damaged, mended damages
}

// stream is one snapshot on its way to a peer, as its sender's state was when it began.
type stream struct {
	from, to MemberID
	boot     Boot // of the sender: a stream ends with the life that began it
	base     Base
}

type node struct {
	id      MemberID
	core    *Core
	up      bool
	boot    Boot
	disk    Restored // durable
	queue   []job    // given to the writer, not durable
	applied Index
	removed bool
	hung    bool   // the disk answers nothing
	commit  Index  // as last said
	spoilt  uint32 // wrong in the store; not in the log, and survives a restart
}

type job struct {
	batch Batch
	late  []Message
}

// newWorld makes a cluster of n voters with small bounds; the seed decides how impatient they are.
func newWorld(t testing.TB, seed uint64, n int) *world {
	w := emptyWorld(t, seed, Config{ElectionTicks: 3 + int(seed/3%3)*4, TailBytes: 256, MaxAppendBytes: 64, MaxInflightMessages: 4})
	w.populate(voters(n))
	return w
}

func emptyWorld(t testing.TB, seed uint64, tuning Config) *world {
	return &world{t: t, rng: rand.New(rand.NewPCG(seed, 1)), nodes: map[MemberID]*node{}, cut: map[[2]MemberID]bool{},
		leaders: map[Term]MemberID{}, granted: map[uint64]Index{}, refused: map[uint64]Refusal{}, floor: map[uint64]Index{},
		tuning: tuning}
}

// populate adds members who share the membership as their first, committed entry.
func (w *world) populate(m Membership) {
	e := sealed(1, 1, EntryMembership, m.AppendTo(nil))
	for _, x := range m.Members {
		w.add(x.ID, Restored{Hard: HardState{Term: 1, Commit: 1}, Entries: []Entry{e}})
	}
}

func (w *world) add(id MemberID, r Restored) {
	w.ids = append(w.ids, id)
	w.nodes[id] = &node{id: id, disk: r}
	w.start(id)
}

func (w *world) start(id MemberID) {
	n := w.nodes[id]
	n.boot++
	cfg := w.tuning
	cfg.ID, cfg.Boot, cfg.Rand = id, n.boot, rand.New(rand.NewPCG(w.rng.Uint64(), 2))
	r := n.disk
	r.Applied = n.applied
	r.Entries = slices.Clone(r.Entries)
	c, err := New(cfg, r)
	if err != nil {
		w.t.Fatalf("member %v: restart: %v", id, err)
	}
	n.core, n.up, n.queue, n.commit = c, true, nil, c.Brief().Commit
	w.connect()
}

// connect tells every pair that can reach each other which boots they run, as the transport's handshake does.
func (w *world) connect() {
	for _, a := range w.ids {
		for _, b := range w.ids {
			x, y := w.nodes[a], w.nodes[b]
			if a != b && x.up && y.up && !w.cut[[2]MemberID{a, b}] {
				w.local(x, Connected{Peer: b, Boot: y.boot})
			}
		}
	}
}

// crash loses what was not synced.
func (w *world) crash(id MemberID) { w.nodes[id].up, w.nodes[id].queue = false, nil }

func (n *node) write(b Batch) {
	if b.Base != nil {
		n.disk.Base, n.disk.Entries = *b.Base, nil
	}
	if b.Hard != nil {
		n.disk.Hard = *b.Hard
	}
	if len(b.Entries) > 0 {
		keep := b.Entries[0].Index - n.disk.Base.Position.Index - 1
		n.disk.Entries = append(slices.Clone(n.disk.Entries[:keep]), b.Entries...)
	}
	n.fill(b.Fills)
}

// sync makes the oldest queued batches durable and lets their late messages go.
func (w *world) sync(n *node, jobs int) {
	var seq uint64
	for range min(jobs, len(n.queue)) {
		j := n.queue[0]
		n.queue = n.queue[1:]
		n.write(j.batch)
		seq = max(seq, j.batch.Seq)
		w.acked(n, j.late)
		w.bag = append(w.bag, j.late...)
		w.mended.entries += len(j.batch.Fills)
		w.sayDurable(n, j.batch)
	}
	if seq > 0 {
		w.local(n, Persisted{Seq: seq})
	}
}

func (w *world) local(n *node, b Body) {
	if err := n.core.Step(Message{Body: b}); err != nil {
		w.t.Fatalf("member %v: %T: %v", n.id, b, err)
	}
	w.drain(n)
}

// drain performs what a member wants done until it is idle.
func (w *world) drain(n *node) {
	for {
		out := n.core.Take()
		w.check(n, out)
		w.sayOutput(n, out)
		w.bag = append(w.bag, out.Early...)
		if !out.Persist.Empty() || len(out.Late) > 0 {
			n.queue = append(n.queue, job{out.Persist, out.Late})
		}
		if out.Install != nil && n.rebuilding() {
			w.mended.stores++
		}
		w.install(n, out.Install)
		w.apply(n, out.Commit)
		w.answers(n, out)
		for _, f := range out.Fetches {
			w.fetch(n, f)
		}
		for _, to := range out.Snapshots {
			w.snapshot(n, to)
		}
		n.removed = n.removed || out.Removed
		if out.Persist.Empty() && len(out.Early)+len(out.Late)+len(out.Commit)+len(out.Fetches)+len(out.Snapshots) == 0 {
			return
		}
	}
}

// install switches the store to a received snapshot, then the log, or cuts it there: nothing may be in between in
// this world.
func (w *world) install(n *node, in *Install) {
	if in == nil {
		return
	}
	if in.Base.Position.Index < n.applied {
		w.t.Fatalf("member %v: goes back from %d to a snapshot of %v", n.id, n.applied, in.Base.Position)
	}
	n.applied, n.spoilt = in.Base.Position.Index, 0
	for len(n.queue) > 0 {
		j := n.queue[0]
		n.queue = n.queue[1:]
		n.write(j.batch)
		w.bag = append(w.bag, j.late...)
		if j.batch.Seq > 0 {
			_ = n.core.Step(Message{Body: Persisted{Seq: j.batch.Seq}})
		}
	}
	if in.KeepLog {
		n.cut(in.Base)
	}
	_ = n.core.Step(Message{Body: Applied{Index: n.applied, Installed: true}})
}

// answers notes what this member's clients are told.
func (w *world) answers(n *node, out Output) {
	for _, g := range out.Reads {
		w.granted[g.Ref] = g.Index
		if g.Index < w.floor[g.Ref] {
			w.t.Fatalf("member %v: read %d granted at %d, but %d was committed when it was asked for", n.id, g.Ref, g.Index, w.floor[g.Ref])
		}
	}
	for _, r := range out.Refused {
		w.refused[r.Ref] = r.Reason
	}
}

func (w *world) fetch(n *node, f Fetch) {
	base := n.disk.Base.Position
	span := Span{}
	if f.From > base.Index && int(f.From-base.Index) <= len(n.disk.Entries) {
		i := int(f.From - base.Index - 1)
		span.Prev = base
		if i > 0 {
			span.Prev = n.disk.Entries[i-1].Position()
		}
		to := i
		for to < min(i+3, len(n.disk.Entries)) && !n.disk.Entries[to].Lost() {
			to++
		}
		span.Entries = n.disk.Entries[i:to]
	}
	_ = n.core.Step(Message{Body: Fetched{To: f.To, Repair: f.Repair, Span: span}})
}

// snapshot begins a stream of the sender's applied state.
func (w *world) snapshot(n *node, to MemberID) {
	base, ok := n.core.BaseAt(n.applied)
	if !ok {
		w.t.Fatalf("member %v: cannot describe its state at %d", n.id, n.applied)
	}
	w.streams = append(w.streams, stream{from: n.id, to: to, boot: n.boot, base: base})
}

// endStream lets a snapshot arrive, if its receiver can be reached and ok is set, and tells the sender.
func (w *world) endStream(i int, ok bool) {
	s := w.streams[i]
	w.streams = slices.Delete(w.streams, i, i+1)
	from, to := w.nodes[s.from], w.nodes[s.to]
	if !from.up || from.boot != s.boot {
		return
	}
	sent := SnapshotSent{To: s.to}
	if ok && to.up && !w.cut[[2]MemberID{s.from, s.to}] {
		w.say("%v->%v snapshot of %v", s.from, s.to, s.base.Position)
		w.local(to, SnapshotReceived{From: s.from, Base: s.base})
		sent = SnapshotSent{To: s.to, At: s.base.Position, OK: true}
	} else {
		w.say("%v->%v snapshot of %v fails", s.from, s.to, s.base.Position)
	}
	w.local(from, sent)
}

// apply checks state-machine safety and that only durable entries are applied.
func (w *world) apply(n *node, entries []Entry) {
	for _, e := range entries {
		if e.Index != n.applied+1 {
			w.t.Fatalf("member %v: applies %d after %d", n.id, e.Index, n.applied)
		}
		last := n.disk.Base.Position.Index + Index(len(n.disk.Entries))
		if e.Index > last {
			w.t.Fatalf("member %v: applies %d, but its disk ends at %d", n.id, e.Index, last)
		}
		if n.disk.Entries[e.Index-n.disk.Base.Position.Index-1].Lost() {
			w.t.Fatalf("member %v: applies %d, which its disk has lost", n.id, e.Index)
		}
		if int(e.Index) <= len(w.chosen) {
			if was := w.chosen[e.Index-1]; was.Sum != e.Sum || was.Term != e.Term {
				w.t.Fatalf("member %v: applies %v, another applied %v there", n.id, e.Position(), was.Position())
			}
		} else {
			w.chosen = append(w.chosen, e)
		}
		n.applied = e.Index
		w.say("%v: applies %v", n.id, told{e})
	}
	if len(entries) > 0 {
		_ = n.core.Step(Message{Body: Applied{Index: n.applied, Points: w.points(n, entries)}})
		if w.keep > 0 && n.applied > n.disk.Base.Position.Index+2*w.keep {
			w.compact(n, n.applied-w.keep)
		}
	}
}

// points are those that a member's store passes with these entries: the sum of an index is the index.
func (w *world) points(n *node, entries []Entry) []Point {
	var points []Point
	for _, e := range entries {
		if w.every > 0 && e.Index%w.every == 0 {
			points = append(points, Point{e.Index, uint32(e.Index) + n.spoilt})
		}
	}
	return points
}

func (w *world) compact(n *node, at Index) {
	base, ok := n.core.BaseAt(at)
	if !ok {
		return
	}
	n.cut(base)
	_ = n.core.Step(Message{Body: Compacted{Base: base}})
}

// check holds every output to its form.
func (w *world) check(n *node, out Output) {
	for i, e := range out.Persist.Entries {
		if i > 0 && e.Index != out.Persist.Entries[i-1].Index+1 {
			w.t.Fatalf("member %v: batch has a gap at %v", n.id, e.Position())
		}
		if err := e.Check(); err != nil {
			w.t.Fatal(err)
		}
	}
	for _, m := range out.Early {
		switch b := m.Body.(type) {
		case VoteRequest, VoteReply:
			w.t.Fatalf("member %v: %T leaves early", n.id, b)
		case AppendReply:
			if !b.Rejected {
				w.t.Fatalf("member %v: an ack leaves early", n.id)
			}
		}
	}
	if rule := n.core.broken(); rule != "" {
		w.t.Fatalf("member %v: this does not hold: %s\n%+v", n.id, rule, n.core.Status())
	}
	if s := n.core.Brief(); s.Role == RoleLeader {
		if was, ok := w.leaders[s.Term]; ok && was != n.id {
			w.t.Fatalf("members %v and %v both lead term %d", was, n.id, s.Term)
		}
		if _, ok := w.leaders[s.Term]; !ok {
			w.leaders[s.Term] = n.id
			w.complete(n)
		}
	}
}

// complete demands that a new leader holds everything that was ever committed (thesis §3.6, figure 3.2).
func (w *world) complete(n *node) {
	for i, e := range w.chosen {
		at := Position{Index(i + 1), e.Term}
		if at.Index > n.core.log.base.Position.Index && !n.core.log.holds(at) {
			w.t.Fatalf("member %v leads term %d without the committed entry %v", n.id, n.core.hard.Term, at)
		}
	}
}

// matching demands that two logs which agree on a position agree on everything before it (figure 3.2).
func (w *world) matching() {
	for i, a := range w.ids {
		for _, b := range w.ids[i+1:] {
			x, y := &w.nodes[a].core.log, &w.nodes[b].core.log
			agree := false
			low := max(x.base.Position.Index, y.base.Position.Index)
			for at := min(x.last.Index, y.last.Index); at > low; at-- {
				s, _ := x.term(at)
				t, _ := y.term(at)
				if s != t && agree {
					w.t.Fatalf("members %v and %v agree behind %d, but hold terms %d and %d there", a, b, at, s, t)
				}
				agree = agree || s == t
			}
		}
	}
}

func (w *world) deliver(i int) {
	m := w.bag[i]
	w.bag = slices.Delete(w.bag, i, i+1)
	n := w.nodes[m.To]
	if n == nil || !n.up || w.cut[[2]MemberID{m.From, m.To}] {
		w.say("%v is lost", told{m})
		return
	}
	w.say("%v", told{m})
	if err := n.core.Step(m); err != nil {
		w.t.Fatalf("member %v: %T from %v: %v", n.id, m.Body, m.From, err)
	}
	w.drain(n)
}

// settle runs everything to rest: syncs, then messages in order, with a tick whenever idle, up to n ticks.
func (w *world) settle(ticks int) {
	for range ticks {
		w.quiet()
		for _, id := range w.ids {
			if n := w.nodes[id]; n.up {
				n.core.Tick()
				w.drain(n)
			}
		}
	}
	w.quiet()
}

func (w *world) quiet() {
	for rounds := 0; ; rounds++ {
		if rounds > 100_000 {
			w.t.Fatal("the cluster does not come to rest")
		}
		busy := false
		for _, id := range w.ids {
			if n := w.nodes[id]; n.up && !n.hung && len(n.queue) > 0 {
				w.sync(n, len(n.queue))
				busy = true
			}
		}
		if len(w.bag) > 0 {
			w.deliver(0)
			busy = true
		} else if len(w.streams) > 0 && !w.holding {
			w.endStream(0, true)
			busy = true
		}
		if !busy {
			return
		}
	}
}

func (w *world) leader() *node {
	var best *node
	for _, id := range w.ids {
		if n := w.nodes[id]; n.up && n.core.Brief().Role == RoleLeader && (best == nil || n.core.Brief().Term > best.core.Brief().Term) {
			best = n
		}
	}
	return best
}

func (w *world) propose(n *node, payload string) uint64 {
	w.nextRef++
	w.local(n, Propose{Proposals: []Proposal{{Ref: w.nextRef, Payload: []byte(payload)}}})
	return w.nextRef
}

func (w *world) read(n *node) uint64 {
	w.nextRef++
	w.floor[w.nextRef] = Index(len(w.chosen))
	w.local(n, Read{Ref: w.nextRef})
	return w.nextRef
}

func (w *world) change(n *node, c Change) uint64 {
	w.nextRef++
	w.local(n, ChangeMembership{Ref: w.nextRef, Change: c})
	return w.nextRef
}

// isolate cuts a member off both ways, or heals it.
func (w *world) isolate(id MemberID, cut bool) {
	for _, x := range w.ids {
		w.cut[[2]MemberID{id, x}], w.cut[[2]MemberID{x, id}] = cut, cut
	}
	w.connect()
}
