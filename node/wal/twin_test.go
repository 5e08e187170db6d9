package wal

import (
	"bytes"
	"errors"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"raftsman.dev/node/raft"
	"raftsman.dev/node/vfs"
)

func entry(i, t int, payload string) raft.Entry {
	e := raft.Entry{Index: raft.Index(i), Term: raft.Term(t), Kind: raft.EntryCommand, Payload: []byte(payload)}
	e.Seal()
	return e
}

func baseAt(p raft.Position) raft.Base {
	return raft.Base{Position: p, Config: p.Index, Membership: raft.Membership{Members: []raft.Member{{ID: 7, Name: "m", Seat: raft.SeatVoter}}}}
}

// twin is the log as a slice: what Open must give back. Entries may be lost.
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
	for _, e := range b.Fills {
		w.entries = slices.Clone(w.entries)
		w.entries[e.Index-w.base.Position.Index-1] = e
	}
}

func (w *twin) last() raft.Position {
	if n := len(w.entries); n > 0 {
		return w.entries[n-1].Position()
	}
	return w.base.Position
}

func (w twin) equal(r raft.Restored) bool {
	if !reflect.DeepEqual(w.base, r.Base) || w.hard != r.Hard || len(w.entries) != len(r.Entries) {
		return false
	}
	for i := range w.entries {
		a, b := w.entries[i], r.Entries[i]
		if a.Position() != b.Position() || a.Sum != b.Sum || a.Kind != b.Kind || !bytes.Equal(a.Payload, b.Payload) {
			return false
		}
	}
	return true
}

// workload drives a log and its twin; after each durable step it reports the twin's state.
type workload struct {
	rng   *rand.Rand
	w     twin
	tried twin                      // what a step that failed would have made of it
	truth map[raft.Index]raft.Entry // of what is lost
}

func (o *workload) batch() raft.Batch {
	var b raft.Batch
	term := max(1, int(o.w.last().Term))
	dice := o.rng.IntN(40)
	switch {
	case dice == 0:
		p := o.w.last()
		base := baseAt(raft.Position{Index: p.Index + 5, Term: p.Term + 1})
		b.Base = &base
		b.Hard = &raft.HardState{Term: p.Term + 1, Commit: p.Index + 5}
		return b
	case dice < 7:
		b.Hard = &raft.HardState{Term: o.w.hard.Term + 1, Vote: raft.MemberID(o.rng.Uint64())}
		return b
	}
	if fills := o.fills(); len(fills) > 0 && dice < 25 {
		b.Fills = fills
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

// fills are some of the lost entries.
func (o *workload) fills() []raft.Entry {
	var fills []raft.Entry
	for _, e := range o.w.entries {
		if e.Lost() && o.rng.IntN(3) > 0 {
			fills = append(fills, o.truth[e.Index])
		}
	}
	return fills
}

// step makes one append, cut or seal, of the log and of the twin. After an error the twin is as before, and tried
// as it would have become.
func (o *workload) step(l *Log) error {
	switch dice := o.rng.IntN(12); {
	case dice == 0 && len(o.w.entries) > 4:
		at := o.w.entries[o.rng.IntN(len(o.w.entries)-2)].Position()
		base := baseAt(at)
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

// found checks what Open gave against the twin.
func (w twin) found(t *testing.T, r raft.Restored, format string, args ...any) {
	t.Helper()
	if w.equal(r) {
		return
	}
	t.Errorf(format, args...)
	t.Fatalf("found %v %+v %v, want %v %+v %v", r.Base.Position, r.Hard, list(r.Entries), w.base.Position, w.hard, list(w.entries))
}

// list writes entries down shortly: lost ones in brackets.
func list(entries []raft.Entry) []string {
	var all []string
	for _, e := range entries {
		s := e.Position().String()
		if e.Lost() {
			s = "[" + s + "]"
		}
		all = append(all, s)
	}
	return all
}

// image is a directory of files as bytes.
type image map[string][]byte

func imageOf(t *testing.T, disk vfs.FS) image {
	t.Helper()
	names, err := disk.List("log")
	if err != nil {
		t.Fatal(err)
	}
	im := image{}
	for _, name := range names {
		b, err := vfs.ReadFile(disk, "log/"+name, 1<<30)
		if err != nil {
			t.Fatal(err)
		}
		im[name] = b
	}
	return im
}

func (im image) clone() image {
	c := image{}
	for name, b := range im {
		c[name] = bytes.Clone(b)
	}
	return c
}

func (im image) equal(other image) bool {
	return maps.EqualFunc(im, other, bytes.Equal)
}

// disk is one with these files, durable.
func (im image) disk(t *testing.T) *vfs.Mem {
	t.Helper()
	disk := vfs.NewMem()
	must(t, disk.MkdirAll("log"))
	for _, name := range slices.Sorted(maps.Keys(im)) {
		f, err := disk.Create("log/" + name)
		must(t, err)
		_, err = f.WriteAt(im[name], 0)
		must(t, err, f.Sync(), f.Close())
	}
	must(t, disk.SyncDir("log"), disk.SyncDir("."))
	return disk
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

func contains(err error, s string) bool { return err != nil && strings.Contains(err.Error(), s) }
