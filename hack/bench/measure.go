package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// figure names one measured quantity.
type figure struct {
	Workload string `json:"workload"`
	Quantity string `json:"quantity"`
	Unit     string `json:"unit"`
	// Digits after the point, for the table.
	digits int
}

// measurement is the figures of one run of one system, in the order in which they were taken.
type measurement struct {
	order  []figure
	values map[figure]float64
}

func (m *measurement) add(f figure, v float64) {
	if m.values == nil {
		m.values = map[figure]float64{}
	}
	m.order = append(m.order, f)
	m.values[f] = v
}

// plan is how every run is made.
type plan struct {
	root     string
	base     int
	keys     keys
	clients  int
	conns    int
	warm     time.Duration
	measured time.Duration
	only     string // name of the one workload to run, or "" for all
	profiles string // directory for CPU profiles, or "" for none
	progress func(format string, args ...any)
}

// measure runs one system once, from an empty disk to the last figure.
func (p *plan) measure(ctx context.Context, s system, seed uint64) (m measurement, err error) {
	g, err := startGroup(ctx, s, p.root, p.base, p.profiles != "")
	if err != nil {
		return m, err
	}
	defer func() {
		if err != nil && ctx.Err() == nil {
			err = errors.Join(err, g.lastWords())
		}
		err = errors.Join(err, g.stop())
	}()
	clients, err := connect(g.endpoints(), p.conns)
	if err != nil {
		return m, err
	}
	defer disconnect(clients)
	memory := watchMemory(g.pids)
	defer memory.stop()
	if err := load(ctx, clients, p.keys, seed); err != nil {
		return m, err
	}
	for _, wl := range p.keys.workloads(p.clients) {
		if p.only != "" && p.only != wl.name {
			continue
		}
		if err := p.one(ctx, g, clients, wl, seed, &m); err != nil {
			return m, fmt.Errorf("%s: %s: %w", s.name, wl.name, err)
		}
	}
	peak, anonymous := memory.stop()
	m.add(figure{"all", "peak resident", "MiB", 0}, peak)
	m.add(figure{"all", "peak anonymous", "MiB", 0}, anonymous)
	return m, nil
}

// one runs one workload and records its figures.
func (p *plan) one(ctx context.Context, g *group, clients []*clientv3.Client, wl workload, seed uint64, m *measurement) error {
	var before, after mark
	profiled := func() error { return nil }
	t, err := run(ctx, wl, clients, seed, p.warm, p.measured,
		func() (err error) {
			if p.profiles != "" {
				profiled = g.profile(ctx, p.profiles, wl.name, p.measured)
			}
			before, err = g.mark(ctx)
			return err
		},
		func() (err error) { after, err = g.mark(ctx); return err })
	switch err = errors.Join(err, profiled()); {
	case err != nil:
		return err
	case len(t.latencies) == 0:
		return fmt.Errorf("nothing succeeded: %w", t.lastError)
	case t.errors > 0:
		p.progress("    %s: %s: %d errors, the last: %v", g.name, wl.name, t.errors, t.lastError)
	}
	m.record(wl, t, before, after)
	p.progress("    %-9s %-18s %9.0f/s  p50 %v  p99 %v  CPU %.0f us", g.name, wl.name, float64(len(t.latencies))/t.elapsed.Seconds(),
		percentile(t.latencies, 0.5).Round(time.Microsecond), percentile(t.latencies, 0.99).Round(time.Microsecond), perOperation(t, before, after))
	return nil
}

// mark is the members' counters at one moment.
type mark struct {
	cpu            time.Duration
	syncs, entries float64
}

func (g *group) mark(ctx context.Context) (mark, error) {
	syncs, entries, err := g.counters(ctx)
	if err != nil {
		return mark{}, err
	}
	cpu, err := cpuOf(g.pids)
	return mark{cpu: cpu, syncs: syncs, entries: entries}, err
}

// perOperation is the members' CPU time an operation, in microseconds.
func perOperation(t tally, before, after mark) float64 {
	return ratio(float64((after.cpu - before.cpu).Microseconds()), float64(len(t.latencies)+t.errors))
}

func (m *measurement) record(wl workload, t tally, before, after mark) {
	us := func(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
	m.add(figure{wl.name, "rate", "/s", 0}, float64(len(t.latencies))/t.elapsed.Seconds())
	m.add(figure{wl.name, "p50", "us", 0}, us(percentile(t.latencies, 0.50)))
	m.add(figure{wl.name, "p99", "us", 0}, us(percentile(t.latencies, 0.99)))
	m.add(figure{wl.name, "server CPU each", "us", 1}, perOperation(t, before, after))
	if wl.writes {
		m.add(figure{wl.name, "entries a sync", "", 1}, ratio(after.entries-before.entries, after.syncs-before.syncs))
	}
	if t.errors > 0 {
		m.add(figure{wl.name, "errors", "", 0}, float64(t.errors))
	}
}

// memoryWatch follows the members' memory.
type memoryWatch struct {
	once            sync.Once
	ending, ended   chan struct{}
	peak, anonymous float64 // MiB
}

const memoryEvery = 250 * time.Millisecond

func watchMemory(pids []int) *memoryWatch {
	w := &memoryWatch{ending: make(chan struct{}), ended: make(chan struct{}), peak: math.NaN(), anonymous: math.NaN()}
	go func() {
		defer close(w.ended)
		tick := time.NewTicker(memoryEvery)
		defer tick.Stop()
		for {
			// A member that has ended makes the run fail elsewhere.
			if peak, anonymous, err := memoryOf(pids); err == nil {
				w.peak = float64(peak) / (1 << 20)
				if a := float64(anonymous) / (1 << 20); !(a < w.anonymous) {
					w.anonymous = a
				}
			}
			select {
			case <-w.ending:
				return
			case <-tick.C:
			}
		}
	}()
	return w
}

// stop ends the watch and tells what it saw, as often as it is asked.
func (w *memoryWatch) stop() (peak, anonymous float64) {
	w.once.Do(func() { close(w.ending) })
	<-w.ended
	return w.peak, w.anonymous
}
