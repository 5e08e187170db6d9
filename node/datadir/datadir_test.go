package datadir

import (
	"encoding/hex"
	"errors"
	"math/rand/v2"
	"testing"

	"raftsman.dev/node/vfs"
)

func drawer(seed uint64) func() uint64 { return rand.New(rand.NewPCG(seed, seed)).Uint64 }

func open(t *testing.T, disk *vfs.Mem, name string) *Dir {
	t.Helper()
	d, err := Open(disk, "data", name, drawer(uint64(t.Name()[4])))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestBootsCountAndIdentityStays(t *testing.T) {
	disk := vfs.NewMem()
	d := open(t, disk, "a")
	first := d.Identity()
	if first.Boot != 1 || first.Member == 0 || first.Cluster != 0 {
		t.Fatalf("new identity %+v", first)
	}
	if err := errors.Join(d.Join(7), d.Close()); err != nil {
		t.Fatal(err)
	}
	for coin := range uint64(20) { // an identity that Open returned survives any loss of power
		after := disk.Crash(rand.New(rand.NewPCG(coin, 1)))
		again, err := Open(after, "data", "a", drawer(99))
		if err != nil {
			t.Fatal(err)
		}
		if got := again.Identity(); got.Member != first.Member || got.Cluster != 7 || got.Boot != 2 {
			t.Fatalf("coin %d: found %+v, was %+v in cluster 7", coin, got, first)
		}
		if err := errors.Join(again.CountBoot(), again.Close()); err != nil {
			t.Fatal(err)
		}
		next, err := Open(after.Crash(rand.New(rand.NewPCG(coin, 2))), "data", "a", drawer(99))
		if err != nil {
			t.Fatal(err)
		}
		if got := next.Identity().Boot; got != 3 {
			t.Fatalf("coin %d: boot %d follows a counted boot 2", coin, got)
		}
	}
}

func TestRefusals(t *testing.T) {
	disk := vfs.NewMem()
	d := open(t, disk, "a")
	if _, err := Open(disk, "data", "a", drawer(1)); !errors.Is(err, vfs.ErrLocked) {
		t.Fatalf("second opener: %v", err)
	}
	if err := errors.Join(d.Join(7), d.Join(7), d.Close()); err != nil {
		t.Fatal(err)
	}
	if err := d.Join(8); !errors.Is(err, ErrForeign) {
		t.Fatalf("join another cluster: %v", err)
	}
	if _, err := Open(disk, "data", "b", drawer(1)); !errors.Is(err, ErrForeign) {
		t.Fatalf("another name: %v", err)
	}
	f, err := disk.Open("data/identity")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte{0xff}, 12); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(disk, "data", "a", drawer(1)); !errors.Is(err, ErrCorrupt) {
		t.Fatalf("damaged identity: %v", err)
	}
	if err := disk.Remove("data/identity"); err != nil {
		t.Fatal(err)
	}
	if _, err := disk.Create("data/log/1"); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(disk, "data", "a", drawer(1)); !errors.Is(err, ErrCorrupt) {
		t.Fatalf("log without identity: %v", err)
	}
	other := vfs.NewMem()
	if _, err := other.Create("data/holiday.jpg"); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(other, "data", "a", drawer(1)); !errors.Is(err, ErrForeign) {
		t.Fatalf("foreign directory: %v", err)
	}
}

func TestRemovedIsSetAside(t *testing.T) {
	disk := vfs.NewMem()
	d := open(t, disk, "a")
	first := d.Identity()
	if _, err := disk.Create("data/log/1"); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(d.Join(7), d.MarkRemoved(), d.Close()); err != nil {
		t.Fatal(err)
	}
	again, err := Open(disk, "data", "a", drawer(5))
	if err != nil {
		t.Fatal(err)
	}
	if got := again.Identity(); got.Member == first.Member || got.Cluster != 0 || got.Boot != 1 {
		t.Fatalf("after removal: %+v", got)
	}
	if _, err := disk.Open("data/aside-" + first.Member.String() + "/log/1"); err != nil {
		t.Fatalf("the old log is not kept: %v", err)
	}
}

func TestGolden(t *testing.T) {
	const want = "5241465449444e0107000000000000000900000000000000030000000000000000010061a4b08422"
	if got := hex.EncodeToString(encode(Identity{Member: 7, Cluster: 9, Boot: 3, Name: "a"})); got != want {
		t.Fatalf("the format has changed (version 1 is frozen): %s", got)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(encode(Identity{Member: 7, Cluster: 9, Boot: 3, Name: "a"}))
	f.Fuzz(func(t *testing.T, b []byte) { _, _ = decode(b) })
}
