//go:build linux

package torture

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"raftsman.dev/node/admin"
)

// resumeWithin is how soon writes go on when the leader's disk hangs.
const resumeWithin = 3 * time.Second

// fsyncHangs lets the leader's disk hang for several seconds, under load and with the timeouts of production: another
// member leads within 3 s, writes go on there, no read is stale (the history says so), the member is not ready, and it
// comes back when its disk does.
func fsyncHangs(t *testing.T) {
	g := newGroup(t)
	m := g.members[0]
	d := g.mountDisk(m)
	g.start(g.members...)
	g.ready(g.members...)
	g.lead(m)
	r := g.load()
	hung, began := d.hang(), time.Now()
	moved := g.leaderBut(m, began)
	g.until("an fsync hangs", func(context.Context) error {
		if hung.seen.Load() == 0 {
			return errors.New("none was asked for")
		}
		return nil
	})
	r.more(50)
	g.until("clients are sent elsewhere", func(ctx context.Context) error {
		if s, err := m.status(ctx, admin.StatusOptions{}); err != nil || s.Ready {
			return fmt.Errorf("%s is ready: %v (%v)", m.Name, s.Ready, err)
		}
		return nil
	})
	g.pause(time.Until(began.Add(2 * resumeWithin)))
	d.heal()
	g.ready(g.members...)
	r.more(50)
	figures := r.stop()
	g.equal()
	if moved > resumeWithin {
		t.Errorf("another member led %v after the leader's disk had begun to hang: it must be within %v", moved, resumeWithin)
	}
	r.steady(figures, resumeWithin)
	say("torture: fsync hung %v: another member led after %v; %d acks, %d outcomes unknown, largest gap %v",
		2*resumeWithin, moved.Round(time.Millisecond), figures.Writes, figures.Unknown, figures.Gap)
}

// fsyncFails lets the leader's fsync answer EIO: its process stops and says which file and what error, the others
// serve on; once the disk is healthy it starts and catches up.
func fsyncFails(t *testing.T) {
	g := newGroup(t)
	m := g.members[0]
	d := g.mountDisk(m)
	g.start(g.members...)
	g.ready(g.members...)
	g.lead(m)
	r := g.load()
	began := time.Now()
	d.failing(syscall.EIO)
	g.until("the member stops", func(context.Context) error {
		if _, gone := m.gone(); !gone {
			return errors.New("it still runs")
		}
		return nil
	})
	stopped := time.Since(began)
	m.forgive()
	last := lastLine(m.LastWords(4000))
	if !strings.Contains(last, syscall.EIO.Error()) || !strings.Contains(last, m.Dir) {
		t.Errorf("it names no file and errno:\n%s", last)
	}
	moved := g.leaderBut(m, began)
	r.more(200)
	d.heal()
	g.start(m)
	g.ready(m)
	r.more(50)
	figures := r.stop()
	g.equal()
	r.steady(figures, 5*time.Second)
	say("torture: fsync failed: the member stopped after %v, another led after %v; %d acks, largest gap %v; its last words: %s",
		stopped.Round(time.Millisecond), moved.Round(time.Millisecond), figures.Writes, figures.Gap, strings.ReplaceAll(last, g.dir, ""))
}

// lead makes a member the leader.
func (g *group) lead(m *member) {
	g.t.Helper()
	g.until(m.Name+" leads", func(ctx context.Context) error {
		s, err := m.status(ctx, admin.StatusOptions{})
		if err != nil || s.Role == admin.RoleLeader {
			return err
		}
		for _, other := range g.others(m) {
			if o, err := other.status(ctx, admin.StatusOptions{}); err == nil && o.Role == admin.RoleLeader {
				return errors.Join(errors.New("just asked"), g.admin.Transfer(ctx, "http://"+other.Admin, admin.TransferRequest{ClusterID: o.ClusterID, To: s.MemberID}))
			}
		}
		return fmt.Errorf("nobody leads: %s is %s", m.Name, s.Role)
	})
}

// leaderBut waits until another member leads with a quorum, and says how long after began that was.
func (g *group) leaderBut(not *member, began time.Time) time.Duration {
	g.t.Helper()
	g.until("another member than "+not.Name+" leads", func(ctx context.Context) error {
		for _, m := range g.others(not) {
			if s, err := m.status(ctx, admin.StatusOptions{Quorum: true}); err == nil && s.Role == admin.RoleLeader && s.Quorate {
				return nil
			}
		}
		return errors.New("none of them says so")
	})
	return time.Since(began)
}

// lastLine is the last line of a text.
func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return lines[len(lines)-1]
}
