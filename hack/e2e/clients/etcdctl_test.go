package clients

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// terminal runs the commands of a script on one group.
type terminal struct {
	g         *group
	etcdctl   string
	variables map[string]string
	normal    *normaliser
}

// outcome is what one command did.
type outcome struct {
	output string // all of it, normalised
	failed bool
	err    error // of running it: the script itself went wrong
}

// TestScript runs the script on etcd and on Raftsman: outputs are equal, but for the differences that are allowed.
func TestScript(t *testing.T) {
	p := need(t, etcd, "etcdctl")
	text, err := os.ReadFile("testdata/etcdctl.txt")
	if err != nil {
		t.Fatal(err)
	}
	steps, err := parseScript(string(text))
	if err != nil {
		t.Fatal(err)
	}
	allowed, err := permitted()
	if err != nil {
		t.Fatal(err)
	}
	t.Parallel()
	groups := both(t, p)
	theirs, ours := newTerminal(groups[0], p), newTerminal(groups[1], p)
	began, differing := time.Now(), 0
	for _, s := range steps {
		if s.differs != "" {
			if differing++; !allowed[s.differs] {
				t.Errorf("line %d: node/etcdapi/differences.md has no section %q", s.line, s.differs)
			}
		}
		compare(t, s, theirs, ours)
		if t.Context().Err() != nil {
			return
		}
	}
	say("clients: etcdctl: %d commands on each system in %v, %d with an allowed difference", len(steps), time.Since(began).Round(time.Second), differing)
}

// TestPerf asks both systems whether they are fast enough, and compares only whether they answer.
func TestPerf(t *testing.T) {
	if !*asked.perf {
		t.Skip("NOT RUN: it takes more than two minutes: `make clients PERF=yes` runs it")
	}
	p := need(t, etcd, "etcdctl")
	for _, system := range []string{etcd, raftsman} {
		g := newGroup(t, system, p)
		out, err := exec.CommandContext(t.Context(), p.path("etcdctl"), "--endpoints="+strings.Join(addresses(g.members), ","), "check", "perf", "--load=s").CombinedOutput()
		parts := strings.Split(string(out), "p/s") // the last is the report, those before are pictures of how far it was
		say("clients: check perf on %s: %v\n%s", system, err, strings.TrimSpace(parts[len(parts)-1]))
		for _, what := range []string{"Throughput", "Slowest request", "Stddev"} {
			if !bytes.Contains(out, []byte("PASS: "+what)) && !bytes.Contains(out, []byte("FAIL: "+what)) && !bytes.Contains(out, []byte(what+" ")) {
				t.Errorf("%s: the report lacks %q", system, what)
			}
		}
		g.kill(g.members...)
	}
}

func newTerminal(g *group, p programs) *terminal {
	v := map[string]string{"ALL": strings.Join(addresses(g.members), ",")}
	for i, m := range g.members {
		v[fmt.Sprintf("EP%d", i)], v[fmt.Sprintf("ID%d", i)] = m.Client, fmt.Sprintf("%x", m.id)
	}
	return &terminal{g: g, etcdctl: p.path("etcdctl"), variables: v, normal: newNormaliser(g)}
}

// compare runs a step on both.
func compare(t *testing.T, s *step, theirs, ours *terminal) {
	t.Helper()
	var a, b outcome
	var done sync.WaitGroup
	done.Go(func() { a = theirs.run(t.Context(), s) })
	done.Go(func() { b = ours.run(t.Context(), s) })
	done.Wait()
	if err := errors.Join(a.err, b.err); err != nil {
		t.Errorf("line %d: %s: %v", s.line, s.command, err)
	}
	if a.failed != s.fails {
		t.Errorf("line %d: %s: etcd: failed=%v: the script is wrong:\n%s", s.line, s.command, a.failed, a.output)
	}
	switch equal := a == b; {
	case s.differs == "" && !equal:
		t.Errorf("line %d: %s\n  - etcd (failed=%v), + Raftsman (failed=%v)\n%s", s.line, s.command, a.failed, b.failed, diff(a.output, b.output))
	case s.differs != "" && equal:
		t.Errorf("line %d: %s: both write the same: it does not differ by %s any more:\n%s", s.line, s.command, s.differs, a.output)
	case s.differs != "":
		if want := strings.Join(s.ours, "\n"); strings.TrimSuffix(b.output, "\n") != want {
			t.Errorf("line %d: %s\n  - what Raftsman is to write, + what it writes\n%s", s.line, s.command, diff(want, b.output))
		}
	}
}

