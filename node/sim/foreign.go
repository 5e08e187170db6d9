package sim

import (
	"raftsman.dev/node/raft"
	"raftsman.dev/node/transport"
)

// The simulated cluster, and another one that its members must not listen to.
const (
	ours   raft.ClusterID = 0x0a
	theirs raft.ClusterID = 0x0b
)

// foreign lets a member of another cluster talk to one of ours, with what would do most harm: it may bear the ID
// of one of our members, as after a copy of a volume.
func (w *World) foreign() {
	up := w.living()
	if len(up) == 0 {
		return
	}
	h := pick(w, up)
	if h.dir.Identity().Cluster == 0 {
		return // whoever means an unjoined member by its ID may have it
	}
	b := h.replica.Brief()
	from := transport.Identity{Member: pick(w, w.ids), Cluster: theirs, Boot: 1 << 20}
	meant := h.id
	if w.rng.IntN(4) == 0 { // of our cluster, but it means another than who answers
		from.Cluster, meant = ours, pick(w, w.ids)
	}
	if from.Member == h.id || from.Cluster == ours && meant == h.id {
		return
	}
	m := raft.Message{From: from.Member, To: h.id, FromBoot: from.Boot, Term: b.Term + 100, Body: w.harm(b)}
	if w.net.admitted(h, from, meant) {
		h.receive(m, true)
		return
	}
	if from.Cluster == theirs {
		w.fault("refused: of another cluster")
	} else {
		w.fault("refused: means another member")
	}
}

// harm is a message that must not get through.
func (w *World) harm(b raft.Brief) raft.Body {
	e := raft.Entry{Index: b.Commit + 1, Term: b.Term + 100, Kind: raft.EntryNoop}
	e.Seal()
	return pick(w, []raft.Body{
		raft.VoteRequest{Campaign: 1, Transfer: true, Last: raft.Position{Index: b.Last + 100, Term: b.Term + 100}},
		raft.Append{Prev: raft.Position{Index: b.Commit, Term: b.Term}, Commit: b.Commit + 1, Entries: []raft.Entry{e}},
		raft.Heartbeat{Commit: b.Last},
		raft.TimeoutNow{},
	})
}
