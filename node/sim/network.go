package sim

import (
	"raftsman.dev/node/raft"
	"raftsman.dev/node/transport"
)

// link is one direction between two members.
type link struct{ from, to raft.MemberID }

// wire is the state of a link.
type wire struct {
	cut  bool
	slow int64 // additional delay
	// clogged until then: what is sent waits, and comes out all at once.
	clogged int64
	waiting []func()
	// rate is how many bytes a second it carries, 0 for all; busy is until when it carries what it has.
	rate, busy int64
	// astray is the host that answers, until then, where the sender believes the receiver to be.
	astray      raft.MemberID
	astrayUntil int64
	// connection counts the connections: what was on its way on an earlier one is lost.
	connection int
}

// network carries messages: each with a delay of its own, so they overtake each other.
type network struct {
	w     *World
	wires map[link]*wire
}

func (n *network) wire(l link) *wire {
	if n.wires[l] == nil {
		n.wires[l] = &wire{}
	}
	return n.wires[l]
}

// each visits every wire that was ever used, in order.
func (n *network) each(do func(link, *wire)) {
	for _, a := range n.w.ids {
		for _, b := range n.w.ids {
			if x := n.wires[link{a, b}]; x != nil {
				do(link{a, b}, x)
			}
		}
	}
}

// reach reports whether what one sends now can come to the other.
func (n *network) reach(from, to raft.MemberID) bool {
	x := n.wire(link{from, to})
	return !x.cut && n.w.now >= x.clogged
}

func (n *network) send(from *host, msgs []raft.Message) {
	w := n.w
	for _, m := range msgs {
		l := link{from.id, m.To}
		x := n.wire(l)
		if x.cut {
			w.fault("message cut off")
			continue
		}
		if !w.calm && w.chance(w.weather.Loss) {
			w.fault("message lost")
			continue
		}
		p := parcel{l: l, from: from.identity(), connection: x.connection, m: m}
		delay, fits := n.delay(x, m)
		if !fits {
			w.fault("message dropped by a throttled link")
			from.later(0, func() {
				from.replica.Step(raft.Unreachable{Peer: m.To})
				from.pump()
			})
			continue
		}
		n.carry(x, delay, p)
		if !w.calm && w.chance(w.weather.Duplication) {
			w.fault("message duplicated")
			n.carry(x, delay+w.between(0, 2*second), p)
		}
	}
}

// parcel is a message on its way, with who its sender was when it left.
type parcel struct {
	l          link
	from       transport.Identity
	connection int
	m          raft.Message
}

// carry lets a message arrive after its delay, or when the link is no longer clogged.
func (n *network) carry(x *wire, delay int64, p parcel) {
	if n.w.now < x.clogged {
		n.w.fault("message clogged")
		x.waiting = append(x.waiting, func() { n.arrive(p) })
		return
	}
	n.w.after(delay, func() { n.arrive(p) })
}

// mostBacklog is how much a throttled link holds, as time; more is dropped, as a full queue drops.
const mostBacklog = 5 * second

func (n *network) delay(x *wire, m raft.Message) (delay int64, fits bool) {
	d := n.w.between(50, 500) + x.slow
	if x.rate > 0 {
		busy := max(x.busy, n.w.now)
		if busy-n.w.now > mostBacklog {
			return 0, false
		}
		n.w.fault("message throttled")
		x.busy = busy + weight(m)*second/x.rate
		d += x.busy - n.w.now
	}
	if !n.w.calm && n.w.chance(n.w.weather.Delay) {
		n.w.fault("message delayed")
		d += n.w.between(millisecond, 3*second)
	}
	return d, true
}

// weight is about what a message takes on the wire, in bytes.
func weight(m raft.Message) int64 {
	n := int64(64)
	switch b := m.Body.(type) {
	case raft.Append:
		for i := range b.Entries {
			n += int64(b.Entries[i].Size())
		}
	case raft.Forward:
		for i := range b.Proposals {
			n += int64(len(b.Proposals[i].Payload)) + 16
		}
	}
	return n
}

