package sim

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"syscall"

	"raftsman.dev/node/raft"
	"raftsman.dev/node/snapshot"
)

// stream is a snapshot, or the rest of one, on its way: chunks that arrive one by one, unless a link or a life ends.
type stream struct {
	from, to         *host
	peer             raft.MemberID // to's
	fromLife, toLife int
	asked            int // how often its sender was asked for it
	wire             bytes.Buffer
	out              *sending
	reader           *snapshot.Reader
	in               *receiving
	spoilt           bool // the chunk that comes next
	resumed          bool
	installing       bool
	broken           bool // its connection
}

// SendSnapshot implements replica.Env.
func (h *host) SendSnapshot(to raft.MemberID) {
	if h.dies() {
		return
	}
	if s := h.flights[to]; s != nil {
		s.asked++
		return
	}
	s := &stream{from: h, to: h.w.hosts[to], peer: to, fromLife: h.life, asked: 1}
	h.flights[to] = s
	h.w.fault("snapshot begun")
	if x, _ := h.replica.Status().Membership.Find(to); x.Seat == raft.SeatLearner {
		h.w.fault("learner further behind than the log reaches")
	}
	h.w.after(h.w.between(millisecond, 20*millisecond), s.begin)
}

// ambush lets one end crash while the stream is on its way, or its connection break.
func (s *stream) ambush() {
	w := s.from.w
	if w.calm || !w.chance(3*w.weather.Ambush) {
		return
	}
	end := pick(w, []*host{s.from, s.to, nil, nil})
	w.strikeAfter(w.between(0, 80*millisecond), func() {
		switch {
		case !s.whole() || !s.to.receiving || s.installing:
		case end == nil:
			s.broken = true
		case end == s.to:
			w.fault("receiver of a snapshot crashes between chunks")
			end.crash()
		default:
			end.crash()
		}
	})
}

// whole reports whether both ends still live and reach each other.
func (s *stream) whole() bool {
	net := &s.from.w.net
	return !s.broken && s.sends() && s.to != nil && s.to.up() && s.to.life == s.toLife &&
		net.reach(s.from.id, s.to.id) && net.reach(s.to.id, s.from.id)
}

// sends and takes report whether the sender's, and the receiver's process is still the one that began.
func (s *stream) sends() bool { return s.from.life == s.fromLife && s.from.up() }
func (s *stream) takes() bool { return s.to.life == s.toLife && s.to.up() }

// begin connects: the receiver tells what it holds, the sender goes on with that or begins another.
func (s *stream) begin() {
	if s.to != nil {
		s.toLife = s.to.life
	}
	if s.sends() && s.from.altered.tainted {
		s.from.standBack()
		s.end(raft.Position{}, false)
		return
	}
	if !s.whole() || s.to.receiving {
		s.end(raft.Position{}, false)
		return
	}
	s.to.receiving = true
	held, err := s.connect()
	if s.from.died(err) {
		s.cut()
		return
	}
	if s.reader, err = snapshot.NewReader(&s.wire, held); err != nil {
		s.to.w.fail("member %d: head of a snapshot: %w", s.to.id, err)
		return
	}
	if err = s.receive(); s.to.died(err) {
		s.cut()
		return
	}
	s.ambush()
	s.next()
}

// connect puts on the wire what the receiver lacks.
func (s *stream) connect() (held snapshot.Held, err error) {
	var hello bytes.Buffer
	if s.to.cutIn != nil {
		held = s.to.cutIn.held
	}
	if err = snapshot.WriteHeld(&hello, held, false); err == nil {
		held, err = snapshot.ReadHeld(&hello)
	}
	if err == nil {
		s.out, err = s.from.choose(s.to.id, held.ID)
	}
	if err == nil {
		err = s.out.Send(&s.wire, held, func(int) error { return nil })
	}
	return held, err
}

// receive goes on with what is held, or begins anew.
func (s *stream) receive() error {
	h, meta := s.to, s.reader.Meta()
	r := h.cutIn
	h.cutIn = nil
	var at raft.Position
	if r != nil {
		at = r.base.Position
	}
	on, err := s.reader.GoesOn(at)
	switch {
	case err != nil:
		return errors.Join(err, r.image.Discard())
	case on:
		s.in, s.resumed = r, true
		h.w.fault("snapshot goes on behind a cut")
		h.w.story.line(h.w, h.id, "a snapshot goes on behind %d chunks", r.held.Chunks)
		return nil
	case r != nil:
		h.w.fault("snapshot that was cut off given up")
		err = r.image.Discard()
	}
	if err != nil {
		return err
	}
	image, err := h.store.BeginImport()
	if err == nil {
		s.in = &receiving{image: image, base: meta.Base, held: s.reader.Held()}
	}
	return err
}

