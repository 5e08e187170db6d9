package vfs

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// TestEachOperationCanFail: every operation is counted under its name, hit in its turn and passes otherwise; what was
// hit has changed nothing.
func TestEachOperationCanFail(t *testing.T) {
	broken := errors.New("broken")
	for op, act := range map[Op]func(FS) error{
		OpCreate:   func(f FS) error { _, err := f.Create("d/new"); return err },
		OpOpen:     func(f FS) error { _, err := f.Open("d/f"); return err },
		OpRemove:   func(f FS) error { return f.RemoveAll("d/f") },
		OpRename:   func(f FS) error { return f.Rename("d/f", "d/g") },
		OpMkdir:    func(f FS) error { return f.MkdirAll("d/sub") },
		OpList:     func(f FS) error { _, err := f.List("d"); return err },
		OpSyncDir:  func(f FS) error { return f.SyncDir("d") },
		OpLock:     func(f FS) error { _, err := f.Lock("d/l"); return err },
		OpRead:     onFile(func(f File) error { _, err := f.ReadAt(make([]byte, 1), 0); return err }),
		OpWrite:    onFile(func(f File) error { _, err := f.WriteAt([]byte("x"), 0); return err }),
		OpSync:     onFile(func(f File) error { return f.Sync() }),
		OpTruncate: onFile(func(f File) error { return errors.Join(f.Truncate(9), f.Preallocate(99)) }),
	} {
		m := NewMem()
		do(t, m.MkdirAll("d"), create(t, m, "d/f", "content").Close())
		f := NewFaulty(m, Rule{Ops: op, Path: "d", Err: broken})
		refused(t, act(f), broken)
		names, err := m.List("d")
		if err != nil || fmt.Sprint(names) != "[f]" || content(t, m, "d/f") != "content" {
			t.Errorf("operation %b was refused, but left %v: %v", op, names, err)
		}
		f.Set(Rule{Ops: OpAny &^ op, Path: "elsewhere", Err: broken}, Rule{Ops: op, After: 2, Err: broken})
		do(t, act(f))
	}
}

func onFile(act func(File) error) func(FS) error {
	return func(f FS) error {
		file, err := f.Open("d/f")
		if err != nil {
			return err
		}
		return errors.Join(act(file), file.Close())
	}
}

// TestRulesCount: After pass, Times are hit, the others pass again, each rule by its own count.
func TestRulesCount(t *testing.T) {
	m := NewMem()
	broken, late := errors.New("broken"), errors.New("late")
	f := NewFaulty(m, Rule{Ops: OpSync, Path: "log", After: 2, Times: 2, Err: broken}, Rule{Ops: OpSync, After: 6, Err: late})
	log, other := create(t, f, "log-1", ""), create(t, f, "other", "")
	var seen []string
	for range 4 {
		seen = append(seen, fmt.Sprint(log.Sync()), fmt.Sprint(other.Sync()))
	}
	want := "<nil> <nil> <nil> <nil> sync log-1: broken <nil> sync log-1: broken sync other: late"
	if got := strings.Join(seen, " "); got != want {
		t.Fatalf("syncs answered %s, want %s", got, want)
	}
	do(t, log.Close(), other.Close())
}

func TestTornWriteAndFlippedBit(t *testing.T) {
	m := NewMem()
	f := NewFaulty(m, Rule{Ops: OpWrite, Times: 1, Torn: true, Err: syscall.EIO})
	file, err := f.Create("f")
	do(t, err)
	n, err := file.WriteAt([]byte("12345678"), 0)
	refused(t, err, syscall.EIO)
	if n != 4 || content(t, m, "f") != "1234" {
		t.Fatalf("%d bytes written, found %q", n, content(t, m, "f"))
	}
	_, err = file.WriteAt([]byte("12345678"), 0)
	do(t, err)
	f.Set(Rule{Ops: OpRead, After: 1, Times: 1, Flip: true})
	for i, want := range []int{0, 1, 0} {
		b := make([]byte, 8)
		_, err = file.ReadAt(b, 0)
		do(t, err)
		if flipped := bitsApart(string(b), "12345678"); flipped != want {
			t.Fatalf("read %d: %q has %d flipped bits, want %d", i, b, flipped, want)
		}
	}
	do(t, file.Close())
}

func bitsApart(a, b string) int {
	n := 0
	for i := range a {
		for x := a[i] ^ b[i]; x != 0; x &= x - 1 {
			n++
		}
	}
	return n
}

// TestFullDisk: writes fill it to the last byte, then nothing more goes in until there is room.
func TestFullDisk(t *testing.T) {
	m := NewMem()
	f := NewFaulty(m, Rule{Ops: OpWrite | OpCreate | OpTruncate, Space: 10, Err: syscall.ENOSPC})
	a := create(t, f, "a", "123456")
	b, err := f.Create("b")
	do(t, err)
	do(t, b.Preallocate(2))
	n, err := b.WriteAt([]byte("abcdefgh"), 0)
	refused(t, err, syscall.ENOSPC)
	if n != 4 || content(t, m, "b") != "abcd" {
		t.Fatalf("%d bytes went in, found %q", n, content(t, m, "b"))
	}
	n, err = a.WriteAt([]byte("x"), 6)
	refused(t, err, syscall.ENOSPC)
	_, createErr := f.Create("c")
	refused(t, createErr, syscall.ENOSPC)
	refused(t, b.Preallocate(100), syscall.ENOSPC)
	if n != 0 || content(t, m, "a") != "123456" {
		t.Fatalf("%d bytes more, found %q", n, content(t, m, "a"))
	}
	f.Set()
	_, err = a.WriteAt([]byte("789"), 6)
	do(t, err)
	do(t, a.Close(), b.Close())
}

// TestHang: an operation that hangs holds up nobody else, and goes on when it is let go.
func TestHang(t *testing.T) {
	release := make(chan struct{})
	f := NewFaulty(NewMem(), Rule{Ops: OpSync, Path: "slow", Hang: release}, Rule{Ops: OpSync, Path: "gone", Hang: release, Err: syscall.EIO})
	slow, gone, quick := create(t, f, "slow", "1"), create(t, f, "gone", "2"), create(t, f, "quick", "3")
	var waiting sync.WaitGroup
	var errs [2]error
	waiting.Go(func() { errs[0] = slow.Sync() })
	waiting.Go(func() { errs[1] = gone.Sync() })
	do(t, quick.Sync())
	close(release)
	waiting.Wait()
	do(t, errs[0])
	refused(t, errs[1], syscall.EIO)
	do(t, slow.Close(), gone.Close(), quick.Close())
}

func TestQuietlyPassesEveryRule(t *testing.T) {
	f := NewFaulty(NewMem(), Rule{Ops: OpCreate, Times: 1, Err: syscall.EIO})
	f.Quietly(func() {
		if _, err := f.Create("a"); err != nil {
			t.Fatal(err)
		}
	})
	if _, err := f.Create("b"); !errors.Is(err, syscall.EIO) {
		t.Fatalf("the rule was used up in silence: %v", err)
	}
}
