package sim

import (
	"errors"

	"raftsman.dev/node/raft"
	"raftsman.dev/node/transport"
	"raftsman.dev/node/vfs"
)

// volume is the disk of a host as it was once.
type volume struct {
	disk     *vfs.Mem
	shelf    shelf
	standing string
}

// errUnseen is what becomes of a volume that was rolled back where nobody has seen the member in a later state.
var errUnseen = errors.New("no peer that is reached has seen more of this member")

// sighting is what a member has seen of another in its own present life: as the transport keeps it, and as the promise
// has it, the newest boot, and in that the highest term and commit.
type sighting struct {
	seen   transport.Seen
	boot   raft.Boot
	term   raft.Term
	commit raft.Index
}

// meet notes what a message tells of its sender.
func (h *host) meet(from transport.Identity, m raft.Message) {
	s, ever := h.met[from.Member], h.ever[from.Member]
	b := h.replica.Brief()
	for _, seen := range []*transport.Seen{&s.seen, &ever} {
		seen.Meet(from.Boot, from.Life)
		if m.FromBoot == from.Boot {
			seen.Hear(&m, b.Commit, b.Term)
		}
	}
	s.note(from.Boot, m)
	h.met[from.Member], h.ever[from.Member] = s, ever
}

// note keeps to the words of the promise.
func (s *sighting) note(boot raft.Boot, m raft.Message) {
	if boot > s.boot {
		s.boot, s.term, s.commit = boot, 0, 0
	}
	if boot < s.boot {
		return
	}
	s.term = max(s.term, claimed(m))
	switch b := m.Body.(type) {
	case raft.Append:
		s.commit = max(s.commit, b.Commit)
	case raft.Heartbeat:
		s.commit = max(s.commit, b.Commit)
	}
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

// outdated asks every peer within reach that speaks the newest version, as this member then does, what it has seen of
// this member. why is what the handshake makes of it; promised says that the member must be refused.
func (h *host) outdated(held transport.Held) (promised bool, why error) {
	b := h.replica.Brief()
	for _, id := range h.w.ids {
		p := h.w.hosts[id]
		if id == h.id || !p.up() || h.w.now < p.resumes || !h.w.net.reach(h.id, id) || !h.w.net.reach(id, h.id) {
			continue
		}
		if h.protocol.previous || p.protocol.previous {
			continue
		}
		s := p.met[h.id]
		promised = promised || s.boot > h.boot || s.boot == h.boot && (s.term > b.Term || s.commit > b.Commit)
		if why == nil {
			why = s.seen.Refutes(h.identity(), held)
		}
	}
	return promised, why
}

// compare is the last step of a start: a member that was seen in a later state has an older volume. Nothing that
// anybody has ever seen may refute a right one.
func (h *host) compare(restored raft.Restored) error {
	held := transport.HeldBy(restored)
	promised, why := h.outdated(held)
	switch {
	case promised && why == nil:
		h.w.fail("member %d boot %d was seen in a later state, and is not refused", h.id, h.boot)
	case h.ill.rolled && why != nil:
		h.ill.damaged = true
		return why
	case h.ill.rolled:
		return errUnseen
	}
	for _, id := range h.w.ids {
		if err := h.w.hosts[id].ever[h.id].Refutes(h.identity(), held); err != nil {
			h.w.fail("member %d boot %d is taken by member %d for one whose volume was rolled back: %w", h.id, h.boot, id, err)
		}
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
