package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// joinOptions are the flags of `bench join`.
type joinOptions struct {
	raftsman, root    string
	base              int
	gigabytes         float64
	value, workers    int
	share             float64
	capacity, quiet   time.Duration
	patience          time.Duration
	bytesPerSecond    int
	history           bool
	keys              int
	progress          func(format string, args ...any)
	clientConnections int
}

func parseJoin(args []string) (joinOptions, error) {
	o := joinOptions{clientConnections: 8, progress: func(format string, args ...any) {
		fmt.Printf(time.Now().UTC().Format(time.TimeOnly)+"  "+format+"\n", args...)
	}}
	f := flag.NewFlagSet("bench join", flag.ContinueOnError)
	f.StringVar(&o.raftsman, "raftsman", "../../bin/raftsman", "the raftsman program")
	f.StringVar(&o.root, "data-dir", "", "existing directory on the disk to measure on (default: the system's temporary one); it takes five times --gigabytes")
	f.IntVar(&o.base, "base-port", 21000, "first of 40 free ports")
	f.Float64Var(&o.gigabytes, "gigabytes", 5, "size of the store: keys and values")
	f.IntVar(&o.value, "value-bytes", 1024, "size of a value")
	f.IntVar(&o.workers, "workers", 128, "clients that put")
	f.Float64Var(&o.share, "share", 0.3, "share of the measured capacity at which they put while the member joins")
	f.DurationVar(&o.capacity, "capacity", 15*time.Second, "for how long the capacity is measured")
	f.BoolVar(&o.history, "history", false, "keep the history of the filling: the store is then twice as large")
	f.DurationVar(&o.quiet, "quiet", time.Minute, "for how long the puts are measured before the member joins")
	f.DurationVar(&o.patience, "patience", 15*time.Minute, "how long the member may take to join")
	f.IntVar(&o.bytesPerSecond, "snapshot-bytes-per-second", 0, "given to every member (0: its default)")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	o.keys = int(o.gigabytes * 1e9 / float64(len(fillKey(0))+o.value))
	switch {
	case f.NArg() > 0:
		return o, fmt.Errorf("unknown argument %q", f.Arg(0))
	case o.keys < 1000 || o.value < 16 || o.workers < 1 || o.share <= 0 || o.share > 1:
		return o, errors.New("--gigabytes must make 1000 keys at least, --value-bytes be 16 at least, --workers be positive, and --share be above 0 and at most 1")
	}
	return o, nil
}

// joinFigures are what the measurement comes to.
type joinFigures struct {
	capacity, rate          float64
	took                    time.Duration
	before, during          []time.Duration
	parts                   []part // of both
	failed                  int
	sent, received, resumed float64
	installed               float64 // bytes of the snapshot that was installed, each once
	state                   float64 // keys and values
}

// join measures how a new member joins a filled store under load, with its snapshot cut once on the way.
func join(ctx context.Context, args []string) (err error) {
	o, err := parseJoin(args)
	if err != nil {
		return err
	}
	program, err := command(o.raftsman)
	if err != nil {
		return err
	}
	root, err := workingDir(o.root, "join-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(root)) }()
	g, err := startGroup(ctx, o.system(program), place{root: root, base: o.base})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, g.stop()) }()
	clients, err := connect(g.endpoints(), o.clientConnections)
	if err != nil {
		return err
	}
	defer disconnect(clients)
	figures, err := o.measure(ctx, program, g, clients)
	if err != nil {
		return errors.Join(err, g.lastWords())
	}
	return figures.print(o)
}

// system is raftsman with the flags of this measurement.
func (o *joinOptions) system(program []string) system {
	s := raftsman(program)
	start := s.start
	s.start = func(dir string, base int, profiled bool) []*exec.Cmd {
		cmds := start(dir, base, profiled)
		for _, cmd := range cmds {
			cmd.Args = append(append(cmd.Args, "--"), o.memberFlags()...)
		}
		return cmds
	}
	return s
}

// defaultKeep is how many entries a member keeps in its log by default.
const defaultKeep = 10_000

// memberFlags are given to every member. A store that was filled by few entries would come to the new member from the
// log alone: then less log is kept, so that it comes by a snapshot.
func (o *joinOptions) memberFlags() []string {
	var flags []string
	if entries := o.keys / fillBatch; entries < 4*defaultKeep {
		flags = append(flags, fmt.Sprintf("--log-keep-entries=%d", max(entries/8, 10)))
	}
	if o.bytesPerSecond > 0 {
		flags = append(flags, fmt.Sprintf("--snapshot-bytes-per-second=%d", o.bytesPerSecond))
	}
	return flags
}

