package wal

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"syscall"
	"testing"

	"raftsman.dev/node/raft"
	"raftsman.dev/node/vfs"
)

// damages are the ways in which a stretch of a log is spoiled.
func damages() map[string]func(*wrecked, stretch, *rand.Rand) {
	block := func(x *wrecked, s stretch, size int64) []byte {
		b := x.files[segmentName(s.segment)]
		from := s.from / size * size
		return b[from:min(from+size, int64(len(b)))]
	}
	return map[string]func(*wrecked, stretch, *rand.Rand){
		"flip": func(x *wrecked, s stretch, rng *rand.Rand) {
			x.files[segmentName(s.segment)][s.from+rng.Int64N(s.to-s.from)] ^= 1 << rng.IntN(8)
		},
		"zero 512":  func(x *wrecked, s stretch, _ *rand.Rand) { clear(block(x, s, 512)) },
		"zero 4096": func(x *wrecked, s stretch, _ *rand.Rand) { clear(block(x, s, 4096)) },
		"zero part": func(x *wrecked, s stretch, _ *rand.Rand) { clear(x.files[segmentName(s.segment)][s.from:s.to]) },
		"misdirect": func(x *wrecked, s stretch, rng *rand.Rand) {
			parts := x.tp.parts()
			other := parts[rng.IntN(len(parts))]
			copy(x.files[segmentName(s.segment)][s.from:], x.tp.files[segmentName(other.segment)][other.from:other.to])
		},
		"truncate": func(x *wrecked, s stretch, rng *rand.Rand) {
			name := segmentName(s.segment)
			x.files[name] = x.files[name][:s.from+rng.Int64N(s.to-s.from)]
		},
		"remove": func(x *wrecked, s stretch, _ *rand.Rand) { delete(x.files, segmentName(s.segment)) },
		"unreadable": func(x *wrecked, s stretch, _ *rand.Rand) {
			x.holes = append(x.holes, stretch{s.segment, s.from / pageBytes * pageBytes, (s.to-1)/pageBytes*pageBytes + pageBytes})
		},
		"unreadable file": func(x *wrecked, s stretch, _ *rand.Rand) {
			x.holes = append(x.holes, stretch{s.segment, 0, math.MaxInt64})
		},
	}
}

// TestDamage spoils every record of logs whose every write is known, in every way, and demands what the naive reading of
// the rules says: the log as it was, the log with what is lost of it, or damage and a disk that has not been touched.
func TestDamage(t *testing.T) {
	seen := map[string]int{}
	for seed := range uint64(3) {
		tp := recordTape(t, seed, 50)
		for at, part := range tp.parts() {
			for name, spoil := range damages() {
				if whole := name == "remove" || name == "unreadable file"; whole && part.from != 0 {
					continue
				}
				rng := rand.New(rand.NewPCG(seed, uint64(at)))
				x := &wrecked{tp: tp, files: tp.files.clone()}
				spoil(x, part, rng)
				seen[name+": "+x.check(t, raft.Base{}, fmt.Sprintf("seed %d, %s at %v", seed, name, part))]++
				covered := tp.cover(rng)
				seen[name+", covered: "+x.check(t, covered, fmt.Sprintf("seed %d, %s at %v, covered %v", seed, name, part, covered.Position))]++
			}
		}
	}
	for _, must := range []string{"flip: whole", "flip: lost", "zero 512: damage", "truncate: damage", "remove: damage", "zero 512, covered: cut", "remove, covered: cut", "unreadable: lost"} {
		if seen[must] == 0 {
			t.Errorf("never seen: %s", must)
		}
	}
}

// cover draws a position that a store may hold: one of the final log's.
func (tp *tape) cover(rng *rand.Rand) raft.Base {
	w := tp.states[tp.writes[len(tp.writes)-1].head.number]
	if len(w.entries) == 0 {
		return w.base
	}
	return baseAt(w.entries[rng.IntN(len(w.entries))].Position())
}

// disk is the damaged one; what cannot be read answers so.
func (x *wrecked) disk(t *testing.T) *vfs.Faulty {
	t.Helper()
	var rules []vfs.Rule
	for _, h := range x.holes {
		r := vfs.Rule{Ops: vfs.OpRead, Path: segmentName(h.segment), From: h.from, To: h.to, Err: syscall.EIO}
		if h.to == math.MaxInt64 {
			r.Ops |= vfs.OpOpen
		}
		rules = append(rules, r)
	}
	return vfs.NewFaulty(x.files.disk(t), rules...)
}

