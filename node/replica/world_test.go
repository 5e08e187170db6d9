package replica

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	pebblefs "github.com/cockroachdb/pebble/v2/vfs"

	"raftsman.dev/node/kv"
	"raftsman.dev/node/raft"
	"raftsman.dev/node/vfs"
	"raftsman.dev/node/wal"
)

// world is a group of replicas with real logs and real stores on disks in memory; the seed decides who runs next,
// which messages arrive, and when the power goes.
type world struct {
	t      *testing.T
	rng    *rand.Rand
	seed   uint64
	hosts  map[raft.MemberID]*host
	ids    []raft.MemberID
	bag    []raft.Message
	apart  map[raft.MemberID]bool // receives and sends nothing
	tuning Tuning
	harm   harm
}

// host is one member: what survives the power, and what does not.
type host struct {
	w    *world
	id   raft.MemberID
	boot raft.Boot
	log  *vfs.Mem
	disk *pebblefs.MemFS

	replica   *Replica
	wal       *wal.Log
	store     *kv.Store
	writing   bool
	applying  bool
	fetches   []raft.Fetch
	snapshots []raft.MemberID
	cuts      []raft.Base
	removed   bool
	installed int
	events    []raft.Event
	lose      bool // entries, at the next start
}

func newWorld(t *testing.T, seed uint64, tuning Tuning) *world {
	tuning.RequestTicks, tuning.RetryTicks = 60, 20
	return &world{t: t, seed: seed, rng: rand.New(rand.NewPCG(seed, 7)), hosts: map[raft.MemberID]*host{}, apart: map[raft.MemberID]bool{}, tuning: tuning}
}

// add brings up an empty member.
func (w *world) add(id raft.MemberID) *host {
	h := &host{w: w, id: id, log: vfs.NewMem(), disk: pebblefs.NewCrashableMem()}
	w.hosts[id], w.ids = h, append(w.ids, id)
	h.start()
	return h
}

func (h *host) start() {
	h.w.t.Helper()
	h.boot++
	var restored raft.Restored
	var err error
	if h.store, err = kv.Open("store", kv.Options{FS: h.disk, MemTableBytes: 256 << 10, BlockCacheBytes: 1 << 20, CacheSlots: 64}); err != nil {
		h.w.t.Fatalf("seed %d: member %d: %v", h.w.seed, h.id, err)
	}
	if h.lose {
		h.spoil()
	}
	if h.wal, restored, err = wal.Open(h.log, "log", h.walOptions()); err != nil {
		h.w.t.Fatalf("seed %d: member %d: %v", h.w.seed, h.id, err)
	}
	h.fetches, h.snapshots, h.cuts, h.writing, h.applying = nil, nil, nil, false, false
	h.replica, err = New(Config{
		Core: raft.Config{ID: h.id, Boot: h.boot, ElectionTicks: 10, HeartbeatTicks: 2, CaughtUpLag: 8,
			Rand: rand.New(rand.NewPCG(h.w.seed, uint64(h.id)<<8|uint64(h.boot)))},
		Log: h.wal, Store: h.store, Restored: restored, Env: h, Tuning: h.w.tuning,
	})
	if err != nil {
		h.w.t.Fatalf("seed %d: member %d: %v", h.w.seed, h.id, err)
	}
	h.replica.Pump()
}

// crash takes the power away: what was not synced is kept or lost by coin.
func (h *host) crash() {
	h.w.harm.repaired += int(h.replica.Brief().Repaired)
	h.replica.Stop()
	h.log = h.log.Crash(h.w.rng)
	old := h.disk
	h.disk = old.CrashClone(pebblefs.CrashCloneCfg{})
	if err := h.store.Close(); err != nil {
		h.w.t.Fatalf("seed %d: member %d: close: %v", h.w.seed, h.id, err)
	}
	h.replica = nil
}

func (h *host) up() bool { return h.replica != nil }

// Send and its kin implement Env.
func (h *host) Send(msgs []raft.Message) {
	h.w.bag = append(h.w.bag, msgs...)
}
func (h *host) WriterReady()                        { h.writing = true }
func (h *host) ApplierReady()                       { h.applying = true }
func (h *host) Fetch(f raft.Fetch)                  { h.fetches = append(h.fetches, f) }
func (h *host) SendSnapshot(to raft.MemberID)       { h.snapshots = append(h.snapshots, to) }
func (h *host) CutLog(base raft.Base)               { h.cuts = append(h.cuts, base) }
func (h *host) MembershipChanged(m raft.Membership) {}
func (h *host) Removed()                            { h.removed = true }
func (h *host) Events(events []raft.Event) {
	if len(events) == 0 {
		h.w.t.Fatalf("seed %d: member %d tells of no event", h.w.seed, h.id)
	}
	h.events = append(h.events, events...)
}

