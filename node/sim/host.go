package sim

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"

	"raftsman.dev/node/kv"
	"raftsman.dev/node/raft"
	"raftsman.dev/node/replica"
	"raftsman.dev/node/vfs"
	"raftsman.dev/node/wal"
)

// host is the machine of one member: what survives a loss of power, and the process that does not.
type host struct {
	w     *World
	id    raft.MemberID
	boot  raft.Boot
	disk  *vfs.Mem
	state ground

	// The process; nil and zero while it is down.
	life      int // one higher at every start: what belonged to an earlier life is dropped
	faulty    *vfs.Faulty
	log       *wal.Log
	store     *kv.Store
	replica   *replica.Replica
	resumes   int64 // paused until then
	held      []func()
	diskDelay int64
	writing   bool
	applying  bool
	receiving bool
	clients   []*client
}

// errPower is what a write hears when the power goes in the middle of it.
var errPower = errors.New("power is lost here")

func (w *World) add(id raft.MemberID) *host {
	h := &host{w: w, id: id, disk: vfs.NewMem(), state: w.newGround()}
	w.hosts[id] = h
	w.ids = append(w.ids, id)
	h.start()
	return h
}

func (h *host) up() bool { return h.replica != nil }

// start boots the process from what its disks hold. They were sound when the power went, so it must come up.
func (h *host) start() {
	h.boot++
	h.life++
	h.faulty = vfs.NewFaulty(h.disk)
	log, restored, err := wal.Open(h.faulty, "log", wal.Options{Create: h.boot == 1, SegmentBytes: 32 << 10})
	if err != nil {
		h.w.fail("member %d boot %d: open the log: %w", h.id, h.boot, err)
		return
	}
	store, err := kv.Open("store", h.state.options())
	if err != nil {
		h.w.fail("member %d boot %d: open the store: %w", h.id, h.boot, err)
		return
	}
	h.log, h.store = log, store
	h.writing, h.applying, h.receiving, h.resumes, h.held, h.diskDelay = false, false, false, 0, nil, 0
	r, err := replica.New(replica.Config{
		Core: raft.Config{
			ID: h.id, Boot: h.boot, ElectionTicks: 10, HeartbeatTicks: 1, CaughtUpLag: 8,
			Rand: rand.New(rand.NewPCG(h.w.seed, uint64(h.id)<<16|uint64(h.boot))),
		},
		Log: log, Store: store, Restored: restored, Env: h,
		Tuning: replica.Tuning{RequestTicks: 100, RetryTicks: 20, KeepEntries: h.w.weather.KeepEntries},
	})
	if err != nil {
		h.w.fail("member %d boot %d: start: %w", h.id, h.boot, err)
		return
	}
	h.replica = r
	h.w.truth.started(h)
	h.w.story.line(h.w, h.id, "up, boot %d, %+v", h.boot, r.Brief())
	h.later(h.w.between(0, tick), h.tick)
	h.pump()
}

// later does something in this life of the process, and after any pause.
func (h *host) later(delay int64, do func()) {
	life := h.life
	h.w.after(delay, func() {
		if h.life == life && h.up() && !h.paused(do) {
			do()
		}
	})
}

// paused reports whether the process stands still; then do happens when it goes on.
func (h *host) paused(do func()) bool {
	if h.w.now >= h.resumes {
		return false
	}
	h.held = append(h.held, do)
	return true
}

func (h *host) tick() {
	h.replica.Tick()
	h.pump()
	h.later(tick, h.tick)
}

func (h *host) pump() {
	h.replica.Pump()
	h.w.truth.look(h)
}

// crash takes the power away: what was not synced is kept or lost by coin.
func (h *host) crash() {
	if !h.up() {
		return
	}
	h.w.fault("crash")
	h.w.story.line(h.w, h.id, "power lost")
	h.replica.Stop()
	h.replica = nil
	h.life++
	for _, c := range h.clients {
		c.orphan()
	}
	h.disk = h.disk.Crash(h.w.rng)
	state := h.state.crash(h.w)
	if err := h.store.Close(); err != nil {
		h.w.fail("member %d: close the store: %w", h.id, err)
	}
	h.state = state
	h.w.truth.stopped(h)
	if h.w.rng.IntN(3) == 0 { // a process that is back before anybody has noticed is the harder case
		h.w.after(h.w.between(millisecond, 100*millisecond), func() {
			if !h.up() {
				h.start()
			}
		})
	}
}

// pause stops the process for a while; everything that was to happen in it happens after.
func (h *host) pause() {
	h.w.fault("process paused")
	length := h.w.between(100*millisecond, 20*second)
	h.resumes = h.w.now + length
	life := h.life
	h.w.after(length, func() {
		if h.life != life {
			return
		}
		held := h.held
		h.held = nil
		for _, do := range held {
			if h.life == life && h.up() {
				do()
			}
		}
	})
}

// slowDown gives the disk long answers for a while, up to a hang of many seconds.
func (h *host) slowDown() {
	h.w.fault("disk slow")
	h.diskDelay = h.w.between(5*millisecond, 10*second)
	h.later(h.w.between(second, 10*second), func() { h.diskDelay = 0 })
}

