package datadir

import (
	"errors"
	"strings"
	"testing"

	"raftsman.dev/node/vfs"
)

// holding makes a data directory whose store has one file with that content.
func holding(t *testing.T, content string) (*vfs.Mem, *Dir) {
	t.Helper()
	disk := vfs.NewMem()
	d, err := Open(disk, "data", "m0", func() uint64 { return 7 })
	if err != nil {
		t.Fatal(err)
	}
	putStore(t, disk, d, content)
	return disk, d
}

func putStore(t *testing.T, disk *vfs.Mem, d *Dir, content string) {
	t.Helper()
	err := errors.Join(disk.MkdirAll(d.Store()), disk.SyncDir("data"), vfs.WriteFile(disk, d.Store(), "file", []byte(content)))
	if err != nil {
		t.Fatal(err)
	}
}

func aside(t *testing.T, disk vfs.FS) string {
	t.Helper()
	b, err := vfs.ReadFile(disk, "data/"+storeAside+"/file", 100)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestDamagedStoreIsSetAside: the mark survives the process, the store goes aside once, and what lies there stays
// until it is dropped, also when the store that was to replace it is damaged in its turn.
func TestDamagedStoreIsSetAside(t *testing.T) {
	disk, d := holding(t, "old")
	if why, err := d.StoreDamage(); why != "" || err != nil {
		t.Fatalf("a sound store is damaged: %q, %v", why, err)
	}
	long := strings.Repeat("x", 2*maxWhy)
	if err := errors.Join(d.MarkStoreDamaged("block 3"), d.MarkStoreDamaged(long), d.MarkStoreDamaged("block 4"), d.Close()); err != nil {
		t.Fatal(err)
	}
	d, err := Open(disk, "data", "m0", nil)
	if err != nil {
		t.Fatal(err)
	}
	if why, err := d.StoreDamage(); why != "block 4" || err != nil {
		t.Fatalf("the mark says %q, %v", why, err)
	}
	if err := d.SetStoreAside(); err != nil {
		t.Fatal(err)
	}
	why, err := d.StoreDamage()
	if there, listed := d.StoreAside(); why != "" || !there || err != nil || listed != nil || aside(t, disk) != "old" {
		t.Fatalf("after setting aside: mark %q, aside %v, %v, %v", why, there, err, listed)
	}
	putStore(t, disk, d, "half rebuilt")
	if err := d.SetStoreAside(); err != nil || aside(t, disk) != "old" {
		t.Fatalf("the second time: %v, aside lies %q", err, aside(t, disk))
	}
	if _, err := disk.List(d.Store()); err == nil {
		t.Fatal("the store that was half rebuilt is still there")
	}
	if err := d.SetStoreAside(); err != nil {
		t.Fatalf("without a store: %v", err)
	}
	if err := d.DropStoreAside(); err != nil {
		t.Fatal(err)
	}
	if there, err := d.StoreAside(); there || err != nil {
		t.Fatalf("dropped, and still there: %v, %v", there, err)
	}
}

// TestSetAsideSurvivesPowerLoss: wherever power fails, the next start finds the mark or the store set aside, never a
// damaged store that looks sound.
func TestSetAsideSurvivesPowerLoss(t *testing.T) {
	for after := range 12 {
		disk, d := holding(t, "old")
		if err := d.MarkStoreDamaged("block 3"); err != nil {
			t.Fatal(err)
		}
		faulty := vfs.NewFaulty(disk)
		faulty.Set(vfs.Rule{Ops: vfs.OpChange, After: after, Err: errors.New("power is lost here")})
		d.fs = faulty
		_ = d.SetStoreAside()
		d.fs = disk
		why, err := d.StoreDamage()
		there, listed := d.StoreAside()
		if err != nil || listed != nil || why == "" && !there {
			t.Fatalf("after %d operations: mark %q, aside %v, %v, %v", after, why, there, err, listed)
		}
		if err := d.SetStoreAside(); err != nil || aside(t, disk) != "old" {
			t.Fatalf("after %d operations, again: %v", after, err)
		}
	}
}
