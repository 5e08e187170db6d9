package watch

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"raftsman.dev/node/kv"
)

// world is a hub whose pump moves only when it is told to, its store, and clients that read when they like.
type world struct {
	t       *testing.T
	rng     *rand.Rand
	hub     *Hub
	store   *store
	untold  []kv.Changes // in the store, not yet told
	told    kv.Revision
	compact kv.Revision // told
	clients []*client
	keys    int
	now     time.Time
	total   map[string]int
}

func newWorld(t *testing.T, seed uint64) *world {
	rng := rand.New(rand.NewPCG(seed, 0))
	w := &world{t: t, rng: rng, store: newStore(), told: 1, keys: 2 + rng.IntN(30), now: time.Unix(1e9, 0), total: map[string]int{}}
	w.hub = newHub(Options{
		History: w.store.view, Revision: 1,
		RingBytes: 1 + rng.IntN(4000), StreamBytes: 1 + rng.IntN(4000), QueueBytes: 1 + rng.Int64N(20000),
		Interval: time.Minute, Rand: rand.New(rand.NewPCG(seed, 1)),
	})
	w.hub.limits = limits{events: 1 + rng.IntN(20), bytes: 1 + rng.IntN(1000), seeks: 1 + rng.IntN(5), passes: 1 + rng.IntN(3), near: kv.Revision(rng.IntN(20))}
	for range 1 + rng.IntN(5) {
		w.clients = append(w.clients, newClient(w.hub, w.store))
	}
	return w
}

func (w *world) write() {
	var revisions [][]kv.KeyValue
	for range 1 + w.rng.IntN(4) {
		var changes []kv.KeyValue
		for _, i := range w.rng.Perm(w.keys)[:1+w.rng.IntN(min(5, w.keys))] {
			c := put(i, "value"[:w.rng.IntN(6)])
			if w.rng.IntN(4) == 0 {
				c = del(i)
			}
			changes = append(changes, c)
		}
		revisions = append(revisions, changes)
	}
	w.untold = append(w.untold, w.store.write(func() bool { return w.rng.IntN(3) == 0 }, revisions...))
}

func (w *world) tell() {
	if len(w.untold) == 0 {
		return
	}
	c := w.untold[0]
	w.untold = w.untold[1:]
	w.hub.Tell(c)
	w.told, w.compact = c.Revision, c.Compacted
}

func (w *world) tellAll() {
	for len(w.untold) > 0 {
		w.tell()
	}
}

// compactSome compacts; a store does not do so ahead of what it has applied.
func (w *world) compactSome() {
	revision, compacted := w.store.revisions()
	if revision > compacted {
		w.untold = append(w.untold, w.store.compact(compacted+1+kv.Revision(w.rng.Int64N(int64(revision-compacted)))))
	}
}

// switchOver lets the store jump: nobody is told the batches between.
func (w *world) switchOver() {
	w.tellAll()
	for range w.rng.IntN(4) {
		w.write()
	}
	if w.rng.IntN(2) == 0 {
		w.compactSome()
	}
	w.untold = nil
	revision, compacted := w.store.revisions()
	w.untold = append(w.untold, kv.Changes{Revision: revision, Compacted: compacted, Switched: true})
	w.tell()
	w.total["switches"]++
}

func (w *world) client() *client { return w.clients[w.rng.IntN(len(w.clients))] }

func (w *world) watch() {
	c := w.client()
	if c.stream.mu.controls >= maxControls-1 {
		c.read(w.t, 1000)
	}
	r := anyRequest(w.rng, w.keys, w.told)
	if id := 1000 + w.rng.Int64N(1e9); w.rng.IntN(4) == 0 && c.live[id] == nil {
		r.ID = id
	}
	c.watch(w.t, w.told, w.compact, r)
	w.total["watches"]++
}

func (w *world) cancel() {
	c := w.client()
	for id, x := range c.live { // any
		if x.canceled || c.stream.mu.controls >= maxControls-1 {
			return
		}
		ok, err := c.stream.Cancel(context.Background(), id)
		if err != nil {
			w.t.Fatal(err)
		}
		x.canceled = ok // else it has been compacted, and will hear so
		return
	}
}

