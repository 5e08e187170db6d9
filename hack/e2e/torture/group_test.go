//go:build linux

package torture

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"raftsman.dev/node/admin"
)

// The bounds of what members are waited for.
const (
	size      = 3
	portsEach = 10
	patience  = 30 * time.Second // for whatever is to come about
	pollEvery = 20 * time.Millisecond
)

// group is three members, each a process that the test starts and kills.
type group struct {
	t       *testing.T
	dir     string
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
	g                            *group
	name, dir, log               string
	client, peer, metrics, admin string // host:port

	mu struct {
		sync.Mutex
		process *os.Process
		ended   chan struct{} // closed when it has ended
		state   string        // how it ended
		killed  bool          // by the test
		starts  int
	}
}

// newGroup forms a cluster of three with `raftsman local`, stops it, and gives the members to the test, stopped. They
// end with the test.
func newGroup(t *testing.T, flags ...string) *group {
	t.Helper()
	g := &group{t: t, dir: t.TempDir(), flags: flags, admin: admin.Client{HTTP: &http.Client{Timeout: 5 * time.Second}}}
	base, err := freePorts()
	if err != nil {
		t.Fatal(err)
	}
	for i := range size {
		at := func(offset int) string { return fmt.Sprintf("127.0.0.1:%d", base+portsEach*i+offset) }
		name := fmt.Sprintf("m%d", i)
		g.members = append(g.members, &member{
			g: g, name: name, dir: filepath.Join(g.dir, name), log: filepath.Join(g.dir, name+".log"),
			client: at(0), peer: at(1), metrics: at(2), admin: at(3),
		})
	}
	g.form(base)
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
	if g.t.Failed() {
		g.lastWords()
	}
}

// freePorts finds room for a group below the ports that the system gives to clients.
func freePorts() (int, error) {
	var last error
	for range 50 {
		base := 20_000 + rand.IntN(1_000)*portsEach
		if last = listenAll(base); last == nil {
			return base, nil
		}
	}
	return 0, fmt.Errorf("no free ports: %w", last)
}

func listenAll(base int) error {
	for port := base; port < base+size*portsEach; port++ {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			return err
		}
		if err := l.Close(); err != nil {
			return err
		}
	}
	return nil
}

// form lets `raftsman local` bring the cluster about.
func (g *group) form(base int) {
	g.t.Helper()
	args := append([]string{"local", "--members", fmt.Sprint(size), "--data-dir", g.dir, "--base-port", fmt.Sprint(base), "--"}, g.flags...)
	cmd := exec.CommandContext(g.t.Context(), os.Getenv(envBinary), args...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		g.t.Fatal(err)
	}
	ready := false
	lines := bufio.NewScanner(out)
	for !ready && lines.Scan() {
		ready = strings.HasPrefix(lines.Text(), "ready:")
	}
	err = cmd.Process.Signal(os.Interrupt)
	_, _ = io.Copy(io.Discard, out) // until it has ended
	if err = errors.Join(err, cmd.Wait()); err != nil || !ready {
		g.lastWords()
		g.t.Fatalf("form a cluster: ready=%v: %v", ready, err)
	}
}

func (g *group) endpoints() []string {
	var all []string
	for _, m := range g.members {
		all = append(all, "http://"+m.client)
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
		peers = append(peers, m.peer)
	}
	for _, m := range members {
		args := append([]string{
			"node", "--name=" + m.name, "--data-dir=" + m.dir, "--listen-client=" + m.client, "--listen-peer=" + m.peer,
			"--listen-metrics=" + m.metrics, "--listen-admin=" + m.admin, "--peers=" + strings.Join(peers, ","),
		}, g.flags...)
		if err := m.launch(args); err != nil {
			g.t.Fatal(err)
		}
	}
}

func (m *member) launch(args []string) error {
	log, err := os.OpenFile(m.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(os.Getenv(envBinary), args...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", m.name, err)
	}
	ended := make(chan struct{})
	m.mu.Lock()
	m.mu.process, m.mu.ended, m.mu.killed = cmd.Process, ended, false
	m.mu.starts++
	m.mu.Unlock()
	go func() {
		err := cmd.Wait()
		m.mu.Lock()
		m.mu.state = fmt.Sprint(cmd.ProcessState, err)
		m.mu.Unlock()
		close(ended)
	}()
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
	select {
	case <-m.mu.ended:
		m.g.t.Errorf("%s had ended by itself: %s; its last words:\n%s", m.name, m.mu.state, m.lastWords(2000))
		m.mu.killed = true
		return
	default:
	}
	m.mu.killed = true
	if err := m.mu.process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		m.g.t.Errorf("signal %v to %s: %v", s, m.name, err)
	}
}

// await waits until the process, if there was one, is no more.
func (m *member) await() {
	m.mu.Lock()
	ended := m.mu.ended
	m.mu.Unlock()
	if ended == nil {
		return
	}
	select {
	case <-ended:
	case <-time.After(patience):
		m.g.t.Errorf("%s does not end", m.name)
	}
}

// gone says how a process ended that the test did not end.
func (m *member) gone() (state string, gone bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	select {
	case <-m.mu.ended:
		return m.mu.state, !m.mu.killed
	default:
		return "", false
	}
}

// forgive says that a process that has ended by itself was to do so.
func (m *member) forgive() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mu.killed = true
}

// lastWords is the end of a member's log.
func (m *member) lastWords(bytes int) string {
	text, err := os.ReadFile(m.log)
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-bytes):])
}

func (g *group) lastWords() {
	for _, m := range g.members {
		g.t.Logf("last words of %s:\n%s", m.name, m.lastWords(3000))
	}
}

// until waits for what is to come about, and fails the test when it does not.
func (g *group) until(what string, is func(context.Context) error) {
	g.t.Helper()
	ctx, cancel := context.WithTimeout(g.t.Context(), patience)
	defer cancel()
	if err := poll(ctx, is); err != nil {
		g.t.Fatalf("not so after %v: %s: %v", patience, what, err)
	}
}

// poll asks until the answer is nil; at the end of ctx it returns the last one.
func poll(ctx context.Context, is func(context.Context) error) error {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		err := is(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-tick.C:
		}
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
	return m.g.admin.Status(ctx, "http://"+m.admin, options)
}

// ready waits until members serve clients.
func (g *group) ready(members ...*member) {
	g.t.Helper()
	for _, m := range members {
		g.until(m.name+" serves", func(ctx context.Context) error {
			if state, gone := m.gone(); gone {
				m.forgive()
				g.t.Fatalf("%s has ended by itself: %s; its last words:\n%s", m.name, state, m.lastWords(2000))
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
				return fmt.Errorf("%s: %w", m.name, err)
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
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+m.metrics+"/metrics", nil)
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
	return 0, errors.Join(fmt.Errorf("%s has no metric %s", m.name, name), lines.Err())
}
