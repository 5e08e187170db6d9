package sim

import (
	"errors"
	"syscall"

	"raftsman.dev/node/raft"
	"raftsman.dev/node/wal"
)

// What must be left on a disk, in bytes, as a member has it on a volume that bears such short segments.
const (
	lowBytes = 4 * segmentBytes
	outBytes = 2 * segmentBytes
)

// fill leaves little space on a host's disk, or none.
func (h *host) fill() {
	h.disk.SetSize(1 << 40)
	free, size, err := h.disk.Free("data")
	if h.w.ok(err); err == nil {
		h.disk.SetSize(size - free + h.w.between(0, 8*segmentBytes))
	}
}

// measure tells the replica, every second, what its disk has left, and lets the log try again what found no space.
func (h *host) measure() {
	free, _, err := h.faulty.Free("data")
	if h.died(err) {
		return
	}
	below := func(was bool, bound int64) bool { return free < bound || was && free < bound+bound/4 }
	s := raft.Space{Low: below(h.space.Low, lowBytes), Out: h.full || below(h.space.Out, outBytes)}
	s.Low = s.Low || s.Out
	if s != h.space {
		h.w.fault("disk " + s.String())
		h.w.story.line(h.w, h.id, "disk %v", s)
	}
	h.space = s
	h.replica.Space(s)
	if h.full {
		h.WriterReady()
	}
	life := h.life
	h.pump()
	if h.life == life {
		h.later(second, h.measure)
	}
}

// reserve makes the log's next segment ahead, as a member does after each write.
func (h *host) reserve() {
	err := h.log.Reserve()
	if h.outOfSpace(err) || h.died(err) {
		return
	}
	h.full = false
}

// outOfSpace notes that the log found no space, which harms nothing; on a disk that is not full it is a finding.
func (h *host) outOfSpace(err error) bool {
	if !errors.Is(err, wal.ErrNoSpace) || !h.ill.full {
		return false
	}
	if !h.full {
		h.w.fault("log found no space, and goes on: " + h.ill.kind)
	}
	h.full = true
	return true
}

// maxUnflushed is how many turns the applier takes while the store waits for space: then its memory tables are full.
const maxUnflushed = 32

// storeWaits notes that the store found no space for a flush. It waits, and tries again with the next measure, as
// node/kv/lsm/space.go lets it; on a disk that has space it is a finding.
func (h *host) storeWaits(err error) bool {
	if !errors.Is(err, syscall.ENOSPC) || !h.ill.flushless {
		return false
	}
	if !h.waits {
		h.w.fault("store found no space for a flush, and waits")
		h.w.story.line(h.w, h.id, "its store waits for space: %v", err)
	}
	h.waits = true
	return true
}

// flushed notes that the store has found space.
func (h *host) flushed() {
	if h.waits {
		h.w.fault("store found space again")
	}
	h.waits, h.unflushed = false, 0
}

// applierWaits reports whether the memory tables are full: then nothing is applied until there is space.
func (h *host) applierWaits() bool {
	if !h.waits {
		return false
	}
	if h.unflushed++; h.unflushed <= maxUnflushed {
		return false
	}
	if !h.ill.flushless {
		h.flushed()
		return false
	}
	h.w.fault("applier waits for space")
	return true
}
