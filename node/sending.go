package node

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"raftsman.dev/node/admin"
	"raftsman.dev/node/etcdapi"
	"raftsman.dev/node/kv"
	"raftsman.dev/node/raft"
	"raftsman.dev/node/replica"
	"raftsman.dev/node/snapshot"
	"raftsman.dev/node/transport"
)

const (
	// maxStreams is how many snapshots leave this member at a time; more wait. They share one rate.
	maxStreams = 2
	// cutPatience is how long either side of a snapshot that was cut waits for it to go on.
	cutPatience = 5 * time.Minute
	// maxCut is how many such snapshots a sender keeps; each pins a state of the store, whose files stay.
	maxCut = 4
)

// outgoing are the snapshots that this member sends, one to a peer at most.
type outgoing struct {
	slots    chan struct{}
	throttle *snapshot.Throttle
	mu       struct {
		sync.Mutex
		flights map[raft.MemberID]*delivery
		cut     map[raft.MemberID]*sending
	}
}

func newOutgoing(bytesPerSecond int) *outgoing {
	o := &outgoing{slots: make(chan struct{}, maxStreams), throttle: snapshot.NewThrottle(int64(bytesPerSecond), time.Now)}
	o.mu.flights, o.mu.cut = map[raft.MemberID]*delivery{}, map[raft.MemberID]*sending{}
	return o
}

// delivery is one attempt to send a snapshot; at and err are set once done is closed.
type delivery struct {
	done chan struct{}
	at   raft.Position
	err  error
}

// join is the attempt under way to a peer, or a new one that the caller makes.
func (o *outgoing) join(to raft.MemberID) (d *delivery, own bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if d := o.mu.flights[to]; d != nil {
		return d, false
	}
	d = &delivery{done: make(chan struct{})}
	o.mu.flights[to] = d
	return d, true
}

func (o *outgoing) leave(to raft.MemberID, d *delivery) {
	o.mu.Lock()
	delete(o.mu.flights, to)
	o.mu.Unlock()
	close(d.done)
}

// sending is one snapshot on the sender's side, over all its streams.
type sending struct {
	*snapshot.Sending
	*stream
	view   *kv.View
	cutAt  time.Time
	forget *time.Timer // while it is kept
}

func (s *sending) close(err error) error {
	s.stream.end(err)
	return s.view.Close()
}

// SendSnapshot implements replica.Env: the newest state goes out on a connection of its own.
func (m *Member) SendSnapshot(to raft.MemberID) {
	term := raft.Term(m.facts.term.Load())
	m.wg.Go(func() {
		d, own := m.outgoing.join(to)
		if own {
			d.at, d.err = m.deliver(to, term)
			m.outgoing.leave(to, d)
		}
		<-d.done
		if own && d.err != nil {
			m.cfg.Log.Info("snapshot not sent", "peer", m.nameOf(to), "error", d.err.Error())
		}
		m.inbox.call(func(r *replica.Replica) { r.SnapshotSent(to, d.at, d.err == nil) })
	})
}

// deliver sends a snapshot, or what the peer lacks of one that was cut. If the connection is lost, it is kept to be
// taken up by the next attempt.
func (m *Member) deliver(to raft.MemberID, term raft.Term) (raft.Position, error) {
	if m.facts.diverged.Load() != nil {
		return raft.Position{}, etcdapi.ErrDiverged
	}
	ctx, cancel := context.WithCancel(m.endingContext)
	defer cancel()
	select {
	case m.outgoing.slots <- struct{}{}:
		defer func() { <-m.outgoing.slots }()
	case <-ctx.Done():
		return raft.Position{}, ctx.Err()
	}
	var s *sending
	err := m.transport.SendSnapshot(ctx, to, func(c io.ReadWriter) error {
		held, err := snapshot.ReadHeld(c)
		if err == nil {
			s, err = m.choose(to, term, held.ID)
		}
		if err != nil {
			return err
		}
		return m.send(ctx, s, c, held)
	})
	if s == nil {
		return raft.Position{}, err
	}
	at := s.Meta().Base.Position
	if err == nil || final(err) {
		return at, errors.Join(err, s.close(err))
	}
	s.interrupt(err)
	return at, errors.Join(err, m.outgoing.keep(to, s))
}

