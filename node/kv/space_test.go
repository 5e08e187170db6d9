package kv

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"raftsman.dev/node/kv/lsm"
)

// fullDisk is a disk that takes nothing more of some kind of file while it is full.
type fullDisk struct {
	full  atomic.Bool
	op    errorfs.OpKind
	files func(path string) bool
	err   error
	left  atomic.Uint64 // what it says that it has left
}

func (d *fullDisk) fs(under vfs.FS) vfs.FS {
	return tellingFS{errorfs.Wrap(under, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if d.full.Load() && op.Kind == d.op && d.files(op.Path) {
			return d.err
		}
		return nil
	})), d}
}

// tellingFS says what a disk has left.
type tellingFS struct {
	vfs.FS
	d *fullDisk
}

func (f tellingFS) GetDiskUsage(string) (vfs.DiskUsage, error) {
	return vfs.DiskUsage{AvailBytes: f.d.left.Load()}, nil
}

// TestFullDisk: a flush that finds no space, or fails otherwise, is held back, not failed and not tried without a pause; reads and
// batches go on meanwhile; once there is space it goes on by itself, and nothing is lost.
func TestFullDisk(t *testing.T) {
	table := func(path string) bool { return strings.HasSuffix(path, ".sst") }
	manifest := func(path string) bool { return strings.Contains(path, "MANIFEST-") }
	dir := func(path string) bool { return !strings.Contains(path, ".") && !manifest(path) }
	full := func(d *fullDisk) { d.full.Store(true) }
	for _, c := range []struct {
		name  string
		op    errorfs.OpKind
		files func(string) bool
		err   error
		full  func(*fullDisk)
	}{
		{"no space for a table", errorfs.OpFileWrite, table, syscall.ENOSPC, full},
		{"no space for a table's name", errorfs.OpCreate, table, syscall.ENOSPC, full},
		{"a table is not made for another reason", errorfs.OpCreate, table, syscall.EMFILE, full},
		{"no space when the directory is synced", errorfs.OpFileSync, dir, syscall.ENOSPC, full},
		{"no space for the manifest", errorfs.OpFileWrite, manifest, syscall.ENOSPC, full},
		{"only the reserve is left", errorfs.OpFileWrite, manifest, syscall.ENOSPC, func(d *fullDisk) { d.left.Store(100) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			disk, under := &fullDisk{op: c.op, files: c.files, err: c.err}, vfs.NewMem()
			disk.left.Store(1 << 30)
			waits, more := make(chan error), make(chan struct{})
			opts := small(disk.fs(under))
			opts.Full = lsm.Patience{Reserve: 1 << 20, Wait: func(err error) error { waits <- err; <-more; return nil }}
			s := mustOpen(t, "s", opts)
			crowded(t, s, 1, 50)
			c.full(disk)
			flushed := make(chan error, 1)
			go func() { flushed <- s.Flush() }()
			for range 3 {
				select {
				case err := <-waits:
					if !errors.Is(err, c.err) {
						t.Fatalf("waits because of %v", err)
					}
				case <-time.After(10 * time.Second):
					t.Fatal("what fails is not held back")
				}
				crowded(t, s, s.Applied().Index+1, 10)
				more <- struct{}{}
			}
			<-waits
			disk.full.Store(false)
			disk.left.Store(1 << 30)
			more <- struct{}{}
			if err := <-flushed; err != nil {
				t.Fatalf("flush: %v", err)
			}
			durable, err := s.Durable()
			if err != nil || durable < 50 {
				t.Fatalf("%d durable: %v", durable, err)
			}
			must(t, s.Close())
			s = mustOpen(t, "s", small(under))
			if got := s.Applied().Index; got < 50 {
				t.Errorf("after opening it again the store is at %d", got)
			}
			must(t, s.Close())
		})
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// crowded applies n puts of one key each from index on, and reads the last one back.
func crowded(t *testing.T, s *Store, from uint64, n int) {
	t.Helper()
	var entries []Entry
	for i := from; i < from+uint64(n); i++ {
		c := Command{ID: CommandID{Origin: 1, Boot: 1, Seq: i}, Floor: 1, Txn: Txn{Success: []Op{{Put: &PutRequest{Key: fmt.Appendf(nil, "k%d", i), Value: []byte("v")}}}}}
		entries = append(entries, Entry{Index: i, Term: 1, Command: c.AppendTo(nil)})
	}
	if _, err := s.Apply(entries, 0, nil); err != nil {
		t.Fatal(err)
	}
	last := fmt.Appendf(nil, "k%d", from+uint64(n)-1)
	res, err := s.Read(context.Background(), Txn{Success: []Op{{Range: &RangeRequest{Key: last}}}})
	if err != nil || len(res.Responses[0].Range.KVs) != 1 {
		t.Fatalf("read %s: %+v %v", last, res, err)
	}
}
