package wal

import (
	"errors"
	"math/rand/v2"
	"syscall"
	"testing"

	"raftsman.dev/node/raft"
	"raftsman.dev/node/vfs"
)

var errPower = errors.New("power is lost here")

// session runs a script of steps, with a restart now and then, on a disk that may fail at any of them.
func (o *workload) session(t *testing.T, fsys vfs.FS, opts Options, steps int) error {
	t.Helper()
	var l *Log
	defer func() {
		if l != nil {
			_ = l.Close() // after a failure it is what it may be
		}
	}()
	for i := range steps {
		if l == nil {
			o.tried = o.w
			again, got, err := Open(fsys, "log", opts)
			if err != nil {
				return err
			}
			l = again
			o.w.found(t, got, "step %d: after a restart", i)
		}
		if o.rng.IntN(15) == 0 {
			must(t, l.Close())
			l = nil
			continue
		}
		o.tried = o.w
		if err := o.step(l); err != nil {
			return err
		}
	}
	return nil
}

// script makes a workload that begins with a disk on which entries are lost, so that there is something to fill: the
// third part of all, else it begins with nothing.
func script(t *testing.T, seed uint64) (*workload, *vfs.Mem) {
	o := &workload{rng: rand.New(rand.NewPCG(seed, 2)), truth: map[raft.Index]raft.Entry{}}
	if seed%3 != 0 {
		return o, vfs.NewMem()
	}
	im := o.lose(t)
	return o, im.disk(t)
}

// lose writes a log of which a write is damaged: its entries are lost. The write is the last one, of which the head
// of a seal tells, or stands before others.
func (o *workload) lose(t *testing.T) image {
	t.Helper()
	disk := vfs.NewMem()
	l, _, err := Open(disk, "log", Options{SegmentBytes: 4096, Create: true})
	must(t, err)
	write := func(batch raft.Batch) int64 {
		o.w.apply(batch)
		must(t, l.Append([]raft.Batch{batch}))
		return l.offset
	}
	from := write(raft.Batch{Hard: &raft.HardState{Term: 3, Vote: 9}, Entries: []raft.Entry{entry(1, 1, "one"), entry(2, 1, "two")}})
	to := write(raft.Batch{Entries: []raft.Entry{entry(3, 1, "three"), entry(4, 2, "four"), entry(5, 2, "five"), entry(6, 2, "six")}})
	if o.rng.IntN(2) == 0 {
		write(raft.Batch{Entries: []raft.Entry{entry(6, 3, "another six"), entry(7, 3, "seven")}})
	}
	must(t, l.Seal(), l.Close())
	im := imageOf(t, disk)
	im[segmentName(1)][from+(to-from)*2/3] ^= 4
	o.loseFrom(3, 6)
	return im
}

// loseFrom makes the twin's entries from first to last of term 2 or less lost.
func (o *workload) loseFrom(first, last raft.Index) {
	for i, e := range o.w.entries {
		if first <= e.Index && e.Index <= last && e.Term <= 2 {
			o.truth[e.Index] = e
			o.w.entries[i] = lostOf(e)
		}
	}
}

func lostOf(e raft.Entry) raft.Entry {
	return raft.Entry{Index: e.Index, Term: e.Term, Sum: e.Sum, Kind: raft.EntryLost}
}

// TestPowerLoss takes the power at every operation of seeded scripts that changes the disk, the whole of it or half
// of a write done, with several outcomes of what was not synced; and again while the log is opened after that. What
// was acknowledged must be there, nothing else, no entry may be lost that was not, and nothing damaged.
func TestPowerLoss(t *testing.T) {
	const steps = 45
	for seed := range uint64(9) {
		for after := 0; ; after++ {
			o, disk := script(t, seed)
			faulty := vfs.NewFaulty(disk, vfs.Rule{Ops: vfs.OpChange, After: after, Err: errPower, Torn: after%2 == 0})
			opts := Options{SegmentBytes: 4096, Create: true}
			err := o.session(t, faulty, opts, steps)
			if err != nil && !errors.Is(err, errPower) {
				t.Fatalf("seed %d, power lost after %d operations: %v", seed, after, err)
			}
			for coin := range uint64(3) {
				o.recover(t, disk.Crash(rand.New(rand.NewPCG(seed, coin))), seed, after)
			}
			if err == nil {
				if after < steps {
					t.Fatalf("seed %d: only %d operations", seed, after)
				}
				break
			}
		}
	}
}

// recover opens what a loss of power left, losing power again in the middle of that, and writes on.
func (o *workload) recover(t *testing.T, disk *vfs.Mem, seed uint64, after int) {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, uint64(after)))
	opts := Options{SegmentBytes: 4096, Create: o.w.last().Index == 0 && o.w.hard == raft.HardState{}}
	if n := rng.IntN(8); n < 6 {
		l, got, err := Open(vfs.NewFaulty(disk, vfs.Rule{Ops: vfs.OpChange, After: n, Err: errPower, Torn: true}), "log", opts)
		if err == nil {
			o.either(t, got, seed, after)
			must(t, l.Close())
		} else if !errors.Is(err, errPower) {
			t.Fatalf("seed %d, power lost after %d operations: %v", seed, after, err)
		}
		disk = disk.Crash(rng)
	}
	l, got, err := Open(disk, "log", opts)
	if err != nil {
		t.Fatalf("seed %d, power lost after %d operations: %v", seed, after, err)
	}
	o.either(t, got, seed, after)
	w := twin{base: got.Base, hard: got.Hard, entries: got.Entries}
	b := raft.Batch{Entries: []raft.Entry{entry(int(w.last().Index)+1, int(w.last().Term)+1, "after")}}
	w.apply(b)
	must(t, l.Append([]raft.Batch{b}))
	_, again, err := Open(disk.Crash(rng), "log", Options{SegmentBytes: 4096})
	must(t, err)
	w.found(t, again, "seed %d, power lost after %d operations: after recovery and one append", seed, after)
}

// either demands what was acknowledged, or what was under way.
func (o *workload) either(t *testing.T, got raft.Restored, seed uint64, after int) {
	t.Helper()
	if !o.tried.equal(got) {
		o.w.found(t, got, "seed %d, power lost after %d operations", seed, after)
	}
}

// TestFailedSyncNamesTheFile: the process that stops for it tells which file, and what the system said.
func TestFailedSyncNamesTheFile(t *testing.T) {
	for _, op := range []vfs.Op{vfs.OpSync, vfs.OpWrite} {
		faulty := vfs.NewFaulty(vfs.NewMem())
		l, _, err := Open(faulty, "log", Options{SegmentBytes: 4096, Create: true})
		must(t, err)
		faulty.Set(vfs.Rule{Ops: op, Err: syscall.EIO})
		err = l.Append([]raft.Batch{{Entries: []raft.Entry{entry(1, 1, "x")}}})
		if !errors.Is(err, syscall.EIO) || !contains(err, "log/"+segmentName(1)) {
			t.Errorf("the error is %v", err)
		}
		faulty.Set()
		if err := l.Append([]raft.Batch{{Entries: []raft.Entry{entry(1, 1, "x")}}}); !errors.Is(err, syscall.EIO) {
			t.Errorf("after that: %v", err)
		}
	}
}
