package wal

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"raftsman.dev/node/raft"
	"raftsman.dev/node/vfs"
)

func entry(i, t int, payload string) raft.Entry {
	e := raft.Entry{Index: raft.Index(i), Term: raft.Term(t), Kind: raft.EntryCommand, Payload: []byte(payload)}
	e.Seal()
	return e
}

// twin is the log as a slice: what Open must give back.
type twin struct {
	base    raft.Base
	hard    raft.HardState
	entries []raft.Entry
}

func (w twin) clone() twin {
	w.entries = append([]raft.Entry(nil), w.entries...)
	return w
}

func (w *twin) apply(b raft.Batch) {
	if b.Base != nil {
		w.base, w.entries = *b.Base, nil
	}
	if b.Hard != nil {
		w.hard = *b.Hard
	}
	if len(b.Entries) > 0 {
		keep := b.Entries[0].Index - w.base.Position.Index - 1
		w.entries = append(append([]raft.Entry(nil), w.entries[:keep]...), b.Entries...)
	}
}

func (w *twin) last() raft.Position {
	if n := len(w.entries); n > 0 {
		return w.entries[n-1].Position()
	}
	return w.base.Position
}

func (w twin) equal(r raft.Restored) bool {
	if w.base.Position != r.Base.Position || w.hard != r.Hard || len(w.entries) != len(r.Entries) {
		return false
	}
	for i := range w.entries {
		a, b := w.entries[i], r.Entries[i]
		if a.Position() != b.Position() || a.Sum != b.Sum || !bytes.Equal(a.Payload, b.Payload) {
			return false
		}
	}
	return true
}

// workload drives a log and its twin; after each durable step it reports the twin's state.
type workload struct {
	rng   *rand.Rand
	w     twin
	tried twin // what a step that failed would have made of it
}

func (o *workload) batch() raft.Batch {
	var b raft.Batch
	term := max(1, int(o.w.last().Term))
	switch dice := o.rng.IntN(20); {
	case dice == 0:
		p := o.w.last()
		b.Base = &raft.Base{Position: raft.Position{Index: p.Index + 5, Term: p.Term + 1}}
		b.Hard = &raft.HardState{Term: p.Term + 1, Commit: p.Index + 5}
		return b
	case dice < 4:
		b.Hard = &raft.HardState{Term: o.w.hard.Term + 1, Vote: raft.MemberID(o.rng.Uint64())}
		return b
	}
	from := int(o.w.last().Index) + 1
	if n := len(o.w.entries); n > 2 && o.rng.IntN(6) == 0 {
		from -= o.rng.IntN(n - 1)
		term++
	}
	for i := range 1 + o.rng.IntN(4) {
		b.Entries = append(b.Entries, entry(from+i, term, string(bytes.Repeat([]byte{byte(o.rng.IntN(256))}, o.rng.IntN(300)))))
	}
	return b
}

// step makes one append, cut or seal; done reports whether it changed what is durable.
func (o *workload) step(l *Log) error {
	switch dice := o.rng.IntN(12); {
	case dice == 0 && len(o.w.entries) > 4:
		at := o.w.entries[o.rng.IntN(len(o.w.entries)-2)].Position()
		base := raft.Base{Position: at}
		before := o.w.clone()
		o.w.entries = o.w.entries[at.Index-o.w.base.Position.Index:]
		o.w.base = base
		if err := l.Cut(base); err != nil {
			o.tried, o.w = o.w, before
			return err
		}
		return nil
	case dice == 1:
		return l.Seal()
	}
	var batches []raft.Batch
	before := o.w.clone()
	for range 1 + o.rng.IntN(3) {
		b := o.batch()
		o.w.apply(b)
		batches = append(batches, b)
	}
	if err := l.Append(batches); err != nil {
		o.tried, o.w = o.w, before
		return err
	}
	return nil
}

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
	if err != nil {
		t.Fatal(err)
	}
	prev := o.w.base.Position
	if k > 0 {
		prev = o.w.entries[k-1].Position()
	}
	if span.Prev != prev || len(span.Entries) == 0 {
		t.Fatalf("read from %d: prev %v, want %v, %d entries", o.w.entries[k].Index, span.Prev, prev, len(span.Entries))
	}
	for i, e := range span.Entries {
		if want := o.w.entries[k+i]; e.Position() != want.Position() || e.Sum != want.Sum {
			t.Fatalf("read entry %v, want %v", e.Position(), want.Position())
		}
	}
}

// TestPowerLoss loses power after every step of a workload, several ways each, and demands: what was
// acknowledged is there, and nothing that was never asked for.
func TestPowerLoss(t *testing.T) {
	for seed := range uint64(12) {
		for steps := range 40 {
			disk := vfs.NewMem()
			o := &workload{rng: rand.New(rand.NewPCG(seed, 2))}
			l, _, err := Open(disk, "log", Options{SegmentBytes: 4096, Create: true})
			if err != nil {
				t.Fatal(err)
			}
			for range steps {
				if err := o.step(l); err != nil {
					t.Fatal(err)
				}
			}
			// One more write that reaches the page cache and never the disk.
			l.file = noSync{l.file}
			acked := o.w.clone()
			o.tried = acked
			if err := o.step(l); err == nil { // it needed no sync, or a segment of its own
				acked, o.tried = o.w, o.w
			}
			for coin := range uint64(6) {
				after := disk.Crash(rand.New(rand.NewPCG(seed, coin)))
				again, got, err := Open(after, "log", Options{SegmentBytes: 4096, Create: steps == 0})
				if err != nil {
					t.Fatalf("seed %d, %d steps, coin %d: %v", seed, steps, coin, err)
				}
				if !acked.equal(got) && !o.tried.equal(got) {
					t.Fatalf("seed %d, %d steps, coin %d: found %v %v with %d entries; acknowledged were %v %v with %d", seed, steps, coin, got.Base.Position, got.Hard, len(got.Entries), acked.base.Position, acked.hard, len(acked.entries))
				}
				resume(t, after, again, got)
			}
		}
	}
}

