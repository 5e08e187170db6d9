package sim

import (
	"slices"

	"raftsman.dev/node/raft"
)

// standing is what a message can change in a core at once.
type standing struct {
	brief raft.Brief
	vote  raft.MemberID
	match []raft.Index
}

func (h *host) stands() standing {
	s := h.replica.Status()
	x := standing{brief: s.Brief, vote: s.Vote}
	for _, p := range s.Progress {
		x.match = append(x.match, p.Match)
	}
	return x
}

// receive gives a message to the core. One that means an earlier boot of this member must change nothing there: what
// it answers is forgotten. (One that tells of a new boot of its sender does, by that alone.)
func (h *host) receive(m raft.Message, news bool) {
	stale := m.ToBoot != 0 && m.ToBoot != h.boot && !news
	var before standing
	if stale {
		h.w.fault("message for an earlier boot")
		before = h.stands()
	}
	h.replica.Receive([]raft.Message{m})
	if stale {
		if after := h.stands(); after.brief != before.brief || after.vote != before.vote || !slices.Equal(after.match, before.match) {
			h.w.fail("member %d boot %d takes %T of member %d that means boot %d: it stands at %+v, and stood at %+v", h.id, h.boot, m.Body, m.From, m.ToBoot, after, before)
		}
	}
	h.pump()
}