// step lets one thing happen at one member: its writer, its applier, its disk, its snapshots, or nothing.
func (h *host) step() {
	switch {
	case !h.up():
	case h.writing && h.w.rng.IntN(2) == 0:
		h.write()
	case h.applying && h.w.rng.IntN(2) == 0:
		h.apply()
	case len(h.fetches) > 0:
		h.fetch()
	case len(h.cuts) > 0:
		h.cut()
	case len(h.snapshots) > 0:
		h.snapshot()
	}
}

func (h *host) must(err error) {
	if err != nil {
		h.w.t.Fatalf("seed %d: member %d, boot %d: %v", h.w.seed, h.id, h.boot, err)
	}
}

func (h *host) write() {
	w, err := h.replica.Writer().Run()
	h.must(err)
	h.writing = false
	h.Send(w.Late)
	h.replica.Wrote(w)
	h.replica.Pump()
}

func (h *host) apply() {
	turn, err := h.replica.Applier().Run()
	h.must(err)
	if turn.Index == 0 {
		h.applying = false
		return
	}
	if turn.Installed {
		h.installed++
	}
	if turn.Installed && h.replica.Brief().Rebuilding {
		h.w.harm.rebuilt++
	}
	h.replica.AppliedTo(turn)
	h.replica.Pump()
}

func (h *host) fetch() {
	f := h.fetches[0]
	h.fetches = h.fetches[1:]
	span, err := h.wal.Read(f.From, f.MaxBytes)
	if err != nil {
		span = raft.Span{}
	}
	h.replica.Step(raft.Fetched{To: f.To, Repair: f.Repair, Span: span})
	h.replica.Pump()
}

func (h *host) cut() {
	base := h.cuts[0]
	h.cuts = h.cuts[1:]
	h.must(h.store.Flush())
	durable, err := h.store.Durable()
	h.must(err)
	if durable < uint64(base.Position.Index) {
		h.w.t.Fatalf("seed %d: member %d holds %d durably after a flush, the cut is at %v", h.w.seed, h.id, durable, base.Position)
	}
	h.must(h.replica.LogCut(base, h.wal.Cut(base)))
	h.replica.Pump()
}

// snapshot carries a member's state to another in one go, or fails when the other is not there.
func (h *host) snapshot() {
	to := h.snapshots[0]
	h.snapshots = h.snapshots[1:]
	at, ok := h.carry(h.w.hosts[to])
	h.replica.SnapshotSent(to, at, ok)
	h.replica.Pump()
}

func (h *host) carry(to *host) (raft.Position, bool) {
	view := h.store.View()
	defer view.Close()
	base, err := BaseOf(view.Applied())
	h.must(err)
	at := base.Position
	if !to.up() || h.w.apart[to.id] || h.w.apart[h.id] || h.w.rng.IntN(4) == 0 {
		return at, false
	}
	image, err := to.store.BeginImport()
	to.must(err)
	h.must(view.Export(image.Add))
	_, err = image.Finish()
	to.must(err)
	done := make(chan error, 1)
	to.replica.Snapshot(h.id, base, image, done)
	to.replica.Pump()
	for range 1000 { // the sender of a snapshot waits for the receiver; so does this one
		select {
		case err := <-done:
			return at, err == nil
		default:
			to.write()
			to.apply()
		}
	}
	h.w.t.Fatalf("seed %d: member %d never answers a snapshot from %d", h.w.seed, to.id, h.id)
	return at, false
}

// deliver takes one message out of the bag: it arrives, arrives twice, or is lost.
func (w *world) deliver(loss int) {
	if len(w.bag) == 0 {
		return
	}
	i := w.rng.IntN(min(len(w.bag), 8))
	m := w.bag[i]
	fate := w.rng.IntN(100)
	if fate >= loss/2 {
		w.bag = slices.Delete(w.bag, i, i+1) // otherwise it stays in the bag and arrives once more
	}
	h := w.hosts[m.To]
	if fate >= 100-loss/2 || h == nil || !h.up() || w.apart[m.To] || w.apart[m.From] {
		return
	}
	h.replica.Receive([]raft.Message{m})
	h.replica.Pump()
}

// turn is a little of everything.
func (w *world) turn(loss int) {
	for range 4 + len(w.bag)/2 {
		w.deliver(loss)
	}
	for _, id := range w.ids {
		w.hosts[id].step()
	}
	h := w.hosts[w.ids[w.rng.IntN(len(w.ids))]]
	if h.up() && w.rng.IntN(2) == 0 {
		h.replica.Tick()
		h.replica.Pump()
	}
}

// until turns a world without faults until the condition holds.
func (w *world) until(what string, holds func() bool) {
	w.t.Helper()
	for range 200_000 {
		if holds() {
			return
		}
		w.turn(0)
	}
	for _, id := range w.ids {
		if h := w.hosts[id]; h.up() {
			w.t.Logf("member %d: %+v", id, h.replica.Status())
		}
	}
	w.t.Fatalf("seed %d: never: %s", w.seed, what)
}

func (w *world) leader() *host {
	var best *host
	for _, id := range w.ids {
		if h := w.hosts[id]; h.up() && h.replica.Brief().Role == raft.RoleLeader {
			if best == nil || h.replica.Brief().Term > best.replica.Brief().Term {
				best = h
			}
		}
	}
	return best
}

// group forms a cluster on the first member and grows it to n in one joint change.
func group(t *testing.T, seed uint64, n int, tuning Tuning) *world {
	t.Helper()
	w := newWorld(t, seed, tuning)
	founder := w.add(1)
	founder.must(founder.replica.Form(raft.Member{ID: 1, Name: "m1"}))
	founder.replica.Pump()
	change := raft.Change{}
	for id := raft.MemberID(2); id <= raft.MemberID(n); id++ {
		w.add(id)
		change.AddLearners = append(change.AddLearners, raft.Member{ID: id, Name: fmt.Sprint("m", id)})
		change.Promote = append(change.Promote, id)
	}
	w.until("a founder that leads", func() bool { return w.leader() != nil })
	w.change(raft.Change{AddLearners: change.AddLearners})
	w.change(raft.Change{Promote: change.Promote})
	w.until("the membership", func() bool {
		s := founder.replica.Status()
		return s.ConfigCommitted && !s.Membership.Joint() && w.settled()
	})
	return w
}

// change repeats a membership change until it is accepted.
func (w *world) change(c raft.Change) {
	w.t.Helper()
	var done chan ChangeOutcome
	w.until(fmt.Sprintf("change %+v", c), func() bool {
		if done == nil {
			if l := w.leader(); l != nil {
				done = make(chan ChangeOutcome, 1)
				l.replica.Change(c, done)
				l.replica.Pump()
			}
			return false
		}
		select {
		case o := <-done:
			done = nil
			return o.Err == nil
		default:
			return false
		}
	})
}

// settled reports whether every member that is up has applied all that the leader has committed.
func (w *world) settled() bool {
	l := w.leader()
	if l == nil {
		return false
	}
	for _, id := range w.ids {
		if h := w.hosts[id]; !h.up() || h.store.Applied().Index < uint64(l.replica.Brief().Last) {
			return false
		}
	}
	return true
}

// equal demands the same state everywhere.
func (w *world) equal() {
	w.t.Helper()
	w.until("all members settled", w.settled)
	var first uint64
	for i, id := range w.ids {
		hash, at, err := w.hosts[id].store.Hash()
		w.hosts[id].must(err)
		if i == 0 {
			first = hash
		}
		if hash != first {
			w.t.Fatalf("seed %d: member %d has state %x at %d, member %d has %x", w.seed, id, hash, at, w.ids[0], first)
		}
	}
}

// put proposes one write at a member.
func (h *host) put(key, value string) (*Proposal, error) {
	p, err := h.replica.Register(kv.Command{Txn: kv.Txn{Success: []kv.Op{{Put: &kv.PutRequest{Key: []byte(key), Value: []byte(value)}}}}}, h.replica.Now())
	if err == nil {
		h.replica.Propose([]*Proposal{p})
		h.replica.Pump()
	}
	return p, err
}

// value reads a member's own store.
func (h *host) value(key string) (string, int64) {
	res, err := h.store.Read(context.Background(), kv.Txn{Success: []kv.Op{{Range: &kv.RangeRequest{Key: []byte(key)}}}})
	h.must(err)
	kvs := res.Responses[0].Range.KVs
	if len(kvs) == 0 {
		return "", 0
	}
	return string(kvs[0].Value), kvs[0].Version
}
