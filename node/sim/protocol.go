package sim

// protocol is the version of the peer protocol that a process speaks: the newest, or the previous one. heard and hears:
// members that speak the newest one have heard it, and it has heard one of them.
type protocol struct{ previous, heard, hears bool }

// drawProtocol lets a host that comes back speak the previous version for that life, as in the midst of a rolling
// upgrade: its life is not told, and what was seen of whom is told neither to it nor by it.
func (h *host) drawProtocol() {
	w := h.w
	if w.calm || h.life == 1 || w.weather.Previous == 0 || !w.chance(w.weather.Previous) {
		return
	}
	h.protocol.previous = true
	w.story.line(w, h.id, "speaks protocol version 1")
}

// mix notes a message between hosts of different versions. The older host counts once some have passed both ways.
func (n *network) mix(to *host, p parcel) {
	from := n.w.hosts[p.l.from]
	toOld, fromOld := to.protocol.previous, p.from.Life == 0
	older := to
	if fromOld {
		older = from
	}
	if toOld == fromOld || !older.protocol.previous { // it may have come back since it said that
		return
	}
	before := older.protocol
	older.protocol.heard = before.heard || fromOld
	older.protocol.hears = before.hears || toOld
	if now := older.protocol; now != before && now.heard && now.hears {
		n.w.fault("restarted with protocol version 1")
	}
}
