package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
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
	// bar is what is asked of it, beside etcd.
	bar bar
}

// measurement is the figures of one run of one system, in the order in which they were taken.
type measurement struct {
	order  []figure
	values map[figure]float64
	// failures are the rows of which there are no figures, or not all.
	failures []error
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
	settling time.Duration // how long what the load has left may take at most
	filter   filter
	profiles string // directory for CPU profiles, or "" for none
	progress func(format string, args ...any)
}

// million is how many keys it takes for memory to be compared: with few, it is that of caches of a fixed size.
const million = 1_000_000

// rowPatience is how much longer than its measured time a row may take, until it has failed.
const rowPatience = 2 * time.Minute

// measure runs one system once, from an empty disk to the last figure.
func (p *plan) measure(ctx context.Context, s system, seed uint64) (m measurement, err error) {
	cgroup, cerr := newCgroup(fmt.Sprintf("raftsman-bench-%d", os.Getpid()))
	if cerr != nil {
		p.progress("    !!! the control group's peak is NOT MEASURED: %v", cerr)
	}
	defer func() { err = errors.Join(err, cgroup.remove()) }()
	g, err := startGroup(ctx, s, place{root: p.root, base: p.base, profiled: p.profiles != "", cgroup: cgroup})
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
	if err := p.load(ctx, g, clients, cgroup, seed, &m); err != nil {
		return m, fmt.Errorf("%s: %w", s.name, err)
	}
	for _, wl := range distinct(workloads(p.keys, p.clients)) {
		if !p.filter.takes(wl.name) {
			continue
		}
		if err := p.one(ctx, g, clients, wl, seed, &m); err != nil {
			err = fmt.Errorf("%s: %s: %w", s.name, wl.name, err)
			if over := errors.Join(ctx.Err(), g.ended()); over != nil {
				return m, errors.Join(err, over)
			}
			// One row that fails does not cost the others, which have taken long.
			p.progress("    !!! %v", err)
			m.failures = append(m.failures, err)
		}
	}
	peak, anonymous := memory.stop()
	m.add(figure{"all", "peak resident", "MiB", 0, bar{}}, peak)
	m.add(figure{"all", "peak anonymous", "MiB", 0, bar{}}, anonymous)
	m.add(figure{"all", "cgroup peak", "MiB", 0, bar{}}, cgroup.peakMiB())
	return m, g.ended()
}

// load fills the store and records what that took, in time and in memory: this is the row of the memory that so many
// keys need.
func (p *plan) load(ctx context.Context, g *group, clients []*clientv3.Client, cgroup *cgroup, seed uint64, m *measurement) error {
	before, err := g.mark(ctx)
	if err != nil {
		return err
	}
	memory := watchMemory(g.pids)
	defer memory.stop()
	profiled := p.profile(ctx, g, "load")
	t, err := load(ctx, clients, p.keys, seed)
	if err = errors.Join(err, profiled()); err != nil {
		return err
	}
	after, err := g.mark(ctx)
	if err != nil {
		return err
	}
	_, anonymous := memory.stop()
	if err := g.settle(ctx, time.Second, p.settling, func(format string, args ...any) { p.progress("    "+format, args...) }); err != nil {
		return err
	}
	_, rest, err := memoryOf(g.pids)
	if err != nil || !p.filter.takes(loadName(p.keys)) {
		return err
	}
	asked := bar{}
	if p.keys >= million {
		asked = atMost(1)
	}
	wl := workload{name: loadName(p.keys), writes: true}
	m.record(wl, t, before, after)
	m.add(figure{wl.name, "peak anonymous", "MiB", 0, asked}, anonymous)
	m.add(figure{wl.name, "anonymous at rest", "MiB", 0, asked}, mebibytes(rest))
	m.add(figure{wl.name, "cgroup peak", "MiB", 0, asked}, cgroup.peakMiB())
	p.say(g, wl, t, before, after)
	return nil
}

// one runs one workload and records its figures.
func (p *plan) one(ctx context.Context, g *group, clients []*clientv3.Client, wl workload, seed uint64, m *measurement) error {
	ctx, cancel := context.WithTimeout(ctx, p.warm+p.measured+rowPatience)
	defer cancel()
	if wl.prepare != nil {
		do, release, err := wl.prepare(ctx, clients)
		if err != nil {
			return err
		}
		defer release()
		wl.do = do
	}
	var before, after mark
	var profiled func() error
	t, err := run(ctx, wl, clients, seed, p.warm, p.measured,
		func() (err error) {
			profiled = p.profile(ctx, g, wl.name)
			before, err = g.mark(ctx)
			return err
		},
		func() (err error) { after, err = g.mark(ctx); return err })
	switch err = errors.Join(err, profiled()); {
	case err != nil:
		return errors.Join(err, t.lastError)
	case len(t.latencies) == 0:
		return errors.Join(fmt.Errorf("nothing succeeded within %v", p.measured), t.lastError)
	case t.errors > 0:
		p.progress("    %s: %s: %d errors, the last: %v", g.name, wl.name, t.errors, t.lastError)
	}
	m.record(wl, t, before, after)
	p.say(g, wl, t, before, after)
	return nil
}

// profile takes profiles of the members for as long as a workload is measured, if they are wanted; wait returns once they
// are written.
func (p *plan) profile(ctx context.Context, g *group, workload string) (wait func() error) {
	if p.profiles == "" {
		return func() error { return nil }
	}
	return g.profile(ctx, p.profiles, workload, p.measured)
}

// say tells of a row that is done.
func (p *plan) say(g *group, wl workload, t tally, before, after mark) {
	p.progress("    %-9s %-30s %9.0f/s  p50 %v  p99 %v  CPU %.0f us", g.name, wl.name, t.perSecond(),
		percentile(t.latencies, 0.5).Round(time.Microsecond), percentile(t.latencies, 0.99).Round(time.Microsecond), perOperation(t, before, after))
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
	return ratio(float64((after.cpu - before.cpu).Microseconds()), float64(t.succeeded()+t.errors))
}

func (m *measurement) record(wl workload, t tally, before, after mark) {
	us := func(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
	m.add(figure{wl.name, "rate", "/s", 0, atLeast(1)}, t.perSecond())
	m.add(figure{wl.name, "p50", "us", 0, bar{}}, us(percentile(t.latencies, 0.50)))
	m.add(figure{wl.name, "p99", "us", 0, atMost(1)}, us(percentile(t.latencies, 0.99)))
	m.add(figure{wl.name, "server CPU each", "us", 1, wl.cpu}, perOperation(t, before, after))
	m.add(figure{wl.name, "log fsyncs", "/s", 0, bar{}}, (after.syncs-before.syncs)/t.elapsed.Seconds())
	if wl.writes {
		m.add(figure{wl.name, "entries a sync", "", 1, bar{}}, ratio(after.entries-before.entries, after.syncs-before.syncs))
	}
	if t.errors > 0 {
		m.add(figure{wl.name, "errors", "", 0, bar{}}, float64(t.errors))
	}
}

func mebibytes(n int64) float64 { return float64(n) / (1 << 20) }

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
				w.peak = mebibytes(peak)
				if a := mebibytes(anonymous); !(a < w.anonymous) {
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
