package node

import (
	"errors"
	"fmt"
	"sync/atomic"
	"syscall"
	"time"

	"raftsman.dev/node/kv/lsm"
	"raftsman.dev/node/raft"
	"raftsman.dev/node/replica"
	"raftsman.dev/node/vfs"
	"raftsman.dev/node/wal"
)

// diskInterval is how often the data directory's file system is asked what it has left.
const diskInterval = time.Second

// diskFacts is what is known of the disk; written by the goroutine that watches it, and full by whoever finds it so.
type diskFacts struct {
	free, size atomic.Int64
	low, out   atomic.Bool
	full       atomic.Bool // the log could not make its next segment
	kept       atomic.Bool // the log writer has kept what it found no space for
	asked      uint64      // bytes appended when the log writer last asked for a measure; its own
}

func (d *diskFacts) space() raft.Space { return raft.Space{Low: d.low.Load(), Out: d.out.Load()} }

// diskUnit is the size of the log's segments on a volume of that size: a 64th of it, 1 to 64 MiB.
func diskUnit(size int64) int64 { return min(max(size/64, 1<<20), 64<<20) }

// memTable is the size of the store's memory tables there, at most 16 MiB.
func memTable(size int64) uint64 { return uint64(min(diskUnit(size), 16<<20)) }

// lowBound and outBound are what must be left on a volume of that size, in bytes.
func (c *Config) lowBound(size int64) int64 {
	if c.LowSpaceBytes > 0 {
		return c.LowSpaceBytes
	}
	return min(size/8, 1<<30)
}

func (c *Config) outBound(size int64) int64 {
	if c.OutOfSpaceBytes > 0 {
		return c.OutOfSpaceBytes
	}
	return min(size/32, 128<<20)
}

// judgeDisk says how a disk stands after it stood at before. What fell below a bound has to be a quarter above it to
// count as recovered, so that nothing flickers there.
func (c *Config) judgeDisk(before raft.Space, free, size int64) raft.Space {
	below := func(was bool, bound int64) bool { return free < bound || was && free < bound+bound/4 }
	s := raft.Space{Low: below(before.Low, c.lowBound(size)), Out: below(before.Out, c.outBound(size))}
	s.Low = s.Low || s.Out
	return s
}

// watchDisk measures the disk until the member ends.
func (m *Member) watchDisk() {
	ticker := time.NewTicker(diskInterval)
	defer ticker.Stop()
	for {
		select {
		case <-m.ending:
			return
		case <-ticker.C:
		case <-m.lookAtDisk:
		}
		if err := m.measureDisk(); err != nil {
			m.cfg.Log.Error(err, "the disk does not say how much space it has left")
			continue
		}
		s := m.disk.space()
		m.inbox.call(func(r *replica.Replica) { r.Space(s) })
		m.retryLog()
	}
}

// retryLog wakes the log writer if there is something that the log had no space for.
func (m *Member) retryLog() {
	if m.disk.kept.Load() || m.disk.full.Load() {
		signal(m.writerReady)
	}
}

// measureDisk takes one measure.
func (m *Member) measureDisk() error {
	free, size, err := vfs.OS().Free(m.cfg.DataDir)
	if err != nil {
		return err
	}
	before := m.disk.space()
	now := m.cfg.judgeDisk(before, free, size)
	if m.disk.full.Load() {
		now = raft.Space{Low: true, Out: true}
	}
	m.disk.free.Store(free)
	m.disk.size.Store(size)
	m.disk.low.Store(now.Low)
	m.disk.out.Store(now.Out)
	if now != before {
		m.cfg.Log.Info("disk "+now.String(), "free", free, "size", size, "lowBelow", m.cfg.lowBound(size), "outBelow", m.cfg.outBound(size))
	}
	return nil
}

// looksPerBound is how often the disk is measured while as much is appended as the lower bound leaves: a small volume
// fills up in less than diskInterval.
const looksPerBound = 4

// reserve makes the log's next segment ahead; where there is no space for it the disk counts as full at once. Much
// that was appended is a reason to look at the disk before its time.
func (m *Member) reserve() error {
	if bytes := m.log.Stats().Bytes; bytes-m.disk.asked >= uint64(m.cfg.outBound(m.disk.size.Load())/looksPerBound) {
		m.disk.asked = bytes
		signal(m.lookAtDisk)
	}
	err := m.log.Reserve()
	if errors.Is(err, wal.ErrNoSpace) {
		m.diskFull(err)
		return nil
	}
	if err == nil {
		m.disk.full.Store(false)
	}
	return err
}

// diskFull notes that the log found no space.
func (m *Member) diskFull(err error) {
	if !m.disk.full.Swap(true) {
		m.cfg.Log.Error(err, "the disk is full: this member takes nothing more into its log until there is space")
		signal(m.lookAtDisk)
	}
}

// patience is what the store does on a full disk: it leaves the last bytes to the log, and tries what found no space
// again with every measure, until the member ends.
func (m *Member) patience(size int64) lsm.Patience {
	return lsm.Patience{Reserve: uint64(m.cfg.outBound(size) / 2), Wait: m.holdStore}
}

// endPause is how long the store is held back between two tries once the member ends, until it is closed.
const endPause = 50 * time.Millisecond

// holdStore holds the store back for a moment after something in it failed, most likely for want of space.
func (m *Member) holdStore(err error) error {
	select {
	case <-m.ending:
		<-time.After(endPause)
		return fmt.Errorf("%w: %w", replica.ErrStopped, err)
	default:
	}
	m.cfg.Log.V(1).Info("the store waits", "error", err.Error())
	signal(m.lookAtDisk)
	pause := time.NewTimer(diskInterval)
	defer pause.Stop()
	select {
	case <-m.ending:
		return fmt.Errorf("%w: %w", replica.ErrStopped, err)
	case <-pause.C:
		return nil
	}
}

// fullDisk reports whether one of a log line's arguments is the error of a full disk.
func fullDisk(args []any) bool {
	for _, a := range args {
		if err, ok := a.(error); ok && (errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)) {
			return true
		}
	}
	return false
}
