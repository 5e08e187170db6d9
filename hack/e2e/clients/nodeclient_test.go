package clients

import (
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestNode runs a session of the client for Node on both systems: what it tells must be equal.
func TestNode(t *testing.T) {
	p := need(t, etcd)
	modules, err := nodeModules(t)
	if err != nil {
		say("clients: Node: NOT RUN: %v", err)
		t.Skipf("NOT RUN: %v", err)
	}
	t.Parallel()
	systems := []string{etcd, raftsman}
	told := make([]string, len(systems))
	t.Run("session", func(t *testing.T) {
		for i, system := range systems {
			t.Run(system, func(t *testing.T) {
				t.Parallel()
				began := time.Now()
				told[i] = nodeSession(t, newGroup(t, system, p), modules)
				say("clients: Node: the session on %s: failed=%v in %v", system, t.Failed(), time.Since(began).Round(100*time.Millisecond))
			})
		}
	})
	if told[0] != told[1] {
		t.Errorf("the session differs: - etcd, + Raftsman\n%s", diff(told[0], told[1]))
	}
}

// nodeModules is a directory that holds the client, installed from the lock file into the user's cache.
func nodeModules(t *testing.T) (string, error) {
	for _, program := range []string{"node", "npm"} {
		if _, err := exec.LookPath(program); err != nil {
			return "", fmt.Errorf("%s is not installed (on Debian: apt-get install nodejs npm): %w", program, err)
		}
	}
	lock, err := os.ReadFile("testdata/node/package-lock.json")
	if err != nil {
		return "", err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "raftsman", fmt.Sprintf("clients-node-%x", sha256.Sum256(lock))[:24])
	if _, err := os.Stat(filepath.Join(dir, "installed")); err == nil {
		return dir, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	for _, name := range []string{"package.json", "package-lock.json"} {
		text, err := os.ReadFile(filepath.Join("testdata", "node", name))
		if err = errors.Join(err, os.WriteFile(filepath.Join(dir, name), text, 0o644)); err != nil {
			return "", err
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	install := exec.CommandContext(ctx, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	install.Dir = dir
	if out, err := install.CombinedOutput(); err != nil {
		return "", fmt.Errorf("install the client with npm ci: %w: %s", err, out)
	}
	return dir, os.WriteFile(filepath.Join(dir, "installed"), nil, 0o644)
}

// nodeSession runs the session and does what it asks for; the answer is what it tells.
func nodeSession(t *testing.T, g *group, modules string) string {
	t.Helper()
	session, err := filepath.Abs("testdata/node/session.js")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "node", session)
	cmd.Env = append(os.Environ(), "NODE_PATH="+filepath.Join(modules, "node_modules"), "ENDPOINTS="+strings.Join(addresses(g.members), ","))
	cmd.Stderr = os.Stderr
	in, ierr := cmd.StdinPipe()
	out, oerr := cmd.StdoutPipe()
	if err := errors.Join(ierr, oerr, cmd.Start()); err != nil {
		t.Fatal(err)
	}
	var told, story strings.Builder // the story has the times as well
	var led *member
	began := time.Now()
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		fmt.Fprintf(&story, "%6.1f s: %s\n", time.Since(began).Seconds(), lines.Text())
		wish, asks := strings.CutPrefix(lines.Text(), "? ")
		if !asks {
			fmt.Fprintln(&told, lines.Text())
			continue
		}
		led = grant(g, wish, led)
		if _, err := io.WriteString(in, "done\n"); err != nil {
			t.Error(err)
		}
	}
	if err := errors.Join(lines.Err(), cmd.Wait()); err != nil {
		t.Errorf("the session fails on %s: %v\n%s", g.system, err, story.String())
	}
	return told.String()
}

// grant does what a session wishes; led is the leader that was killed, if one was.
func grant(g *group, wish string, led *member) *member {
	g.t.Helper()
	what, of, _ := strings.Cut(wish, " ")
	switch {
	case wish == "move the leader":
		g.lead(g.members[(indexOf(g, leaderOf(g))+1)%size])
	case wish == "kill the leader":
		led = leaderOf(g)
		g.kill(led)
	case wish == "start the leader":
		g.revive(led)
	case what == "kill" || what == "start":
		var i int
		if _, err := fmt.Sscan(of, &i); err != nil || i >= size {
			g.t.Fatalf("a session wishes %q", wish)
		}
		if what == "kill" {
			g.kill(g.members[i])
		} else {
			g.revive(g.members[i])
		}
	default:
		g.t.Fatalf("a session wishes %q", wish)
	}
	return led
}

// leaderOf waits until there is a leader.
func leaderOf(g *group) (m *member) {
	g.t.Helper()
	g.until("one leads", func(ctx context.Context) (err error) {
		m, err = g.leader(ctx)
		return err
	})
	return m
}