// check opens the damaged log, holds it to the verdict, and goes on with what was found: again, filled, written on.
func (x *wrecked) check(t *testing.T, covered raft.Base, what string) string {
	t.Helper()
	want := x.judge(covered)
	disk := x.disk(t)
	opts := Options{SegmentBytes: 4096, Covered: covered}
	l, got, err := Open(disk, "log", opts)
	if want.damaged || err != nil {
		if !want.damaged || !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrMissing) {
			t.Fatalf("%s: %v, damaged should be %v", what, err, want.damaged)
		}
		disk.Set()
		if !imageOf(t, disk).equal(x.files) {
			t.Fatalf("%s: found damaged, and the disk was changed", what)
		}
		return "damage"
	}
	want.w.found(t, got, "%s", what)
	outcome := "whole"
	switch {
	case slices.ContainsFunc(want.w.entries, func(e raft.Entry) bool { return e.Lost() }):
		outcome = "lost"
	case want.w.base.Position != x.tp.states[x.tp.writes[len(x.tp.writes)-1].head.number].base.Position && want.w.base.Position == covered.Position:
		outcome = "cut"
	}
	x.goOn(t, disk, l, want.w, opts, what)
	return outcome
}

// goOn opens the log again, fills what is lost in two steps, and appends; each must be found after a loss of power.
func (x *wrecked) goOn(t *testing.T, disk *vfs.Faulty, l *Log, w twin, opts Options, what string) {
	t.Helper()
	var fills []raft.Entry
	truth := x.truth()
	for _, e := range w.entries {
		if e.Lost() {
			fills = append(fills, truth[e.Position()])
		}
	}
	if got := l.Stats().Lost; got != uint64(len(fills)) {
		t.Fatalf("%s: %d lost entries are counted of %d", what, got, len(fills))
	}
	half := len(fills) / 2
	last := w.last()
	for step, b := range []raft.Batch{
		{}, {Fills: fills[half:]}, {Fills: fills[:half]}, {Entries: []raft.Entry{entry(int(last.Index)+1, int(last.Term)+1, "after")}},
	} {
		if !b.Empty() {
			w.apply(b)
			must(t, l.Append([]raft.Batch{b}))
		}
		must(t, l.Close())
		var got raft.Restored
		var err error
		if l, got, err = Open(disk, "log", opts); err != nil {
			t.Fatalf("%s: then, step %d: %v", what, step, err)
		}
		w.found(t, got, "%s: then, step %d", what, step)
	}
	must(t, l.Close())
}

// truth is every entry that the log ever held.
func (x *wrecked) truth() map[raft.Position]raft.Entry {
	all := map[raft.Position]raft.Entry{}
	for _, state := range x.tp.states {
		for _, e := range state.entries {
			all[e.Position()] = e
		}
	}
	return all
}

// TestPowerLossInRepair takes the power at every operation with which Open changes a damaged disk: the next Open must find
// what the first would have.
func TestPowerLossInRepair(t *testing.T) {
	tp := recordTape(t, 7, 40)
	repaired := 0
	for at, part := range tp.parts() {
		for name, spoil := range damages() {
			rng := rand.New(rand.NewPCG(7, uint64(at)))
			if at%3 != 0 {
				continue
			}
			x := &wrecked{tp: tp, files: tp.files.clone()}
			spoil(x, part, rng)
			opts := Options{SegmentBytes: 4096, Covered: tp.cover(rng)}
			want := x.judge(opts.Covered)
			if len(x.holes) > 0 || want.damaged {
				continue
			}
			for after := 0; ; after++ {
				disk := x.files.disk(t)
				l, got, err := Open(vfs.NewFaulty(disk, vfs.Rule{Ops: vfs.OpChange, After: after, Err: errPower, Torn: true}), "log", opts)
				if err == nil {
					want.w.found(t, got, "%s at %v", name, part)
					must(t, l.Close())
					repaired += after
					break
				}
				again := disk.Crash(rng)
				l, got, err = Open(again, "log", opts)
				if err != nil {
					t.Fatalf("%s at %v, covered %v, power lost after %d operations: %v", name, part, opts.Covered.Position, after, err)
				}
				want.w.found(t, got, "%s at %v, covered %v, power lost after %d operations", name, part, opts.Covered.Position, after)
				must(t, l.Close())
			}
		}
	}
	if repaired < 100 {
		t.Errorf("only %d operations to lose power at", repaired)
	}
}
