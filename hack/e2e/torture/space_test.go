//go:build linux

package torture

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"raftsman.dev/hack/e2e/load"
)

// The sizes of a disk that becomes full: what it has, and what is left when it is low (less than an eighth, more than
// a 32nd of it).
const (
	smallDisk = 256 << 20
	lowSpace  = 20 << 20
)

// diskFull takes the space of the leader's disk: first so much that it is low, then all of it. Puts are refused with
// etcd's NOSPACE, reads and deletes are served, no process ends, and when there is space again everything goes on
// without anybody's help.
func diskFull(t *testing.T) {
	g := newGroup(t)
	m := g.members[0]
	g.mountSmall(m, smallDisk)
	g.start(g.members...)
	g.ready(g.members...)
	g.lead(m)
	c := g.dial()
	g.until("a key is there", c.put("key"))
	r := g.load()

	began := time.Now()
	free := fill(t, m.Dir, lowSpace)
	g.until("puts are refused", func(ctx context.Context) error { return c.refused(ctx) })
	refused := time.Since(began)
	g.until("a read is served", c.get("key", 1))
	g.until("a delete is served", c.delete("key"))
	g.until("the key is gone", c.get("key", 0))
	g.until("puts are still refused", func(ctx context.Context) error { return c.refused(ctx) })
	began = time.Now()
	free()
	g.until("a put is served", c.put("key"))
	back := time.Since(began)
	r.more(50)

	free = fill(t, m.Dir, 0)
	g.pause(3 * time.Second)
	g.until("a read is served", c.get("key", 1))
	g.until("a delete is served", c.delete("key"))
	free()
	g.ready(g.members...)
	r.more(50)
	figures := r.stop()
	g.equal()
	if figures.Failed == 0 {
		t.Error("the load was refused nothing")
	}
	say("torture: disk full: puts refused after %v, served %v after there was space; %d acks, %d refused, largest gap %v",
		refused.Round(time.Millisecond), back.Round(time.Millisecond), figures.Writes, figures.Failed, figures.Gap)
}

// client is one client of the whole group.
type client struct{ *clientv3.Client }

func (g *group) dial() client {
	g.t.Helper()
	c, err := load.Dial(g.endpoints())
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() {
		if err := c.Close(); err != nil {
			g.t.Error(err)
		}
	})
	return client{c}
}

// opLimit bounds one operation.
const opLimit = 2 * time.Second

func (c client) put(key string) func(context.Context) error {
	return func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, opLimit)
		defer cancel()
		_, err := c.Put(ctx, key, "value")
		return err
	}
}

func (c client) delete(key string) func(context.Context) error {
	return func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, opLimit)
		defer cancel()
		_, err := c.Delete(ctx, key)
		return err
	}
}

// get demands that many keys of that name.
func (c client) get(key string, n int) func(context.Context) error {
	return func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, opLimit)
		defer cancel()
		answer, err := c.Get(ctx, key)
		if err == nil && len(answer.Kvs) != n {
			err = fmt.Errorf("%d keys %s, not %d", len(answer.Kvs), key, n)
		}
		return err
	}
}

// refused demands etcd's NOSPACE of every member in turn.
func (c client) refused(ctx context.Context) error {
	for range size {
		if err := c.put("more")(ctx); !errors.Is(err, rpctypes.ErrNoSpace) {
			return fmt.Errorf("answered: %v", err)
		}
	}
	return nil
}
