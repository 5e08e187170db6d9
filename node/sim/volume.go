package sim

import (
	"errors"

	"raftsman.dev/node/datadir"
	"raftsman.dev/node/raft"
	"raftsman.dev/node/vfs"
)

// emptyVolume starts a member's process, under its name, on an empty volume: it must come up as somebody new. The
// old identity is gone.
func (w *World) emptyVolume(h *host) {
	if h.ill.kind != "" || len(w.ids) >= mostEver || !w.spare(h) {
		return
	}
	if h.up() {
		h.kill()
	}
	h.ill = illness{kind: "empty volume", damaged: true}
	w.fault("empty volume under an old name")
	h.lose()
	w.addNamed(raft.MemberID(len(w.ids)+1), h.name)
}

// swapVolumes lets the processes of two members come back with each other's volumes: both must refuse, and leave
// the volumes as they are.
func (w *World) swapVolumes() {
	a, b := w.hosts[pick(w, w.ids)], w.hosts[pick(w, w.ids)]
	if a == b || a.name == b.name || a.ill.kind != "" || b.ill.kind != "" {
		return
	}
	for _, h := range []*host{a, b} {
		if h.up() {
			h.kill()
		}
	}
	for _, try := range []struct{ process, volume *host }{{a, b}, {b, a}} {
		before := try.volume.disk.Clone()
		_, err := datadir.Open(vfs.NewFaulty(try.volume.disk), "data", try.process.name, w.rng.Uint64)
		if !errors.Is(err, datadir.ErrForeign) {
			w.fail("member %d starts on the volume of member %d: %w", try.process.id, try.volume.id, errors.Join(err, errTaken))
			return
		}
		if err := same(before, try.volume.disk, "data/identity"); err != nil {
			w.fail("member %d has changed the volume of member %d: %w", try.process.id, try.volume.id, err)
		}
		w.fault("swapped volume refused")
	}
}

// errTaken stands for a volume that was taken without a word.
var errTaken = errors.New("it is another member's")
