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
	dir, script    string
	out            string
	survey         bool
	abreast        int
}

func main() {
	var c config
	flag.StringVar(&c.etcd, "etcd", "bin/bench-etcd", "the etcd program")
	flag.StringVar(&c.raftsman, "raftsman", "bin/raftsman", "the raftsman program")
	flag.Uint64Var(&c.seed, "seed", 0, "seed of the sequences (0: a fresh one)")
	flag.IntVar(&c.ops, "ops", fullRun, "how many operations are compared")
	flag.IntVar(&c.each, "each", 2000, "operations of a sequence: each has fresh stores")
	flag.StringVar(&c.dir, "dir", "", "directory for the stores' data (default: the system's for temporary files)")
	flag.StringVar(&c.script, "script", "", "run this script instead")
	flag.StringVar(&c.out, "out", "", "directory for a script that shows a difference (default: only printed)")
	flag.BoolVar(&c.survey, "survey", false, "print the first difference of each sequence and go on with the next, instead of shrinking it")
	flag.IntVar(&c.abreast, "abreast", 2, "sequences that run at once: each waits for one answer at a time")
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
	p := &pairs{ctx: ctx, etcd: etcdProgram(c.etcd), raftsman: raftsmanProgram(c.raftsman), root: c.dir}
	defer func() { err = errors.Join(err, p.close()) }()
	if c.script != "" {
		p.want = 1
		return runScript(out, p, c.script)
	}
	if c.seed == 0 {
		c.seed = rand.Uint64() >> 32
	}
	fmt.Fprintf(out, "seed %d, %d operations in sequences of %d\n", c.seed, c.ops, c.each)
	r := &runner{config: c, out: out, pairs: p, met: newMatrix(), begin: time.Now()}
	err = r.run()
	enough, took := r.met.print(out), time.Since(r.begin).Round(time.Second)
	if err != nil {
		return fmt.Errorf("seed %d, after %d operations in %v: %w", c.seed, r.met.ops, took, err)
	}
	if r.differing > 0 {
		return fmt.Errorf("seed %d: %d operations, %d sequences with differences, in %v", c.seed, r.met.ops, r.differing, took)
	}
	fmt.Fprintf(out, "seed %d: %d operations, no difference, in %v\n", c.seed, r.met.ops, took)
	if !enough && c.ops >= fullRun {
		return fmt.Errorf("some cells were met fewer than %d times", atLeast)
	}
	return nil
}

// sequence runs one seed's operations on fresh stores, up to the first difference.
func sequence(p *pairs, met *matrix, seed uint64, ops int) (script []op, d *difference, err error) {
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
		if d, err := s.step(g.next()); err != nil || d != nil {
			return s.done, d, err
		}
	}
	d, err = s.finish()
	return s.done, d, err
}

// report shrinks a difference and prints it as a script.
func report(out io.Writer, p *pairs, c config, seed uint64, script []op, d *difference) error {
	fmt.Fprintf(out, "difference in sequence %d after operation %d, %s:\n%s", seed, d.at, script[d.at], d.text)
	best, text, again := shrink(p, out, script[:d.at+1])
	if !again {
		return fmt.Errorf("sequence %d showed a difference once and not again: look at what depends on time", seed)
	}
	story := fmt.Sprintf("# Found by seed %d.\n%s\n", seed, freshMark)
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

// freshMark is the line of a script that needs stores of its own, because of the revisions or compactions in it.
const freshMark = "# Fresh stores."

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