// run runs one command, with what is done meanwhile.
func (c *terminal) run(ctx context.Context, s *step) outcome {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	cmd, err := c.command(ctx, s.command)
	if err != nil {
		return outcome{err: err}
	}
	out := &screen{grown: make(chan struct{}, 1)}
	cmd.Stdout, cmd.Stderr = out, out
	in, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return outcome{err: err}
	}
	err = c.act(ctx, s, in, out)
	if s.waits() { // with its input open: some would end with that
		err = errors.Join(err, cmd.Process.Signal(os.Interrupt))
	} else {
		_ = in.Close()
	}
	failed := cmd.Wait() != nil && !s.waits()
	if ctx.Err() != nil {
		err = errors.Join(err, fmt.Errorf("%s: it did not end within %v", c.g.system, patience))
	}
	raw := out.text()
	for _, take := range s.takes {
		found := take.from.FindStringSubmatch(raw)
		if found == nil {
			err = errors.Join(err, fmt.Errorf("%s: no %s in:\n%s", c.g.system, take.from, raw))
			continue
		}
		c.keep(take.name, found[1])
	}
	text := c.normal.normal(raw)
	if s.waits() { // interrupted before or behind the last, empty line
		text = strings.TrimRight(text, "\n")
	}
	if s.sorted {
		lines := strings.Split(text, "\n")
		slices.Sort(lines)
		text = strings.Join(lines, "\n")
	}
	return outcome{output: text, failed: failed, err: err}
}

// keep makes a text a variable, and known: a number in each of its forms.
func (c *terminal) keep(name, text string) {
	c.variables[name] = text
	const digits = 12 // no number of another kind is as long
	id, err := strconv.ParseUint(text, 10, 64)
	if err != nil || len(text) <= 16 { // that is hexadecimal
		id, err = strconv.ParseUint(text, 16, 64)
	}
	if err == nil && len(text) >= digits {
		c.normal.number(id, "$"+name)
	}
}

// command is etcdctl with a script's words; variables are replaced, and the leader is asked where none is named.
func (c *terminal) command(ctx context.Context, text string) (*exec.Cmd, error) {
	args, err := words(c.expand(text))
	if err != nil {
		return nil, err
	}
	if !strings.Contains(text, "--endpoints") {
		args = append([]string{"--endpoints=" + c.variables["EP0"]}, args...)
	}
	return exec.CommandContext(ctx, c.etcdctl, args...), nil
}

func (c *terminal) expand(text string) string {
	return os.Expand(text, func(name string) string {
		if name == "$" {
			return name
		}
		return c.variables[name]
	})
}

// act does what is to be done while the command runs.
func (c *terminal) act(ctx context.Context, s *step, in io.Writer, out *screen) error {
	for _, a := range s.acts {
		text := c.expand(a.text)
		switch a.kind {
		case '<':
			_, _ = io.WriteString(in, text+"\n") // a command may end before it has read everything
		case '?':
			if err := out.await(ctx, text); err != nil {
				return fmt.Errorf("%s: %w", c.g.system, err)
			}
		case '+':
			cmd, err := c.command(ctx, a.text)
			if err != nil {
				return err
			}
			if said, err := cmd.CombinedOutput(); err != nil {
				return fmt.Errorf("%s: meanwhile %s: %w: %s", c.g.system, a.text, err, said)
			}
		}
	}
	return nil
}

// screen holds what a command writes, to both of its outputs, in that order.
type screen struct {
	grown chan struct{}
	seen  int // what was waited for ends there

	mu struct {
		sync.Mutex
		text []byte
	}
}

// Write implements io.Writer.
func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	s.mu.text = append(s.mu.text, p...)
	s.mu.Unlock()
	select {
	case s.grown <- struct{}{}:
	default:
	}
	return len(p), nil
}

func (s *screen) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return string(s.mu.text)
}

// await waits until a text is there, behind the one that was waited for before.
func (s *screen) await(ctx context.Context, text string) error {
	for {
		all := s.text()
		if i := strings.Index(all[s.seen:], text); i >= 0 {
			s.seen += i + len(text)
			return nil
		}
		select {
		case <-s.grown:
		case <-ctx.Done():
			return fmt.Errorf("%q does not come; it wrote:\n%s", text, all)
		}
	}
}

// diff shows two texts line by line: what only the first has after "-", what only the second has after "+".
func diff(a, b string) string {
	x, y := strings.Split(strings.TrimSuffix(a, "\n"), "\n"), strings.Split(strings.TrimSuffix(b, "\n"), "\n")
	longest := make([][]int, len(x)+1) // common subsequence of x[i:] and y[j:]
	for i := range longest {
		longest[i] = make([]int, len(y)+1)
	}
	for i := len(x) - 1; i >= 0; i-- {
		for j := len(y) - 1; j >= 0; j-- {
			longest[i][j] = max(longest[i+1][j], longest[i][j+1])
			if x[i] == y[j] {
				longest[i][j] = 1 + longest[i+1][j+1]
			}
		}
	}
	var out strings.Builder
	for i, j := 0, 0; i < len(x) || j < len(y); {
		switch {
		case i < len(x) && j < len(y) && x[i] == y[j]:
			fmt.Fprintf(&out, "    %s\n", x[i])
			i, j = i+1, j+1
		case j == len(y) || i < len(x) && longest[i+1][j] >= longest[i][j+1]:
			fmt.Fprintf(&out, "  - %s\n", x[i])
			i++
		default:
			fmt.Fprintf(&out, "  + %s\n", y[j])
			j++
		}
	}
	return out.String()
}

// TestDiff: the lines of both are there, and what is common stands once.
func TestDiff(t *testing.T) {
	want := "    a\n  - b\n  + x\n    c\n  + d\n"
	if got := diff("a\nb\nc\n", "a\nx\nc\nd"); got != want {
		t.Errorf("%s\nnot\n%s", got, want)
	}
}
