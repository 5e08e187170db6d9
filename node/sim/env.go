package sim

import (
	"errors"
	"fmt"

	"raftsman.dev/node/kv"
	"raftsman.dev/node/raft"
	"raftsman.dev/node/replica"
)

// dies reports whether the process has ended on the way: where a run has it, before any single effect. What the
// process still does in that turn has no effect.
func (h *host) dies() bool {
	if !h.dying && !h.w.calm && h.w.chance(h.w.weather.CrashAnywhere) {
		h.dying = true
		h.killed = h.w.rng.IntN(2) == 0
		h.w.fault("ended between two effects")
	}
	return h.dying
}

// Send implements replica.Env, as do the methods below.
func (h *host) Send(msgs []raft.Message) {
	for len(msgs) > 0 && !h.dies() { // it may end with half of them sent
		n := 1 + h.w.rng.IntN(len(msgs))
		h.w.truth.left(h, msgs[:n])
		h.w.net.send(h, msgs[:n])
		h.noticeRead(msgs[:n])
		msgs = msgs[n:]
	}
}

// WriterReady lets the log writer run after the time that a disk takes.
func (h *host) WriterReady() {
	if h.writing || h.dies() {
		return
	}
	h.writing = true
	delay := h.diskTime()
	if !h.w.calm && h.w.chance(h.w.weather.CrashInWrite) {
		// The power goes while something waits for the disk: what was promised too early is forgotten.
		h.strikeLater(h.w.between(0, delay), func() {
			h.w.fault("power lost before a write")
			h.crash()
		})
	}
	if !h.w.calm && h.w.chance(h.w.weather.PauseInWrite) {
		h.strikeLater(h.w.between(0, delay), func() {
			h.w.fault("paused in an fsync")
			h.pause()
		})
	}
	h.later(delay, h.write)
}

// write takes a turn of the log writer.
func (h *host) write() {
	h.writing = false
	w, err := h.replica.Writer().Run()
	if h.outOfSpace(err) {
		return // the writer has kept it: it is tried again with the next measure
	}
	if h.died(err) {
		return
	}
	if w.Seq != 0 {
		h.w.truth.wrote(h)
	}
	h.Send(w.Late)
	curious, _ := h.curious()
	h.answer(curious, func() { h.replica.Wrote(w) })
	h.reserve()
	h.sealSoon()
}

// curious is what the replica wants to know at once; nothing where the power went meanwhile.
func (h *host) curious() (written, applied bool) {
	if !h.up() {
		return false, false
	}
	return h.replica.Curious()
}

// answer lets the replica hear of what its writer or its applier has done, in order, but not at once: both may have
// taken the next turn by then. A replica that is not curious hears it late, as if with whatever comes next.
func (h *host) answer(curious bool, tell func()) {
	h.answers = append(h.answers, tell)
	wait := h.w.between(0, 200)
	if !curious {
		wait = h.w.between(0, tick)
	}
	h.later(wait, func() {
		tell := h.answers[0]
		h.answers = h.answers[1:]
		if !h.dies() {
			tell()
		}
		h.pump()
	})
}

// sealAfter is the time after which an idle log is sealed, as a member does it.
const sealAfter = 20 * millisecond

// sealSoon seals the log unless something is written before.
func (h *host) sealSoon() {
	if !h.up() {
		return
	}
	h.writes++
	n := h.writes
	h.later(sealAfter, func() {
		if h.writes == n && !h.writing {
			h.died(h.log.Seal())
		}
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

// ApplierReady lets the applier take a turn, and then the next as long as there is work.
func (h *host) ApplierReady() {
	if !h.applying && !h.dies() {
		h.applying = true
		h.later(h.w.between(10, 2000), h.apply)
	}
}

func (h *host) apply() {
	if h.applierWaits() {
		h.later(second, h.apply)
		return
	}
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
		h.rotten = false
		h.stood()
		log := &h.w.truth.of(h).log
		log.restarting, log.restartAt, log.covered = true, turn.Index, turn.Index
	}
	if !h.ill.flushless {
		h.ground().applied(h.w)
	}
	h.w.truth.look(h)
	_, curious := h.curious()
	h.answer(curious, func() {
		h.replica.AppliedTo(turn)
		h.rebuilding = h.replica.Brief().Rebuilding
		h.settleStore()
	})
	h.later(h.w.between(10, 500), h.apply)
}

// Fetch reads from the log.
func (h *host) Fetch(f raft.Fetch) {
	if h.dies() {
		return
	}
	h.later(h.w.between(50, 1000)+h.diskDelay, func() {
		span, err := h.log.Read(f.From, f.MaxBytes)
		if err != nil {
			if h.ill.explains(err) {
				h.w.fault("not read: " + h.ill.kind)
			}
			span = raft.Span{}
		}
		h.w.fault("entries read back from the log")
		h.replica.Step(raft.Fetched{To: f.To, Repair: f.Repair, Span: span})
		h.pump()
	})
}

// CutLog flushes the store and cuts the log.
func (h *host) CutLog(base raft.Base) {
	if h.dies() {
		return
	}
	h.later(h.w.between(millisecond, 10*millisecond)+h.diskDelay, func() { h.cutLog(base) })
}

func (h *host) cutLog(base raft.Base) {
	err := h.store.Flush()
	if h.storeWaits(err) {
		h.later(second, func() { h.cutLog(base) })
		return
	}
	durable := uint64(0)
	if err == nil {
		h.flushed()
		durable, err = h.store.Durable()
	}
	if err == nil && durable < uint64(base.Position.Index) {
		err = fmt.Errorf("%d is durable after a flush, the cut is at %v", durable, base.Position)
	}
	if err == nil && h.w.hoards() {
		h.later(second, func() { h.cutLog(base) })
		return
	}
	if err == nil {
		err = h.log.Cut(base)
	}
	if h.outOfSpace(err) {
		h.later(0, func() { h.logCut(base, replica.ErrNotDurable) })
		return
	}
	if h.died(err) {
		return
	}
	h.w.fault("log cut")
	h.w.truth.of(h).log.cut(base.Position.Index)
	h.logCut(base, nil)
}

func (h *host) logCut(base raft.Base, err error) {
	if err := h.replica.LogCut(base, err); err != nil {
		h.w.fail("member %d: %w", h.id, err)
	}
	h.pump()
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
		h.heedAttest(e)
		h.ambush(e)
	}
}

// died ends the process after a write that failed, for a reason that the world gave; any other error is a finding.
func (h *host) died(err error) bool {
	switch {
	case err == nil:
		return false
	case errors.Is(err, errPower):
		h.w.fault("power lost in a write")
	case h.harmed && errors.Is(err, kv.ErrCorrupt):
	case h.ill.explains(err):
		h.w.fault("stopped by its disk: " + h.ill.kind)
		h.w.story.line(h.w, h.id, "stops: %v", err)
		h.killed = h.ill.full
	default:
		h.w.fail("member %d: %w", h.id, err)
		return true
	}
	h.w.truth.of(h).log.uncertain = true
	h.crash()
	h.struck()
	return true
}
