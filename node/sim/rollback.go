package sim

import (
	"errors"

	"raftsman.dev/node/raft"
	"raftsman.dev/node/vfs"
)

// volume is the disk of a host as it was once.
type volume struct {
	disk     *vfs.Mem
	shelf    shelf
	standing string
}

// What becomes of a volume that was rolled back: somebody has seen the member in a later state, or nobody has.
var (
	errOlder  = errors.New("a peer has seen this member in a later boot, or in this one with a higher term or commit")
	errUnseen = errors.New("no peer that is reached has seen more of this member")
)

// sighting is what a member has seen of another in its own present life: the newest boot, and in that the highest
// term and commit.
type sighting struct {
	boot   raft.Boot
	term   raft.Term
	commit raft.Index
}

// meet notes what a message tells of its sender.
func (h *host) meet(boot raft.Boot, m raft.Message) {
	s := h.met[m.From]
	if boot > s.boot {
		s = sighting{boot: boot}
	}
	if boot == s.boot {
		s.term = max(s.term, claimed(m))
		switch b := m.Body.(type) {
		case raft.Append:
			s.commit = max(s.commit, b.Commit)
		case raft.Heartbeat:
			s.commit = max(s.commit, b.Commit)
		}
	}
	h.met[m.From] = s
}

// claimed is the term that the sender of a message is in: a pre-vote is asked for, and granted, in one to come.
func claimed(m raft.Message) raft.Term {
	switch b := m.Body.(type) {
	case raft.VoteRequest:
		if b.Pre {
			return m.Term - 1
		}
	case raft.VoteReply:
		if b.Pre && b.Granted {
			return 0
		}
	}
	return m.Term
}

// outdated asks every peer within reach what it has seen of this member, as a handshake can answer it. The member
// judges by its own state: in one boot neither its term nor its commit goes back.
func (h *host) outdated() bool {
	b := h.replica.Brief()
	for _, id := range h.w.ids {
		p := h.w.hosts[id]
		if id == h.id || !p.up() || h.w.now < p.resumes || !h.w.net.reach(h.id, id) || !h.w.net.reach(id, h.id) {
			continue
		}
		s := p.met[h.id]
		if s.boot > h.boot || s.boot == h.boot && (s.term > b.Term || s.commit > b.Commit) {
			return true
		}
	}
	return false
}

// compare is the last step of a start: a member that was seen in a later state has an older volume.
func (h *host) compare() error {
	older := h.outdated()
	switch {
	case h.ill.rolled && older:
		h.ill.damaged = true
		return errOlder
	case h.ill.rolled:
		return errUnseen
	case older:
		h.w.fail("member %d boot %d is taken for one whose volume was rolled back", h.id, h.boot)
	}
	return nil
}

// keepCopy keeps a copy of the volume at rest, now and then.
func (h *host) keepCopy() {
	if h.w.weather.RollBack > 0 && !h.unsound() && h.w.rng.IntN(4) == 0 {
		h.older = &volume{h.disk.Clone(), h.shelf.crash(h.w, h.standing), h.standing}
	}
}

// rollBack brings a member back with an older copy of its volume. The promise is that it is refused where a peer
// within reach has seen more; where none has, nothing could be demanded, and it is not done.
func (w *World) rollBack(h *host) {
	if h.older == nil || h.ill.kind != "" || h.unsound() || !w.spare(h) {
		return
	}
	if h.up() {
		h.kill()
	}
	newer := volume{h.disk, h.shelf, h.standing}
	h.disk, h.shelf, h.standing, h.older = h.older.disk, h.older.shelf, h.older.standing, nil
	h.ill = illness{kind: "volume rolled back", rolled: true}
	h.start()
	if !h.ill.lost {
		w.fault("volume rolled back: nobody knows, not done")
		h.disk, h.shelf, h.standing, h.ill = newer.disk, newer.shelf, newer.standing, illness{}
		return
	}
	w.fault("volume rolled back: refused")
}
