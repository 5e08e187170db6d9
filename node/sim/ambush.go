package sim

import "raftsman.dev/node/raft"

// ambush strikes where it hurts most, and where chance alone seldom does: when a member has just voted or begun to
// campaign, when a membership has just become joint, and when leadership is being handed over.
func (h *host) ambush(e raft.Event) {
	if h.w.calm {
		return
	}
	switch e := e.(type) {
	case raft.RoleChanged:
		if h.w.chance(h.w.weather.Ambush) {
			h.strikeLater(h.w.between(0, 400), func() {
				h.w.fault("power lost at a vote")
				h.crash()
			})
		}
	case raft.ConfigChanged:
		if e.Membership.Joint() && h.w.chance(3*h.w.weather.Ambush) {
			h.ambushJoint(e.Membership)
		}
	case raft.HandingOver:
		if h.w.chance(2 * h.w.weather.Ambush) {
			h.w.strikeAfter(h.w.between(0, 2*millisecond), func() { h.ambushTransfer(e) })
		}
	}
}

// ambushJoint strikes a group within the steps of a joint change: the entry goes out, is committed, the joint
// membership ends.
func (h *host) ambushJoint(m raft.Membership) {
	w := h.w
	w.strikeAfter(w.between(0, 5*millisecond), func() {
		switch w.rng.IntN(4) {
		case 0:
			w.fault("partition while joint")
			w.story.line(w, 0, "partition while joint: %s", w.net.partition())
		case 1:
			if l := w.leader(); l != nil {
				w.fault("leader crashes while joint")
				l.crash()
			}
		case 2:
			if x := w.hosts[pick(w, m.Members).ID]; x != nil && x.up() {
				w.fault("member crashes while joint")
				x.crash()
			}
		default:
			w.fault("transfer while joint")
			w.transfer()
		}
	})
}

// ambushTransfer strikes one end of a hand-over.
func (h *host) ambushTransfer(e raft.HandingOver) {
	end := h
	if h.w.rng.IntN(2) == 0 {
		end = h.w.hosts[e.To]
	}
	if end == nil || !end.up() {
		return
	}
	h.w.fault("struck in a transfer")
	if h.w.rng.IntN(2) == 0 {
		end.crash()
	} else {
		end.pause()
	}
}

// noticeRead lets a leader stand still in the middle of a ReadIndex: once it has asked whether it still leads, or
// as it grants.
func (h *host) noticeRead(msgs []raft.Message) {
	if h.w.calm || !h.w.chance(h.w.weather.PauseInRead) {
		return
	}
	for _, m := range msgs {
		beat, asks := m.Body.(raft.Heartbeat)
		_, grants := m.Body.(raft.ReadReply)
		if asks && beat.Read > 0 || grants {
			h.w.fault("paused in a ReadIndex")
			h.pause()
			return
		}
	}
}
