package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

// config is what the flags say.
type config struct {
	etcd, raftsman string
	seed           uint64
	ops, each      int
	base           int
	dir, script    string
	out            string
	survey         bool
}

// maxVoid is how many sequences in a row may be given up.
const maxVoid = 5

func main() {
	var c config
	flag.StringVar(&c.etcd, "etcd", "bin/bench-etcd", "the etcd program")
	flag.StringVar(&c.raftsman, "raftsman", "bin/raftsman", "the raftsman program")
	flag.Uint64Var(&c.seed, "seed", 0, "seed of the sequences (0: a fresh one)")
	flag.IntVar(&c.ops, "ops", fullRun, "how many operations are compared")
	flag.IntVar(&c.each, "each", 2000, "operations of a sequence: each has fresh stores")
	flag.IntVar(&c.base, "base-port", 26100, "first of 240 free ports on loopback")
	flag.StringVar(&c.dir, "dir", "", "directory for the stores' data (default: the system's for temporary files)")
	flag.StringVar(&c.script, "script", "", "run this script instead")
	flag.StringVar(&c.out, "out", "", "directory for a script that shows a difference (default: only printed)")
	flag.BoolVar(&c.survey, "survey", false, "print differences and go on, instead of shrinking the first")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Stdout, c); err != nil {
		fmt.Fprintln(os.Stderr, "diff:", err)
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer, c config) (err error) {
	p := &pairs{ctx: ctx, etcd: etcdProgram(c.etcd), raftsman: raftsmanProgram(c.raftsman), root: c.dir, base: c.base}
	defer func() { err = errors.Join(err, p.close()) }()
	if c.script != "" {
		return runScript(out, p, c.script)
	}
	if c.seed == 0 {
		c.seed = rand.Uint64() >> 32
	}
	fmt.Fprintf(out, "seed %d, %d operations in sequences of %d\n", c.seed, c.ops, c.each)
	met, begin, void := newMatrix(), time.Now(), 0
	survey := func(script []op, d *difference) bool {
		if c.survey {
			fmt.Fprintf(out, "operation %d, %s\n%s", d.at, script[d.at], d.text)
		}
		return c.survey
	}
	for n := uint64(0); met.ops < c.ops; n++ {
		script, d, err := sequence(p, met, c.seed+n, min(c.each, c.ops-met.ops), survey)
		if v := (voidError{}); errors.As(err, &v) && void < maxVoid {
			void++
			fmt.Fprintf(out, "sequence %d: %v\n", c.seed+n, err)
			continue
		}
		if err != nil {
			return err
		}
		if d != nil {
			return report(out, p, c, c.seed+n, script, d)
		}
		void = 0
		fmt.Fprintf(out, "%7d operations alike after %v\n", met.ops, time.Since(begin).Round(time.Second))
	}
	enough := met.print(out)
	fmt.Fprintf(out, "seed %d: %d operations, no difference\n", c.seed, met.ops)
	if !enough && c.ops >= fullRun {
		return fmt.Errorf("some cells were met fewer than %d times", atLeast)
	}
	return nil
}

// sequence runs one seed's operations on fresh stores. It goes on after a difference if survey says so.
func sequence(p *pairs, met *matrix, seed uint64, ops int, survey func([]op, *difference) bool) (script []op, d *difference, err error) {
	stores, err := p.take()
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, stores.stop()) }()
	ctx, cancel := context.WithCancel(p.ctx)
	defer cancel()
	s := newSession(ctx, stores, met)
	g := newGenerator(seed, s.etcd)
	for range ops {
		if d, err := s.step(g.next()); err != nil || d != nil && !survey(s.done, d) {
			return s.done, d, err
		}
	}
	d, err = s.finish()
	if d != nil && survey(s.done, d) {
		d = nil
	}
	return s.done, d, err
}

// report shrinks a difference and prints it as a script.
func report(out io.Writer, p *pairs, c config, seed uint64, script []op, d *difference) error {
	fmt.Fprintf(out, "difference in sequence %d after operation %d, %s:\n%s", seed, d.at, script[d.at], d.text)
	best, text, again := shrink(p, out, script[:d.at+1])
	if !again {
		return fmt.Errorf("sequence %d showed a difference once and not again: look at what depends on time", seed)
	}
	story := fmt.Sprintf("# Found by seed %d.\n", seed)
	for _, o := range best {
		story += o.String() + "\n"
	}
	fmt.Fprintf(out, "difference:\n%s\nscript:\n%s", text, story)
	if c.out != "" {
		name := filepath.Join(c.out, fmt.Sprintf("seed-%d.script", seed))
		if err := os.WriteFile(name, []byte(story), 0o644); err != nil {
			return err
		}
		fmt.Fprintf(out, "written to %s\n", name)
	}
	return errors.New("etcd and raftsman differ")
}

func runScript(out io.Writer, p *pairs, name string) error {
	script, err := loadScript(name)
	if err != nil {
		return err
	}
	d, err := replay(p, script)
	if err != nil {
		return err
	}
	if d != nil {
		return fmt.Errorf("difference after %s:\n%s", script[d.at], d.text)
	}
	fmt.Fprintf(out, "%d operations, no difference\n", len(script))
	return nil
}

func loadScript(name string) ([]op, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	script, err := readScript(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return script, nil
}
