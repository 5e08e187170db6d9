package vfs

import (
	"math"
	"math/rand/v2"
	"syscall"
	"testing"
)

func free(t *testing.T, f FS, dir string) (int64, int64) {
	t.Helper()
	left, size, err := f.Free(dir)
	do(t, err)
	return left, size
}

// TestFreeOnTheOS: what the system says makes sense, and a directory that is not there is an error.
func TestFreeOnTheOS(t *testing.T) {
	dir := t.TempDir()
	if left, size := free(t, OS(), dir); left < 0 || size < 1 || left > size {
		t.Errorf("%d bytes free of %d", left, size)
	}
	if _, _, err := OS().Free(dir + "/no"); err == nil {
		t.Error("a directory that is not there has space")
	}
}

// TestDiskOfASize: at the bound nothing more fits and nothing is changed; what is removed or cut gives space back.
func TestDiskOfASize(t *testing.T) {
	m := NewMem()
	do(t, m.MkdirAll("d"))
	if left, size := free(t, m, "d"); left != math.MaxInt64 || size != math.MaxInt64 {
		t.Errorf("a disk without bound has %d of %d", left, size)
	}
	m.SetSize(100)
	f := create(t, m, "d/f", "0123456789")
	if left, size := free(t, m, "d"); left != 90 || size != 100 {
		t.Errorf("%d free of %d", left, size)
	}
	do(t, f.Preallocate(100))
	_, err := f.WriteAt([]byte("xy"), 99)
	refused(t, err, syscall.ENOSPC)
	refused(t, f.Preallocate(101), syscall.ENOSPC)
	if _, err := f.WriteAt([]byte("z"), 99); err != nil {
		t.Errorf("a write into what was preallocated: %v", err)
	}
	if got := content(t, m, "d/f"); len(got) != 100 || got[:10] != "0123456789" || got[99] != 'z' {
		t.Errorf("the file holds %q", got)
	}
	g := create(t, m, "d/g", "")
	_, err = g.WriteAt([]byte("x"), 0)
	refused(t, err, syscall.ENOSPC)
	do(t, f.Truncate(40))
	if left, _ := free(t, m, "d"); left != 60 {
		t.Errorf("%d free after a cut to 40", left)
	}
	do(t, m.Remove("d/f"))
	if left, _ := free(t, m.Crash(rand.New(rand.NewPCG(1, 1))), "."); left < 0 || left > 100 {
		t.Errorf("%d free after a loss of power", left)
	}
	m.SetSize(200)
	do(t, g.Preallocate(200), f.Close(), g.Close())
	if left, size := free(t, m, "d"); left != 0 || size != 200 {
		t.Errorf("%d free of %d", left, size)
	}
}

// TestFreeByRule: a rule that fills a disk tells so beforehand.
func TestFreeByRule(t *testing.T) {
	f := NewFaulty(memWithDir(t), Rule{Ops: OpWrite | OpTruncate, Space: 10, Err: syscall.ENOSPC})
	file := create(t, f, "top/f", "0123456")
	if left, size := free(t, f, "top"); left != 3 || size != 10 {
		t.Errorf("%d free of %d", left, size)
	}
	_, err := file.WriteAt([]byte("789abc"), 7)
	refused(t, err, syscall.ENOSPC)
	if left, _ := free(t, f, "top"); left != 0 {
		t.Errorf("%d free on a full disk", left)
	}
	f.Set()
	if left, _ := free(t, f, "top"); left != math.MaxInt64 {
		t.Errorf("%d free once the rule is gone", left)
	}
	do(t, file.Close())
}
