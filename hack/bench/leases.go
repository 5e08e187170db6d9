package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// leaseOptions are the flags of `bench leases`.
type leaseOptions struct {
	raftsman, etcd, root string
	profiles             string
	base                 int
	leases, keys, value  int
	workers, conns       int
	share                float64
	capacity, quiet      time.Duration
	patience             time.Duration
	progress             func(format string, args ...any)
}

// What is promised: everything is gone that long after the first lease was due, and puts meanwhile take at most so
// many times what they took before.
const (
	goneWithin = 10 * time.Second
	slowerBy   = 2.0
)

func parseLeases(args []string) (leaseOptions, error) {
	o := leaseOptions{conns: 16, progress: func(format string, args ...any) {
		fmt.Printf(time.Now().UTC().Format(time.TimeOnly)+"  "+format+"\n", args...)
	}}
	f := flag.NewFlagSet("bench leases", flag.ContinueOnError)
	f.StringVar(&o.raftsman, "raftsman", "../../bin/raftsman", "the raftsman program, or \"\" to run etcd alone")
	f.StringVar(&o.etcd, "etcd", "", "the etcd program, to do the same with it afterwards")
	f.StringVar(&o.root, "data-dir", "", "existing directory on the disk to measure on (default: the system's temporary one)")
	f.StringVar(&o.profiles, "profiles", "", "existing directory for CPU profiles of every member, of 10 s from when the leases are due; they cost some speed")
	f.IntVar(&o.base, "base-port", 21000, "first of 30 free ports")
	f.IntVar(&o.leases, "leases", 100_000, "leases that expire within one second, each with a key")
	f.IntVar(&o.keys, "keys", 10_000, "other keys, which are put meanwhile")
	f.IntVar(&o.value, "value-bytes", valueBytes, "size of a value")
	f.IntVar(&o.workers, "workers", 128, "clients that grant and put")
	f.Float64Var(&o.share, "share", 0.3, "share of the measured capacity at which they put while the leases expire")
	f.DurationVar(&o.capacity, "capacity", 15*time.Second, "for how long the capacity is measured")
	f.DurationVar(&o.quiet, "quiet", 30*time.Second, "for how long the puts are measured before the leases expire")
	f.DurationVar(&o.patience, "patience", 3*time.Minute, "how long it may take until all are gone")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	switch {
	case f.NArg() > 0:
		return o, fmt.Errorf("unknown argument %q", f.Arg(0))
	case o.raftsman == "" && o.etcd == "":
		return o, errors.New("--raftsman and --etcd are both empty: name one at least")
	case o.leases < 1 || o.keys < 1 || o.value < 16 || o.workers < 1 || o.share <= 0 || o.share > 1:
		return o, errors.New("--leases, --keys and --workers must be positive, --value-bytes be 16 at least, and --share be above 0 and at most 1")
	}
	return o, nil
}

