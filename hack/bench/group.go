package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// members is the size of every group.
const members = 3

// The bounds of a group's life.
const (
	startPatience = 60 * time.Second
	stopPatience  = 20 * time.Second
	pollEvery     = 100 * time.Millisecond
)

// system is one of the two programs under measurement.
type system struct {
	name string
	// start builds the commands that run three members with data in dir, with ports from base on; profiled
	// ones serve Go's profiles beside their metrics.
	start func(dir string, base int, profiled bool) []*exec.Cmd
	// nested says that the one command's children are the members.
	nested bool
	// client and metrics are host:port of member i.
	client, metrics func(base, i int) string
	// syncs and entries name the counters of log synchronisations and of what they made durable.
	syncs, entries string
}

func raftsman(command []string) system {
	at := func(offset int) func(base, i int) string {
		return func(base, i int) string { return loopback(base + 10*i + offset) }
	}
	return system{
		name: "raftsman", nested: true, client: at(0), metrics: at(2),
		syncs: "raftsman_wal_fsyncs_total", entries: "raftsman_wal_entries_total",
		start: func(dir string, base int, profiled bool) []*exec.Cmd {
			args := append(command[1:len(command):len(command)], "local", "--members", fmt.Sprint(members), "--data-dir", dir, "--base-port", fmt.Sprint(base))
			if profiled {
				args = append(args, "--", "--pprof")
			}
			return []*exec.Cmd{exec.Command(command[0], args...)}
		},
	}
}

func etcd(command []string) system {
	client := func(base, i int) string { return loopback(base + 10*i) }
	return system{
		name: "etcd", client: client, metrics: client,
		syncs: "etcd_disk_wal_fsync_duration_seconds_count", entries: "etcd_server_proposals_committed_total",
		start: func(dir string, base int, profiled bool) []*exec.Cmd {
			var all []string
			for i := range members {
				all = append(all, fmt.Sprintf("m%d=http://%s", i, loopback(base+10*i+1)))
			}
			var cmds []*exec.Cmd
			for i := range members {
				peer, client := "http://"+loopback(base+10*i+1), "http://"+loopback(base+10*i)
				args := append(command[1:len(command):len(command)],
					"--name", fmt.Sprintf("m%d", i), "--data-dir", filepath.Join(dir, fmt.Sprintf("m%d", i)),
					"--listen-client-urls", client, "--advertise-client-urls", client,
					"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
					"--initial-cluster", strings.Join(all, ","), "--initial-cluster-state", "new",
					"--initial-cluster-token", "bench", "--log-level", "error", "--quota-backend-bytes", "8589934592", "--enable-pprof="+strconv.FormatBool(profiled))
				cmds = append(cmds, exec.Command(command[0], args...))
			}
			return cmds
		},
	}
}

func loopback(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }

// group is three running members.
type group struct {
	system
	base int
	dir  string
	cmds []*exec.Cmd
	done chan error
	pids []int // of the members
}

// place is where and how a group runs.
type place struct {
	root     string  // the directory below which it gets a fresh one
	base     int     // its first port
	profiled bool    // whether it serves profiles
	cgroup   *cgroup // in which its processes run, nil for this process's own
}

// startGroup runs the system in a fresh directory and waits until three voters serve.
func startGroup(ctx context.Context, s system, at place) (*group, error) {
	if err := portsFree(s, at.base); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(at.root, s.name+"-")
	if err != nil {
		return nil, err
	}
	g := &group{system: s, base: at.base, dir: dir}
	if err := g.launch(at); err != nil {
		return nil, errors.Join(err, g.stop())
	}
	if err := g.awaitReady(ctx); err != nil {
		return nil, errors.Join(err, g.lastWords(), g.stop())
	}
	return g, nil
}

// portsFree keeps the measurement from talking to somebody else's members.
func portsFree(s system, base int) error {
	for i := range members {
		for _, address := range []string{s.client(base, i), s.metrics(base, i)} {
			l, err := net.Listen("tcp", address)
			if err != nil {
				return fmt.Errorf("port for %s: %w: choose another --base-port", s.name, err)
			}
			if err := l.Close(); err != nil {
				return err
			}
		}
	}
	return nil
}

func (g *group) launch(at place) error {
	g.cmds = g.start(g.dir, g.base, at.profiled)
	g.done = make(chan error, len(g.cmds))
	for i, cmd := range g.cmds {
		log, err := os.Create(g.logFile(i))
		if err != nil {
			return err
		}
		cmd.Stdout, cmd.Stderr = log, log
		at.cgroup.hold(cmd)
		// A group of its own, so that a terminal's interrupt reaches it through stop, in order.
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		err = errors.Join(cmd.Start(), log.Close())
		if err != nil {
			g.cmds = g.cmds[:i]
			return fmt.Errorf("start %s: %w", g.name, err)
		}
		go func() { g.done <- cmd.Wait() }()
	}
	return nil
}

func (g *group) logFile(i int) string { return filepath.Join(g.dir, fmt.Sprintf("output-%d.log", i)) }

