package sim

import (
	"raftsman.dev/node/kv"
	"raftsman.dev/node/raft"
	"raftsman.dev/node/replica"
	"raftsman.dev/node/snapshot"
)

const (
	// cutPatience is how long either side of a snapshot that was cut off waits for it to go on.
	cutPatience = 20 * second
	// maxCut is how many such snapshots a sender keeps.
	maxCut = 2
)

// sending is one snapshot on the sender's side, over all its streams.
type sending struct {
	*snapshot.Sending
	to   raft.MemberID
	view *kv.View
}

// receiving is one snapshot on the receiver's side, over all its streams.
type receiving struct {
	image *kv.Import
	base  raft.Base
	held  snapshot.Held
}

// choose goes on with the snapshot for a peer that was cut off, if that is what it holds something of, or pins the
// newest state.
func (h *host) choose(to raft.MemberID, held snapshot.ID) (*sending, error) {
	if s := h.takeCut(to); s != nil {
		if s.GoesOn(held, h.replica.Brief().First) {
			return s, nil
		}
		if err := s.view.Close(); err != nil {
			return nil, err
		}
	}
	view := h.store.View()
	base, err := replica.BaseOf(view.Applied())
	meta := snapshot.Meta{ID: snapshot.ID(h.w.rng.Uint64() | 1), Cluster: ours, Term: h.replica.Brief().Term, Base: base}
	return &sending{Sending: snapshot.NewSending(meta, view.ExportFrom), to: to, view: view}, err
}

// takeCut takes the snapshot for a peer that was cut off, nil if there is none.
func (h *host) takeCut(to raft.MemberID) *sending {
	for i, s := range h.cutOut {
		if s.to == to {
			h.cutOut = append(h.cutOut[:i:i], h.cutOut[i+1:]...)
			return s
		}
	}
	return nil
}

// keepOut keeps a snapshot that was cut off, for a while, in place of the oldest if there are too many.
func (h *host) keepOut(to raft.MemberID, s *sending) {
	h.cutOut = append(h.cutOut, s)
	if len(h.cutOut) > maxCut {
		h.letGo(h.takeCut(h.cutOut[0].to), true)
	}
	h.later(cutPatience, func() {
		for _, x := range h.cutOut {
			if x == s {
				h.letGo(h.takeCut(to), true)
				return
			}
		}
	})
}

// letGo closes a snapshot on its sender's side; lives says that the process is still the one that began it.
func (h *host) letGo(s *sending, lives bool) {
	err := s.view.Close()
	if lives {
		h.died(err)
	}
}

// keepIn keeps what has come of a snapshot, for a while; nil is nothing.
func (h *host) keepIn(r *receiving) {
	if r == nil {
		return
	}
	h.cutIn = r
	h.later(cutPatience, func() {
		if h.cutIn == r {
			h.dropIn()
		}
	})
}

// dropIn gives up what has come of a snapshot that was cut off.
func (h *host) dropIn() {
	if r := h.cutIn; r != nil {
		h.cutIn = nil
		h.died(r.image.Discard())
	}
}

// forgetCut lets go of all that was cut off, as the process ends: what is on the disk already is found at the next
// start and removed.
func (h *host) forgetCut() {
	for _, s := range h.cutOut {
		h.letGo(s, false)
	}
	h.cutOut, h.cutIn = nil, nil
}
