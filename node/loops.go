package node

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"raftsman.dev/node/raft"
	"raftsman.dev/node/replica"
	"raftsman.dev/node/wal"
)

// sealAfter is how long the writer waits for more work before it writes the second copy of what it has made
// durable.
const sealAfter = 20 * time.Millisecond

// own is the owner's loop.
func (m *Member) own() {
	ticker := time.NewTicker(m.cfg.HeartbeatInterval)
	defer ticker.Stop()
	hurry := newAlarm(hurryAfter)
	defer hurry.timer.Stop()
	var in arrivals
	var gate gate
	for {
		ticked := false
		select {
		case <-m.ending:
			m.replica.Stop()
			return
		case <-ticker.C:
			m.replica.Tick()
			m.facts.tick.Store(m.replica.Now())
			m.facts.beat.Store(time.Now().UnixNano())
			ticked = true
		case <-hurry.timer.C:
			m.replica.Hurry()
		case <-m.inbox.wake:
			runtime.Gosched() // whoever has more for this turn and can run does so first
		}
		in = m.inbox.take(in)
		in.deliver(m.replica, &gate, ticked)
		m.replica.Watched(m.watched())
		m.replica.Pump()
		hurry.watch(m.replica.Brief().KeptBack)
		m.inbox.settle(m.replica.Curious())
		m.facts.observe(m.replica)
		m.settleStore()
	}
}

// ask runs f on the owner's goroutine and waits until it has.
func (m *Member) ask(ctx context.Context, f func(*replica.Replica)) error {
	done := make(chan struct{})
	m.inbox.call(func(r *replica.Replica) {
		f(r)
		close(done)
	})
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-m.ending:
		return replica.ErrStopped
	}
}

// write is the log writer's loop. A failed write or fsync is final: the member stops.
func (m *Member) write() {
	seal := time.NewTimer(sealAfter)
	defer seal.Stop()
	for {
		select {
		case <-m.ending:
			return
		case job := <-m.logJobs:
			job()
		case <-seal.C:
			if err := m.log.Seal(); err != nil {
				m.fail(fmt.Errorf("seal the log: %w", err))
				return
			}
		case <-m.writerReady:
			if err := errors.Join(m.writeAll(), m.reserve()); err != nil {
				m.fail(err)
				return
			}
			seal.Reset(sealAfter)
		}
	}
}

// writeAll takes turns until there is nothing left to write.
func (m *Member) writeAll() error {
	m.disk.kept.Store(false)
	for {
		w, err := m.replica.Writer().Run()
		if errors.Is(err, wal.ErrNoSpace) {
			m.disk.kept.Store(true)
			m.diskFull(err)
			return nil // the writer has kept it; it is tried again with the next measure
		}
		if err != nil {
			return err
		}
		if w.Seq == 0 && len(w.Late) == 0 {
			return nil
		}
		if len(w.Late) > 0 {
			m.transport.Send(w.Late)
		}
		if w.Seq != 0 {
			m.inbox.written(replica.Written{Seq: w.Seq})
		}
	}
}

// onLog runs f on the log writer's goroutine, the only one that may change the log, and waits for it.
func (m *Member) onLog(f func() error) error {
	done := make(chan error, 1)
	select {
	case m.logJobs <- func() { done <- f() }:
	case <-m.ending:
		return replica.ErrStopped
	}
	select {
	case err := <-done:
		return err
	case <-m.ending:
		return replica.ErrStopped
	}
}

// apply is the applier's loop. Where there is nothing to apply, it tidies the store.
func (m *Member) apply() {
	idle := make(chan struct{})
	close(idle)
	var untidy <-chan struct{}
	for {
		select {
		case <-m.ending:
			return
		case <-m.applierReady:
		case <-untidy:
		}
		err := m.applyAll()
		more := false
		if err == nil {
			more, err = m.replica.Applier().Tidy()
		}
		if err != nil {
			m.storeFailed(err)
			return
		}
		if untidy = nil; more {
			untidy = idle
		}
	}
}

// applyAll takes turns until there is nothing left to apply.
func (m *Member) applyAll() error {
	for {
		turn, err := m.replica.Applier().Run()
		if err != nil || turn.Index == 0 {
			return err
		}
		if turn.Installed {
			m.facts.snapshots.Add(1)
			m.facts.diverged.Store(nil)
		}
		m.inbox.applied(turn)
	}
}

// fail stops the member for good: what it cannot make durable it must not pretend to hold.
func (m *Member) fail(err error) {
	m.failOnce.Do(func() {
		defer close(m.failed)
		m.failure <- inOneLine(fmt.Errorf("member %s (%v): %w; the process stops, and what it had not acknowledged is not lost: start it again once the disk is healthy", m.cfg.Name, m.id.Member, err))
	})
}

// signal wakes a loop that is not awake yet.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Send implements replica.Env.
func (m *Member) Send(msgs []raft.Message) {
	for i := range msgs {
		if f, ok := msgs[i].Body.(raft.Forward); ok {
			m.facts.forwarded.Add(uint64(len(f.Proposals)))
		}
	}
	m.transport.Send(msgs)
}

