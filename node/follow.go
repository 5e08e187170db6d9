package node

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"raftsman.dev/node/kv"
	"raftsman.dev/node/watch"
)

// follow lets the leases and the watchers begin where the opened store is. What it applies from now on they are told.
func (m *Member) follow() error {
	now := kv.Changes{Index: m.store.Applied().Index, Term: m.store.Applied().Term, Switched: true}
	all, err := m.allLeases()
	if err != nil {
		return fmt.Errorf("read the leases: %w", err)
	}
	m.leases.hear(now, all)
	m.hub = watch.New(watch.Options{
		History: func() watch.History { return m.store.View() }, Revision: m.store.Revision(), Compacted: m.store.Compacted(),
		RingBytes: ringBytes, Rand: rand.New(rand.NewPCG(draw(), draw())),
		First: func() { signal(m.inbox.wake) },
	})
	return nil
}

func (m *Member) allLeases() (all []kv.Lease, err error) {
	v := m.store.View()
	err = v.Leases(func(l kv.Lease) bool { all = append(all, l); return true })
	return all, errors.Join(err, v.Close())
}

// ringBytes bounds the recent events held for watchers. It is heap, for which the collector asks as much
// again as headroom; a watcher that is further behind is served from the store's history.
const ringBytes = 32 << 20

// changed hears, on the applier's goroutine, of every batch that the store has applied.
func (m *Member) changed(c kv.Changes) {
	var all []kv.Lease
	if c.Switched {
		var err error
		if all, err = m.allLeases(); err != nil {
			m.storeFailed(fmt.Errorf("read the leases: %w", err))
			return
		}
	}
	m.leases.hear(c, all)
	m.hub.Tell(c)
}

// Parting implements etcdapi.Backend.
func (m *Member) Parting() <-chan struct{} { return m.parting }

// Watch implements etcdapi.Backend.
func (m *Member) Watch() *watch.Stream { return m.hub.Stream() }

// glanceFor is how long this member counts as watched after somebody has looked at its state as it is: whoever does so
// again and again finds it no older than it can be.
const glanceFor = time.Second

// Glance implements etcdapi.Backend. The owner is woken once a tick at most, and readers share nothing in between. Whoever
// begins to look asks once for what was committed before; after that the leader tells it. Where nobody answers, asking
// again would not help: what went lost is made good by the next heartbeat.
func (m *Member) Glance(ctx context.Context) {
	if now := m.facts.tick.Load() + 1; m.facts.glance.Load() != now {
		m.facts.glance.Store(now)
		signal(m.inbox.wake)
	}
	if m.facts.abreast.Load() || m.facts.leads() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, m.cfg.HeartbeatInterval)
	defer cancel()
	_ = m.Barrier(ctx)
	m.facts.abreast.Store(true)
}

// watched reports to the owner whether clients of this member look at what is committed without asking the leader. What
// else looks at the store does so on the leader, or can wait for the next heartbeat: compaction and leases, the status and
// the operator, with the hashes by which it compares members.
func (m *Member) watched() bool {
	last := m.facts.glance.Load()
	on := m.hub.Watchers() > 0 || last != 0 && m.replica.Now() < last+uint64(m.cfg.ticks(glanceFor))
	if !on && m.facts.abreast.Load() {
		m.facts.abreast.Store(false)
	}
	return on
}

// tellHealth keeps gRPC's own health service up to date: it says what /readyz says.
func (m *Member) tellHealth() {
	is := healthpb.HealthCheckResponse_SERVING
	if m.unready() != "" {
		is = healthpb.HealthCheckResponse_NOT_SERVING
	}
	m.health.SetServingStatus("", is)
}

// lookAround lets time pass for watchers, and for clients that insist on a leader.
func (m *Member) lookAround() {
	second, election := time.NewTicker(time.Second), time.NewTicker(m.cfg.ElectionTimeout)
	defer second.Stop()
	defer election.Stop()
	for {
		select {
		case <-m.ending:
			return
		case now := <-second.C:
			m.hub.Tick(now)
			m.tellHealth()
		case <-election.C:
			m.guard.Look()
		}
	}
}
