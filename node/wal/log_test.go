package wal

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"raftsman.dev/node/raft"
	"raftsman.dev/node/vfs"
)

// TestTwin holds the log to its naive twin over random workloads and clean restarts.
func TestTwin(t *testing.T) {
	for seed := range uint64(40) {
		disk := vfs.NewMem()
		o := &workload{rng: rand.New(rand.NewPCG(seed, 1))}
		for restart := range 8 {
			l, got, err := Open(disk, "log", Options{SegmentBytes: 4096, Create: true})
			if err != nil {
				t.Fatalf("seed %d, restart %d: %v", seed, restart, err)
			}
			if !o.w.equal(got) {
				t.Fatalf("seed %d, restart %d: found %v %v with %d entries, want %v %v with %d", seed, restart, got.Base.Position, got.Hard, len(got.Entries), o.w.base.Position, o.w.hard, len(o.w.entries))
			}
			for range 20 {
				if err := o.step(l); err != nil {
					t.Fatalf("seed %d: %v", seed, err)
				}
				checkRead(t, l, o)
			}
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestTwinUnderDamage holds a log to its twin over random workloads between whose restarts one write is damaged that
// others prove. What Open gives must be the twin, entries of that write perhaps lost; or damage, and then the disk is
// mended. Lost entries are filled, replaced, cut and restarted over as the workload goes on.
func TestTwinUnderDamage(t *testing.T) {
	lost, damaged, filled := 0, 0, uint64(0)
	for seed := range uint64(30) {
		disk := vfs.NewMem()
		o := &workload{rng: rand.New(rand.NewPCG(seed, 4)), truth: map[raft.Index]raft.Entry{}}
		ever := map[raft.Position]uint32{}
		for range 10 {
			l, _, err := Open(disk, "log", Options{SegmentBytes: 4096, Create: true})
			must(t, err)
			for range 8 {
				must(t, o.step(l))
				checkRead(t, l, o)
				for _, e := range o.w.entries {
					ever[e.Position()] = e.Sum
				}
			}
			filled += l.Stats().Repaired
			must(t, l.Seal(), l.Close())
			sound := imageOf(t, disk)
			disk = o.damage(sound).disk(t)
			l, got, err := Open(disk, "log", Options{SegmentBytes: 4096})
			if err != nil {
				if !errors.Is(err, ErrCorrupt) {
					t.Fatalf("seed %d: %v", seed, err)
				}
				damaged++
				disk = sound.disk(t)
				continue
			}
			lost += o.learn(got, ever)
			o.w.found(t, got, "seed %d", seed)
			must(t, l.Close())
		}
	}
	if lost < 50 || damaged > 200 || filled < 50 {
		t.Errorf("%d entries lost, %d filled, %d times damaged", lost, filled, damaged)
	}
}

// damage flips a bit somewhere in a write that is not the last.
func (o *workload) damage(sound image) image {
	im := sound.clone()
	names := slices.Sorted(maps.Keys(im))
	number, _ := parseSegmentName(names[o.rng.IntN(len(names))])
	s := &segment{number: number, data: im[segmentName(number)]}
	var ends []int64
	s.heads(segmentHeader, func(at int64, _ head, _ []byte) bool {
		ends = append(ends, at)
		return true
	})
	if n := len(ends); n > 1 {
		s.data[segmentHeader+o.rng.Int64N(ends[n-1]-segmentHeader)] ^= 1 << o.rng.IntN(8)
	}
	return im
}

// learn takes over which entries are lost, where they are those of the twin, and an older base where a cut is lost and
// everything behind the older one is still there.
func (o *workload) learn(got raft.Restored, ever map[raft.Position]uint32) (lost int) {
	if n := int(o.w.base.Position.Index) - int(got.Base.Position.Index); n > 0 && n <= len(got.Entries) {
		for _, e := range got.Entries[:n] {
			if sum, ok := ever[e.Position()]; !ok || sum != e.Sum {
				return 0
			}
		}
		o.w.base, o.w.entries = got.Base, append(slices.Clone(got.Entries[:n]), o.w.entries...)
	}
	for _, e := range got.Entries {
		i := int(e.Index) - int(o.w.base.Position.Index) - 1
		if i < 0 || i >= len(o.w.entries) || !e.Lost() || o.w.entries[i].Lost() {
			continue
		}
		if was := o.w.entries[i]; was.Position() == e.Position() && was.Sum == e.Sum {
			o.truth[e.Index] = was
			o.w.entries[i] = e
			lost++
		}
	}
	return lost
}

func checkRead(t *testing.T, l *Log, o *workload) {
	t.Helper()
	if _, err := l.Read(o.w.base.Position.Index, 1); !errors.Is(err, ErrCut) {
		t.Fatalf("read at the cut: %v, want ErrCut", err)
	}
	if len(o.w.entries) == 0 {
		return
	}
	k := o.rng.IntN(len(o.w.entries))
	span, err := l.Read(o.w.entries[k].Index, 500)
	if o.w.entries[k].Lost() {
		if !errors.Is(err, ErrLost) {
			t.Fatalf("read of lost entry %d: %v, want ErrLost", o.w.entries[k].Index, err)
		}
		return
	}
	must(t, err)
	prev := o.w.base.Position
	if k > 0 {
		prev = o.w.entries[k-1].Position()
	}
	if span.Prev != prev || len(span.Entries) == 0 {
		t.Fatalf("read from %d: prev %v, want %v, %d entries", o.w.entries[k].Index, span.Prev, prev, len(span.Entries))
	}
	for i, e := range span.Entries {
		if want := o.w.entries[k+i]; e.Position() != want.Position() || e.Sum != want.Sum || !bytes.Equal(e.Payload, want.Payload) {
			t.Fatalf("read entry %v, want %v", e.Position(), want.Position())
		}
	}
}

type noSync struct{ vfs.File }

func (noSync) Sync() error { return errors.New("power is lost here") }

// TestFailedSyncIsFinal: after a failed fsync nothing is tried again.
func TestFailedSyncIsFinal(t *testing.T) {
	l, _, err := Open(vfs.NewMem(), "log", Options{SegmentBytes: 4096, Create: true})
	if err != nil {
		t.Fatal(err)
	}
	b := []raft.Batch{{Entries: []raft.Entry{entry(1, 1, "x")}}}
	if err := l.Append(b); err != nil {
		t.Fatal(err)
	}
	l.file = noSync{l.file}
	if err := l.Append([]raft.Batch{{Entries: []raft.Entry{entry(2, 1, "y")}}}); err == nil {
		t.Fatal("append with a failing fsync succeeded")
	}
	l.file = l.file.(noSync).File
	if err := l.Append([]raft.Batch{{Entries: []raft.Entry{entry(2, 1, "y")}}}); err == nil {
		t.Fatal("append after a failed fsync succeeded")
	}
}

// TestGapIsRefused hands over an entry that follows nothing: it must never reach the disk, where it would make the
// whole log unreadable.
func TestGapIsRefused(t *testing.T) {
	disk := vfs.NewMem()
	l, _, err := Open(disk, "log", Options{Create: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Append([]raft.Batch{{Entries: []raft.Entry{entry(1, 1, "a"), entry(2, 1, "b")}}}); err != nil {
		t.Fatal(err)
	}
	if err := l.Append([]raft.Batch{{}, {Entries: []raft.Entry{entry(4, 1, "d")}}}); !errors.Is(err, raft.ErrMalformed) {
		t.Errorf("a gap is taken: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l, got, err := Open(disk, "log", Options{})
	if err != nil || len(got.Entries) != 2 {
		t.Fatalf("the log is not what it was: %d entries, %v", len(got.Entries), err)
	}
	defer l.Close()
	if err := l.Append([]raft.Batch{{Entries: []raft.Entry{entry(4, 1, "d")}}}); !errors.Is(err, raft.ErrMalformed) {
		t.Errorf("a gap is taken after a restart: %v", err)
	}
}

func TestMissing(t *testing.T) {
	if _, _, err := Open(vfs.NewMem(), "log", Options{}); !errors.Is(err, ErrMissing) {
		t.Fatalf("open of nothing: %v, want ErrMissing", err)
	}
}

// TestGolden pins two segments: writes with every kind of record, and what stands where a segment ends.
func TestGolden(t *testing.T) {
	disk := vfs.NewMem()
	l, _, err := Open(disk, "log", Options{SegmentBytes: 1024, Create: true})
	must(t, err)
	one, two := entry(1, 1, "put"), entry(2, 1, "another")
	must(t, l.Append([]raft.Batch{{Hard: &raft.HardState{Term: 1, Vote: 7, Commit: 0}, Entries: []raft.Entry{one, two}}}))
	at := l.offset
	must(t, l.Seal(), l.Close())
	files := imageOf(t, disk)
	files[segmentName(1)][at-8] ^= 1 // the second entry
	disk = files.disk(t)
	l, got, err := Open(disk, "log", Options{SegmentBytes: 1024})
	must(t, err)
	if len(got.Entries) != 2 || !got.Entries[1].Lost() {
		t.Fatalf("found %v", list(got.Entries))
	}
	base := baseAt(raft.Position{Index: 9, Term: 2})
	must(t, l.Append([]raft.Batch{{Fills: []raft.Entry{one, two}}}), l.Append([]raft.Batch{{Base: &base, Entries: []raft.Entry{entry(10, 2, "x")}}}))
	must(t, l.Seal(), l.Close())
	files = imageOf(t, disk)
	var dump strings.Builder
	for _, name := range slices.Sorted(maps.Keys(files)) {
		fmt.Fprintf(&dump, "%s, %d bytes\n%s", name, len(files[name]), hex.Dump(bytes.TrimRight(files[name], "\x00")))
	}
	want, err := os.ReadFile("testdata/segments.hex")
	if err != nil || dump.String() != string(want) {
		t.Fatalf("the format has changed (version 2 is frozen):\n%s\nwant:\n%s", dump.String(), want)
	}
}

// TestOldVersion: a log of version 1 is refused for what it is, not as damage.
func TestOldVersion(t *testing.T) {
	b := make([]byte, 4096)
	copy(b, "RAFTWAL\x01\x01\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00")
	binary.LittleEndian.PutUint32(b[24:], crc32.Checksum(b[:24], castagnoli()))
	disk := image{segmentName(1): b}.disk(t)
	if _, _, err := Open(disk, "log", Options{}); err == nil || errors.Is(err, ErrCorrupt) || !contains(err, "format version 1") {
		t.Fatalf("a log of version 1: %v", err)
	}
}

// TestDamagedVersion: a version byte that has been flipped is damage, whatever version it reads as.
func TestDamagedVersion(t *testing.T) {
	whole := appendSegmentHeader(nil, header{number: 1, first: 1, size: 4096})
	for bit := range 8 {
		b := bytes.Clone(whole)
		b[7] ^= 1 << bit
		if _, ok, other := readSegmentHeader(b, 1); ok || other != 0 {
			t.Errorf("version byte %#02x: verifies %v, version %d", b[7], ok, other)
		}
	}
}

// TestFillIsRefused: what is not lost, or is another entry, never reaches the disk as a fill.
func TestFillIsRefused(t *testing.T) {
	for name, spoil := range map[string]func([]raft.Batch) []raft.Batch{
		"whole":    func([]raft.Batch) []raft.Batch { return []raft.Batch{{Fills: []raft.Entry{entry(1, 1, "one")}}} },
		"past end": func([]raft.Batch) []raft.Batch { return []raft.Batch{{Fills: []raft.Entry{entry(99, 1, "one")}}} },
		"content":  func(b []raft.Batch) []raft.Batch { b[0].Fills[0].Payload = []byte("x"); return b },
		"sum":      func(b []raft.Batch) []raft.Batch { b[0].Fills[0] = entry(3, 1, "x"); return b },
		"term":     func(b []raft.Batch) []raft.Batch { b[0].Fills[0] = entry(3, 2, "three"); return b },
		"order":    func(b []raft.Batch) []raft.Batch { slices.Reverse(b[0].Fills); return b },
		"twice":    func(b []raft.Batch) []raft.Batch { b[0].Fills[1] = b[0].Fills[0]; return b },
		"replaced": func(b []raft.Batch) []raft.Batch { b[0].Entries = []raft.Entry{entry(4, 9, "y")}; return b },
		"restarted": func(b []raft.Batch) []raft.Batch {
			base := baseAt(raft.Position{Index: 50, Term: 9})
			b[0].Base = &base
			return b
		},
	} {
		o := &workload{rng: rand.New(rand.NewPCG(1, 1)), truth: map[raft.Index]raft.Entry{}}
		disk := o.lose(t).disk(t)
		l, _, err := Open(disk, "log", Options{SegmentBytes: 4096})
		must(t, err)
		before := imageOf(t, disk)
		fills := []raft.Batch{{Fills: []raft.Entry{o.truth[3], o.truth[4]}}}
		if err := l.Append(spoil(fills)); !errors.Is(err, raft.ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
		if !imageOf(t, disk).equal(before) {
			t.Errorf("%s: something was written", name)
		}
		must(t, l.Close())
	}
}

func BenchmarkAppend(b *testing.B) {
	for _, group := range []int{1, 16, 64} {
		b.Run(fmt.Sprint("entries=", group), func(b *testing.B) {
			l, _, err := Open(vfs.OS(), b.TempDir(), Options{Create: true})
			if err != nil {
				b.Fatal(err)
			}
			defer l.Close()
			next := 1
			payload := string(make([]byte, 300))
			b.ReportAllocs()
			for b.Loop() {
				batch := raft.Batch{}
				for range group {
					batch.Entries = append(batch.Entries, entry(next, 1, payload))
					next++
				}
				if err := l.Append([]raft.Batch{batch}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
