//go:build linux

package torture

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"raftsman.dev/hack/e2e/members"
	"raftsman.dev/node/admin"
)

// The bounds of what members are waited for.
const (
	size     = members.Size
	patience = 30 * time.Second // for whatever is to come about
)

// group is three members, each a process that the test starts and kills.
type group struct {
	t       *testing.T
	dir     string
	ports   *members.Ports
	members []*member
	flags   []string // of every member
	admin   admin.Client
	loads   int // how many have been put on it
	// heals let go what hangs; unmounts take down what was mounted, once the members have ended.
	heals    []func()
	unmounts []func() error
}

// member is one of them. What it writes goes to its log.
type member struct {
	members.Place
	g *group

	mu struct {
		sync.Mutex
		process *members.Process
		killed  bool // by the test
		starts  int
	}
}

// newGroup forms a cluster of three with `raftsman local`, stops it, and gives the members to the test, stopped. They
// end with the test.
func newGroup(t *testing.T, flags ...string) *group {
	t.Helper()
	g := &group{t: t, dir: t.TempDir(), flags: flags, admin: admin.Client{HTTP: &http.Client{Timeout: 5 * time.Second}}}
	ports, err := members.Reserve()
	if err != nil {
		t.Fatal(err)
	}
	g.ports = ports
	for _, place := range ports.Places(g.dir) {
		g.members = append(g.members, &member{g: g, Place: place})
	}
	if err := ports.Form(t.Context(), os.Getenv(envBinary), g.dir, flags...); err != nil {
		g.lastWords()
		t.Fatal(errors.Join(err, ports.Release()))
	}
	t.Cleanup(g.close)
	return g
}

// close ends the members and unmounts their disks. A process whose fsync hangs does not end before its disk is
// healed.
func (g *group) close() {
	for _, m := range g.members {
		m.signal(syscall.SIGKILL)
	}
	for _, heal := range g.heals {
		heal()
	}
	for _, m := range g.members {
		m.await()
	}
	for _, unmount := range g.unmounts {
		if err := unmount(); err != nil {
			g.t.Error(err)
		}
	}
	if err := g.ports.Release(); err != nil {
		g.t.Error(err)
	}
	if g.t.Failed() {
		g.lastWords()
	}
}

func (g *group) endpoints() []string {
	var all []string
	for _, m := range g.members {
		all = append(all, "http://"+m.Client)
	}
	return all
}

func (g *group) others(than *member) []*member {
	return slices.DeleteFunc(slices.Clone(g.members), func(m *member) bool { return m == than })
}

// start starts members that do not run.
func (g *group) start(members ...*member) {
	g.t.Helper()
	var peers []string
	for _, m := range g.members {
		peers = append(peers, m.Peer)
	}
	for _, m := range members {
		if err := m.launch(append(m.NodeArgs(peers), g.flags...)); err != nil {
			g.t.Fatal(err)
		}
	}
}

func (m *member) launch(args []string) error {
	started, err := m.Start(os.Getenv(envBinary), args...)
	if err != nil {
		return err
	}
	m.mu.Lock()
	m.mu.process, m.mu.killed = started, false
	m.mu.starts++
	m.mu.Unlock()
	return nil
}

// kill sends SIGKILL to all of them before it waits for any.
func (g *group) kill(members ...*member) {
	for _, m := range members {
		m.signal(syscall.SIGKILL)
	}
	for _, m := range members {
		m.await()
	}
}

// signal ends the process; it must run, or have been ended by the test.
func (m *member) signal(s syscall.Signal) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.mu.process == nil || m.mu.killed {
		return
	}
	if state, done := m.mu.process.State(); done {
		m.g.t.Errorf("%s had ended by itself: %s; its last words:\n%s", m.Name, state, m.LastWords(2000))
		m.mu.killed = true
		return
	}
	m.mu.killed = true
	if err := m.mu.process.Signal(s); err != nil {
		m.g.t.Errorf("%s: %v", m.Name, err)
	}
}

