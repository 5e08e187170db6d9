//go:build linux

package torture

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"

	"raftsman.dev/node/admin"
)

// The leases of the scenario: so many, half of them renewed, and how often the leader is upset meanwhile. A group that has
// just lost its leader, or was paused, takes a moment before it counts again: goneWithin is what it gets beyond the TTL
// after the last upset.
const (
	leaseCount = 60
	leaseTTL   = 4 * time.Second
	upsets     = 6
	goneWithin = 15 * time.Second
)

// promise is a lease as its owner sees it.
type promise struct {
	id    clientv3.LeaseID
	ttl   time.Duration
	mu    sync.Mutex
	until time.Time // it was confirmed to live so long: from when the request was sent that was answered
	lost  error
}

func (p *promise) confirmed(sent time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.until = sent.Add(p.ttl)
}

// leasesKept: leases that are renewed live on through kills and pauses of the leader, no lease goes before the time that
// its owner was told, and those that nobody renews go with their keys.
func leasesKept(t *testing.T) {
	rng := seeded(t)
	g := newGroup(t)
	g.start(g.members...)
	g.ready(g.members...)
	c, err := clientv3.New(clientv3.Config{
		Endpoints: g.endpoints(), DialTimeout: patience, DialOptions: []grpc.DialOption{grpc.WithNoProxy()},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 6*patience)
	defer cancel()
	promises := g.promise(ctx, c)
	deletions := deaths(ctx, c)
	renewing, stop := context.WithCancel(ctx)
	var owners sync.WaitGroup
	for i, p := range promises {
		if i%2 == 0 {
			owners.Go(func() { p.renew(renewing, c) })
		}
	}
	for range upsets {
		g.upset(rng)
	}
	g.untilLeft(c, leaseCount/2)
	early, gone := verdicts(promises, drain(deletions), t)
	for i, p := range promises {
		if i%2 == 0 && p.lost != nil {
			t.Errorf("lease %x, which was renewed all the time: %v", p.id, p.lost)
		}
	}
	stop()
	owners.Wait()
	calm := time.Now()
	g.untilLeft(c, 0)
	if took := time.Since(calm); took > leaseTTL+goneWithin {
		t.Errorf("the last lease was gone %v after it was renewed for the last time", took)
	}
	late, rest := verdicts(promises, drain(deletions), t)
	g.equal()
	say("torture: %d leases through %d upsets: %d of them went early, %d went while others were renewed, and the last of %d after %v",
		leaseCount, upsets, early+late, gone, rest, time.Since(calm).Round(10*time.Millisecond))
}

// untilLeft waits until only so many leases are left.
func (g *group) untilLeft(c *clientv3.Client, n int64) {
	g.t.Helper()
	g.until("leases that nobody renews go", func(ctx context.Context) error {
		r, err := c.Get(ctx, "lease/", clientv3.WithPrefix(), clientv3.WithCountOnly())
		if err == nil && r.Count > n {
			err = fmt.Errorf("%d are left", r.Count)
		}
		return err
	})
}

// promise grants the leases, each with a key.
func (g *group) promise(ctx context.Context, c *clientv3.Client) (all []*promise) {
	g.t.Helper()
	for i := range leaseCount {
		sent := time.Now()
		ttl := leaseTTL + time.Duration(i%4)*time.Second
		l, err := c.Grant(ctx, int64(ttl/time.Second))
		if err != nil {
			g.t.Fatal(err)
		}
		p := &promise{id: l.ID, ttl: ttl}
		p.confirmed(sent)
		if _, err := c.Put(ctx, fmt.Sprintf("lease/%x", l.ID), "", clientv3.WithLease(l.ID)); err != nil {
			g.t.Fatal(err)
		}
		all = append(all, p)
	}
	return all
}

// renew keeps the lease alive, whichever member answers, until it is told to stop. That nobody answers for so long that
// the lease may have gone is not the members' fault.
func (p *promise) renew(ctx context.Context, c *clientv3.Client) {
	tick := time.NewTicker(p.ttl / 10)
	defer tick.Stop()
	for {
		sent := time.Now()
		once, cancel := context.WithTimeout(ctx, p.ttl/4)
		_, err := c.KeepAliveOnce(once, p.id)
		cancel()
		p.mu.Lock()
		if errors.Is(err, rpctypes.ErrLeaseNotFound) && sent.Before(p.until) {
			p.lost = fmt.Errorf("gone %v before its time", time.Until(p.until))
		}
		p.mu.Unlock()
		if err == nil {
			p.confirmed(sent)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// death is a key that went with its lease, as a watcher heard of it.
type death struct {
	key string
	at  time.Time
}

// deaths watches the keys of the leases.
func deaths(ctx context.Context, c *clientv3.Client) <-chan death {
	all := make(chan death, leaseCount)
	events := c.Watch(ctx, "lease/", clientv3.WithPrefix(), clientv3.WithFilterPut())
	go func() {
		for r := range events {
			for _, e := range r.Events {
				all <- death{string(e.Kv.Key), time.Now()}
			}
		}
	}()
	return all
}

func drain(from <-chan death) (all []death) {
	for {
		select {
		case d := <-from:
			all = append(all, d)
		default:
			return all
		}
	}
}

// verdicts holds what went against what was promised.
func verdicts(promises []*promise, dead []death, t *testing.T) (early, gone int) {
	t.Helper()
	for _, d := range dead {
		gone++
		for _, p := range promises {
			p.mu.Lock()
			if until := p.until; fmt.Sprintf("lease/%x", p.id) == d.key && d.at.Before(until) {
				early++
				t.Errorf("lease %x went %v before the time that its owner was told", p.id, until.Sub(d.at))
			}
			p.mu.Unlock()
		}
	}
	return early, gone
}

// upset kills the leader and starts it again, or pauses it for a while, so that it wakes up as one that was deposed; or
// pauses all of them.
func (g *group) upset(rng *rand.Rand) {
	g.t.Helper()
	l := g.leading()
	switch rng.IntN(3) {
	case 0:
		g.kill(l)
		g.pause(upTo(rng, time.Second))
		g.start(l)
	case 1:
		g.freeze(time.Second+upTo(rng, 3*time.Second), l)
	default:
		g.freeze(upTo(rng, 4*time.Second), g.members...)
	}
	g.ready(g.members...)
	g.pause(upTo(rng, time.Second))
}

// freeze stops processes for a while, in the middle of whatever they do.
func (g *group) freeze(d time.Duration, members ...*member) {
	g.t.Helper()
	for _, s := range []syscall.Signal{syscall.SIGSTOP, syscall.SIGCONT} {
		for _, m := range members {
			m.mu.Lock()
			if err := m.mu.process.Signal(s); err != nil {
				g.t.Errorf("%s: %v", m.Name, err)
			}
			m.mu.Unlock()
		}
		if s == syscall.SIGSTOP {
			g.pause(d)
		}
	}
}

// leading waits for a member that leads, and names it.
func (g *group) leading() (found *member) {
	g.t.Helper()
	g.until("a member leads", func(ctx context.Context) error {
		for _, m := range g.members {
			if s, err := m.status(ctx, admin.StatusOptions{Quorum: true}); err == nil && s.Role == admin.RoleLeader && s.Quorate {
				found = m
				return nil
			}
		}
		return errors.New("none of them says so")
	})
	return found
}
