package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	what, args := bench, os.Args[1:]
	if len(args) > 0 && args[0] == "join" {
		what, args = join, args[1:]
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
	quick                          bool
	json                           string
	plan
}

func parse(args []string) (options, error) {
	var o options
	var keyCount int
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
	f.IntVar(&keyCount, "keys", 100_000, "keys that are loaded first")
	f.IntVar(&o.clients, "clients", 256, "clients of the workloads with many")
	f.IntVar(&o.conns, "conns", 16, "clientv3 clients that they share, each with a connection to every member")
	f.DurationVar(&o.warm, "warm", time.Second, "time before each workload that is not measured")
	f.DurationVar(&o.measured, "measure", 5*time.Second, "measured time of each workload")
	f.StringVar(&o.only, "only", "", "run this one workload, such as \"put, 1 client\"")
	f.StringVar(&o.profiles, "profiles", "", "existing directory for CPU profiles of every member during every workload; they cost some speed")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if f.NArg() > 0 {
		return o, fmt.Errorf("unknown argument %q", f.Arg(0))
	}
	o.keys = keys(keyCount)
	if o.quick {
		o.pairs, o.keys, o.warm, o.measured = 1, min(o.keys, 2000), 200*time.Millisecond, time.Second
	}
	return o, o.validate()
}

func (o *options) validate() error {
	names := map[string]bool{"": true}
	for _, wl := range o.keys.workloads(o.clients) {
		names[wl.name] = true
	}
	switch {
	case o.system != "both" && o.system != "raftsman" && o.system != "etcd":
		return fmt.Errorf("--system is %q: it must be both, raftsman or etcd", o.system)
	case o.system != "raftsman" && o.etcd == "" && o.before == "":
		return errors.New("--etcd is missing: name the etcd program; go build -o FILE ./etcd makes one")
	case o.system != "etcd" && o.raftsman == "":
		return errors.New("--raftsman is missing: name the raftsman program; make build makes it")
	case o.pairs < 1 || o.keys < 1 || o.clients < 1 || o.conns < 1 || o.measured <= 0:
		return errors.New("--pairs, --keys, --clients, --conns and --measure must be positive")
	case !names[o.only]:
		return fmt.Errorf("--only is %q: there is no such workload", o.only)
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
	systems, err := o.systems()
	if err != nil {
		return err
	}
	root, err := os.MkdirTemp(o.root, "bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(root)) }()
	if memory, err := onMemory(root); err != nil || memory {
		return errors.Join(err, fmt.Errorf("%s lies in memory, where nothing is durable: choose another --data-dir", root))
	}
	o.root = root
	o.progress = func(format string, args ...any) { fmt.Printf(format+"\n", args...) }
	debug.SetGCPercent(400) // the load generator shares the cores; it has the memory
	c := observeConditions(o.plan, o.pairs)
	c.Other = systems[len(systems)-1].name
	o.progress("%v", c)
	results := map[string]runs{}
	for pair := range o.pairs {
		order := append([]system(nil), systems...)
		if pair%2 == 1 && len(order) == 2 {
			order[0], order[1] = order[1], order[0]
		}
		for _, s := range order {
			o.progress("pair %d of %d: %s", pair+1, o.pairs, s.name)
			m, err := o.measure(ctx, s, uint64(pair))
			if err != nil {
				return err
			}
			results[s.name] = append(results[s.name], m)
		}
	}
	var other runs // of the side that is compared with, if there is one
	if name := systems[len(systems)-1].name; name != "raftsman" {
		other = results[name]
	}
	table := compare(results["raftsman"], other)
	if o.json != "" {
		if err := writeJSON(o.json, c, table); err != nil {
			return err
		}
	}
	o.progress("\n%v\n", c)
	return printTable(os.Stdout, systems[len(systems)-1].name, table)
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
