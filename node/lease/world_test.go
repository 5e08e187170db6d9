package lease

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"raftsman.dev/node/kv"
)

// entry is one command in the world's log.
type entry struct {
	term    uint64
	by      uint64         // term of the leader that decided it; 0: a client's
	asOf    int            // how much of the log that leader had applied
	decided time.Duration  // real time of the decision
	change  kv.LeaseChange // a grant, if by is 0 and it does not revoke
	noop    bool
}

// granted is a lease of the world's store, with the promise that was made: it lives until then, in real time.
type granted struct {
	kv.Lease
	at      int // index of its grant
	promise time.Duration
}

// member is one member: a keeper, a clock of its own that is never faster than real time, and how far it has applied.
type member struct {
	k       *Keeper
	now     time.Duration
	rate    time.Duration // hundredths of real time
	asleep  time.Duration // stopped until then, in real time: its clock runs on
	applied int
	term    uint64 // leads, as it believes
	noop    int    // index of that term's no-op
	reigns  bool
	waiting []request
	hand    []entry // decided, and not proposed yet
}

// request is a keep-alive whose read round has confirmed leadership at real time at. It may be renewed much later.
type request struct {
	id    int64
	grant int // index of the grant that it saw
	at    time.Duration
}

// world is some members around one replicated log. Only the present leader commits; what a deposed one appends is lost.
// What an elected one takes over of its forerunner's tail is drawn.
type world struct {
	t       *testing.T
	rng     *rand.Rand
	real    time.Duration
	members []*member
	leader  int
	term    uint64
	log     []entry
	commit  int
	store   map[int64]*granted // as committed
	told    [][]kv.LeaseChange // what each committed entry changed
	stats   map[string]int
}

func newWorld(t *testing.T, seed uint64) *world {
	w := &world{t: t, rng: rand.New(rand.NewPCG(seed, 2)), store: map[int64]*granted{}, stats: map[string]int{}}
	for range 3 {
		k := New(Options{Pause: 500 * time.Millisecond, Checkpoint: 2 * time.Second, Batch: 3, InFlight: 6})
		w.members = append(w.members, &member{k: k, now: time.Duration(w.rng.IntN(1e9)), rate: time.Duration(80 + w.rng.IntN(21))})
	}
	w.elect(0)
	return w
}

// elect makes m the leader of a new term, with some of the tail of the one before it.
func (w *world) elect(m int) {
	w.term++
	w.leader = m
	w.log = slices.Clone(w.log[:w.commit+w.rng.IntN(len(w.log)-w.commit+1)])
	w.log = append(w.log, entry{term: w.term, noop: true}) // the first of its term
	c := w.members[m]
	c.term, c.noop = w.term, len(w.log)
	if c.reigns {
		c.k.Abdicate()
		c.reigns = false
	}
}

func (w *world) commitSome(n int) {
	for ; n > 0 && w.commit < len(w.log); n-- {
		e := w.log[w.commit]
		w.commit++
		w.told = append(w.told, w.effect(e))
	}
}

// effect is what the store makes of one committed entry.
func (w *world) effect(e entry) []kv.LeaseChange {
	l := w.store[e.change.ID]
	switch {
	case e.noop:
		return nil
	case e.by == 0 && !e.change.Revoked:
		if l != nil {
			return nil
		}
		w.store[e.change.ID] = &granted{Lease: e.change.Lease, at: w.commit, promise: w.real + seconds(e.change.TTL)}
		return []kv.LeaseChange{e.change}
	case l == nil || e.by != 0 && (e.by != e.term || l.at > e.asOf):
		w.stats["fenced"]++
		return nil
	case e.change.Revoked:
		if e.by != 0 {
			w.stats["expired"]++
			if e.decided < l.promise {
				w.t.Errorf("lease %d, promised until %v, was expired at %v by the leader of term %d", l.ID, l.promise, e.decided, e.by)
			}
		}
		delete(w.store, e.change.ID)
		return []kv.LeaseChange{{Lease: l.Lease, Revoked: true}}
	}
	w.stats["checkpoints"]++
	l.Remaining = e.change.Remaining
	return []kv.LeaseChange{{Lease: l.Lease}}
}

// propose appends a command at m; what a deposed leader appends goes nowhere.
func (w *world) propose(m int, e entry) {
	if e.term = w.members[m].term; e.term == w.term {
		w.log = append(w.log, e)
	}
}

// apply lets m apply up to n committed entries, and learn what that means for its role.
func (w *world) apply(m, n int) {
	c := w.members[m]
	for ; n > 0 && c.applied < w.commit; n-- {
		c.k.Changed(w.told[c.applied], c.now)
		c.applied++
	}
	if c.term == w.term && !c.reigns && c.applied >= c.noop {
		c.k.Reign(c.term, c.now)
		c.reigns = true
	}
}

// request has a client's keep-alive arrive at the leader, whose round confirms it at once; the answer may take its time.
func (w *world) request() {
	c := w.members[w.leader]
	id := int64(w.rng.IntN(8))
	if l := w.store[id]; l != nil && c.reigns && c.applied >= l.at && len(c.waiting) < 20 {
		c.waiting = append(c.waiting, request{id, l.at, w.real})
	}
}

