package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	what, args := bench, os.Args[1:]
	if len(args) > 0 {
		switch args[0] {
		case "join":
			what, args = join, args[1:]
		case "leases":
			what, args = leases, args[1:]
		}
	}
	if err := what(ctx, args); err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(os.Stderr, "bench:", err)
		}
		stop()
		os.Exit(1)
	}
}

// options are the flags.
type options struct {
	raftsman, etcd, before, system string
	pairs                          int
	quick, list                    bool
	json                           string
	plan
}

func parse(args []string) (options, error) {
	var o options
	var keyCount int
	var rows string
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.StringVar(&o.raftsman, "raftsman", "../../bin/raftsman", "the raftsman program")
	f.StringVar(&o.etcd, "etcd", "", "the etcd program: go build -o FILE ./etcd makes one")
	f.StringVar(&o.before, "before", "", "another raftsman program to compare with, instead of etcd")
	f.StringVar(&o.system, "system", "both", "what to run: both, raftsman or etcd")
	f.IntVar(&o.pairs, "pairs", 5, "how often each is run")
	f.BoolVar(&o.quick, "quick", false, "one short pair: does it work at all")
	f.StringVar(&o.json, "json", "", "file for the figures of every run")
	f.StringVar(&o.root, "data-dir", "", "existing directory on the disk to measure on (default: the system's temporary one)")
	f.IntVar(&o.base, "base-port", 21000, "first of 30 free ports")
	f.IntVar(&keyCount, "keys", million, "keys that are loaded first")
	f.IntVar(&o.clients, "clients", 256, "clients of the workloads with many")
	f.IntVar(&o.conns, "conns", 16, "clientv3 clients that they share, each with a connection to every member")
	f.DurationVar(&o.warm, "warm", time.Second, "time before each workload that is not measured")
	f.DurationVar(&o.measured, "measure", 5*time.Second, "measured time of each workload")
	f.DurationVar(&o.settling, "settle", 30*time.Second, "how long the members may take at most to come to rest after the keys are loaded")
	f.StringVar(&rows, "rows", "", "run only the rows that match this regular expression, such as \"put|watch\"; the keys are loaded in any case")
	f.StringVar(&o.filter.only, "only", "", "run this one row, such as \"put, 1 client\"")
	f.BoolVar(&o.list, "list", false, "print the names of the rows, and run nothing")
	f.StringVar(&o.profiles, "profiles", "", "existing directory for CPU profiles of every member during every workload; they cost some speed")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if f.NArg() > 0 {
		return o, fmt.Errorf("unknown argument %q", f.Arg(0))
	}
	if rows != "" {
		matching, err := regexp.Compile(rows)
		if err != nil {
			return o, fmt.Errorf("--rows: %w", err)
		}
		o.filter.rows = matching
	}
	o.keys = keys(keyCount)
	if o.quick {
		o.pairs, o.keys, o.warm, o.measured, o.settling = 1, min(o.keys, 2000), 200*time.Millisecond, time.Second, time.Second
	}
	return o, o.validate()
}

func (o *options) validate() error {
	switch {
	case o.list:
		return nil
	case o.system != "both" && o.system != "raftsman" && o.system != "etcd":
		return fmt.Errorf("--system is %q: it must be both, raftsman or etcd", o.system)
	case o.system != "raftsman" && o.etcd == "" && o.before == "":
		return errors.New("--etcd is missing: name the etcd program; go build -o FILE ./etcd makes one")
	case o.system != "etcd" && o.raftsman == "":
		return errors.New("--raftsman is missing: name the raftsman program; make build makes it")
	case o.pairs < 1 || o.keys < 1 || o.clients < 1 || o.conns < 1 || o.measured <= 0:
		return errors.New("--pairs, --keys, --clients, --conns and --measure must be positive")
	case !slices.ContainsFunc(names(o.keys, o.clients), o.filter.takes):
		return errors.New("--only and --rows leave no row: --list names them all")
	}
	return nil
}

// command splits a program with arguments and makes its path absolute.
func command(text string) ([]string, error) {
	parts := strings.Fields(text)
	if len(parts) == 0 {
		return nil, nil
	}
	path, err := filepath.Abs(parts[0])
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("program %s: %w: build it first", parts[0], err)
	}
	parts[0] = path
	return parts, nil
}

