// Command mutants proves that the checks can fail: it plants one bug after the other into the source, by overlay,
// never in the tree, and demands that a test notices. It prints "caught NAME by PACKAGE in N s" or "MISSED NAME".
//
// A planted bug is a piece of source and what it is replaced by (planted.go). A piece that is not there exactly
// once is an error: the code has moved, and the bug has to move with it.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

func main() {
	only := flag.String("only", "", "plant only bugs whose name contains this")
	patience := flag.Duration("patience", 2*time.Minute, "how long the simulator looks for each bug")
	simOnly := flag.Bool("sim-only", false, "ask the simulator alone")
	flag.Parse()
	if err := run(*only, *patience, *simOnly); err != nil {
		fmt.Fprintln(os.Stderr, "mutants:", err)
		os.Exit(1)
	}
}

// suite is a way to look for a bug.
type suite struct {
	name string
	args []string
}

// suites are asked in this order, the first that fails has caught it.
func suites(patience time.Duration, simOnly bool) []suite {
	sim := suite{"node/sim", []string{"test", "./node/sim", "-count=1", "-run", "TestSim", "-timeout", (patience + time.Minute).String(), "-sim.for", patience.String()}}
	if simOnly {
		return []suite{sim}
	}
	return []suite{
		{"unit tests", []string{"test", "-count=1", "-timeout", "5m", "./node/raft/...", "./node/wal", "./node/kv", "./node/replica"}},
		sim,
	}
}

func run(only string, patience time.Duration, simOnly bool) error {
	missed := 0
	for _, bug := range planted() {
		if !strings.Contains(bug.name, only) {
			continue
		}
		by, took, err := look(bug, suites(patience, simOnly))
		switch {
		case err != nil:
			return fmt.Errorf("%s: %w", bug.name, err)
		case by == "":
			missed++
			fmt.Printf("MISSED %s\n", bug.name)
		default:
			fmt.Printf("caught %s by %s in %.0f s\n", bug.name, by, took.Seconds())
		}
	}
	if missed > 0 {
		return fmt.Errorf("%d bugs were missed", missed)
	}
	return nil
}

// look plants one bug and asks every suite until one fails.
func look(bug bug, suites []suite) (by string, took time.Duration, err error) {
	dir, err := os.MkdirTemp("", "mutant-")
	if err != nil {
		return "", 0, err
	}
	defer os.RemoveAll(dir)
	overlay, err := plant(bug, dir)
	if err != nil {
		return "", 0, err
	}
	began := time.Now()
	for _, s := range suites {
		args := append([]string{s.args[0], "-overlay", overlay}, s.args[1:]...)
		out, err := exec.Command("go", args...).CombinedOutput()
		var exit *exec.ExitError
		switch {
		case err == nil:
		case !errors.As(err, &exit):
			return "", 0, err
		case strings.Contains(string(out), "[build failed]") || strings.Contains(string(out), "[setup failed]"):
			return "", 0, fmt.Errorf("it does not compile:\n%s", out)
		default:
			return s.name, time.Since(began), nil
		}
	}
	return "", 0, nil
}

// plant writes the changed file and the overlay that puts it in place of the true one.
func plant(bug bug, dir string) (overlay string, err error) {
	root, err := os.Getwd()
	if err != nil {
		return "", err
	}
	source, err := os.ReadFile(bug.file)
	if err != nil {
		return "", err
	}
	if n := strings.Count(string(source), bug.from); n != 1 {
		return "", fmt.Errorf("%s holds the piece to be replaced %d times, not once: the code has moved, move the bug with it", bug.file, n)
	}
	changed := filepath.Join(dir, filepath.Base(bug.file))
	if err := os.WriteFile(changed, []byte(strings.Replace(string(source), bug.from, bug.to, 1)), 0o600); err != nil {
		return "", err
	}
	text, err := json.Marshal(map[string]map[string]string{"Replace": {filepath.Join(root, bug.file): changed}})
	if err != nil {
		return "", err
	}
	overlay = filepath.Join(dir, "overlay.json")
	return overlay, os.WriteFile(overlay, text, 0o600)
}
