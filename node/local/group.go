package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"raftsman.dev/node/admin"
)

// Config is a group of members on this machine.
type Config struct {
	// Binary is the raftsman program; Args are further flags for every member.
	Binary string
	Args   []string
	// Members is how many, 1 to 9. DataDir holds a directory and a log for each.
	Members int
	DataDir string
	// BasePort is member 0's client port; peer, metrics and admin follow it, and the next member's ports are
	// ten further.
	BasePort int
	// Out hears of the progress.
	Out io.Writer
}

// The bounds of a group.
const (
	maxMembers   = 9
	portsEach    = 10
	formPatience = 60 * time.Second
	stopPatience = 15 * time.Second
)

// Validate refuses what cannot work.
func (c *Config) Validate() error {
	switch {
	case c.DataDir == "":
		return fmt.Errorf("--data-dir is missing: name a directory for the members' data")
	case c.Members < 1 || c.Members > maxMembers:
		return fmt.Errorf("--members is %d: it must be 1 to %d", c.Members, maxMembers)
	case c.BasePort < 1024 || c.BasePort+portsEach*c.Members > 65536:
		return fmt.Errorf("--base-port is %d: it must be at least 1024, with %d free ports from there on", c.BasePort, portsEach*c.Members)
	}
	return nil
}

// clientScheme is how the members' client URLs begin: the flags for every member decide whether they speak TLS.
func (c *Config) clientScheme() string {
	for _, arg := range c.Args {
		if strings.HasPrefix(arg, "--client-cert-file") {
			return "https"
		}
	}
	return "http"
}

// member is one child.
type member struct {
	name                         string
	dir, log                     string
	client, peer, metrics, admin string // host:port
	process                      *os.Process
}

func (c *Config) member(i int) *member {
	at := func(offset int) string { return fmt.Sprintf("127.0.0.1:%d", c.BasePort+portsEach*i+offset) }
	name := fmt.Sprintf("m%d", i)
	return &member{
		name: name, dir: filepath.Join(c.DataDir, name), log: filepath.Join(c.DataDir, name+".log"),
		client: at(0), peer: at(1), metrics: at(2), admin: at(3),
	}
}

// group is the running members.
type group struct {
	cfg     Config
	members []*member
	client  admin.Client
	ended   chan exit
	running int
}

type exit struct {
	m     *member
	state string
}

// Run starts the members, forms their cluster if there is none yet, grows it, and keeps them until ctx ends.
// A member that ends by itself is reported; the others go on.
func Run(ctx context.Context, cfg Config) error {
	if err := cfg.Validate(); err != nil {
		return err
	}
	if err := os.MkdirAll(cfg.DataDir, 0o700); err != nil {
		return fmt.Errorf("make %s: %w", cfg.DataDir, err)
	}
	g := &group{cfg: cfg, ended: make(chan exit, cfg.Members), client: admin.Client{HTTP: &http.Client{Timeout: 5 * time.Second}}}
	// The children end with the thread that started them, however this process ends.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer g.stop()
	if err := g.start(); err != nil {
		return err
	}
	if err := g.grow(ctx); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	g.describe()
	return g.watch(ctx)
}

// start starts every member. The first of a new group is the founder; it waits until the others answer that
// they are new as well.
func (g *group) start() error {
	var peers []string
	for i := range g.cfg.Members {
		m := g.cfg.member(i)
		g.members = append(g.members, m)
		peers = append(peers, m.peer)
	}
	fresh := true
	for _, m := range g.members {
		if _, err := os.Stat(m.dir); err == nil {
			fresh = false
		}
	}
	for i, m := range g.members {
		args := []string{
			"node", "--name=" + m.name, "--data-dir=" + m.dir, "--listen-client=" + m.client, "--listen-peer=" + m.peer,
			"--listen-metrics=" + m.metrics, "--listen-admin=" + m.admin, "--peers=" + strings.Join(peers, ","),
		}
		if i == 0 && fresh {
			args = append(args, "--form")
		}
		if err := g.launch(m, append(args, g.cfg.Args...)); err != nil {
			return err
		}
	}
	return nil
}

func (g *group) launch(m *member, args []string) error {
	log, err := os.OpenFile(m.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("log of member %s: %w", m.name, err)
	}
	defer log.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		return err
	}
	defer null.Close()
	m.process, err = os.StartProcess(g.cfg.Binary, append([]string{g.cfg.Binary}, args...), &os.ProcAttr{
		Files: []*os.File{null, log, log}, Sys: attributes(),
	})
	if err != nil {
		return fmt.Errorf("start member %s: %w", m.name, err)
	}
	g.running++
	process := m.process
	go func() {
		state, err := process.Wait()
		text := fmt.Sprint(err)
		if err == nil {
			text = state.String()
		}
		g.ended <- exit{m: m, state: text}
	}()
	return nil
}