func (o *joinOptions) measure(ctx context.Context, program []string, g *group, clients []*clientv3.Client) (joinFigures, error) {
	f := joinFigures{state: float64(o.keys) * float64(len(fillKey(0))+o.value)}
	o.progress("filling the store: %d keys, %.2f GB", o.keys, f.state/1e9)
	err := fill(ctx, clients, o.keys, o.value, func(done int) { o.progress("  %d keys", done) })
	if err != nil {
		return f, err
	}
	if err := o.compact(ctx, clients[0]); err != nil {
		return f, err
	}
	if err := g.settle(ctx, 5*time.Second, 10*time.Minute, o.progress); err != nil {
		return f, err
	}
	if f.capacity, err = measureCapacity(ctx, clients, 2*o.workers, o.keys, o.value, o.capacity); err != nil {
		return f, err
	}
	f.rate = o.share * f.capacity
	o.progress("capacity %.0f puts/s; going on with %.0f puts/s", f.capacity, f.rate)
	endLoad := paced{clients: clients, rate: f.rate, workers: o.workers, keys: o.keys, size: o.value}.begin(ctx)
	pause(ctx, min(o.quiet/3, 10*time.Second)) // until the full load has settled a little
	quiet := time.Now()
	pause(ctx, o.quiet)
	begin := time.Now()
	err = o.joinOne(ctx, program, g, clients[0], &f)
	end := time.Now()
	samples, failed, last := endLoad()
	f.failed = failed
	if err != nil {
		return f, err
	}
	f.took, f.before, f.during = end.Sub(begin), between(samples, quiet, begin), between(samples, begin, end)
	f.parts = inParts(samples, quiet, begin, end, 10*time.Second)
	if last != nil {
		o.progress("%d puts failed, the last with: %v", f.failed, last)
	}
	return f, nil
}

// compact drops the history of the filling, as clients of such a store do all the time: else each value would be there
// twice, once as the newest and once in the event that brought it, and the store would be twice as large as stated.
func (o *joinOptions) compact(ctx context.Context, client *clientv3.Client) error {
	if o.history {
		return nil
	}
	newest, err := client.Get(ctx, fillKey(0), clientv3.WithCountOnly())
	if err == nil {
		_, err = client.Compact(ctx, newest.Header.Revision)
	}
	if err != nil {
		return fmt.Errorf("compact the filled store: %w", err)
	}
	o.progress("history compacted at revision %d", newest.Header.Revision)
	return nil
}

// joinOne starts a fourth member behind a connection that is cut when half of the state has passed, adds it, and waits
// until it is a voter.
func (o *joinOptions) joinOne(ctx context.Context, program []string, g *group, client *clientv3.Client, f *joinFigures) (err error) {
	ctx, cancel := context.WithTimeout(ctx, o.patience)
	defer cancel()
	at := func(offset int) string { return loopback(o.base + 10*members + offset) }
	wire, err := newCutter(at(4), at(1), int64(f.state/2))
	if err != nil {
		return err
	}
	defer wire.close()
	args := append(program[1:len(program):len(program)], "node", "--name=m3", "--data-dir="+filepath.Join(g.dir, "m3"),
		"--listen-client="+at(0), "--listen-peer="+at(1), "--listen-metrics="+at(2), "--listen-admin="+at(3), "--advertise-peer="+at(4))
	newcomer := exec.Command(program[0], append(args, o.memberFlags()...)...)
	newcomer.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	log, err := os.Create(filepath.Join(g.dir, "m3.log"))
	if err != nil {
		return err
	}
	newcomer.Stdout, newcomer.Stderr = log, log
	if err := errors.Join(newcomer.Start(), log.Close()); err != nil {
		return err
	}
	defer func() {
		// Its end is asked for; how it ends says nothing more.
		_ = newcomer.Process.Signal(syscall.SIGTERM)
		_ = newcomer.Wait()
	}()
	if err := o.admit(ctx, client, "http://"+at(4), at(2), wire); err != nil {
		return err
	}
	return f.count(ctx, g, at(2))
}