// final tells an error after which the same snapshot would not get further.
func final(err error) bool {
	return errors.Is(err, transport.ErrRefused) || errors.Is(err, snapshot.ErrDiffers) || errors.Is(err, kv.ErrCorrupt)
}

// choose goes on with the snapshot that the peer holds something of, if it is still known and the log still reaches
// back to it, or begins one of the newest state.
func (m *Member) choose(to raft.MemberID, term raft.Term, held snapshot.ID) (*sending, error) {
	if s := m.outgoing.resume(to); s != nil {
		if s.GoesOn(held, raft.Index(m.facts.first.Load())) {
			return s, nil
		}
		if err := s.close(errForgotten); err != nil {
			return nil, err
		}
	}
	return m.newSending(to, term)
}

// newSending pins the newest state.
func (m *Member) newSending(to raft.MemberID, term raft.Term) (*sending, error) {
	view := m.store.View()
	base, err := replica.BaseOf(view.Applied())
	if err != nil {
		return nil, errors.Join(err, view.Close())
	}
	meta := snapshot.Meta{ID: snapshot.ID(draw()), Cluster: m.identity().Cluster, Term: term, Base: base}
	at := base.Position.Index
	log := m.cfg.Log.WithValues("snapshot", meta.ID.String(), "direction", string(admin.Sending), "peer", m.nameOf(to), "index", uint64(at))
	return &sending{
		Sending: snapshot.NewSending(meta, view.ExportFrom), view: view,
		stream: m.streams.begin(admin.Sending, to, at, log),
	}, nil
}

// send writes one stream at the pace of the throttle.
func (m *Member) send(ctx context.Context, s *sending, w io.Writer, held snapshot.Held) error {
	if held.ID == s.Meta().ID && held.Chunks > 0 {
		s.resume()
	}
	return s.Send(w, held, func(bytes int) error {
		if err := pause(ctx, m.outgoing.throttle.Take(bytes)); err != nil {
			return err
		}
		s.chunk(bytes)
		return nil
	})
}

// pause waits that long, or until ctx ends.
func pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// resume takes the snapshot for a peer that was cut, nil if there is none.
func (o *outgoing) resume(to raft.MemberID) *sending {
	o.mu.Lock()
	defer o.mu.Unlock()
	s := o.mu.cut[to]
	delete(o.mu.cut, to)
	if s != nil {
		s.forget.Stop()
	}
	return s
}

// keep keeps a snapshot that was cut, for a while, in place of the oldest if there are too many.
func (o *outgoing) keep(to raft.MemberID, s *sending) error {
	s.cutAt = time.Now()
	s.forget = time.AfterFunc(cutPatience, func() { _ = o.drop(to, s) })
	o.mu.Lock()
	o.mu.cut[to] = s
	oldest, at := s, to
	for id, x := range o.mu.cut {
		if x.cutAt.Before(oldest.cutAt) {
			oldest, at = x, id
		}
	}
	full := len(o.mu.cut) > maxCut
	o.mu.Unlock()
	if full {
		return o.drop(at, oldest)
	}
	return nil
}

// drop gives up a snapshot, unless it has been taken up again.
func (o *outgoing) drop(to raft.MemberID, s *sending) error {
	o.mu.Lock()
	kept := o.mu.cut[to] == s
	if kept {
		delete(o.mu.cut, to)
	}
	o.mu.Unlock()
	if !kept {
		return nil
	}
	s.forget.Stop()
	return s.close(errForgotten)
}

// errForgotten: a snapshot that was cut did not go on in time, another took its place, or this member stops.
var errForgotten = errors.New("it was cut, and is given up")

// close gives up everything that was cut.
func (o *outgoing) close() error {
	o.mu.Lock()
	var errs []error
	all := o.mu.cut
	o.mu.cut = map[raft.MemberID]*sending{}
	o.mu.Unlock()
	for _, s := range all {
		s.forget.Stop()
		errs = append(errs, s.close(errForgotten))
	}
	return errors.Join(errs...)
}
