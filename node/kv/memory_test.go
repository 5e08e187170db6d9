package kv

import (
	"errors"
	"math/rand/v2"
	"syscall"
	"testing"

	"raftsman.dev/node/kv/memory"
	"raftsman.dev/node/kv/seeds"
)

func onDisk(d *memory.Disk) Options {
	o := small(nil)
	o.Engine = d
	return o
}

// TestPowerLossInMemory is TestPowerLoss on the other engine: the power goes at each step, before it or behind it.
func TestPowerLossInMemory(t *testing.T) {
	for _, seed := range seeds.Of(t, 2) {
		st, cuts := newStory(t, seed), 0
		for ; ; cuts++ {
			rng := rand.New(rand.NewPCG(seed, uint64(cuts)))
			disk := memory.New()
			disk.Set(memory.Rule{Ops: memory.OpChange, After: cuts, Err: errPowerGone, Done: rng.IntN(2) == 0})
			p := &power{options: func() Options { return onDisk(disk) }}
			err := st.live(p)
			if err == nil {
				break
			}
			if !errors.Is(err, errPowerGone) {
				t.Fatalf("seed %d, cut at %d: %v", seed, cuts, err)
			}
			found := disk.Crash(rng)
			st.awake(onDisk(found), p.mu.promised, p.mu.given, cuts)
			if n := len(found.Generations()); n != 1 {
				t.Fatalf("seed %d, cut at %d: %d generations are left", seed, cuts, n)
			}
		}
		if cuts < 30 {
			t.Fatalf("seed %d: only %d places to cut", seed, cuts)
		}
	}
}

// TestFailingDiskInMemory: an error of any operation is answered by the call that met it, says nothing of damage, and
// changes nothing; when the disk is well again, so is the store.
func TestFailingDiskInMemory(t *testing.T) {
	disk := memory.New()
	s := mustOpen(t, "s", onDisk(disk))
	defer mustClose(t, s)
	mustApply(t, s, puts(1, 9, letter, "v"))
	before := hashOf(t, s)
	next := puts(10, 12, letter, "w")
	for name, c := range map[string]struct {
		ops memory.Op
		do  func() error
	}{
		"commit": {memory.OpCommit, func() error { _, err := s.Apply(next, 0, nil); return err }},
		"look up": {memory.OpRead, func() error {
			_, err := s.Apply(puts(10, 10, func(uint64) string { return "new" }, "w"), 0, nil)
			return err
		}},
		"read":   {memory.OpRead, func() error { _, err := s.Read(t.Context(), get("a")); return err }},
		"list":   {memory.OpRead, func() error { _, err := s.Read(t.Context(), everything()); return err }},
		"flush":  {memory.OpSpace, s.Flush},
		"import": {memory.OpOpen, func() error { _, err := s.BeginImport(); return err }},
		"open":   {memory.OpOpen, func() error { _, err := Open("s", onDisk(disk)); return err }},
	} {
		for _, errno := range []syscall.Errno{syscall.ENOSPC, syscall.EIO} {
			disk.Set(memory.Rule{Ops: c.ops, Err: errno})
			if err := c.do(); !errors.Is(err, errno) || errors.Is(err, ErrCorrupt) {
				t.Errorf("%s: %v, want %v", name, err, errno)
			}
			disk.Set()
			if got := hashOf(t, s); got != before {
				t.Fatalf("a failed %s changed the state from %s to %s", name, before, got)
			}
		}
	}
	for _, r := range mustApply(t, s, next) {
		if r.Duplicate || r.Err != nil {
			t.Fatalf("after failed attempts: %+v", r)
		}
	}
}

// TestRotIsFoundInMemory: whatever has rotted at rest, the store either does not open, or says what it was while it is
// read; it never answers another state.
func TestRotIsFoundInMemory(t *testing.T) {
	whole := memory.New()
	s := mustOpen(t, "s", onDisk(whole))
	mustApply(t, s, puts(1, 30, letter, "v"))
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	mustClose(t, s)
	atOpen, atRead := 0, 0
	for seed := range uint64(60) {
		disk := whole.Clone()
		if !disk.Rot(rand.New(rand.NewPCG(seed, 6))) {
			t.Fatal("nothing has rotted")
		}
		var heard error
		o := onDisk(disk)
		o.Damaged = func(err error) { heard = err }
		s, err := Open("s", o)
		if err != nil {
			atOpen++
		} else {
			_, _, err = s.Hash()
			atRead++
			mustClose(t, s)
		}
		if !errors.Is(err, ErrCorrupt) || !errors.Is(heard, ErrCorrupt) {
			t.Fatalf("seed %d: %v, heard %v", seed, err, heard)
		}
	}
	if atOpen == 0 || atRead == 0 {
		t.Fatalf("found %d times at the start and %d times later", atOpen, atRead)
	}
	whole.SpoilName()
	if _, err := Open("s", onDisk(whole)); !errors.Is(err, ErrCorrupt) {
		t.Fatalf("with a spoilt name: %v", err)
	}
}
