package sim

import (
	"bytes"
	"encoding/binary"

	pebblefs "github.com/cockroachdb/pebble/v2/vfs"

	"raftsman.dev/node/kv"
	"raftsman.dev/node/kv/memory"
)

// ground is what survives of one store, and what the store stands on.
type ground interface {
	// options open the store.
	options() kv.Options
	// applied is called after every batch: some of what is not durable yet may become so.
	applied(w *World)
	// crash is the ground as it is found when the power goes now. The old one is left to the dying process.
	crash(w *World) ground
	// sicken sets the faults that the store meets.
	sicken(rules []memory.Rule)
	// rot damages rows at rest, or with name what tells which of them are in force; false where it cannot.
	rot(w *World, name bool) bool
	// alter changes the value of a key behind the store's back; ok is false where it cannot. altered reports whether
	// that still stands anywhere.
	alter(w *World) (key []byte, ok bool)
	altered() bool
}

// exportBytes is small, so that a snapshot is many chunks, and one that is cut off has something to go on from.
const exportBytes = 512

// apartBytes lets about half of the values stand in rows of their own.
const apartBytes = 5

func (w *World) newGround() ground {
	if w.weather.Pebble {
		return onPebble{pebblefs.NewCrashableMem()}
	}
	return inMemory{memory.New()}
}

// inMemory is the deterministic engine.
type inMemory struct{ disk *memory.Disk }

func (g inMemory) options() kv.Options {
	return kv.Options{Engine: g.disk, CacheSlots: 64, ApartBytes: apartBytes, ExportBytes: exportBytes, PointEvery: pointEvery, Hash: memory.Hash}
}

func (g inMemory) applied(w *World) {
	if w.rng.IntN(64) == 0 {
		g.disk.FlushSome(w.rng)
	}
}

func (g inMemory) crash(w *World) ground { return inMemory{g.disk.Crash(w.rng)} }

func (g inMemory) sicken(rules []memory.Rule) { g.disk.Set(rules...) }

func (g inMemory) rot(w *World, name bool) bool {
	if name {
		g.disk.SpoilName()
		return true
	}
	return g.disk.Rot(w.rng)
}

// alter changes the last byte of a newest value: it stands at the end of its key's row, or in a row of its own.
func (g inMemory) alter(w *World) (key []byte, ok bool) {
	row, ok := g.disk.Alter(w.rng, func(key, row []byte, newest func([]byte) []byte) []byte {
		whole := key[0] == 'k' && len(row) >= 5 && row[0] != 0
		if !whole && !(key[0] == 'v' && isOf(newest(append([]byte("k"), key[9:]...)), key[1:9])) {
			return nil
		}
		row = bytes.Clone(row)
		row[len(row)-1] ^= 1
		return row
	})
	switch {
	case !ok:
		return nil, false
	case row[0] == 'v':
		return row[9:], true
	}
	return row[1:], true
}

// isOf reports whether a key's row, nil for none, has its value apart and is of the revision that the value's row names.
func isOf(row, revision []byte) bool {
	if len(row) == 0 || row[0] != 0 {
		return false
	}
	_, n := binary.Uvarint(row[1:])
	mod, _ := binary.Uvarint(row[1+n:])
	return mod == binary.BigEndian.Uint64(revision)
}

func (g inMemory) altered() bool { return g.disk.Altered() }

// onPebble is a real Pebble over a file system in memory. Its goroutines decide when it flushes.
type onPebble struct{ fs *pebblefs.MemFS }

func (g onPebble) options() kv.Options {
	return kv.Options{FS: g.fs, MemTableBytes: 256 << 10, BlockCacheBytes: 1 << 20, CacheSlots: 64, ApartBytes: apartBytes, ExportBytes: exportBytes, PointEvery: pointEvery}
}

func (g onPebble) applied(*World) {}

func (g onPebble) crash(*World) ground {
	return onPebble{g.fs.CrashClone(pebblefs.CrashCloneCfg{})}
}

func (g onPebble) sicken([]memory.Rule) {}

func (g onPebble) rot(*World, bool) bool { return false }

func (g onPebble) alter(*World) (key []byte, ok bool) { return nil, false }

func (g onPebble) altered() bool { return false }
