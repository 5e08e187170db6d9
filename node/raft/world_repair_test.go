package raft

import "slices"

// damages counts what disks have lost, or got back.
type damages struct{ entries, stores int }

func (d *damages) add(x damages) {
	d.entries += x.entries
	d.stores += x.stores
}

// fill brings lost content back to a disk.
func (n *node) fill(fills []Entry) {
	if len(fills) == 0 {
		return
	}
	n.disk.Entries = slices.Clone(n.disk.Entries)
	for _, e := range fills {
		was := &n.disk.Entries[e.Index-n.disk.Base.Position.Index-1]
		if !was.Lost() || was.Position() != e.Position() || was.Sum != e.Sum {
			panic("a batch fills what is not lost there")
		}
		*was = e
	}
}

// cut lets the log on disk begin behind base.
func (n *node) cut(base Base) {
	n.disk.Entries = slices.Clone(n.disk.Entries[base.Position.Index-n.disk.Base.Position.Index:])
	n.disk.Base = base
}

// lose damages an entry on the disk of a member that is down: only its place and checksum are left.
func (n *node) lose(i Index) {
	n.disk.Entries = slices.Clone(n.disk.Entries)
	e := &n.disk.Entries[i-n.disk.Base.Position.Index-1]
	*e = Entry{Index: e.Index, Term: e.Term, Sum: e.Sum}
}

// rebuilding reports whether a store waits for a snapshot.
func (n *node) rebuilding() bool { return n.applied < n.disk.Base.Position.Index }

// lost lists what a disk has lost.
func (n *node) lost() []Entry {
	return slices.DeleteFunc(slices.Clone(n.disk.Entries), func(e Entry) bool { return !e.Lost() })
}

// holds reports whether a disk has the content of an entry, or its store what it did.
func (n *node) holds(e Entry) bool {
	base := n.disk.Base.Position.Index
	switch {
	case e.Index <= n.applied && !n.rebuilding():
		return true
	case e.Index <= base || e.Index > base+Index(len(n.disk.Entries)):
		return false
	}
	mine := n.disk.Entries[e.Index-base-1]
	return !mine.Lost() && mine.Position() == e.Position()
}

// acked demands that an ack which leaves promises content above the commit index, and that it is there.
func (w *world) acked(n *node, late []Message) {
	base := n.disk.Base.Position.Index
	for _, m := range late {
		a, ok := m.Body.(AppendReply)
		if !ok || a.Rejected {
			continue
		}
		for i := max(n.core.commit, base) + 1; i <= a.Match; i++ {
			if i > base+Index(len(n.disk.Entries)) || n.disk.Entries[i-base-1].Lost() {
				w.t.Fatalf("member %v acknowledges up to %d, but cannot read %d and knows no more than %d to be committed", n.id, a.Match, i, n.core.commit)
			}
		}
	}
}

// damage lets the disk of a member that is down lose entries, or its store, as far as the others can make up for
// it.
func (w *world) damage(n *node) {
	if w.rng.IntN(3) == 0 {
		w.loseStore(n)
	}
	for _, e := range n.disk.Entries {
		if e.Index > n.applied && w.rng.IntN(3) == 0 && w.spares(n, e) {
			n.lose(e.Index)
			w.damaged.entries++
		}
	}
}

// spares reports whether a member may lose an entry: another holds it, or it is not committed and the others can do
// without this member.
func (w *world) spares(n *node, e Entry) bool {
	if int(e.Index) <= len(w.chosen) && w.chosen[e.Index-1].Position() == e.Position() {
		return w.held(n, e)
	}
	for _, id := range w.ids {
		if x := w.nodes[id]; x != n && (x.rebuilding() || len(x.lost()) > 0) {
			return false
		}
	}
	return !n.rebuilding() && n.threeVoters()
}

// held reports whether another member than n holds an entry.
func (w *world) held(n *node, e Entry) bool {
	return slices.ContainsFunc(w.ids, func(id MemberID) bool { return w.nodes[id] != n && w.nodes[id].holds(e) })
}

// threeVoters reports whether every membership that a disk knows of has three voters or more in each half.
func (n *node) threeVoters() bool {
	all := []Membership{n.disk.Base.Membership}
	for _, e := range n.disk.Entries {
		if e.Kind == EntryMembership {
			m, err := DecodeMembership(e.Payload)
			if err != nil {
				return false
			}
			all = append(all, m)
		}
	}
	for i, m := range all {
		in, out := m.Voters()
		if len(in) < 3 && !(i == 0 && len(in) == 0) || m.Joint() && len(out) < 3 {
			return false
		}
	}
	return len(n.lost()) == 0
}

// loseStore takes a member's store away, if another's state can replace it and nobody needs it for what is lost.
func (w *world) loseStore(n *node) {
	base := n.disk.Base.Position.Index
	before, replaced := n.applied, base == 0
	for _, id := range w.ids {
		x := w.nodes[id]
		if x != n && len(x.lost()) > 0 && !x.committedLoss(w) {
			return
		}
		replaced = replaced || x != n && !x.rebuilding() && x.applied >= base
	}
	if !replaced || !n.committedLoss(w) {
		return
	}
	n.applied = 0
	for _, id := range w.ids {
		for _, e := range w.nodes[id].lost() {
			if !w.held(w.nodes[id], e) {
				n.applied = before
				return
			}
		}
	}
	w.damaged.stores++
}

// committedLoss reports whether all that a disk has lost is committed.
func (n *node) committedLoss(w *world) bool {
	return !slices.ContainsFunc(n.lost(), func(e Entry) bool {
		return int(e.Index) > len(w.chosen) || w.chosen[e.Index-1].Position() != e.Position()
	})
}
