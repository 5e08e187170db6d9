package clients

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The systems that are compared.
const (
	etcd     = "etcd"
	raftsman = "raftsman"
)

// The environment: the Raftsman binary under test, and a directory that holds etcd and etcdctl already, which
// hack/devcluster builds otherwise.
const (
	envBinary   = "RAFTSMAN_CLIENTS"
	envPrograms = "RAFTSMAN_PROGRAMS"
)

// flags say how much is done.
type flags struct {
	perf *bool
}

var asked = flags{perf: flag.Bool("clients.perf", false, "run `etcdctl check perf` as well, for a minute on each system")}

// programs are the paths of what is run.
type programs map[string]string

func (p programs) path(name string) string { return p[name] }

// need finds the programs, or skips the test where none are under test.
func need(t *testing.T, names ...string) programs {
	t.Helper()
	binary := os.Getenv(envBinary)
	if binary == "" {
		t.Skip("NOT RUN: it starts members of etcd and Raftsman: `make clients` runs it")
	}
	if _, err := os.Stat(binary); err != nil {
		t.Fatalf("%s must name the binary: %v", envBinary, err)
	}
	p := programs{raftsman: binary}
	for _, name := range names {
		path, err := program(t, name)
		if err != nil {
			t.Fatal(err)
		}
		p[name] = path
	}
	return p
}

// program is the path of one of etcd's programs.
func program(t *testing.T, name string) (string, error) {
	if dir := os.Getenv(envPrograms); dir != "" {
		path := filepath.Join(dir, name)
		if _, err := os.Stat(path); err != nil {
			return "", fmt.Errorf("%s names a directory without %s: %w", envPrograms, name, err)
		}
		return path, nil
	}
	build := exec.CommandContext(t.Context(), "go", "run", ".", "tool", name)
	build.Dir = filepath.Join("..", "..", "devcluster")
	build.Stderr = os.Stderr
	out, err := build.Output()
	if err != nil {
		return "", fmt.Errorf("build %s with hack/devcluster: %w (or set %s to a directory that has it)", name, err, envPrograms)
	}
	return strings.TrimSpace(string(out)), nil
}

// both brings up a group of each system, etcd first.
func both(t *testing.T, p programs) []*group {
	t.Helper()
	return []*group{newGroup(t, etcd, p), newGroup(t, raftsman, p)}
}

// say tells what is going on, also while everything is well.
func say(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }
