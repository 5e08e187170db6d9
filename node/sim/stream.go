package sim

import (
	"bytes"

	"raftsman.dev/node/kv"
	"raftsman.dev/node/raft"
	"raftsman.dev/node/replica"
)

// stream is a snapshot on its way: chunks that arrive one by one, unless a link or a life ends.
type stream struct {
	from, to         *host
	fromLife, toLife int
	base             raft.Base
	chunks           [][]byte
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
		err = view.Export(func(chunk []byte) error {
			s.chunks = append(s.chunks, bytes.Clone(chunk))
			return nil
		})
	}
	if cerr := view.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		h.w.fail("member %d: export its state: %w", h.id, err)
		return
	}
	h.w.fault("snapshot begun")
	if x, _ := h.replica.Status().Membership.Find(to); x.Seat == raft.SeatLearner {
		h.w.fault("learner further behind than the log reaches")
	}
	h.w.after(h.w.between(millisecond, 20*millisecond), s.begin)
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
	if err != nil {
		s.to.w.fail("member %d: begin to receive a snapshot: %w", s.to.id, err)
		return
	}
	s.image, s.to.receiving = image, true
	s.next()
}

func (s *stream) next() {
	w := s.from.w
	if !s.whole() {
		w.fault("snapshot cut off")
		if s.to.up() && s.to.life == s.toLife {
			s.to.receiving = false
			if err := s.image.Discard(); err != nil {
				w.fail("member %d: discard a snapshot: %w", s.to.id, err)
			}
		}
		s.end(false)
		return
	}
	if len(s.chunks) == 0 {
		s.install()
		return
	}
	if err := s.image.Add(s.chunks[0]); err != nil {
		w.fail("member %d: add a chunk: %w", s.to.id, err)
		return
	}
	s.chunks = s.chunks[1:]
	w.after(w.between(millisecond, 50*millisecond), s.next)
}

// install offers the whole snapshot to the receiver's core and waits for its word.
func (s *stream) install() {
	if _, err := s.image.Finish(); err != nil {
		s.to.w.fail("member %d: finish a snapshot: %w", s.to.id, err)
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