// leases measures what it does to puts that many leases expire within a second. Raftsman must keep what is promised;
// etcd's figures are for comparison.
func leases(ctx context.Context, args []string) (err error) {
	o, err := parseLeases(args)
	if err != nil {
		return err
	}
	root, err := workingDir(o.root, "leases-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(root)) }()
	o.root = root
	var verdict error
	for _, side := range []struct {
		command string
		make    func([]string) system
		bound   bool
	}{{o.raftsman, raftsman, true}, {o.etcd, etcd, false}} {
		program, err := command(side.command)
		if err != nil {
			return err
		}
		if program == nil {
			continue
		}
		figures, err := o.measure(ctx, side.make(program))
		if err != nil {
			return errors.Join(verdict, err)
		}
		if short := figures.print(o); side.bound {
			verdict = short
		}
	}
	return verdict
}

// leaseFigures are what the measurement of one system comes to.
type leaseFigures struct {
	name           string
	capacity, rate float64
	granting       time.Duration
	width          time.Duration // from the first lease's end to the last's, as their grants were answered at the latest
	gone           time.Duration // from the first lease's end until no key and no lease was left; 0: some are left
	left           int           // keys that are left when patience ends
	before, during []time.Duration
	failed         int
}

// measure runs one system from an empty disk.
func (o *leaseOptions) measure(ctx context.Context, s system) (f leaseFigures, err error) {
	f.name = s.name
	o.progress("%s: load average %s", s.name, firstLine("/proc/loadavg"))
	g, err := startGroup(ctx, s, place{root: o.root, base: o.base, profiled: o.profiles != ""})
	if err != nil {
		return f, err
	}
	defer func() {
		if err != nil && ctx.Err() == nil {
			err = errors.Join(err, g.lastWords())
		}
		err = errors.Join(err, g.stop())
	}()
	clients, err := connect(g.endpoints(), o.conns)
	if err != nil {
		return f, err
	}
	defer disconnect(clients)
	if err := fill(ctx, clients, o.keys, o.value, func(int) {}); err != nil {
		return f, err
	}
	if f.capacity, err = measureCapacity(ctx, clients, 2*o.workers, o.keys, o.value, o.capacity); err != nil {
		return f, err
	}
	f.rate = o.share * f.capacity
	o.progress("%s: capacity %.0f puts/s; granting %d leases", s.name, f.capacity, o.leases)
	due, err := o.grant(ctx, clients, &f)
	if err != nil {
		return f, err
	}
	return f, o.expire(ctx, g, clients, due, &f)
}

// grant makes the leases and their keys. They are due within the second that begins at due.
func (o *leaseOptions) grant(ctx context.Context, clients []*clientv3.Client, f *leaseFigures) (due time.Time, err error) {
	began := time.Now()
	// A grant costs about what a put does, and the keys come many at a time; with room for a slower one.
	seconds := 4*float64(o.leases)/f.capacity + o.quiet.Seconds() + 20
	t := term{begun: began, due: began.Add(time.Duration(seconds) * time.Second)}
	last, err := t.grantAll(ctx, clients, o.leases, o.workers)
	if err != nil {
		return due, err
	}
	f.granting, f.width = time.Since(began), last.Sub(t.due)
	if left := time.Until(t.due) - o.quiet; left < time.Second {
		return due, fmt.Errorf("granting took %v, which leaves too little time before the leases expire", f.granting.Round(time.Second))
	}
	o.progress("%s: granted in %v, due in %v within %v; putting %.0f/s", f.name, f.granting.Round(time.Second), time.Until(t.due).Round(time.Second), f.width.Round(time.Millisecond), f.rate)
	return t.due, nil
}

// expire puts at the fixed rate while the leases come to their end, and watches them go.
func (o *leaseOptions) expire(ctx context.Context, g *group, clients []*clientv3.Client, due time.Time, f *leaseFigures) error {
	endLoad := paced{clients: clients, rate: f.rate, workers: o.workers, keys: o.keys, size: o.value}.begin(ctx)
	err := o.watchThemGo(ctx, g, clients[0], due, f)
	end := time.Now()
	samples, failed, last := endLoad()
	f.failed = failed
	if err != nil {
		return err
	}
	f.before, f.during = between(samples, due.Add(-o.quiet), due), between(samples, due, end)
	if last != nil {
		o.progress("%s: %d puts failed, the last with: %v", f.name, f.failed, last)
	}
	return ctx.Err()
}

// lookEvery is how often the leases' keys are counted once they are due.
const lookEvery = 500 * time.Millisecond

// watchThemGo makes sure that no lease has gone early, and then looks until none is left.
func (o *leaseOptions) watchThemGo(ctx context.Context, g *group, c *clientv3.Client, due time.Time, f *leaseFigures) (err error) {
	pause(ctx, time.Until(due)-o.quiet-time.Second)
	n, err := countLeased(ctx, c)
	if err != nil {
		return err
	}
	if n != o.leases {
		return fmt.Errorf("%d keys of %d leases are there, and none is due", n, o.leases)
	}
	pause(ctx, time.Until(due))
	if o.profiles != "" {
		written := g.profile(ctx, o.profiles, "leases", goneWithin)
		defer func() { err = errors.Join(err, written()) }()
	}
	for time.Since(due) < o.patience {
		pause(ctx, lookEvery)
		if f.left, err = countLeased(ctx, c); err != nil {
			return err
		}
		if since := time.Since(due); since%(5*time.Second) < lookEvery || f.left == 0 {
			o.progress("%s: %v after they were due %d are left", f.name, since.Round(time.Millisecond), f.left)
		}
		if f.left > 0 {
			continue
		}
		list, err := c.Leases(ctx)
		if err != nil {
			return err
		}
		if len(list.Leases) == 0 {
			f.gone = time.Since(due)
			return nil
		}
	}
	return nil
}

// print says how the figures compare with what is promised; what is not met is an error.
func (f *leaseFigures) print(o leaseOptions) error {
	p := func(took []time.Duration, q float64) time.Duration {
		return percentile(took, q).Round(10 * time.Microsecond)
	}
	before, during := p(f.before, 0.99), p(f.during, 0.99)
	slower := ratio(float64(during), float64(before))
	gone := fmt.Sprintf("gone %v after the first was due", f.gone.Round(time.Millisecond))
	if f.gone == 0 {
		gone = fmt.Sprintf("NOT GONE after %v: %d keys are left", o.patience, f.left)
	}
	o.progress("%s: %d leases due within %v: %s; puts at %.0f/s, %.0f %% of %.0f/s", f.name, o.leases, f.width.Round(time.Millisecond), gone, f.rate, 100*o.share, f.capacity)
	o.progress("%s: puts before: %d, p50 %v, p99 %v; during: %d, p50 %v, p99 %v (%.2f times); %d failed", f.name,
		len(f.before), p(f.before, 0.5), before, len(f.during), p(f.during, 0.5), during, slower, f.failed)
	var errs []error
	demand := func(met bool, format string, args ...any) {
		if !met {
			errs = append(errs, fmt.Errorf(f.name+": "+format, args...))
		}
	}
	demand(f.gone > 0 && f.gone <= goneWithin, "the leases were not gone within %v", goneWithin)
	demand(slower <= slowerBy, "the p99 of puts meanwhile is %.2f times that before; at most %.0f times is asked for", slower, slowerBy)
	demand(f.failed == 0, "%d puts failed", f.failed)
	if len(errs) == 0 {
		o.progress("%s: met: gone within %v, p99 at most %.0f times that before", f.name, goneWithin, slowerBy)
	}
	return errors.Join(errs...)
}
