package vfs

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// crashes plays n losses of power, each by its own coin.
func crashes(m *Mem, n uint64) []*Mem {
	var all []*Mem
	for coin := range n {
		all = append(all, m.Crash(rand.New(rand.NewPCG(coin, 5))))
	}
	return all
}

// found names what there is after a loss of power: a file's content, "-" for no file.
func found(t *testing.T, m *Mem, path string) string {
	t.Helper()
	b, err := ReadFile(m, path, 1<<20)
	if errors.Is(err, fs.ErrNotExist) {
		return "-"
	}
	do(t, err)
	return string(b)
}

// outcomes are the distinct things found over many losses of power, in order.
func outcomes(t *testing.T, m *Mem, paths ...string) string {
	t.Helper()
	var all []string
	for _, after := range crashes(m, 200) {
		var one []string
		for _, path := range paths {
			one = append(one, found(t, after, path))
		}
		all = append(all, strings.Join(one, ","))
	}
	slices.Sort(all)
	return strings.Join(slices.Compact(all), " ")
}

// TestCrashTellsWhatWasSynced: each step of making a file durable, and what a loss of power after it may leave.
func TestCrashTellsWhatWasSynced(t *testing.T) {
	m := NewMem()
	hold := func(when, want string, paths ...string) {
		t.Helper()
		if got := outcomes(t, m, paths...); got != want {
			t.Errorf("%s: found one of [%s], want [%s]", when, got, want)
		}
	}
	do(t, m.MkdirAll("d"))
	f, err := m.Create("d/f")
	do(t, err)
	_, err = f.WriteAt([]byte("one"), 0)
	do(t, err)
	hold("nothing synced", " - one", "d/f")
	do(t, f.Sync())
	hold("content synced, names not", "- one", "d/f")
	do(t, m.SyncDir("d"))
	hold("the directory's own name is not synced", "- one", "d/f")
	do(t, m.SyncDir("."))
	hold("all synced", "one", "d/f")
	_, err = f.WriteAt([]byte("two"), 0)
	do(t, err)
	hold("overwritten", "one two", "d/f")
	do(t, f.Truncate(1))
	hold("overwritten and cut", "o one t two", "d/f")
	do(t, f.Sync())
	hold("synced again", "t", "d/f")
	do(t, m.Rename("d/f", "g"))
	hold("renamed: here or there, never neither or both", "-,t t,-", "d/f", "g")
	do(t, m.SyncDir("."))
	hold("the new directory synced", "-,t", "d/f", "g")
	do(t, m.Remove("g"))
	hold("removed", "- t", "g")
	do(t, m.SyncDir("."))
	hold("removal synced", "-", "g")
	do(t, f.Close())
}

func TestCrashTearsWritesBySector(t *testing.T) {
	m := NewMem()
	f := create(t, m, "f", strings.Repeat("a", 3*sector))
	do(t, f.Sync(), m.SyncDir("."))
	_, err := f.WriteAt(bytes.Repeat([]byte("b"), 2*sector), sector/2)
	do(t, err)
	kinds := map[string]bool{}
	for _, after := range crashes(m, 200) {
		got := found(t, after, "f")
		if len(got) != 3*sector {
			t.Fatalf("found %d bytes", len(got))
		}
		shape := ""
		for _, at := range []int{0, sector / 2, sector, 2 * sector, 2*sector + sector/2} {
			shape += got[at : at+1]
		}
		if shape[0] != 'a' || shape[4] != 'a' {
			t.Fatalf("found %s: what was not written has changed", shape)
		}
		for at, n := sector/2, 0; at < 2*sector+sector/2; at += n { // no change within a sector
			n = min(sector-at%sector, 2*sector+sector/2-at)
			if part := got[at : at+n]; part != strings.Repeat(part[:1], n) {
				t.Fatalf("a sector of %q was torn", part)
			}
		}
		kinds[shape] = true
	}
	if len(kinds) != 8 {
		t.Fatalf("three sectors, but found only %v", kinds)
	}
}

// TestCrashLeavesTheOldDiskAlone: what is found is a disk of its own.
func TestCrashLeavesTheOldDiskAlone(t *testing.T) {
	m := NewMem()
	f := create(t, m, "f", "old")
	lock, err := m.Lock("lock")
	do(t, err)
	do(t, f.Sync(), m.SyncDir("."))
	after := m.Crash(rand.New(rand.NewPCG(1, 1)))
	g, err := after.Open("f")
	do(t, err)
	_, err = g.WriteAt([]byte("new"), 0)
	do(t, err)
	if a, b := found(t, m, "f"), found(t, after, "f"); a != "old" || b != "new" {
		t.Fatalf("old disk %q, new disk %q", a, b)
	}
	again, err := after.Lock("lock") // a loss of power frees locks
	do(t, err)
	do(t, again.Close(), lock.Close(), f.Close(), g.Close())
}

