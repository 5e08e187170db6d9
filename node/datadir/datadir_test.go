package datadir

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"raftsman.dev/node/raft"
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

// put makes a file, durably, with all directories above it.
func put(t *testing.T, disk vfs.FS, path string) {
	t.Helper()
	dir := filepath.Dir(path)
	err := disk.MkdirAll(dir)
	for at := dir; at != "."; at = filepath.Dir(at) {
		err = errors.Join(err, disk.SyncDir(filepath.Dir(at)))
	}
	if err := errors.Join(err, vfs.WriteFile(disk, dir, filepath.Base(path), []byte("data"))); err != nil {
		t.Fatal(err)
	}
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
	put(t, disk, "data/log/1")
	if _, err := Open(disk, "data", "a", drawer(1)); !errors.Is(err, ErrCorrupt) {
		t.Fatalf("log without identity: %v", err)
	}
	other := vfs.NewMem()
	put(t, other, "data/holiday.jpg")
	if _, err := Open(other, "data", "a", drawer(1)); !errors.Is(err, ErrForeign) {
		t.Fatalf("foreign directory: %v", err)
	}
}

func TestRemovedIsSetAside(t *testing.T) {
	disk := vfs.NewMem()
	d := open(t, disk, "a")
	first := d.Identity()
	put(t, disk, "data/log/1")
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

func TestVersionIsToldFromDamage(t *testing.T) {
	id := Identity{Member: 7, Cluster: 9, Boot: 3, Name: "a"}
	flipped := encode(id)
	flipped[7] ^= 4
	if _, err := decode(flipped); !errors.Is(err, ErrCorrupt) {
		t.Fatalf("a flipped bit in the version: %v", err)
	}
	next := encode(id)
	next[7]++
	binary.LittleEndian.PutUint32(next[len(next)-4:], crc32.Checksum(next[:len(next)-4], crc32.MakeTable(crc32.Castagnoli)))
	if _, err := decode(next); !errors.Is(err, ErrForeign) {
		t.Fatalf("the next version: %v", err)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(encode(Identity{Member: 7, Cluster: 9, Boot: 3, Name: "a"}))
	f.Add(encode(Identity{Member: 1 << 63, Boot: 1, Name: strings.Repeat("n", maxName), Removed: true}))
	f.Fuzz(func(t *testing.T, b []byte) {
		id, err := decode(b)
		if err == nil && !bytes.Equal(encode(id), b) {
			t.Fatalf("%x was read as %+v", b, id)
		}
		if err != nil && !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrForeign) {
			t.Fatal(err)
		}
	})
}

// TestEveryFlippedBitIsFound: also every cut, and bytes too many.
func TestEveryFlippedBitIsFound(t *testing.T) {
	whole := encode(Identity{Member: 7, Cluster: 9, Boot: 3, Name: "member-0", Removed: true})
	damaged := [][]byte{append(bytes.Clone(whole), 0)}
	for i := range whole {
		damaged = append(damaged, whole[:i])
		for bit := range 8 {
			bad := bytes.Clone(whole)
			bad[i] ^= 1 << bit
			damaged = append(damaged, bad)
		}
	}
	for _, bad := range damaged {
		disk := vfs.NewMem()
		if err := errors.Join(disk.MkdirAll("data"), vfs.WriteFile(disk, "data", identityFile, bad)); err != nil {
			t.Fatal(err)
		}
		_, err := Open(disk, "data", "member-0", drawer(1))
		if !errors.Is(err, ErrCorrupt) && !(errors.Is(err, ErrForeign) && bad[7] != whole[7]) {
			t.Fatalf("%x: %v", bad, err)
		}
		if !strings.Contains(err.Error(), "data/identity") {
			t.Fatalf("the file is not named: %v", err)
		}
		if left, err := vfs.ReadFile(disk, "data/identity", 1<<10); err != nil || !bytes.Equal(left, bad) {
			t.Fatalf("the refusal changed the file to %x: %v", left, err)
		}
	}
}

// TestSurroundingsAreNotDamage: a file that may not be opened says nothing about what is in it.
func TestSurroundingsAreNotDamage(t *testing.T) {
	disk := vfs.NewMem()
	if err := open(t, disk, "a").Close(); err != nil {
		t.Fatal(err)
	}
	for errno, damage := range map[syscall.Errno]bool{syscall.EACCES: false, syscall.EMFILE: false, syscall.EIO: true} {
		_, err := Open(vfs.NewFaulty(disk, vfs.Rule{Ops: vfs.OpOpen, Err: errno}), "data", "a", drawer(1))
		if !errors.Is(err, errno) || errors.Is(err, ErrCorrupt) != damage {
			t.Errorf("%v: %v", errno, err)
		}
	}
	if again := open(t, disk, "a"); again.Identity().Boot != 2 {
		t.Errorf("found %+v after refusals", again.Identity())
	}
}

// intruder is a disk on which another process comes and goes right after the first look.
type intruder struct {
	vfs.FS
	visit func()
}

func (i *intruder) List(dir string) ([]string, error) {
	names, err := i.FS.List(dir)
	if i.visit != nil {
		visit := i.visit
		i.visit = nil
		visit()
	}
	return names, err
}

// TestIdentityIsNeverDrawnTwice: a process that found the directory empty, and was overtaken by another before it
// had the lock, takes up the other's identity.
func TestIdentityIsNeverDrawnTwice(t *testing.T) {
	disk := vfs.NewMem()
	var first Identity
	second, err := Open(&intruder{FS: disk, visit: func() {
		d := open(t, disk, "a")
		first = d.Identity()
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	}}, "data", "a", drawer(42))
	if err != nil || second.Identity().Member != first.Member {
		t.Fatalf("the first drew %v, the second %+v: %v", first.Member, second, err)
	}
}

// life is what a member does with its directory, and what it may count on.
type life struct {
	member  raft.MemberID // the first identity
	joined  bool          // Join has returned
	boot    raft.Boot     // the last boot that is certain
	removed bool          // MarkRemoved has been called
	anew    raft.MemberID // the identity after that, once certain
}

func (l *life) live(disk vfs.FS) error {
	d, err := Open(disk, "data", "a", drawer(3))
	if err != nil {
		return err
	}
	l.member, l.boot = d.Identity().Member, 1
	err = d.Join(7)
	l.joined = err == nil
	if err := errors.Join(err, d.Close()); err != nil {
		return err
	}
	if d, err = Open(disk, "data", "a", drawer(4)); err == nil {
		err = d.CountBoot()
	}
	if err != nil {
		return err
	}
	l.boot = 2
	l.removed = true
	if err := errors.Join(d.MarkRemoved(), d.Close()); err != nil {
		return err
	}
	if d, err = Open(disk, "data", "a", drawer(5)); err != nil {
		return err
	}
	l.anew = d.Identity().Member
	return d.Close()
}

// hold opens what was found after a loss of power.
func (l *life) hold(disk vfs.FS) error {
	d, err := Open(disk, "data", "a", drawer(6))
	if err != nil {
		return err
	}
	id := d.Identity()
	switch {
	case l.member == 0: // Open never returned: nobody has heard of any identity
	case l.anew != 0 && id.Member != l.anew:
		return fmt.Errorf("found %+v, the new identity was %v", id, l.anew)
	case id.Member != l.member && !l.removed:
		return fmt.Errorf("found %+v, the identity was %v", id, l.member)
	case id.Member == l.member && (id.Boot <= l.boot || l.joined && id.Cluster != 7):
		return fmt.Errorf("found %+v after boot %d, joined %v", id, l.boot, l.joined)
	case id.Member != l.member && id.Cluster != 0:
		return fmt.Errorf("a new identity is in a cluster: %+v", id)
	}
	return d.Close()
}

// TestPowerLossAtEveryStep: whatever the power interrupts, the directory opens again, with an identity that
// somebody may have heard of still there, and its data in one place.
func TestPowerLossAtEveryStep(t *testing.T) {
	power := errors.New("the power is gone")
	for cut := 0; ; cut++ {
		disk := vfs.NewMem()
		cutDisk := vfs.NewFaulty(disk, vfs.Rule{Ops: vfs.OpChange, After: cut, Err: power})
		var l life
		err := l.live(cutDisk)
		if err != nil && !errors.Is(err, power) {
			t.Fatalf("cut at %d: %v", cut, err)
		}
		for coin := range uint64(40) {
			after := disk.Crash(rand.New(rand.NewPCG(coin, uint64(cut))))
			if err := l.hold(after); err != nil {
				t.Fatalf("cut at %d, coin %d: %v", cut, coin, err)
			}
		}
		if err == nil {
			if cut < 30 {
				t.Fatalf("only %d steps to cut at", cut)
			}
			return
		}
	}
}

// TestSettingAsideLosesNothing: a removed member's log is in its place or beside, whatever the power interrupts.
func TestSettingAsideLosesNothing(t *testing.T) {
	power := errors.New("the power is gone")
	for cut := 0; ; cut++ {
		disk := vfs.NewMem()
		d := open(t, disk, "a")
		put(t, disk, "data/log/1")
		put(t, disk, "data/store/current")
		if err := errors.Join(d.MarkRemoved(), d.Close()); err != nil {
			t.Fatal(err)
		}
		aside := "data/aside-" + d.Identity().Member.String()
		_, err := Open(vfs.NewFaulty(disk, vfs.Rule{Ops: vfs.OpChange, After: cut, Err: power}), "data", "a", drawer(5))
		for coin := range uint64(40) {
			after := disk.Crash(rand.New(rand.NewPCG(coin, uint64(cut))))
			for _, file := range []string{"/log/1", "/store/current"} {
				_, here := after.Open("data" + file)
				_, there := after.Open(aside + file)
				if (here == nil) == (there == nil) {
					t.Fatalf("cut at %d, coin %d: %s here: %v, beside: %v", cut, coin, file, here, there)
				}
			}
			if again, err := Open(after, "data", "a", drawer(6)); err != nil || again.Identity().Member == d.Identity().Member {
				t.Fatalf("cut at %d, coin %d: %+v %v", cut, coin, again, err)
			}
		}
		if err == nil {
			return
		}
	}
}