// renew tries the requests that wait at m, leader or not by now.
func (w *world) renew(m int) {
	c := w.members[m]
	keep := c.waiting[:0]
	for _, r := range c.waiting {
		_, err := c.k.Renew(r.id, c.now)
		switch l := w.store[r.id]; {
		case errors.Is(err, ErrExpiring) || errors.Is(err, ErrPending):
			w.stats[err.Error()]++
			keep = append(keep, r)
		case err == nil && l != nil && l.at == r.grant:
			w.stats["renewed"]++
			l.promise = max(l.promise, r.at+seconds(l.TTL))
		}
	}
	c.waiting = keep
}

// work proposes what m hands out; a part of it may be refused.
func (w *world) work(m int) {
	c := w.members[m]
	work, _ := c.k.Work(c.now)
	if w.rng.IntN(8) == 0 {
		w.stats["refused"]++
		c.k.Failed(work)
		return
	}
	e := entry{by: work.Term, asOf: c.applied, decided: w.real}
	for _, id := range work.Expired {
		e.change = kv.LeaseChange{Lease: kv.Lease{ID: id}, Revoked: true}
		c.hand = append(c.hand, e)
	}
	for _, k := range work.Checkpoints {
		e.change = kv.LeaseChange{Lease: kv.Lease{ID: k.ID, Remaining: k.Remaining}}
		c.hand = append(c.hand, e)
	}
}

// hand proposes what m has decided, perhaps in an older term.
func (w *world) hand(m int) {
	for _, e := range w.members[m].hand {
		w.propose(m, e)
	}
	w.members[m].hand = nil
}

// pass lets real time go by, and the members' clocks with it, each at its rate of the moment.
func (w *world) pass(d time.Duration) {
	w.real += d
	for _, c := range w.members {
		c.now += d * c.rate / 100
	}
}

func (w *world) step() {
	w.pass(time.Duration(w.rng.IntN(120)) * time.Millisecond)
	m := w.rng.IntN(len(w.members))
	c := w.members[m]
	switch r := w.rng.IntN(200); {
	case r == 0:
		w.elect(m)
	case r == 1:
		c.asleep = w.real + time.Duration(w.rng.IntN(3000))*time.Millisecond
	case r == 2 && c.term < w.term && c.reigns:
		c.k.Abdicate() // it has heard
		c.reigns = false
	case r == 3:
		c.rate = time.Duration(80 + w.rng.IntN(21))
	case r < 12:
		w.propose(w.leader, entry{change: kv.LeaseChange{Lease: kv.Lease{ID: int64(w.rng.IntN(8)), TTL: int64(1 + w.rng.IntN(9))}}})
	case r < 15:
		w.propose(w.leader, entry{change: kv.LeaseChange{Lease: kv.Lease{ID: int64(w.rng.IntN(8))}, Revoked: true}})
	case r < 50:
		w.request()
	case r < 80:
		w.commitSome(w.rng.IntN(4))
	}
	if c = w.members[m]; c.asleep <= w.real {
		w.apply(m, w.rng.IntN(5))
		if w.rng.IntN(2) == 0 {
			w.renew(m)
		}
		w.work(m)
		if w.rng.IntN(3) > 0 {
			w.hand(m)
		}
	}
}

// calm is the second phase: one leader that is left alone, a clock that is right, no keep-alives. It returns how many
// leases outlived what they could at most be counted for.
func (w *world) calm() int {
	w.elect(w.leader)
	c := w.members[w.leader]
	c.rate, c.asleep = 100, 0
	w.commitSome(len(w.log))
	w.apply(w.leader, len(w.log))
	for range 120 { // 9 s TTL, half a second of stillness, and a way through the log
		w.pass(100 * time.Millisecond)
		w.work(w.leader)
		w.hand(w.leader)
		w.commitSome(len(w.log))
		w.apply(w.leader, len(w.log))
	}
	return len(w.store)
}

// TestNoLeaseExpiresEarly: with members whose clocks are slow or stand still, leaders that come and go without hearing of
// it, work that is lost or comes late, and IDs that are granted again, no lease is expired by a decision taken before
// its last confirmed renewal plus TTL, in real time. And once a leader is left alone, all of them go.
func TestNoLeaseExpiresEarly(t *testing.T) {
	total := map[string]int{}
	for seed := range uint64(300) {
		w := newWorld(t, seed)
		for step := range 2000 {
			w.step()
			if t.Failed() {
				t.Fatalf("seed %d, step %d", seed, step)
			}
		}
		if n := w.calm(); n > 0 || t.Failed() {
			t.Fatalf("seed %d, calm: %d leases never expired", seed, n)
		}
		for what, n := range w.stats {
			total[what] += n
		}
	}
	t.Log(fmt.Sprint(total))
	for _, what := range []string{"fenced", "expired", "checkpoints", "renewed", "refused", ErrExpiring.Error(), ErrPending.Error()} {
		if total[what] < 100 {
			t.Errorf("%s: only %d times", what, total[what])
		}
	}
}
