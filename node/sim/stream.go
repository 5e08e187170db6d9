package sim

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"

	"raftsman.dev/node/kv"
	"raftsman.dev/node/raft"
	"raftsman.dev/node/replica"
	"raftsman.dev/node/snapshot"
)

// stream is a snapshot on its way: chunks that arrive one by one, unless a link or a life ends.
type stream struct {
	from, to         *host
	fromLife, toLife int
	base             raft.Base
	wire             bytes.Buffer // what its sender has written
	reader           *snapshot.Reader
	spoilt           bool // the chunk that comes next
	image            *kv.Import
}

// SendSnapshot implements replica.Env.
func (h *host) SendSnapshot(to raft.MemberID) {
	if h.dies() {
		return
	}
	s := &stream{from: h, to: h.w.hosts[to], fromLife: h.life}
	view := h.store.View()
	var err error
	if s.base, err = replica.BaseOf(view.Applied()); err == nil {
		err = s.export(view)
	}
	if cerr := view.Close(); err == nil {
		err = cerr
	}
	if err != nil { // in the middle of a turn of the replica
		h.later(0, func() { h.died(err) })
		return
	}
	h.w.fault("snapshot begun")
	if x, _ := h.replica.Status().Membership.Find(to); x.Seat == raft.SeatLearner {
		h.w.fault("learner further behind than the log reaches")
	}
	h.w.after(h.w.between(millisecond, 20*millisecond), s.begin)
}

// ambush lets one end crash while the stream is on its way.
func (s *stream) ambush() {
	w := s.from.w
	if w.calm || !w.chance(w.weather.Ambush) {
		return
	}
	end := pick(w, []*host{s.from, s.to})
	w.after(w.between(0, 60*millisecond), func() {
		if !w.calm && s.whole() {
			end.crash()
		}
	})
}

// export writes the state as a member does.
func (s *stream) export(view *kv.View) error {
	meta := snapshot.Meta{ID: snapshot.ID(s.from.w.rng.Uint64() | 1), Cluster: ours, Term: s.from.replica.Brief().Term, Base: s.base}
	out, err := snapshot.NewWriter(&s.wire, meta, snapshot.Held{})
	if err != nil {
		return err
	}
	if err := view.Export(out.Chunk); err != nil {
		return err
	}
	return out.Close()
}

// whole reports whether both ends still live and reach each other.
func (s *stream) whole() bool {
	net := &s.from.w.net
	return s.to != nil && s.from.life == s.fromLife && s.from.up() && s.to.up() && s.to.life == s.toLife &&
		net.reach(s.from.id, s.to.id) && net.reach(s.to.id, s.from.id)
}

func (s *stream) begin() {
	if s.to != nil {
		s.toLife = s.to.life
	}
	if !s.whole() || s.to.receiving {
		s.end(false)
		return
	}
	image, err := s.to.store.BeginImport()
	if s.to.died(err) {
		s.end(false)
		return
	}
	s.image, s.to.receiving = image, true
	s.ambush()
	if s.reader, err = snapshot.NewReader(&s.wire, snapshot.Held{}); err != nil {
		s.to.w.fail("member %d: head of a snapshot: %w", s.to.id, err)
		return
	}
	s.base = s.reader.Meta().Base
	s.next()
}

func (s *stream) next() {
	w := s.from.w
	if !s.whole() {
		w.fault("snapshot cut off")
		s.giveUp()
		return
	}
	chunk, err := s.chunk()
	switch {
	case err == io.EOF:
		s.install()
		return
	case err != nil && s.spoilt && errors.Is(err, snapshot.ErrMalformed):
		w.fault("snapshot refused: a chunk was spoilt")
		s.giveUp()
		return
	case err != nil || s.spoilt:
		w.fail("member %d: chunk of a snapshot (spoilt: %v): %w", s.to.id, s.spoilt, errors.Join(err, errSpoilt))
		return
	}
	if err := s.image.Add(chunk); err != nil {
		w.fail("member %d: add a chunk: %w", s.to.id, err)
		return
	}
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

// giveUp ends a stream that will not be whole.
func (s *stream) giveUp() {
	if s.to.up() && s.to.life == s.toLife {
		s.to.receiving = false
		s.to.died(s.image.Discard())
	}
	s.end(false)
}

// install offers the whole snapshot to the receiver's core and waits for its word.
func (s *stream) install() {
	if _, err := s.image.Finish(); s.to.died(err) {
		s.end(false)
		return
	}
	done := make(chan error, 1)
	s.to.later(0, func() {
		s.to.replica.Snapshot(s.from.id, s.base, s.image, done)
		s.to.pump()
	})
	s.await(done)
}

func (s *stream) await(done chan error) {
	if s.to.life != s.toLife {
		s.end(false)
		return
	}
	select {
	case err := <-done:
		s.to.receiving = false
		s.end(err == nil)
	default:
		s.from.w.after(5*millisecond, func() { s.await(done) })
	}
}

// end tells the sender, if it is still the one that began.
func (s *stream) end(ok bool) {
	if s.from.life == s.fromLife && s.from.up() {
		s.from.later(0, func() {
			s.from.replica.SnapshotSent(s.to.id, s.base.Position, ok)
			s.from.pump()
		})
	}
}