// TestWriteFileIsAtomic: whenever the power goes while a file is replaced, the old content or the new is found.
func TestWriteFileIsAtomic(t *testing.T) {
	for cut := 0; ; cut++ {
		m := NewMem()
		do(t, WriteFile(m, ".", "f", []byte("old")))
		stop := errors.New("power")
		err := WriteFile(NewFaulty(m, Rule{Ops: OpChange, After: cut, Err: stop}), ".", "f", []byte("new"))
		if got := outcomes(t, m, "f"); err == nil && got != "new" || strings.Trim(got, "newold ") != "" {
			t.Fatalf("cut at %d (%v): found one of [%s]", cut, err, got)
		}
		if err == nil {
			if cut < 5 {
				t.Fatalf("only %d steps to cut at", cut)
			}
			return
		}
		refused(t, err, stop)
	}
}

// TestMemAgainstTheOS runs random operations on the disk in memory and on the real one: same names, same contents,
// same refusals.
func TestMemAgainstTheOS(t *testing.T) {
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 3))
		top := t.TempDir()
		m := NewMem()
		do(t, m.MkdirAll(top))
		name := func() string {
			return top + "/" + strings.Join([]string{"a", "b", "c"}[rng.IntN(3):][:1], "") + []string{"", "/x", "/y", "/x/z"}[rng.IntN(4)]
		}
		for step := range 400 {
			op, one, two, text := rng.IntN(7), name(), name(), fmt.Sprint(step)
			if strings.HasPrefix(two+"/", one+"/") {
				op = min(op, 5) // a directory cannot move into itself
			}
			var results [2]string
			for i, f := range []FS{OS(), m} {
				results[i] = act(f, op, one, two, text)
			}
			if results[0] != results[1] {
				t.Fatalf("seed %d, step %d, operation %d on %s and %s: the OS says %s, memory says %s", seed, step, op, one, two, results[0], results[1])
			}
		}
	}
}

func act(f FS, op int, one, two, text string) string {
	var err error
	var out any
	switch op {
	case 0, 1:
		var file File
		if file, err = f.Create(one); err == nil {
			_, err = file.WriteAt([]byte(text), 0)
			err = errors.Join(err, file.Close())
		}
	case 2:
		err = f.MkdirAll(one)
	case 3:
		out, err = f.List(one)
	case 4:
		out, err = ReadFile(f, one, 100)
	case 5:
		err = f.Remove(one)
	case 6:
		err = f.Rename(one, two)
	}
	if err != nil {
		return fmt.Sprint("refused, missing: ", errors.Is(err, fs.ErrNotExist), ", there: ", errors.Is(err, fs.ErrExist))
	}
	return fmt.Sprintf("done %v", out)
}

func TestCrashSaysWhatItTook(t *testing.T) {
	names, sectors := 0, 0
	for coin := range uint64(64) {
		m := NewMem()
		f, err := m.Create("a")
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(m.SyncDir("."), f.Sync()); err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteAt(make([]byte, 3*sector), 0); err != nil {
			t.Fatal(err)
		}
		if _, err := m.Create("b"); err != nil {
			t.Fatal(err)
		}
		after := m.Crash(rand.New(rand.NewPCG(coin, 1)))
		n, s := after.Lost()
		if _, err := after.Open("b"); (err != nil) != (n == 1) {
			t.Fatalf("coin %d: %d names are lost, and opening the new one says %v", coin, n, err)
		}
		names, sectors = names+n, sectors+s
	}
	if names == 0 || names == 64 || sectors == 0 || sectors == 3*64 {
		t.Fatalf("of 64 names %d are lost, of 192 sectors %d", names, sectors)
	}
}

func TestDamageAndClone(t *testing.T) {
	m := NewMem()
	if err := m.MkdirAll("d"); err != nil {
		t.Fatal(err)
	}
	f, err := m.Create("d/a")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte("sound"), 0); err != nil {
		t.Fatal(err)
	}
	copied := m.Clone()
	if err := m.Damage("d/a", func(b []byte) []byte { b[0] = 'b'; return b[:4] }); err != nil {
		t.Fatal(err)
	}
	damaged, err := ReadFile(m, "d/a", 100)
	if err != nil || string(damaged) != "boun" {
		t.Fatalf("read %q (%v) after the damage", damaged, err)
	}
	kept, err := ReadFile(copied.Crash(rand.New(rand.NewPCG(1, 1))), "d/a", 100)
	if err != nil || string(kept) != "sound" {
		t.Fatalf("read %q (%v) from the copy, which counts as synced", kept, err)
	}
	if err := m.Damage("d", func(b []byte) []byte { return b }); err == nil {
		t.Fatal("a directory was damaged as a file")
	}
}
