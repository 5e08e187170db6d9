package lease

import (
	"cmp"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"raftsman.dev/node/kv"
)

// twin is the keeper as one would write it without thinking of speed: it scans, and steps through time by the
// millisecond.
type twin struct {
	opt    Options
	leases map[int64]*twinLease
	term   uint64
	now    time.Duration
	still  time.Duration
	kept   time.Duration
	turn   time.Duration // before it no lease is handed out for expiry
}

type twinLease struct {
	kv.Lease
	expiry, counted time.Duration
	expiring        bool
	flying, wants   bool
	asked           bool // a checkpoint was due, or refused, and may come even after a renewal
}

func (w *twin) read(now time.Duration) {
	if w.term == 0 || now <= w.now {
		return
	}
	if now-w.now > w.opt.Pause {
		w.still = now + w.opt.Pause
		w.now = now
	}
	for ; w.now < now; w.now += time.Millisecond {
		if w.now >= w.still {
			w.kept += time.Millisecond
		}
	}
}

func (w *twin) count(l *twinLease, secs int64) {
	l.expiry, l.counted = w.kept+time.Duration(secs)*time.Second, w.kept
}

func (w *twin) reign(term uint64, now time.Duration) {
	w.term, w.now, w.kept, w.still, w.turn = term, now, now, now+w.opt.Pause, 0
	for _, l := range w.leases {
		*l = twinLease{Lease: l.Lease}
		w.count(l, cmp.Or(l.Remaining, l.TTL))
	}
}

func (w *twin) changed(c kv.LeaseChange) {
	l := w.leases[c.ID]
	switch {
	case c.Revoked:
		delete(w.leases, c.ID)
	case l == nil:
		w.leases[c.ID] = &twinLease{Lease: c.Lease}
		w.count(w.leases[c.ID], c.TTL)
	default:
		l.Lease, l.flying = c.Lease, false
		l.wants = l.wants && l.Remaining > 0
	}
}

func (w *twin) renew(id int64) error {
	l := w.leases[id]
	switch {
	case w.term == 0:
		return ErrNotLeader
	case l == nil:
		return ErrNotFound
	case l.expiring:
		return ErrExpiring
	}
	w.count(l, l.TTL)
	if l.Remaining > 0 || l.flying {
		l.wants = true
		return ErrPending
	}
	return nil
}