// admit adds the member as a learner, and promotes it as soon as it has caught up.
func (o *joinOptions) admit(ctx context.Context, client *clientv3.Client, url, metrics string, wire *cutter) error {
	var id uint64
	for id == 0 {
		added, err := client.MemberAddAsLearner(ctx, []string{url})
		if err == nil {
			id = added.Member.ID
			break
		}
		if pause(ctx, pollEvery); ctx.Err() != nil {
			return fmt.Errorf("add the new member: %w", err)
		}
	}
	o.progress("member %016x added", id)
	cutSeen, mentioned := false, time.Now()
	for {
		_, err := client.MemberPromote(ctx, id)
		if err == nil {
			o.progress("member %016x promoted", id)
			return nil
		}
		if pause(ctx, pollEvery); ctx.Err() != nil {
			return fmt.Errorf("the new member has not caught up: %w", err)
		}
		if cut := wire.cutAt(); !cutSeen && !cut.IsZero() {
			cutSeen = true
			o.progress("snapshot connection cut")
		}
		if time.Since(mentioned) > 10*time.Second {
			mentioned = time.Now()
			if values, err := countersOf(ctx, metrics, "raftsman_snapshot_received_bytes_total", "raftsman_applied_index"); err == nil {
				o.progress("  %.2f GB received, entry %.0f applied", values[0]/1e9, values[1])
			}
		}
	}
}

// count reads what went over the wire.
func (f *joinFigures) count(ctx context.Context, g *group, newcomer string) error {
	for i := range members {
		values, err := countersOf(ctx, g.metrics(g.base, i), "raftsman_snapshot_sent_bytes_total")
		if err != nil {
			return err
		}
		f.sent += values[0]
	}
	values, err := countersOf(ctx, newcomer, "raftsman_snapshot_received_bytes_total", "raftsman_snapshot_resumed_total", "raftsman_snapshots_installed_total", "raftsman_snapshot_installed_bytes_total")
	if err != nil {
		return err
	}
	f.received, f.resumed, f.installed = values[0], values[1], values[3]
	if values[2] != 1 {
		return fmt.Errorf("the new member has installed %.0f snapshots, not one", values[2])
	}
	return nil
}

func countersOf(ctx context.Context, address string, names ...string) ([]float64, error) {
	text, err := fetch(ctx, "http://"+address+"/metrics")
	if err != nil {
		return nil, err
	}
	return parseMetrics(string(text), names...)
}

// print says how the figures compare with what is asked for; what is not met is an error.
func (f *joinFigures) print(o joinOptions) error {
	p := func(took []time.Duration, q float64) time.Duration {
		return percentile(took, q).Round(10 * time.Microsecond)
	}
	before, during := p(f.before, 0.99), p(f.during, 0.99)
	slower := ratio(float64(during), float64(before))
	o.progress("join: %v for %.2f GB of keys and values, puts at %.0f/s, %.0f %% of %.0f/s", f.took.Round(time.Millisecond), f.state/1e9, f.rate, 100*o.share, f.capacity)
	o.progress("snapshot: %.0f bytes; %.0f sent, %.3f of what was needed, %.0f received; went on %.0f times after a cut", f.installed, f.sent, ratio(f.sent, f.installed), f.received, f.resumed)
	o.progress("puts before: %d, p50 %v, p99 %v; during: %d, p50 %v, p99 %v (%.2f times); %d failed",
		len(f.before), p(f.before, 0.5), before, len(f.during), p(f.during, 0.5), during, slower, f.failed)
	for _, part := range f.parts {
		o.progress("  %+.0f s: p50 %v, p99 %v, slowest %v", part.after.Seconds(), part.p50.Round(time.Millisecond), part.p99.Round(time.Millisecond), part.worst.Round(time.Millisecond))
	}
	var errs []error
	demand := func(met bool, format string, args ...any) {
		if !met {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	demand(f.took <= 10*time.Minute, "joining took longer than 10 minutes")
	demand(f.resumed >= 1 && max(f.received, f.sent) <= 1.02*f.installed, "the snapshot that was cut began anew: %.3f of it were sent", ratio(f.sent, f.installed))
	demand(slower <= 2, "the p99 of puts during the join is %.2f times that before; at most twice is asked for", slower)
	demand(f.failed == 0, "%d puts failed", f.failed)
	if len(errs) == 0 {
		o.progress("met: joined within 10 minutes, the cut snapshot went on, p99 at most twice that before")
	}
	return errors.Join(errs...)
}
