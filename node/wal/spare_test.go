package wal

import (
	"errors"
	"math/rand/v2"
	"syscall"
	"testing"

	"raftsman.dev/node/raft"
	"raftsman.dev/node/vfs"
)

// TestSpareAndPowerLoss: with segments made ahead, whenever power is lost, what was acknowledged is found and nothing
// else, a spare segment is never taken for one of the log, and another start makes its own.
func TestSpareAndPowerLoss(t *testing.T) {
	for seed := range uint64(8) {
		disk := vfs.NewMem()
		o := &workload{rng: rand.New(rand.NewPCG(seed, 9)), truth: map[raft.Index]raft.Entry{}}
		l, _, err := Open(disk, "log", Options{SegmentBytes: 4096, Create: true})
		if err != nil {
			t.Fatal(err)
		}
		for step := range 60 {
			if step%3 > 0 {
				if err := l.Reserve(); err != nil {
					t.Fatal(err)
				}
			}
			if err := o.step(l); err != nil {
				t.Fatal(err)
			}
			for coin := range uint64(4) {
				after := disk.Crash(rand.New(rand.NewPCG(seed, coin)))
				again, got, err := Open(after, "log", Options{SegmentBytes: 4096})
				if err != nil {
					t.Fatalf("seed %d, step %d, coin %d: %v", seed, step, coin, err)
				}
				if !o.w.equal(got) {
					t.Fatalf("seed %d, step %d, coin %d: found %d entries, acknowledged were %d", seed, step, coin, len(got.Entries), len(o.w.entries))
				}
				if err := again.Reserve(); err != nil {
					t.Fatal(err)
				}
				resume(t, after, again, got)
			}
		}
	}
}

// TestNoSpace: a full disk is met where the spare segment is made. From then on a segment's room is left; when that
// is used up too, an append is refused, nothing of it is written, and the same append goes through once there is
// space. Cuts give space back.
func TestNoSpace(t *testing.T) {
	disk := vfs.NewMem()
	o := &workload{rng: rand.New(rand.NewPCG(1, 9)), truth: map[raft.Index]raft.Entry{}}
	l, _, err := Open(disk, "log", Options{SegmentBytes: 4096, Create: true})
	if err != nil {
		t.Fatal(err)
	}
	disk.SetSize(2*4096 + 1000)
	if err := l.Reserve(); err != nil {
		t.Fatal(err)
	}
	taken, early := 0, 0
	for {
		b := raft.Batch{Entries: []raft.Entry{entry(int(o.w.last().Index)+1, 1, "0123456789")}}
		err := l.Append([]raft.Batch{b})
		if errors.Is(err, ErrNoSpace) {
			break
		}
		if err != nil || taken > 1000 {
			t.Fatalf("after %d appends: %v", taken, err)
		}
		o.w.apply(b)
		taken++
		if errors.Is(l.Reserve(), ErrNoSpace) {
			early++
		}
	}
	if early < 10 {
		t.Errorf("told of the end of space %d appends before it, of %d", early, taken)
	}
	checkRead(t, l, o)
	if _, got, err := Open(disk.Crash(rand.New(rand.NewPCG(1, 1))), "log", Options{SegmentBytes: 4096}); err != nil || !o.w.equal(got) {
		t.Fatalf("a start on the full disk finds %d entries, want %d: %v", len(got.Entries), len(o.w.entries), err)
	}
	disk.SetSize(1 << 20)
	b := raft.Batch{Entries: []raft.Entry{entry(int(o.w.last().Index)+1, 1, "0123456789")}}
	if err := errors.Join(l.Append([]raft.Batch{b}), l.Reserve()); err != nil {
		t.Fatalf("once there is space: %v", err)
	}
	o.w.apply(b)
	checkRead(t, l, o)
	before, _, _ := disk.Free(".")
	if err := l.Cut(raft.Base{Position: o.w.last()}); err != nil {
		t.Fatal(err)
	}
	if after, _, _ := disk.Free("."); after < before+2*4096 {
		t.Errorf("a cut gave %d bytes back", after-before)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestNoSpaceAndNoRemoval: where the file that found no space cannot be taken away again, that is told as what it is,
// and a start goes on with what was acknowledged.
func TestNoSpaceAndNoRemoval(t *testing.T) {
	disk := vfs.NewMem()
	faulty := vfs.NewFaulty(disk)
	l, _, err := Open(faulty, "log", Options{SegmentBytes: 4096, Create: true})
	if err != nil {
		t.Fatal(err)
	}
	o := &workload{rng: rand.New(rand.NewPCG(1, 9)), truth: map[raft.Index]raft.Entry{}}
	disk.SetSize(4096 + 1000)
	faulty.Set(vfs.Rule{Ops: vfs.OpRemove, Err: syscall.EIO})
	for err == nil && len(o.w.entries) < 1000 {
		b := raft.Batch{Entries: []raft.Entry{entry(int(o.w.last().Index)+1, 1, "0123456789")}}
		if err = l.Append([]raft.Batch{b}); err == nil {
			o.w.apply(b)
		}
	}
	if !errors.Is(err, syscall.EIO) || errors.Is(err, ErrNoSpace) || len(o.w.entries) == 0 {
		t.Fatalf("after %d appends: %v, want an error of the disk's that is not just no space", len(o.w.entries), err)
	}
	disk.SetSize(0)
	again, got, err := Open(disk, "log", Options{SegmentBytes: 4096})
	if err != nil || !o.w.equal(got) {
		t.Fatalf("a start finds %d entries, want %d: %v", len(got.Entries), len(o.w.entries), err)
	}
	resume(t, disk, again, got)
}

// resume goes on with an opened log, and demands that what it has taken is there after another loss of power.
func resume(t *testing.T, disk *vfs.Mem, l *Log, got raft.Restored) {
	t.Helper()
	w := twin{base: got.Base, hard: got.Hard, entries: got.Entries}
	b := raft.Batch{Entries: []raft.Entry{entry(int(w.last().Index)+1, int(w.last().Term)+1, "after")}}
	w.apply(b)
	if err := l.Append([]raft.Batch{b}); err != nil {
		t.Fatal(err)
	}
	_, again, err := Open(disk.Crash(rand.New(rand.NewPCG(1, 1))), "log", Options{SegmentBytes: 4096})
	if err != nil || !w.equal(again) {
		t.Fatalf("after recovery and one append: found %d entries, want %d: %v", len(again.Entries), len(w.entries), err)
	}
}