// await waits until the process, if there was one, is no more.
func (m *member) await() {
	m.mu.Lock()
	process := m.mu.process
	m.mu.Unlock()
	if process == nil {
		return
	}
	select {
	case <-process.Ended():
	case <-time.After(patience):
		m.g.t.Errorf("%s does not end", m.Name)
	}
}

// gone says how a process ended that the test did not end.
func (m *member) gone() (state string, gone bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	state, done := m.mu.process.State()
	return state, done && !m.mu.killed
}

// forgive says that a process that has ended by itself was to do so.
func (m *member) forgive() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mu.killed = true
}

func (g *group) lastWords() {
	for _, m := range g.members {
		g.t.Logf("last words of %s:\n%s", m.Name, m.LastWords(3000))
	}
}

// until waits for what is to come about, and fails the test when it does not.
func (g *group) until(what string, is func(context.Context) error) {
	g.t.Helper()
	ctx, cancel := context.WithTimeout(g.t.Context(), patience)
	defer cancel()
	if err := members.Poll(ctx, 0, is); err != nil {
		g.t.Fatalf("not so after %v: %s: %v", patience, what, err)
	}
}

// pause lets time pass.
func (g *group) pause(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-g.t.Context().Done():
	}
}

// status asks a member how it is.
func (m *member) status(ctx context.Context, options admin.StatusOptions) (admin.Status, error) {
	return m.g.admin.Status(ctx, "http://"+m.Admin, options)
}

// ready waits until members serve clients.
func (g *group) ready(members ...*member) {
	g.t.Helper()
	for _, m := range members {
		g.until(m.Name+" serves", func(ctx context.Context) error {
			if state, gone := m.gone(); gone {
				m.forgive()
				g.t.Fatalf("%s has ended by itself: %s; its last words:\n%s", m.Name, state, m.LastWords(2000))
			}
			s, err := m.status(ctx, admin.StatusOptions{Quorum: true})
			if err == nil && !(s.Ready && s.Quorate) {
				err = fmt.Errorf("state=%s role=%s problem=%q ready=%v", s.State, s.Role, s.Problem, s.Ready)
			}
			return err
		})
	}
}

// equal waits until all members have applied the same index, and demands that their states are equal there.
func (g *group) equal() {
	g.t.Helper()
	var all []admin.Status
	g.until("all members have applied the same", func(ctx context.Context) error {
		all = nil
		for _, m := range g.members {
			s, err := m.status(ctx, admin.StatusOptions{Hash: true})
			if err != nil {
				return fmt.Errorf("%s: %w", m.Name, err)
			}
			all = append(all, s)
		}
		if slices.ContainsFunc(all, func(s admin.Status) bool { return s.HashIndex != all[0].HashIndex }) {
			return fmt.Errorf("they are at %d, %d and %d", all[0].HashIndex, all[1].HashIndex, all[2].HashIndex)
		}
		return nil
	})
	for _, s := range all {
		if s.StateHash == "" || s.StateHash != all[0].StateHash || s.Revision != all[0].Revision {
			g.t.Errorf("at index %d %s has state %s at revision %d, %s has %s at %d", s.HashIndex, s.Name, s.StateHash, s.Revision, all[0].Name, all[0].StateHash, all[0].Revision)
		}
	}
}

// metric reads one value of a member.
func (m *member) metric(ctx context.Context, name string) (float64, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+m.Metrics+"/metrics", nil)
	if err != nil {
		return 0, err
	}
	answer, err := m.g.admin.HTTP.Do(request)
	if err != nil {
		return 0, err
	}
	defer answer.Body.Close()
	lines := bufio.NewScanner(io.LimitReader(answer.Body, 1<<20))
	for lines.Scan() {
		if value, ok := strings.CutPrefix(lines.Text(), name+" "); ok {
			return strconv.ParseFloat(value, 64)
		}
	}
	return 0, errors.Join(fmt.Errorf("%s has no metric %s", m.Name, name), lines.Err())
}