// grow brings the cluster to its size: learners first, all at once, then one joint change.
func (g *group) grow(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, formPatience)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		done, err := g.advance(ctx)
		if done {
			return nil
		}
		select {
		case <-tick.C:
		case e := <-g.ended:
			g.running--
			return fmt.Errorf("member %s ended (%s) before the group was complete; its last words:\n%s", e.m.name, e.state, lastWords(e.m.log))
		case <-ctx.Done():
			return fmt.Errorf("the group was not complete after %v: %w; see the logs in %s", formPatience, errors.Join(err, ctx.Err()), g.cfg.DataDir)
		}
	}
}

// advance looks at every member and takes the next step; done when all are voters of one cluster.
func (g *group) advance(ctx context.Context) (done bool, err error) {
	var leader *admin.Status
	var at *member
	reports := map[string]admin.Status{}
	for _, m := range g.members {
		s, err := g.client.Status(ctx, "http://"+m.admin, admin.StatusOptions{})
		if err != nil {
			return false, fmt.Errorf("member %s: %w", m.name, err)
		}
		reports[m.name] = s
		if s.Role == admin.RoleLeader {
			leader, at = &s, m
		}
	}
	if leader == nil || leader.Membership == nil {
		return false, errors.New("no member leads yet")
	}
	change := admin.ChangeRequest{ClusterID: leader.ClusterID, Index: leader.Membership.Index}
	seats := map[string]admin.Seat{}
	for _, x := range leader.Membership.Members {
		seats[x.ID] = x.Seat
	}
	caught := map[string]bool{}
	for _, p := range leader.Progress {
		caught[p.ID] = p.Caught
	}
	behind := 0
	for _, m := range g.members {
		id := reports[m.name].MemberID
		switch seats[id] {
		case "":
			change.AddLearners = append(change.AddLearners, admin.Member{ID: id, Name: m.name, PeerAddress: m.peer, ClientURLs: []string{g.cfg.clientScheme() + "://" + m.client}})
		case admin.SeatLearner:
			if !caught[id] {
				behind++
			}
			change.Promote = append(change.Promote, id)
		}
	}
	if len(change.AddLearners) > 0 {
		change.Promote = nil
	} else if behind > 0 {
		return false, fmt.Errorf("%d members have not caught up", behind)
	}
	if len(change.AddLearners)+len(change.Promote) == 0 {
		return leader.Membership.Committed && !leader.Membership.Joint && open(reports), nil
	}
	return false, g.client.Change(ctx, "http://"+at.admin, change)
}

// open reports whether every member serves clients.
func open(reports map[string]admin.Status) bool {
	for _, r := range reports {
		if !r.Ready {
			return false
		}
	}
	return true
}

// describe says where everything is.
func (g *group) describe() {
	var endpoints []string
	for _, m := range g.members {
		endpoints = append(endpoints, m.client)
		fmt.Fprintf(g.cfg.Out, "%s  pid %-8d client %s://%s  admin http://%s/v1/status  metrics http://%s/metrics  log %s\n", m.name, m.process.Pid, g.cfg.clientScheme(), m.client, m.admin, m.metrics, m.log)
	}
	fmt.Fprintf(g.cfg.Out, "ready: etcdctl --endpoints=%s put hello world\n", strings.Join(endpoints, ","))
}

// watch reports members that end, until ctx ends or none is left.
func (g *group) watch(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case e := <-g.ended:
			g.running--
			fmt.Fprintf(g.cfg.Out, "%s ended (%s); the others go on\n", e.m.name, e.state)
			if g.running == 0 {
				return errors.New("every member has ended")
			}
		}
	}
}

// stop ends what still runs: politely, then by force.
func (g *group) stop() {
	if g.running == 0 {
		return
	}
	fmt.Fprintf(g.cfg.Out, "stopping %d members\n", g.running)
	for _, m := range g.members {
		if m.process != nil {
			_ = m.process.Signal(os.Interrupt) // one that has ended already has nothing to hear
		}
	}
	patience := time.NewTimer(stopPatience)
	defer patience.Stop()
	for g.running > 0 {
		select {
		case <-g.ended:
			g.running--
		case <-patience.C:
			for _, m := range g.members {
				if m.process != nil {
					_ = m.process.Kill()
				}
			}
		}
	}
}

// lastWords is the end of a member's log.
func lastWords(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	return string(b[max(0, len(b)-2048):])
}