// tear lets the power go in the middle of one of the next writes.
func (h *host) tear() {
	h.faulty.Set(vfs.Rule{Ops: vfs.OpChange, Path: "log", After: h.w.rng.IntN(6), Err: errPower, Torn: true})
}

// Send implements replica.Env, as do the methods below.
func (h *host) Send(msgs []raft.Message) { h.w.net.send(h, msgs) }

// WriterReady lets the log writer run after the time that a disk takes.
func (h *host) WriterReady() {
	if h.writing {
		return
	}
	h.writing = true
	delay := h.diskTime()
	if !h.w.calm && h.w.chance(h.w.weather.CrashInWrite) {
		// The power goes while something waits for the disk: what was promised too early is forgotten.
		h.later(h.w.between(0, delay), func() {
			h.w.fault("power lost before a write")
			h.crash()
		})
	}
	h.later(delay, func() {
		h.writing = false
		w, err := h.replica.Writer().Run()
		if h.died(err) {
			return
		}
		h.Send(w.Late)
		h.replica.Wrote(w)
		h.pump()
	})
}

// diskTime is how long the disk takes for one write: mostly little, now and then as long as an election.
func (h *host) diskTime() int64 {
	d := h.w.between(30, 300) + h.diskDelay
	if h.w.chance(h.w.weather.Stutter) {
		h.w.fault("disk stutters")
		d += h.w.between(millisecond, second)
	}
	return d
}

// died ends the process after a write that the power's loss cut short; any other error is a finding.
func (h *host) died(err error) bool {
	switch {
	case err == nil:
		return false
	case errors.Is(err, errPower):
		h.w.fault("power lost in a write")
		h.crash()
	default:
		h.w.fail("member %d: %w", h.id, err)
	}
	return true
}

// ApplierReady lets the applier take a turn, and then the next as long as there is work.
func (h *host) ApplierReady() {
	if !h.applying {
		h.applying = true
		h.later(h.w.between(10, 2000), h.apply)
	}
}

func (h *host) apply() {
	turn, err := h.replica.Applier().Run()
	if h.died(err) {
		return
	}
	if turn.Index == 0 {
		h.applying = false
		return
	}
	if turn.Installed {
		h.w.fault("snapshot installed")
	}
	h.state.applied(h.w)
	h.replica.AppliedTo(turn)
	h.pump()
	h.later(h.w.between(10, 500), h.apply)
}

// Fetch reads from the log.
func (h *host) Fetch(f raft.Fetch) {
	h.later(h.w.between(50, 1000)+h.diskDelay, func() {
		span, err := h.log.Read(f.From, f.MaxBytes)
		if err != nil {
			span = raft.Span{}
		}
		h.replica.Step(raft.Fetched{To: f.To, Repair: f.Repair, Span: span})
		h.pump()
	})
}

// CutLog flushes the store and cuts the log.
func (h *host) CutLog(base raft.Base) {
	h.later(h.w.between(millisecond, 10*millisecond)+h.diskDelay, func() {
		err := h.store.Flush()
		durable := uint64(0)
		if err == nil {
			durable, err = h.store.Durable()
		}
		if err == nil && durable < uint64(base.Position.Index) {
			err = fmt.Errorf("%d is durable after a flush, the cut is at %v", durable, base.Position)
		}
		if err == nil {
			err = h.log.Cut(base)
		}
		if h.died(err) {
			return
		}
		h.w.fault("log cut")
		if err := h.replica.LogCut(base, nil); err != nil {
			h.w.fail("member %d: %w", h.id, err)
		}
		h.pump()
	})
}

// MembershipChanged needs nothing here: the network knows every host.
func (h *host) MembershipChanged(raft.Membership) {}

// Removed needs nothing here: a host that was removed stays, and must not disturb the others.
func (h *host) Removed() {}

// Events tells the story.
func (h *host) Events(events []raft.Event) {
	for _, e := range events {
		h.w.story.line(h.w, h.id, "%v", e)
		h.w.truth.event(h, e)
		h.ambush(e)
	}
}

// ambush strikes where it hurts most, and where chance alone seldom does: when a member has just voted or begun to
// campaign, and when a membership has just become joint.
func (h *host) ambush(e raft.Event) {
	switch e := e.(type) {
	case raft.RoleChanged:
		if !h.w.calm && h.w.chance(h.w.weather.Ambush) {
			h.later(h.w.between(0, 400), func() {
				h.w.fault("power lost at a vote")
				h.crash()
			})
		}
	case raft.ConfigChanged:
		if !h.w.calm && e.Membership.Joint() && h.w.chance(3*h.w.weather.Ambush) {
			h.w.after(h.w.between(0, 2*millisecond), func() {
				h.w.fault("partition while joint")
				h.w.story.line(h.w, 0, "partition while joint: %s", h.w.net.partition())
			})
		}
	}
}

// value reads the host's own store as it is.
func (h *host) value(key string) (string, error) {
	res, err := h.store.Read(context.Background(), kv.Txn{Success: []kv.Op{{Range: &kv.RangeRequest{Key: []byte(key)}}}})
	if err != nil {
		return "", err
	}
	if kvs := res.Responses[0].Range.KVs; len(kvs) > 0 {
		return string(kvs[0].Value), nil
	}
	return "", nil
}