// overdue lists what is to be handed out for expiry, without a bound.
func (w *twin) overdue() []int64 {
	var ids []int64
	for id, l := range w.leases {
		if w.term != 0 && w.now >= max(w.still, w.turn) && !l.expiring && w.grain(l.expiry) <= w.kept {
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, func(a, b int64) int {
		return cmp.Or(cmp.Compare(w.grain(w.leases[a].expiry), w.grain(w.leases[b].expiry)), cmp.Compare(a, b))
	})
	return ids
}

func (w *twin) grain(t time.Duration) time.Duration {
	for w.opt.Grain > 0 && t%w.opt.Grain != 0 {
		t += time.Millisecond
	}
	return t
}

func (w *twin) inFlight() (expiring, flying int) {
	for _, l := range w.leases {
		if l.expiring {
			expiring++
		}
		if l.flying {
			flying++
		}
	}
	return expiring, flying
}

// pair runs a keeper and its twin side by side.
type pair struct {
	*testing.T
	rng  *rand.Rand
	k    *Keeper
	w    *twin
	now  time.Duration
	term uint64
	out  []Work // handed out, fate unknown
	next time.Duration
}

func newPair(t *testing.T, seed uint64) *pair {
	opt := Options{Pause: 300 * time.Millisecond, Checkpoint: 2 * time.Second, Batch: 5, InFlight: 7}
	if seed%2 == 1 {
		opt.Every = 120 * time.Millisecond
	}
	if seed%4 >= 2 {
		opt.Grain = 70 * time.Millisecond
	}
	return &pair{T: t, rng: rand.New(rand.NewPCG(seed, 1)), k: New(opt), w: &twin{opt: opt, leases: map[int64]*twinLease{}}}
}

// TestKeeperAgainstATwin: whatever happens, the keeper hands out, confirms and answers what its naive twin does.
func TestKeeperAgainstATwin(t *testing.T) {
	for seed := range uint64(150) {
		p := newPair(t, seed)
		for step := range 1500 {
			p.step()
			p.check()
			if t.Failed() {
				t.Fatalf("seed %d, step %d", seed, step)
			}
		}
	}
}

func (p *pair) step() {
	switch r := p.rng.IntN(40); {
	case r == 0:
		p.now += time.Duration(p.rng.IntN(4000)) * time.Millisecond // a pause
	case r < 25:
		p.now += time.Duration(p.rng.IntN(200)) * time.Millisecond
	}
	id := int64(p.rng.IntN(12))
	switch r := p.rng.IntN(100); {
	case r < 12:
		p.grant(id)
	case r < 16:
		p.apply(kv.LeaseChange{Lease: kv.Lease{ID: id}, Revoked: true})
	case r < 36:
		p.renew(id)
	case r < 42:
		p.left(id)
	case r < 70:
		p.work()
	case r < 94:
		p.resolve()
	case r < 97:
		p.term++
		p.out = nil
		p.k.Reign(p.term, p.now)
		p.w.reign(p.term, p.now)
	case r == 97:
		p.out, p.w.term = nil, 0
		p.k.Abdicate()
	case r == 98:
		p.reset()
	}
}

func (p *pair) apply(c kv.LeaseChange) {
	p.w.read(p.now)
	p.k.Changed([]kv.LeaseChange{c}, p.now)
	p.w.changed(c)
	p.next = 0
}

func (p *pair) grant(id int64) {
	if p.w.leases[id] == nil {
		p.apply(kv.LeaseChange{Lease: kv.Lease{ID: id, TTL: int64(1 + p.rng.IntN(8))}})
	}
}

func (p *pair) renew(id int64) {
	p.w.read(p.now)
	ttl, err := p.k.Renew(id, p.now)
	if want := p.w.renew(id); !errors.Is(err, want) || (err == nil && ttl != p.w.leases[id].TTL) {
		p.Errorf("lease %d: renewed for %d: %v, want %v", id, ttl, err, want)
	}
	p.next = 0
}

func (p *pair) left(id int64) {
	p.w.read(p.now)
	granted, left, err := p.k.Left(id, p.now)
	l := p.w.leases[id]
	switch {
	case p.w.term == 0:
		if !errors.Is(err, ErrNotLeader) {
			p.Errorf("lease %d, not leading: %v", id, err)
		}
	case l == nil:
		if !errors.Is(err, ErrNotFound) {
			p.Errorf("lease %d, missing: %v", id, err)
		}
	case err != nil || granted != l.TTL || left != max(0, int64((l.expiry-p.w.kept).Seconds())):
		p.Errorf("lease %d: %d of %d left: %v, want %v of %d", id, left, granted, err, l.expiry-p.w.kept, l.TTL)
	}
}

func (p *pair) work() {
	p.w.read(p.now)
	overdue := p.w.overdue()
	for _, l := range p.w.leases {
		l.asked = l.asked || p.w.kept-l.counted >= p.w.opt.Checkpoint
	}
	expiring, inAir := p.w.inFlight()
	w, next := p.k.Work(p.now)
	quiet := p.now < p.next
	p.next = next
	if p.w.term == 0 {
		if !w.Empty() || next != Never {
			p.Errorf("not leading, but %+v, next %v", w, next)
		}
		return
	}
	if want := overdue[:min(len(overdue), 5, 7-expiring)]; !slices.Equal(w.Expired, want) {
		p.Errorf("expired %v, want %v", w.Expired, want)
	}
	if quiet && !w.Empty() {
		p.Errorf("%+v is handed out before it was announced", w)
	}
	if next < p.now || next > p.now+p.w.opt.Pause/2 {
		p.Errorf("next is %v at %v", next, p.now)
	}
	for _, id := range w.Expired {
		p.w.leases[id].expiring = true
	}
	if len(w.Expired) > 0 {
		p.w.turn = max(p.w.turn, p.w.now-8*p.w.opt.Every) + p.w.opt.Every
	}
	for _, c := range w.Checkpoints {
		p.checkpoint(c)
	}
	for id, l := range p.w.leases {
		if l.wants && !l.flying && !l.expiring && len(w.Checkpoints) < min(5, 7-inAir) {
			p.Errorf("lease %d waits for its checkpoint to be undone", id)
		}
	}
	if !w.Empty() {
		p.out = append(p.out, w)
	}
}

func (p *pair) checkpoint(c Checkpoint) {
	l := p.w.leases[c.ID]
	if l == nil || l.flying || l.expiring {
		p.Fatalf("checkpoint %+v of %+v", c, l)
	}
	left := int64((l.expiry - p.w.kept + time.Second - 1) / time.Second)
	switch {
	case l.wants && c.Remaining == 0 && l.Remaining > 0:
	case !l.wants && c.Remaining == left && left > 0 && left < cmp.Or(l.Remaining, l.TTL) && l.asked:
	default:
		p.Errorf("checkpoint %+v of %+v with %d left", c, l, left)
	}
	l.flying, l.asked = true, false
}

// resolve lets the oldest work that is out be applied, or be refused.
func (p *pair) resolve() {
	if len(p.out) == 0 {
		return
	}
	w := p.out[0]
	p.out = p.out[1:]
	if p.rng.IntN(3) == 0 {
		p.k.Failed(w)
		p.w.failed(w)
		p.next = 0
		return
	}
	for _, id := range w.Expired {
		if l := p.w.leases[id]; l != nil && l.expiring {
			p.apply(kv.LeaseChange{Lease: kv.Lease{ID: id}, Revoked: true})
		}
	}
	for _, c := range w.Checkpoints {
		if l := p.w.leases[c.ID]; l != nil && l.flying {
			p.apply(kv.LeaseChange{Lease: kv.Lease{ID: c.ID, TTL: l.TTL, Remaining: c.Remaining}})
		}
	}
}

func (w *twin) failed(work Work) {
	for _, id := range work.Expired {
		if l := w.leases[id]; l != nil {
			l.expiring = false
		}
	}
	for _, c := range work.Checkpoints {
		if l := w.leases[c.ID]; l != nil && l.flying {
			l.flying, l.asked = false, true
			l.wants = l.wants && l.Remaining > 0
		}
	}
}

func (p *pair) reset() {
	p.out, p.w.term, p.w.leases = nil, 0, map[int64]*twinLease{}
	var ls []kv.Lease
	for id := range int64(p.rng.IntN(12)) {
		l := kv.Lease{ID: id, TTL: 5, Remaining: int64(p.rng.IntN(5))}
		ls, p.w.leases[id] = append(ls, l), &twinLease{Lease: l}
	}
	p.k.Reset(slices.Values(ls))
}

// check demands what must hold between any two calls.
func (p *pair) check() {
	expiring, inAir := p.w.inFlight()
	if p.w.term != 0 && (p.k.expiring != expiring || p.k.flying != inAir || expiring > 7 || inAir > 7) {
		p.Errorf("in flight: %d expiries and %d checkpoints, want %d and %d", p.k.expiring, p.k.flying, expiring, inAir)
	}
	if p.w.term != 0 && len(p.k.queue) != len(p.k.leases)-expiring {
		p.Errorf("%d of %d leases are in the queue, %d are expiring", len(p.k.queue), len(p.k.leases), expiring)
	}
	for i, e := range p.k.queue {
		if e.l.at != int32(i) || p.k.leases[e.l.ID] != e.l || e.wake > p.k.wake(e.l) || i > 0 && e.before(p.k.queue[(i-1)/2]) {
			p.Errorf("place %d of the queue: %v, %+v", i, e.wake, e.l)
		}
	}
}
