package sim

import (
	"bytes"
	"errors"
	"path"

	"raftsman.dev/node/raft"
	"raftsman.dev/node/vfs"
	"raftsman.dev/node/wal"
)

const (
	logDir = "data/log"
	block  = 512
)

// openLog opens the log as a member does, from any disk.
func openLog(fsys vfs.FS, create bool, covered raft.Base) (*wal.Log, raft.Restored, error) {
	return wal.Open(fsys, logDir, wal.Options{Create: create, SegmentBytes: segmentBytes, Covered: covered})
}

// rot lets a disk change what lies on it, while the process is down. What the change amounts to is tried out
// first: a change that nobody can find out, because nothing proves what it took, is not made.
func (h *host) rot() {
	w := h.w
	if !h.joined || h.ill.kind != "" || h.rotten || h.altered.pending() || !w.certain() { // an unjoined one has nothing to lose
		return
	}
	if h.up() {
		h.killed = w.rng.IntN(2) == 0
		h.crash()
	}
	for range rotTries {
		if h.rotOnce() {
			return
		}
	}
}

// rotTries is how often something else is damaged when the first was harmless or not to be done.
const rotTries = 8

func (h *host) rotOnce() (done bool) {
	w := h.w
	disk := h.disk.Clone()
	kind, single := w.damage(disk)
	if kind == "" {
		return false
	}
	// What lies damaged already may have left its second copy as the only proof that it was there.
	sound := !h.scarred && w.truth.of(h).log.hole(0) == 0
	v, lost := h.judge(disk, single && sound)
	switch {
	case v == unprovable:
		w.fault(kind + ": unprovable, not done")
		return false
	case v == harmless && w.rng.IntN(3) > 0, v == fatal && (w.rng.IntN(3) > 0 || !w.spare(h)):
		return false
	case v == repairable && !w.bears(h, lost):
		w.fault(kind + ": not borne, not done")
		return false
	case v == fatal:
		h.ill = illness{kind: kind, damaged: true}
	case v == repairable:
		w.truth.of(h).log.lose(lost)
	}
	h.scarred = h.scarred || v == harmless
	w.fault(kind + ": " + v.String())
	w.story.line(w, h.id, "damaged: %s: %v %v", kind, v, lost)
	h.disk = disk
	return v != harmless
}

// verdict is what damage amounts to.
type verdict int

const (
	harmless   verdict = iota
	repairable         // the log opens, and knows what it lacks
	fatal              // the start is refused
	unprovable         // what is missing looks as if it had never been there
)

func (v verdict) String() string {
	return [...]string{"harmless", "to be repaired", "fatal", "unprovable"}[v]
}

// judge says what the damage on a disk amounts to for a host. single says that it concerns one record at most:
// then what a later write proves must be missed.
func (h *host) judge(disk *vfs.Mem, single bool) (verdict, []raft.Position) {
	if same(disk, h.disk, "data/identity") != nil {
		return fatal, nil // the identity has a checksum of its own
	}
	base, err := h.atRest()
	if err != nil {
		h.w.fail("member %d: open its store at rest: %w", h.id, err)
	}
	log, found, err := openLog(disk.Clone(), false, base)
	if err != nil {
		if !errors.Is(err, wal.ErrCorrupt) && !errors.Is(err, wal.ErrMissing) {
			h.w.fault("damage taken for another format version")
		}
		return fatal, nil
	}
	if err := log.Close(); err != nil {
		h.w.fail("member %d: close a log: %w", h.id, err)
	}
	if err := h.w.truth.remembers(h, found); err != nil {
		if single && h.w.truth.forgetsProven(h, found) {
			h.w.fail("member %d has a damaged log and does not notice: %w", h.id, err)
		}
		return unprovable, nil
	}
	if h.shortens(base, found) {
		return unprovable, nil
	}
	if lost := lostIn(found); len(lost) > 0 {
		return repairable, lost
	}
	return harmless, nil
}

