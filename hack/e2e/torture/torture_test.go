//go:build linux

package torture

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// flags say how much is done.
type flags struct {
	cycles *int
	seed   *uint64
	all    *bool
}

var asked = flags{
	cycles: flag.Int("torture.cycles", 10, "how often all members are killed"),
	seed:   flag.Uint64("torture.seed", 0, "what the moments and places are drawn from; 0 draws one"),
	all:    flag.Bool("torture.all", false, "run every scenario, not only those of the short form"),
}

// The environment: the binary under test, and the directory that the inner process works in.
const (
	envBinary = "RAFTSMAN_TORTURE"
	envInner  = "RAFTSMAN_TORTURE_ROOM"
)

// scenarios are named after the promises that they hold. The short form is what continuous integration runs.
var scenarios = []struct {
	name  string
	run   func(*testing.T)
	short bool
}{
	{"all killed: nothing acknowledged is lost and the history is linearizable", allKilled, true},
	{"fsync hangs: writes go on elsewhere within 3 s and no read is stale", fsyncHangs, true},
	{"fsync fails: the process stops and names file and error, the others serve on", fsyncFails, true},
	{"log damaged: repaired from peers, on one member and on two at once", logDamaged, true},
	{"store damaged: rebuilt from a peer, on one member and on two at once", storeDamaged, true},
	{"disk full: puts are refused, reads and deletes served, and all is well again with space", diskFull, true},
	{"leases: none goes early and none is lost while leaders are killed and paused", leasesKept, true},
}

// TestMain runs everything in a second process that has mounts and processes of its own: they end with it.
func TestMain(m *testing.M) {
	flag.Parse()
	if os.Getenv(envBinary) == "" || os.Getenv(envInner) != "" {
		os.Exit(m.Run())
	}
	code, err := inNamespace()
	if err != nil {
		fmt.Fprintln(os.Stderr, "torture:", err)
		code = max(code, 1)
	}
	os.Exit(code)
}

// inNamespace runs this program again, with the same arguments, as the first process of a process namespace and in a
// mount namespace; both need root. Its directory is removed when it has ended.
func inNamespace() (code int, err error) {
	if os.Geteuid() != 0 {
		return 1, errors.New("mounts and namespaces need root: run it as root, on Linux")
	}
	dir, err := os.MkdirTemp("", "raftsman-torture-")
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	self, err := os.Executable()
	if err != nil {
		return 1, err
	}
	// The inner process ends with the thread that started it, also when this one is killed. A signal that this one
	// hears of ends the inner one first, and the directory with it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, os.Interrupt, syscall.SIGTERM)
	inner := exec.Command(self, os.Args[1:]...)
	inner.Stdout, inner.Stderr = os.Stdout, os.Stderr
	inner.Env = append(os.Environ(), envInner+"="+dir, "TMPDIR="+dir)
	inner.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID, Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL, Setpgid: true}
	if err := inner.Start(); err != nil {
		return 1, err
	}
	done := make(chan error, 1)
	go func() { done <- inner.Wait() }()
	select {
	case err = <-done:
	case s := <-stop:
		err = errors.Join(fmt.Errorf("%v", s), inner.Process.Kill(), <-done)
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode(), nil
	}
	return 0, err
}

// TestTorture runs the scenarios, one after the other, each on a group of its own.
func TestTorture(t *testing.T) {
	if os.Getenv(envBinary) == "" {
		t.Skip("NOT RUN: it kills processes and damages disks for a minute or more, as root on Linux: `make torture` runs it")
	}
	if _, err := os.Stat(os.Getenv(envBinary)); err != nil {
		t.Fatalf("%s must name the binary: %v", envBinary, err)
	}
	var left []string
	for _, x := range scenarios {
		if !x.short && !*asked.all {
			left = append(left, x.name)
			continue
		}
		t.Run(x.name, func(t *testing.T) {
			began := time.Now()
			x.run(t)
			say("torture: %s: failed=%v after %v", x.name, t.Failed(), time.Since(began).Round(100*time.Millisecond))
		})
	}
	if len(left) > 0 {
		say("torture: not in the short form, and not run:\n  %s", strings.Join(left, "\n  "))
	}
}

// say tells what is going on, also while everything is well.
func say(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }

// seeded is a random source whose seed is told.
func seeded(t *testing.T) *rand.Rand {
	t.Helper()
	seed := *asked.seed
	if seed == 0 {
		seed = rand.Uint64() >> 16
	}
	say("torture: seed=%d", seed)
	t.Logf("seed=%d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// kept is a file outside of the room, for what somebody will want to see after a failure.
func kept(name string) string {
	return filepath.Join("..", "out", name)
}
