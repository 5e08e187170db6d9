package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// environment names the variable that tells a test binary which mutant it is.
const environment = "MUTANT"

const (
	// maxMemory bounds the address space of a test process, in KiB: a mutant may allocate without end.
	maxMemory = 8 << 20
	// patience bounds the time on the clock of one process. A mutant that spins is stopped long before, by the
	// processor time that it has used, which does not depend on how busy the machine is.
	patience = 2 * time.Minute
)

// bench holds the test binaries and what is known of their tests.
type bench struct {
	mu    sync.Mutex
	tests []*test
}

// test is one test function. Guarded by the bench's lock: kills.
type test struct {
	binary, dir, name string
	took              time.Duration // without a mutant
	kills             int
}

// fate is what became of a mutant: by names the test that killed it, empty if it survived; late says that the test
// was stopped for taking too long.
type fate struct {
	by   string
	late bool
}

// String begins the line that is printed.
func (f fate) String() string {
	switch {
	case f.by == "":
		return "survived"
	case f.late:
		return "killed by the time of " + f.by + ":"
	}
	return "killed by " + f.by + ":"
}

// newBench builds the test binaries and runs them once without a mutant: they must pass.
func newBench(s *schema, asked []string, dir string) (*bench, error) {
	overlay, err := s.write(dir)
	if err != nil {
		return nil, err
	}
	b := &bench{}
	for i, pkg := range asked {
		binary := filepath.Join(dir, strconv.Itoa(i)+".test")
		build := exec.Command("go", "test", "-c", "-vet=off", "-ldflags=-s -w", "-overlay", overlay, "-o", binary, "./"+pkg)
		if out, err := build.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("build the tests of %s with its mutants: %w\n%s", pkg, err, out)
		}
		out, err := start(context.Background(), binary, pkg, 0, time.Hour, "-test.v", "-test.short").CombinedOutput()
		if err != nil {
			return nil, fmt.Errorf("the tests of %s do not pass without a mutant: %w\n%s", pkg, err, out)
		}
		for _, m := range regexp.MustCompile(`(?m)^--- PASS: (\w+) \(([0-9.]+)s\)`).FindAllStringSubmatch(string(out), -1) {
			took, _ := strconv.ParseFloat(m[2], 64)
			b.tests = append(b.tests, &test{binary: binary, dir: pkg, name: m[1], took: time.Duration(took * float64(time.Second))})
		}
	}
	return b, nil
}

// start prepares one process of a test binary as a mutant, with a bound on its processor time.
func start(ctx context.Context, binary, dir string, id int, most time.Duration, args ...string) *exec.Cmd {
	shell := fmt.Sprintf("ulimit -v %d -t %d; exec \"$0\" \"$@\"", maxMemory, int(most.Seconds()))
	cmd := exec.CommandContext(ctx, "sh", append([]string{"-c", shell, binary}, args...)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), environment+"="+strconv.Itoa(id))
	cmd.WaitDelay = time.Second
	return cmd
}

// ask runs the tests against one mutant until one fails.
func (b *bench) ask(id int) (fate, error) {
	for _, run := range b.order() {
		var names []string
		var normal time.Duration
		for _, t := range run {
			names = append(names, t.name)
			normal += t.took
		}
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		args := []string{"-test.short", "-test.failfast", "-test.v", "-test.run", "^(" + strings.Join(names, "|") + ")$"}
		cmd := start(ctx, run[0].binary, run[0].dir, id, 2*time.Second+3*normal, args...)
		out, err := cmd.CombinedOutput()
		late := ctx.Err() != nil
		cancel()
		var exit *exec.ExitError
		switch {
		case err == nil:
		case late || errors.As(err, &exit) && !exit.Exited(): // stopped by a signal
			return fate{by: b.blame(run, out, `(?m)^=== RUN +(\w+)$`), late: true}, nil
		case errors.As(err, &exit):
			return fate{by: b.blame(run, out, `(?m)^--- FAIL: (\w+)`)}, nil
		default:
			return fate{}, err
		}
	}
	return fate{}, nil
}

// order groups the tests into processes: those that kill most for their time come first, and each process may take
// longer than the one before. Tests of one process are of one binary.
func (b *bench) order() [][]*test {
	b.mu.Lock()
	defer b.mu.Unlock()
	worth := func(t *test) float64 { return (float64(t.kills) + 0.5) / (t.took.Seconds() + 0.01) }
	tests := slices.Clone(b.tests)
	slices.SortStableFunc(tests, func(x, y *test) int {
		switch wx, wy := worth(x), worth(y); {
		case wx > wy:
			return -1
		case wx < wy:
			return 1
		}
		return 0
	})
	var runs [][]*test
	room := 100 * time.Millisecond
	for len(tests) > 0 {
		var run, rest []*test
		var sum time.Duration
		for _, t := range tests {
			fits := len(run) == 0 || t.binary == run[0].binary && sum+t.took <= room
			if fits {
				run, sum = append(run, t), sum+t.took
			} else {
				rest = append(rest, t)
			}
		}
		runs, tests, room = append(runs, run), rest, 4*room
	}
	return runs
}

// blame finds the test that failed, or ran last, by the pattern, and counts the kill.
func (b *bench) blame(run []*test, out []byte, pattern string) string {
	name := run[0].name
	if all := regexp.MustCompile(pattern).FindAllSubmatch(out, -1); len(all) > 0 {
		name = string(all[len(all)-1][1])
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, t := range run {
		if t.name == name {
			t.kills++
		}
	}
	return name
}