// WriterReady implements replica.Env.
func (m *Member) WriterReady() { signal(m.writerReady) }

// ApplierReady implements replica.Env.
func (m *Member) ApplierReady() { signal(m.applierReady) }

// Fetch implements replica.Env: it reads old entries of the log beside the owner.
func (m *Member) Fetch(f raft.Fetch) {
	m.wg.Go(func() {
		paced := !f.Repair && m.facts.seat(f.To) == raft.SeatLearner
		if paced {
			f.MaxBytes = min(f.MaxBytes, pacedBytes)
		}
		span, err := m.log.Read(f.From, f.MaxBytes)
		if err != nil {
			m.cfg.Log.Info("entries not read back from the log", "peer", f.To.String(), "index", f.From, "error", err.Error())
			span = raft.Span{}
		}
		if paced {
			// Who stops in between needs no answer.
			_ = pause(m.endingContext, m.pacing.wait(f.To, span, raft.Index(m.facts.commit.Load())))
		}
		m.body(raft.Fetched{To: f.To, Repair: f.Repair, Span: span})
	})
}

func (m *Member) body(b raft.Body) {
	m.inbox.put(func(a *arrivals) { a.bodies = append(a.bodies, b) })
}

// The store flushes by itself whenever a memory table is full, and the fuller it is, the less work a flush and
// the compactions after it are. It is made to flush before that only when too much log waits behind it: this
// many times KeepEntries, or more than that many segments.
const (
	flushEntries  = 4
	flushSegments = 3
)

// CutLog implements replica.Env: the store is asked what it holds durably, and flushed first if need be.
func (m *Member) CutLog(base raft.Base) {
	m.inStore.Go(func() {
		err := m.cut(base)
		if errors.Is(err, replica.ErrStopped) {
			return
		}
		m.inbox.call(func(r *replica.Replica) {
			if err := r.LogCut(base, err); err != nil {
				m.fail(err)
			}
		})
	})
}

func (m *Member) cut(base raft.Base) error {
	durable, err := m.store.Durable()
	if behind := int64(base.Position.Index) - int64(durable); err == nil && behind > 0 {
		if behind < flushEntries*int64(m.cfg.KeepEntries) && m.log.Stats().Segments <= flushSegments && !m.disk.low.Load() {
			return fmt.Errorf("the store lacks %d durable entries: %w", behind, replica.ErrNotDurable)
		}
		if err = m.store.Flush(); err == nil {
			durable, err = m.store.Durable()
		}
	}
	if err != nil {
		return fmt.Errorf("flush the store: %w", err)
	}
	if durable < uint64(base.Position.Index) {
		return fmt.Errorf("the store holds %d durably after a flush, less than %d: the log is kept", durable, base.Position.Index)
	}
	err = m.onLog(func() error { return m.log.Cut(base) })
	if errors.Is(err, wal.ErrNoSpace) {
		m.diskFull(err)
		return errors.Join(err, replica.ErrNotDurable)
	}
	return err
}

// MembershipChanged implements replica.Env.
func (m *Member) MembershipChanged(now raft.Membership) {
	m.facts.membership.Store(&now)
	m.pacing.forget(now)
	m.connect(now)
}

// Removed implements replica.Env: the identity is marked, so that the next start draws a new one.
func (m *Member) Removed() {
	if m.facts.removed.Swap(true) {
		return
	}
	m.cfg.Log.Info("the cluster goes on without this identity", "member", m.id.Member.String(), "next", "start the process again: it sets its data aside and draws a new identity")
	m.wg.Go(func() {
		m.joining.Lock()
		defer m.joining.Unlock()
		if err := m.dir.MarkRemoved(); err != nil {
			m.fail(err)
		}
	})
}

// Events implements replica.Env: it is the one place where the core's events become log lines.
func (m *Member) Events(events []raft.Event) {
	for _, e := range events {
		switch e := e.(type) {
		case raft.RoleChanged:
			m.cfg.Log.Info("role changed", "role", e.Role.String(), "term", uint64(e.Term), "leader", m.nameOf(e.Leader), "reason", e.Reason)
		case raft.EntriesLost:
			m.cfg.Log.Info("the log has lost entries to its disk: peers are asked for them", "count", e.Count, "first", uint64(e.First), "last", uint64(e.Last))
		case raft.EntriesRepaired:
			m.cfg.Log.Info("entries of the log are repaired", "count", e.Count, "left", e.Left)
		case raft.Diverged:
			m.heedDivergence(e)
		case raft.SpaceChanged:
			m.cfg.Log.Info("the cluster's space changed", "space", e.Space.String())
		case raft.ConfigChanged:
			m.cfg.Log.Info("membership changed", "index", uint64(e.Index), "joint", e.Membership.Joint(), "members", e.Membership.String())
		default:
			m.cfg.Log.Info("event", "event", e.String())
		}
	}
}
