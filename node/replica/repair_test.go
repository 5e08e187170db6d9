package replica

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	pebblefs "github.com/cockroachdb/pebble/v2/vfs"

	"raftsman.dev/node/raft"
	"raftsman.dev/node/vfs"
	"raftsman.dev/node/wal"
)

// harm counts what disks have lost, and what came back from peers.
type harm struct{ lost, repaired, stores, rebuilt int }

func (a *harm) add(b harm) {
	a.lost, a.repaired, a.stores, a.rebuilt = a.lost+b.lost, a.repaired+b.repaired, a.stores+b.stores, a.rebuilt+b.rebuilt
}

// whole reports whether a member is up, has lost nothing and has a store.
func (h *host) whole() bool {
	return h.up() && h.replica.Brief().Lost == 0 && !h.replica.Brief().Rebuilding && !h.lose
}

// walOptions tell the log what the store holds.
func (h *host) walOptions() wal.Options {
	o := wal.Options{Create: h.boot == 1, SegmentBytes: 16 << 10}
	if applied := h.store.Applied(); applied.Index > 0 {
		base, err := BaseOf(applied)
		h.must(err)
		o.Covered = base
	}
	return o
}

// spoil flips a bit in entries of the log that the store does not hold. Where that would cost more than content, as in
// a write that nothing proves to have been durable, the disk stays as it was.
func (h *host) spoil() {
	h.lose = false
	sound := h.log.Crash(h.w.rng) // a copy: everything there is durable
	want, err := h.read(sound)
	h.must(err)
	last := want.Base.Position.Index + raft.Index(len(want.Entries))
	for _, e := range want.Entries {
		if uint64(e.Index) > h.store.Applied().Index && e.Index+8 <= last && h.w.rng.IntN(2) == 0 {
			h.flip(e)
		}
	}
	got, err := h.read(h.log.Crash(h.w.rng))
	if err != nil || got.Hard != want.Hard || got.Base.Position.Index+raft.Index(len(got.Entries)) != last {
		h.log = sound
		return
	}
	for i := range got.Entries {
		if got.Entries[i].Lost() {
			h.w.harm.lost++
		}
	}
}

// read opens a log only to see what it holds.
func (h *host) read(disk *vfs.Mem) (raft.Restored, error) {
	log, restored, err := wal.Open(disk, "log", h.walOptions())
	if err == nil {
		h.must(log.Close())
	}
	return restored, err
}

// flip damages an entry wherever the disk has it.
func (h *host) flip(e raft.Entry) {
	names, err := h.log.List("log")
	h.must(err)
	for _, name := range names {
		f, err := h.log.Open("log/" + name)
		h.must(err)
		size, err := f.Size()
		h.must(err)
		b := make([]byte, size)
		_, err = f.ReadAt(b, 0)
		h.must(err)
		if at := bytes.Index(b, e.AppendTo(nil)); at >= 0 {
			_, err = f.WriteAt([]byte{b[at+24] ^ 0x40}, int64(at+24))
			h.must(errors.Join(err, f.Sync()))
		}
		h.must(f.Close())
	}
}

// damage takes entries or the store from a member that is down, while the others are whole.
func (w *world) damage(h *host) {
	for _, id := range w.ids {
		if x := w.hosts[id]; x != h && !x.whole() {
			return
		}
	}
	switch w.rng.IntN(4) {
	case 0, 1:
		h.lose = true
	case 2:
		h.loseStore()
	}
}

func (h *host) loseStore() {
	h.disk = pebblefs.NewCrashableMem()
	h.w.harm.stores++
}

// load writes until logs have been cut.
func (w *world) load(n int) {
	w.t.Helper()
	for i := range n {
		w.until("a leader", func() bool { return w.leader() != nil })
		l := w.leader()
		p, err := l.put(fmt.Sprint("k", i), "v")
		l.must(err)
		w.outcome(p)
	}
	w.equal()
}

// followers are all but the leader.
func (w *world) followers() []*host {
	var all []*host
	for _, id := range w.ids {
		if w.hosts[id] != w.leader() {
			all = append(all, w.hosts[id])
		}
	}
	return all
}

// TestLostEntriesComeBack: a member whose disk has lost entries is repaired by its peers and applies them; it is not
// given a snapshot.
func TestLostEntriesComeBack(t *testing.T) {
	w := group(t, 11, 3, Tuning{})
	w.load(40)
	h := w.followers()[0]
	h.crash()
	h.lose = true
	h.start()
	lost := h.replica.Brief().Lost
	if lost == 0 {
		t.Fatal("nothing was lost: the test is too kind")
	}
	w.until("repair", func() bool { return h.replica.Brief().Repaired == uint64(lost) })
	w.equal()
	if h.installed > 0 {
		t.Errorf("%d snapshots were installed where entries were enough", h.installed)
	}
}

// TestStoresAreRebuilt: one store, or two of three at once, come back from a peer's snapshot; the logs are kept and
// cut behind it.
func TestStoresAreRebuilt(t *testing.T) {
	for n := 1; n <= 2; n++ {
		w := group(t, 12, 3, Tuning{KeepEntries: 8})
		w.load(60)
		hurt := w.followers()[:n]
		for _, h := range hurt {
			h.crash()
			h.loseStore()
		}
		for _, h := range hurt {
			h.start()
			if b := h.replica.Brief(); !b.Rebuilding || b.First < 2 || h.replica.Applied() != 0 {
				t.Fatalf("member %d: %+v, want it to wait for a snapshot", h.id, b)
			}
		}
		w.until("stores", func() bool {
			for _, h := range hurt {
				if h.replica.Brief().Rebuilding || h.replica.kept != nil || len(h.cuts) > 0 {
					return false
				}
			}
			return true
		})
		w.load(10)
		for _, h := range hurt {
			if h.installed == 0 {
				t.Errorf("member %d has a store again without a snapshot", h.id)
			}
			first := h.replica.Brief().First
			h.crash()
			h.start()
			if b := h.replica.Brief(); b.Rebuilding || b.First < first {
				t.Errorf("member %d after one more restart: %+v, its log began at %d before", h.id, b, first)
			}
		}
		w.equal()
	}
}