// arrive brings a message to whoever answers at the address that its sender knows.
func (n *network) arrive(p parcel) {
	x, at := n.wire(p.l), p.l.to
	if x.connection != p.connection {
		n.w.fault("message lost with its connection")
		return
	}
	if x.astray != 0 && n.w.now < x.astrayUntil {
		at = x.astray
	}
	h := n.w.hosts[at]
	if h == nil || !h.up() || x.cut {
		return
	}
	if h.paused(func() { n.arrive(p) }) {
		return
	}
	if !n.admitted(h, p.from, p.l.to) {
		if at != p.l.to {
			n.w.fault("refused at a stale address")
		}
		return
	}
	news := p.from.Boot > h.met[p.m.From].boot
	h.meet(p.from, p.m)
	n.mix(h, p)
	if h.protocol.previous || p.from.Life == 0 {
		p.m = asBefore(p.m)
	}
	p.m.To = h.id // as a member reads it: the handshake alone says who is meant
	h.receive(p.m, news)
}

// admitted is the handshake between two members; an unjoined one becomes one of the dialler's cluster.
func (n *network) admitted(h *host, from transport.Identity, meant raft.MemberID) bool {
	ok, adopt := transport.Admits(h.identity(), from, meant)
	if ok && adopt {
		if err := h.join(from.Cluster); err != nil {
			h.died(err)
			return false
		}
	}
	return ok
}

// clog stops up a random link for a while.
func (n *network) clog() {
	l, ok := n.between()
	if !ok {
		return
	}
	x := n.wire(l)
	x.clogged = n.w.now + n.w.between(100*millisecond, 10*second)
	n.w.after(x.clogged-n.w.now, func() { n.unclog(x) })
}

func (n *network) unclog(x *wire) {
	if n.w.now < x.clogged {
		return
	}
	waiting := x.waiting
	x.waiting = nil
	for _, arrives := range waiting {
		arrives()
	}
}

// throttle lets a random link carry little for a while.
func (n *network) throttle() {
	l, ok := n.between()
	if !ok {
		return
	}
	x := n.wire(l)
	x.rate = n.w.between(1<<10, 64<<10)
	n.w.after(n.w.between(second, 20*second), func() { x.rate = 0 })
}

// misdirect makes the address under which one member knows another that of a third, as when a Pod's address was
// given away.
func (n *network) misdirect() {
	l, ok := n.between()
	third := pick(n.w, n.w.ids)
	if !ok || third == l.to || third == l.from {
		return
	}
	x := n.wire(l)
	x.astray, x.astrayUntil = third, n.w.now+n.w.between(500*millisecond, 10*second)
}

// disconnect breaks the connection of a link: what is on it is lost, the sender is told, and then of the next one.
func (n *network) disconnect() {
	l, ok := n.between()
	if !ok || !n.w.hosts[l.from].up() {
		return
	}
	x, from := n.wire(l), n.w.hosts[l.from]
	x.connection++
	n.w.fault("connection broken")
	from.later(0, func() {
		from.replica.Step(raft.Unreachable{Peer: l.to})
		from.pump()
	})
	from.later(n.w.between(millisecond, second), func() {
		if to := n.w.hosts[l.to]; to.up() && n.reach(l.from, l.to) {
			from.replica.Step(raft.Connected{Peer: l.to, Boot: to.boot})
			from.pump()
		}
	})
}

// between draws a link; false where there is only one host.
func (n *network) between() (link, bool) {
	a, b := pick(n.w, n.w.ids), pick(n.w, n.w.ids)
	return link{a, b}, a != b
}

func (n *network) heal() {
	n.each(func(_ link, x *wire) {
		x.cut, x.slow, x.rate, x.busy, x.astray, x.clogged = false, 0, 0, 0, 0, 0
		n.unclog(x)
	})
}

// join mends what partitions have cut, and nothing else.
func (n *network) join() (mended bool) {
	n.each(func(_ link, x *wire) {
		mended = mended || x.cut
		x.cut = false
	})
	return mended
}

// held is how many messages wait in clogged links.
func (n *network) held() int {
	count := 0
	n.each(func(_ link, x *wire) { count += len(x.waiting) })
	return count
}
