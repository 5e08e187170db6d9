package sim

import "raftsman.dev/node/raft"

// comeOrGo lets watchers come to a host, or the last of them go. Nobody needs them to look here: what they change is how
// soon the leader tells the host what is committed.
func (h *host) comeOrGo() {
	if h.protocol.previous {
		return // it knows nothing of that, and counts as watched
	}
	if gone := h.w.rng.IntN(2) == 0; gone != h.unwatched {
		h.unwatched = gone
		h.w.fault(map[bool]string{true: "watchers go", false: "watchers come"}[gone])
	}
	h.replica.Watched(!h.unwatched)
	h.pump()
}

// asBefore is a message between two hosts one of which speaks the previous version of the protocol: it answers every
// heartbeat, and neither says nor hears that nobody watches.
func asBefore(m raft.Message) raft.Message {
	switch b := m.Body.(type) {
	case raft.Heartbeat:
		b.Quiet = false
		m.Body = b
	case raft.HeartbeatReply:
		b.Unwatched = false
		m.Body = b
	}
	return m
}