func (w *world) reopen() {
	i := w.rng.IntN(len(w.clients))
	w.clients[i].stream.Close()
	w.clients[i] = newClient(w.hub, w.store)
}

// step does one thing of many.
func (w *world) step() {
	switch n := w.rng.IntN(100); {
	case n < 19:
		w.write()
	case n < 20: // more at once than the pump does in a turn: then a pass may overtake the main cohort
		for range w.rng.IntN(20) {
			w.write()
		}
		w.tellAll()
	case n < 40:
		w.tell()
	case n < 65:
		w.hub.turn()
	case n < 80:
		w.client().read(w.t, 1+w.rng.IntN(8))
	case n < 88:
		w.watch()
	case n < 91:
		w.cancel()
	case n < 94:
		w.client().ask(w.told)
	case n < 97:
		w.now = w.now.Add(time.Duration(w.rng.IntN(60)) * time.Second)
		w.hub.Tick(w.now)
	case n < 98:
		w.compactSome()
	case n < 99 && w.rng.IntN(4) == 0:
		w.switchOver()
	case w.rng.IntN(8) == 0:
		w.reopen()
	}
}

// settle lets everything come to rest: within a bound, since a pump that never rests is an error too.
func (w *world) settle() {
	w.tellAll()
	for range 100_000 {
		moved := w.hub.turn()
		for _, c := range w.clients {
			moved = c.read(w.t, 1+w.rng.IntN(20)) > 0 || moved
		}
		if !moved {
			return
		}
	}
	w.t.Fatal("the hub does not come to rest")
}

// end checks that nobody is owed anything, that progress is answered, and that nothing stays behind.
func (w *world) end() {
	w.settle()
	for _, c := range w.clients {
		c.ask(w.told)
	}
	w.settle()
	for i, c := range w.clients {
		future := false
		for id, x := range c.live {
			future = future || x.request.Start > w.told
			if owed := x.owed(w.store.truth(), w.told); len(owed) > 0 || !x.seen {
				w.t.Errorf("watcher %d of stream %d %+v, at %d, is owed %d events at %d", id, i, x.request, x.next, len(owed), w.told)
			}
		}
		if waits := c.stream.mu.asked; waits != future {
			w.t.Errorf("stream %d: progress still waits: %v; a watcher begins later: %v", i, waits, future)
		}
		if len(c.live) > 0 && !future && c.heard < c.asked {
			w.t.Errorf("stream %d: asked for progress at %d, was answered %d", i, c.asked, c.heard)
		}
		w.total["events"] += c.got
		w.total["compacted"] += c.ended
	}
	if s := w.hub.Stats(); s.Behind != 0 || s.QueuedBytes != 0 || s.RingBytes > w.hub.opts.RingBytes || w.store.opened() != 0 {
		w.t.Errorf("at rest: %+v, %d views are open", s, w.store.opened())
	}
	for _, c := range w.clients {
		c.reason = ErrClosed
		c.stream.Close()
	}
	w.settle()
	p := &w.hub.pump
	if n := w.hub.Stats(); n.Watchers != 0 || n.Streams != 0 || len(p.main.members.items)+len(p.passes)+len(p.timed.items)+len(p.asking.items) != 0 ||
		len(p.main.index.keys) != 0 || p.main.index.ranges != nil {
		w.t.Errorf("something of closed streams is left: %+v, %+v", n, p)
	}
}

// Whatever happens around it, each watcher receives the truth filtered by its request: whole, in order, without
// repetition; or it is canceled where its next revision was compacted. Progress never claims what has not been delivered.
func TestWatchersAgainstTheTruth(t *testing.T) {
	worlds := 120
	if testing.Short() {
		worlds = 30
	}
	total := map[string]int{}
	for seed := range uint64(worlds) {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			w := newWorld(t, seed)
			for range 600 {
				w.step()
			}
			w.end()
			for what, n := range w.total {
				total[what] += n
			}
		})
	}
	t.Logf("in %d worlds: %v", worlds, total)
	for _, what := range []string{"events", "compacted", "switches", "watches"} {
		if total[what] < worlds/4 {
			t.Errorf("only %d %s: the worlds are too tame", total[what], what)
		}
	}
}