// awaitReady polls until the membership has three voters, a linearizable read succeeds at each of them, and
// all processes are known.
func (g *group) awaitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	var last error
	for {
		if last = g.check(ctx); last == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s did not become ready: %w", g.name, errors.Join(last, ctx.Err()))
		case err := <-g.done:
			g.done <- err
			return fmt.Errorf("%s ended before it was ready: %w", g.name, errors.Join(last, err))
		case <-tick.C:
		}
	}
}

func (g *group) check(ctx context.Context) error {
	if g.pids = nil; g.nested {
		pids, err := children(g.cmds[0].Process.Pid)
		if err != nil {
			return err
		}
		g.pids = pids
	} else {
		for _, cmd := range g.cmds {
			g.pids = append(g.pids, cmd.Process.Pid)
		}
	}
	if len(g.pids) != members {
		return fmt.Errorf("%d member processes run, not %d", len(g.pids), members)
	}
	for i := range members {
		if err := g.probe(ctx, i); err != nil {
			return fmt.Errorf("member %d: %w", i, err)
		}
	}
	return nil
}

func (g *group) probe(ctx context.Context, i int) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{"http://" + g.client(g.base, i)}, DialTimeout: time.Second, Logger: silent()})
	if err != nil {
		return err
	}
	defer c.Close()
	list, err := c.MemberList(ctx)
	if err != nil {
		return err
	}
	voters := 0
	for _, m := range list.Members {
		if !m.IsLearner {
			voters++
		}
	}
	if voters != members {
		return fmt.Errorf("%d voters, not %d", voters, members)
	}
	_, err = c.Get(ctx, "ready")
	return err
}

// ended is an error if a process has ended that was started.
func (g *group) ended() error {
	select {
	case err := <-g.done:
		g.done <- err
		return fmt.Errorf("a process of %s has ended by itself: %v", g.name, err)
	default:
		return nil
	}
}

// endpoints are the members' client URLs.
func (g *group) endpoints() []string {
	var all []string
	for i := range members {
		all = append(all, "http://"+g.client(g.base, i))
	}
	return all
}

// counters sums the log's counters over the members.
func (g *group) counters(ctx context.Context) (syncs, entries float64, err error) {
	for i := range members {
		url := "http://" + g.metrics(g.base, i) + "/metrics"
		text, err := fetch(ctx, url)
		if err != nil {
			return 0, 0, err
		}
		values, err := parseMetrics(string(text), g.syncs, g.entries)
		if err != nil {
			return 0, 0, fmt.Errorf("%s: %w", url, err)
		}
		syncs, entries = syncs+values[0], entries+values[1]
	}
	return syncs, entries, nil
}

// maxAnswer bounds what a member may answer, in bytes.
const maxAnswer = 64 << 20

func fetch(ctx context.Context, url string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err == nil && response.StatusCode != http.StatusOK {
		err = errors.New(response.Status)
	}
	if err := errors.Join(err, response.Body.Close()); err != nil {
		return nil, fmt.Errorf("%s: %w", url, err)
	}
	return text, nil
}

// profile starts to take a CPU profile of each member into dir, for that long; wait returns once they are
// written.
func (g *group) profile(ctx context.Context, dir, workload string, d time.Duration) (wait func() error) {
	done := make(chan error, members)
	for i := range members {
		url := fmt.Sprintf("http://%s/debug/pprof/profile?seconds=%d", g.metrics(g.base, i), max(1, int(d.Seconds())))
		name := strings.NewReplacer(",", "", " ", "-").Replace(fmt.Sprintf("%s %s m%d.pprof", g.name, workload, i))
		go func() {
			text, err := fetch(ctx, url)
			if err == nil {
				err = os.WriteFile(filepath.Join(dir, name), text, 0o644)
			}
			done <- err
		}()
	}
	return func() error {
		var errs []error
		for range members {
			errs = append(errs, <-done)
		}
		return errors.Join(errs...)
	}
}

// lastWords is the end of what the processes wrote, as an error to be joined to another.
func (g *group) lastWords() error {
	var errs []error
	files, _ := filepath.Glob(filepath.Join(g.dir, "*.log"))
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err == nil && len(text) > 0 {
			errs = append(errs, fmt.Errorf("%s ends with:\n%s", filepath.Base(name), text[max(0, len(text)-1000):]))
		}
	}
	return errors.Join(errs...)
}

// stop ends the processes, politely and then by force, and removes their data.
func (g *group) stop() error {
	var errs []error
	for _, cmd := range g.cmds {
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
			errs = append(errs, err)
		}
	}
	patience := time.NewTimer(stopPatience)
	defer patience.Stop()
	for range g.cmds {
		select {
		case <-g.done:
		case <-patience.C:
			for _, cmd := range g.cmds {
				if err := cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
					errs = append(errs, err)
				}
			}
			<-g.done
			patience.Reset(stopPatience)
		}
	}
	return errors.Join(append(errs, os.RemoveAll(g.dir))...)
}
