// Command mutants proves that the checks can fail: it plants one bug after the other into the source, by overlay,
// never in the tree, and demands that a test notices. It prints "caught NAME by SUITE in N s" or "MISSED NAME".
//
// A planted bug is one or more pieces of source and what they are replaced by (planted.go). A piece that is not there
// exactly once is an error: the code has moved, and the bug has to move with it. With -check nothing is run but that
// test and the compiler.
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

// options are the command's flags.
type options struct {
	only     string
	patience time.Duration
	simOnly  bool
	all      bool
	check    bool
}

func main() {
	var o options
	flag.StringVar(&o.only, "only", "", "plant only bugs whose name or file contains this, for instance controllers/")
	flag.DurationVar(&o.patience, "patience", 5*time.Minute, "how long the simulator looks for each bug")
	flag.BoolVar(&o.simOnly, "sim-only", false, "ask the simulator alone")
	flag.BoolVar(&o.all, "all", false, "ask every suite, also those after the first that has caught the bug")
	flag.BoolVar(&o.check, "check", false, "only plant and compile: do the pieces still fit the source?")
	flag.Parse()
	if err := run(o); err != nil {
		fmt.Fprintln(os.Stderr, "mutants:", err)
		os.Exit(1)
	}
}

// suite is a way to look for a bug.
type suite struct {
	name string
	args []string
}

// suites are asked in this order: the tests beside the bug, those of the packages around it, the simulator. For bugs of
// the operator, its planner's worlds and then its life on a real API server.
func suites(o options, b bug) []suite {
	sim := suite{"node/sim", []string{"test", "./node/sim", "-count=1", "-run", "TestSim", "-timeout", (o.patience + time.Minute).String(), "-sim.for", o.patience.String()}}
	if o.simOnly {
		return []suite{sim}
	}
	home := filepath.Dir(b.pieces[0].file)
	unit := func(pkgs ...string) []string {
		return append([]string{"test", "-count=1", "-failfast", "-timeout", "5m"}, pkgs...)
	}
	if strings.HasPrefix(home, "controllers/") {
		return []suite{{"controllers/plan", unit("./controllers/plan")}, {"controllers/life", []string{"test", "-count=1", "-failfast", "-skip", "^TestHundred$", "-timeout", "20m", "./controllers/life"}}}
	}
	var others []string
	for _, pkg := range []string{"node/raft/quorum", "node/raft", "node/replica", "node/wal", "node/kv"} {
		if pkg != home {
			others = append(others, "./"+pkg)
		}
	}
	return []suite{{home, unit("./" + home)}, {"unit tests", unit(others...)}, sim}
}

func run(o options) error {
	missed := 0
	for _, b := range planted() {
		if !strings.Contains(b.name+"\n"+b.pieces[0].file, o.only) {
			continue
		}
		caught, err := look(b, o)
		switch {
		case err != nil:
			return fmt.Errorf("%s: %w", b.name, err)
		case o.check:
			fmt.Printf("fits %s\n", b.name)
		case len(caught) == 0:
			missed++
			fmt.Printf("MISSED %s\n", b.name)
		default:
			fmt.Printf("caught %s by %s\n", b.name, strings.Join(caught, ", by "))
		}
	}
	if missed > 0 {
		return fmt.Errorf("%d bugs were missed", missed)
	}
	return nil
}

// look plants one bug and asks the suites until one fails, or all of them; it returns who has caught it, and when.
func look(b bug, o options) (caught []string, err error) {
	dir, err := os.MkdirTemp("", "mutant-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	overlay, err := plant(b, dir)
	if err != nil {
		return nil, err
	}
	if out, err := exec.Command("go", append([]string{"build", "-overlay", overlay}, b.homes()...)...).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("it does not compile: %w\n%s", err, out)
	}
	if o.check {
		return nil, nil
	}
	for _, s := range suites(o, b) {
		began := time.Now()
		args := append([]string{s.args[0], "-overlay", overlay, "-vet=off"}, s.args[1:]...)
		out, err := exec.Command("go", args...).CombinedOutput()
		var exit *exec.ExitError
		switch {
		case err == nil:
			continue
		case !errors.As(err, &exit):
			return nil, err
		case strings.Contains(string(out), "[build failed]") || strings.Contains(string(out), "[setup failed]"):
			return nil, fmt.Errorf("its tests do not compile:\n%s", out)
		}
		caught = append(caught, fmt.Sprintf("%s in %.0f s", s.name, time.Since(began).Seconds()))
		if !o.all {
			break
		}
	}
	return caught, nil
}

// plant writes the changed files and the overlay that puts them in place of the true ones.
func plant(b bug, dir string) (overlay string, err error) {
	root, err := os.Getwd()
	if err != nil {
		return "", err
	}
	changed := map[string]string{}
	for _, p := range b.pieces {
		source, ok := changed[p.file]
		if !ok {
			text, err := os.ReadFile(p.file)
			if err != nil {
				return "", err
			}
			source = string(text)
		}
		if n := strings.Count(source, p.from); n != 1 {
			return "", fmt.Errorf("%s holds the piece to be replaced %d times, not once: the code has moved, move the bug with it:\n%s", p.file, n, p.from)
		}
		changed[p.file] = strings.Replace(source, p.from, p.to, 1)
	}
	replace := map[string]string{}
	for file, text := range changed {
		at := filepath.Join(dir, strings.ReplaceAll(file, "/", "_"))
		if err := os.WriteFile(at, []byte(text), 0o600); err != nil {
			return "", err
		}
		replace[filepath.Join(root, file)] = at
	}
	text, err := json.Marshal(map[string]map[string]string{"Replace": replace})
	if err != nil {
		return "", err
	}
	overlay = filepath.Join(dir, "overlay.json")
	return overlay, os.WriteFile(overlay, text, 0o600)
}