// shortens reports whether a damaged log, as it was found, is another one than the whole log would be. What the observer
// remembers does not tell where the process ended in a write: entries before that may have been acknowledged, and be
// committed only later.
func (h *host) shortens(base raft.Base, found raft.Restored) bool {
	log, whole, err := openLog(h.disk.Clone(), false, base)
	if err != nil {
		return false // it is refused, and no worse for the damage
	}
	if err := log.Close(); err != nil {
		h.w.fail("member %d: close a log: %w", h.id, err)
	}
	was, is := mirrorOf(whole), mirrorOf(found)
	if found.Hard != whole.Hard || is.end() != was.end() {
		return true
	}
	for i := max(was.base, is.base) + 1; i <= was.end(); i++ {
		before, _ := was.at(i)
		after, _ := is.at(i)
		if before.term != after.term {
			return true
		}
	}
	return false
}

// same is an error where two disks differ in a file.
func same(a, b *vfs.Mem, name string) error {
	x, err := vfs.ReadFile(a, name, 1<<10)
	y, err2 := vfs.ReadFile(b, name, 1<<10)
	if err == nil && err2 == nil && !bytes.Equal(x, y) {
		err = errors.New("differs")
	}
	return errors.Join(err, err2)
}

// damage changes something on a disk at rest; kind is empty where there is nothing to change. single says that no
// more than one record can be concerned.
func (w *World) damage(disk *vfs.Mem) (kind string, single bool) {
	names, err := disk.List(logDir)
	if err != nil || len(names) == 0 {
		return "", false
	}
	name := path.Join(logDir, pick(w, names))
	if w.rng.IntN(2) == 0 {
		name = path.Join(logDir, names[len(names)-1])
	}
	switch w.rng.IntN(12) {
	case 0:
		return "segment missing", w.ok(disk.Remove(name))
	case 1:
		return "log missing", w.ok(disk.RemoveAll(logDir))
	case 2:
		return "bit flip in the identity", !w.ok(disk.Damage("data/identity", func(b []byte) []byte {
			b[w.rng.IntN(len(b))] ^= 1 << w.rng.IntN(8)
			return b
		}))
	}
	err = disk.Damage(name, func(b []byte) []byte {
		used := len(bytes.TrimRight(b, "\x00"))
		if used <= block {
			return b
		}
		kind, single, b = w.damageSegment(b, used)
		return b
	})
	w.ok(err)
	return kind, single
}

// ok fails the run where the world itself does not do what it must; it is false for the sake of its callers.
func (w *World) ok(err error) bool {
	if err != nil {
		w.fail("damage a disk: %w", err)
	}
	return false
}

// damageSegment changes a segment, of which so many bytes are used.
func (w *World) damageSegment(b []byte, used int) (kind string, single bool, after []byte) {
	at := w.rng.IntN(used)
	flip := func() { b[at] ^= 1 << w.rng.IntN(8) }
	blockAt := at / block * block
	switch w.rng.IntN(6) {
	case 0:
		at = w.rng.IntN(32) // of the segment, or of a write
		if w.rng.IntN(4) > 0 {
			at += blockAt
		}
		flip()
		return "bit flip in metadata", true, b
	case 1:
		flip()
		return "bit flip in the middle", true, b
	case 2:
		at = used - 1 - w.rng.IntN(min(used, 600))
		flip()
		return "bit flip in the tail", true, b
	case 3:
		clear(b[blockAt:min(blockAt+block, len(b))])
		return "block zeroed", false, b
	case 4:
		from := w.rng.IntN(used) / block * block
		copy(b[blockAt:min(blockAt+block, len(b))], bytes.Clone(b[from:min(from+block, len(b))]))
		return "write misdirected", false, b
	}
	return "segment truncated", false, b[:at]
}

// forgetsProven reports whether a log lacks what a later write of it names as durable.
func (t *truth) forgetsProven(h *host, found raft.Restored) bool {
	s := t.of(h)
	if s.log.uncertain {
		return false
	}
	now := mirrorOf(found)
	return found.Hard.Term < s.log.provenTerm || now.end() < s.log.proven
}
