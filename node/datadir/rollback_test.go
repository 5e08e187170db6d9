package datadir

import (
	"errors"
	"math/rand/v2"
	"strings"
	"testing"

	"raftsman.dev/node/vfs"
)

// TestRolledBackStaysRefused: after any loss of power, with its reason, and without changing anything.
func TestRolledBackStaysRefused(t *testing.T) {
	disk := vfs.NewMem()
	d := open(t, disk, "a")
	why := "member b has seen boot 9, and this is boot 4"
	if err := errors.Join(d.Join(7), d.MarkRolledBack(why+strings.Repeat(".", maxWhy)), d.Close()); err != nil {
		t.Fatal(err)
	}
	for coin := range uint64(20) {
		after := disk.Crash(rand.New(rand.NewPCG(coin, 1)))
		for range 2 {
			if _, err := Open(after, "data", "a", drawer(1)); !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), why) {
				t.Fatalf("coin %d: %v", coin, err)
			}
		}
	}
	if err := disk.Remove("data/identity"); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(disk, "data", "a", drawer(1)); !errors.Is(err, ErrCorrupt) {
		t.Fatalf("a mark without an identity: %v", err)
	}
}

// TestMarkWithoutReason: that it is there says enough.
func TestMarkWithoutReason(t *testing.T) {
	disk := vfs.NewMem()
	d := open(t, disk, "a")
	if err := errors.Join(d.MarkRolledBack(""), d.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(disk, "data", "a", drawer(1)); !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), "older copy") {
		t.Fatal(err)
	}
}

// TestRolledBackAndRemoved: once the cluster goes on without the identity, the mark goes aside with its data.
func TestRolledBackAndRemoved(t *testing.T) {
	disk := vfs.NewMem()
	d := open(t, disk, "a")
	first := d.Identity()
	if err := errors.Join(d.Join(7), d.MarkRolledBack("older"), d.MarkRemoved(), d.Close()); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		again, err := Open(disk, "data", "a", drawer(5))
		if err != nil {
			t.Fatal(err)
		}
		if got := again.Identity(); got.Member == first.Member || got.Cluster != 0 {
			t.Fatalf("after removal: %+v", got)
		}
		if err := again.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestAnotherMembersVolume is neither used nor changed, and counts as damage of this member's.
func TestAnotherMembersVolume(t *testing.T) {
	disk := vfs.NewMem()
	if err := open(t, disk, "b").Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(disk, "data", "a", drawer(1)); !errors.Is(err, ErrForeign) || !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), `"b"`) {
		t.Fatal(err)
	}
	if got := open(t, disk, "b").Identity(); got.Boot != 2 || got.Name != "b" {
		t.Fatalf("then: %+v", got)
	}
}