func (s *stream) next() {
	w := s.from.w
	if !s.whole() {
		w.fault("snapshot cut off")
		s.cut()
		return
	}
	chunk, err := s.chunk()
	switch {
	case err == io.EOF:
		s.install()
		return
	case err != nil && s.spoilt && errors.Is(err, snapshot.ErrMalformed):
		w.fault("snapshot refused: a chunk was spoilt")
		s.refuse()
		return
	case err != nil || s.spoilt:
		w.fail("member %d: chunk of a snapshot (spoilt: %v): %w", s.to.id, s.spoilt, errors.Join(err, errSpoilt))
		return
	}
	if err := s.in.image.Add(chunk); err != nil {
		w.fail("member %d: add a chunk: %w", s.to.id, err)
		return
	}
	s.in.held = s.reader.Held()
	w.after(w.between(millisecond, 50*millisecond), s.next)
}

// errSpoilt stands for a chunk that was taken although it had been changed.
var errSpoilt = errors.New("a chunk that was spoilt on its way must be refused, and no other")

// chunk takes the next chunk off the wire, where it may be changed.
func (s *stream) chunk() ([]byte, error) {
	w := s.from.w
	rest := s.wire.Bytes()
	if !w.calm && len(rest) > 0 && w.chance(w.weather.Spoil) {
		rest[w.rng.IntN(min(len(rest), 8+int(s.next4(rest))))] ^= 1 << w.rng.IntN(8)
		s.spoilt = true
	}
	return s.reader.Next()
}

// next4 is the length that the next chunk's head tells.
func (s *stream) next4(b []byte) uint32 {
	if len(b) < 4 {
		return 0
	}
	return min(binary.LittleEndian.Uint32(b), 1<<20)
}

// cut ends a stream whose connection is lost: both sides keep what they have, to go on from.
func (s *stream) cut() {
	if s.takes() {
		s.to.receiving = false
		s.to.keepIn(s.in)
	}
	if s.out == nil {
		s.end(raft.Position{}, false)
		return
	}
	if s.sends() {
		s.from.keepOut(s.to.id, s.out)
	} else {
		s.from.letGo(s.out, false)
	}
	s.end(s.out.Meta().Base.Position, false)
}

// refuse ends a stream that the receiver does not take: neither side keeps anything.
func (s *stream) refuse() {
	if s.takes() {
		s.to.receiving = false
		s.to.died(s.in.image.Discard())
	}
	s.over(false)
}

// over ends a stream that has an outcome.
func (s *stream) over(ok bool) {
	s.from.letGo(s.out, s.sends())
	s.end(s.out.Meta().Base.Position, ok)
}

// install makes the whole snapshot durable, offers it to the receiver's core and waits for its word.
func (s *stream) install() {
	s.installing = true
	applied, err := s.in.image.Finish()
	if errors.Is(err, syscall.ENOSPC) && s.to.ill.flushless {
		s.to.w.fault("snapshot refused: no space for it")
		s.refuse()
		return
	}
	if s.to.died(err) {
		s.cut()
		return
	}
	if at := s.in.base.Position; applied.Index != uint64(at.Index) || applied.Term != uint64(at.Term) {
		s.to.w.fail("the snapshot of %v is of a state at %d@%d", at, applied.Index, applied.Term)
		return
	}
	s.ambushInstall()
	done := make(chan error, 1)
	s.to.later(s.from.w.between(0, millisecond), func() {
		s.to.replica.Snapshot(s.from.id, s.in.base, s.in.image, done)
		s.to.pump()
	})
	s.await(done)
}

// ambushInstall lets the receiver crash in one of the steps that follow: before its core has heard of the snapshot, as
// the store switches, before the log has begun anew.
func (s *stream) ambushInstall() {
	w := s.from.w
	if w.calm || !w.chance(3*w.weather.Ambush) {
		return
	}
	w.strikeAfter(w.between(0, 5*millisecond), func() {
		if s.installing && s.takes() {
			w.fault("receiver of a snapshot crashes as it is installed")
			s.to.crash()
		}
	})
}

func (s *stream) await(done chan error) {
	if !s.takes() {
		s.cut()
		return
	}
	select {
	case err := <-done:
		s.installing, s.to.receiving = false, false
		if err == nil && s.resumed {
			s.to.w.fault("snapshot resumed")
		}
		s.over(err == nil)
	default:
		s.from.w.after(5*millisecond, func() { s.await(done) })
	}
}

// end tells the sender, if it is still the one that began, as often as it was asked.
func (s *stream) end(at raft.Position, ok bool) {
	if !s.sends() {
		return
	}
	s.from.later(0, func() {
		delete(s.from.flights, s.peer)
		for range s.asked {
			s.from.replica.SnapshotSent(s.peer, at, ok)
		}
		s.from.pump()
	})
}