// onMemory reports whether the directory lies on tmpfs or ramfs, where a sync is nothing.
func onMemory(dir string) (bool, error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return false, fmt.Errorf("--data-dir %s: %w", dir, err)
	}
	const tmpfs, ramfs = 0x01021994, 0x858458f6
	return s.Type == tmpfs || s.Type == ramfs, nil
}

func bench(ctx context.Context, args []string) (err error) {
	o, err := parse(args)
	if err != nil {
		return err
	}
	if o.list {
		fmt.Println(strings.Join(names(o.keys, o.clients), "\n"))
		return nil
	}
	systems, err := o.systems()
	if err != nil {
		return err
	}
	root, err := workingDir(o.root, "bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(root)) }()
	o.root = root
	o.progress = func(format string, args ...any) { fmt.Printf(format+"\n", args...) }
	debug.SetGCPercent(400) // the load generator shares the cores; it has the memory
	c := observeConditions(o.plan, o.pairs)
	c.Other = systems[len(systems)-1].name
	o.progress("%v", c)
	results, err := o.runPairs(ctx, systems)
	// What has been measured before something failed is told all the same.
	return errors.Join(err, o.report(systems, results, c))
}

// workingDir makes a fresh directory below root, or the system's temporary one, on a disk.
func workingDir(root, name string) (string, error) {
	dir, err := os.MkdirTemp(root, name)
	if err != nil {
		return "", err
	}
	if memory, err := onMemory(dir); err != nil || memory {
		return "", errors.Join(err, fmt.Errorf("%s lies in memory, where nothing is durable: choose another --data-dir", dir), os.RemoveAll(dir))
	}
	return dir, nil
}

// runPairs measures the systems in turn, each first in every other pair.
func (o *options) runPairs(ctx context.Context, systems []system) (map[string]runs, error) {
	results := map[string]runs{}
	var failures []error
	for pair := range o.pairs {
		order := slices.Clone(systems)
		if pair%2 == 1 {
			slices.Reverse(order)
		}
		for _, s := range order {
			o.progress("%s pair %d of %d: %s, load average %s", time.Now().UTC().Format(time.TimeOnly), pair+1, o.pairs, s.name, firstLine("/proc/loadavg"))
			m, err := o.measure(ctx, s, uint64(pair))
			if err != nil {
				return results, errors.Join(append(failures, err)...)
			}
			results[s.name] = append(results[s.name], m)
			failures = append(failures, m.failures...)
		}
	}
	return results, errors.Join(failures...)
}

// report prints the table, and which bars are missed where etcd is what Raftsman is compared with.
func (o *options) report(systems []system, results map[string]runs, c conditions) error {
	ours, other := results["raftsman"], runs(nil) // of the side that is compared with, if there is one
	if name := systems[len(systems)-1].name; name != "raftsman" {
		other = results[name]
	}
	beside := c.Other == "etcd" && len(systems) == 2
	if !beside {
		ours, other = ours.without(), other.without()
	}
	table := compare(ours, other)
	if len(table) == 0 {
		return nil
	}
	if o.json != "" {
		if err := writeJSON(o.json, c, table); err != nil {
			return err
		}
	}
	o.progress("\n%v\n", c)
	if err := printTable(os.Stdout, c.Other, table); err != nil {
		return err
	}
	if beside {
		o.progress("\n%s", verdicts(table))
	}
	return nil
}

func (o *options) systems() ([]system, error) {
	type side struct {
		name, command string
		make          func([]string) system
	}
	sides := []side{{"raftsman", o.raftsman, raftsman}, {"etcd", o.etcd, etcd}}
	if o.before != "" {
		sides[1] = side{"before", o.before, func(command []string) system {
			s := raftsman(command)
			s.name = "before"
			return s
		}}
	}
	var all []system
	for _, x := range sides {
		if o.system != "both" && o.system != x.name {
			continue
		}
		parts, err := command(x.command)
		if err != nil {
			return nil, err
		}
		all = append(all, x.make(parts))
	}
	return all, nil
}