// resume writes on after a recovery and reads it back after another loss of power.
func resume(t *testing.T, disk *vfs.Mem, l *Log, got raft.Restored) {
	t.Helper()
	w := twin{base: got.Base, hard: got.Hard, entries: got.Entries}
	b := raft.Batch{Entries: []raft.Entry{entry(int(w.last().Index)+1, int(w.last().Term)+1, "after")}}
	w.apply(b)
	if err := l.Append([]raft.Batch{b}); err != nil {
		t.Fatal(err)
	}
	_, again, err := Open(disk.Crash(rand.New(rand.NewPCG(1, 1))), "log", Options{SegmentBytes: 4096})
	if err != nil {
		t.Fatal(err)
	}
	if !w.equal(again) {
		t.Fatalf("after recovery and one append: found %d entries, want %d", len(again.Entries), len(w.entries))
	}
}

type noSync struct{ vfs.File }

func (noSync) Sync() error { return errors.New("power is lost here") }

// TestDamage flips every byte of a small log whose writes are all proven: each flip is found, or harmless.
func TestDamage(t *testing.T) {
	dir := t.TempDir()
	l, _, err := Open(vfs.OS(), dir, Options{SegmentBytes: 2048, Create: true})
	if err != nil {
		t.Fatal(err)
	}
	var w twin
	for i := range 6 {
		b := raft.Batch{Hard: &raft.HardState{Term: 1}, Entries: []raft.Entry{entry(i+1, 1, fmt.Sprint("payload ", i))}}
		w.apply(b)
		if err := l.Append([]raft.Batch{b}); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(l.Seal(), l.Close()); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, segmentName(1))
	clean, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	seal := bytes.LastIndexFunc(clean, func(r rune) bool { return r != 0 })
	found := 0
	for at := range seal + 64 {
		bad := bytes.Clone(clean)
		bad[at] ^= 0x40
		if err := os.WriteFile(name, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		l, got, err := Open(vfs.OS(), dir, Options{SegmentBytes: 2048})
		switch {
		case err == nil:
			if !w.equal(got) {
				t.Fatalf("byte %d flipped: opened with %d entries of %d and no error", at, len(got.Entries), len(w.entries))
			}
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
		case errors.Is(err, ErrCorrupt):
			found++
		default:
			if at != 7 { // the version byte has an error of its own
				t.Fatalf("byte %d flipped: %v", at, err)
			}
		}
	}
	if found < 300 {
		t.Fatalf("only %d flips were found damaged", found)
	}
}

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

// TestGolden pins the first bytes of a segment.
func TestGolden(t *testing.T) {
	disk := vfs.NewMem()
	l, _, err := Open(disk, "log", Options{SegmentBytes: 512, Create: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Append([]raft.Batch{{Hard: &raft.HardState{Term: 1, Vote: 7, Commit: 0}, Entries: []raft.Entry{entry(1, 1, "put")}}}); err != nil {
		t.Fatal(err)
	}
	f, err := disk.Open(filepath.Join("log", segmentName(1)))
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, l.offset)
	if _, err := f.ReadAt(b, 0); err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile("testdata/segment.hex")
	if err != nil {
		t.Fatal(err)
	}
	if got := hex.Dump(b); got != string(want) {
		t.Fatalf("the format has changed (version 1 is frozen):\n%s\nwant:\n%s", got, want)
	}
}

func FuzzOpen(f *testing.F) {
	disk := vfs.NewMem()
	l, _, err := Open(disk, "log", Options{SegmentBytes: 1024, Create: true})
	if err != nil {
		f.Fatal(err)
	}
	if err := l.Append([]raft.Batch{{Entries: []raft.Entry{entry(1, 1, "seed")}}}); err != nil {
		f.Fatal(err)
	}
	b := make([]byte, 1024)
	file, _ := disk.Open(filepath.Join("log", segmentName(1)))
	_, _ = file.ReadAt(b, 0)
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		disk := vfs.NewMem()
		if err := disk.MkdirAll("log"); err != nil {
			t.Fatal(err)
		}
		file, err := disk.Create(filepath.Join("log", segmentName(1)))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := file.WriteAt(b, 0); err != nil {
			t.Fatal(err)
		}
		if l, _, err := Open(disk, "log", Options{SegmentBytes: 1024}); err == nil {
			if err := l.Append([]raft.Batch{{Hard: &raft.HardState{Term: 9}}}); err != nil {
				t.Fatal(err)
			}
		}
	})
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
