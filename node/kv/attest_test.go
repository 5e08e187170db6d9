package kv

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// attestEntries are n entries of an ordinary load, from index 1 on: puts, deletes, and entries without a command.
func attestEntries(n int) []Entry {
	var entries []Entry
	for i := uint64(1); i <= uint64(n); i++ {
		e := Entry{Index: i, Term: 1}
		op := Op{Put: &PutRequest{Key: fmt.Appendf(nil, "k%d", i%97), Value: fmt.Append(nil, i)}}
		if i%5 == 0 {
			op = Op{Delete: &DeleteRequest{Key: fmt.Appendf(nil, "k%d", i%89)}}
		}
		if i%7 != 0 {
			c := Command{ID: CommandID{Origin: 1, Boot: 1, Seq: i}, Floor: i, Txn: Txn{Success: []Op{op}}}
			e.Command = c.AppendTo(nil)
		}
		entries = append(entries, e)
	}
	return entries
}

// feed applies entries in batches of random size and returns the points passed.
func feed(t *testing.T, s *Store, entries []Entry, rng *rand.Rand) []Point {
	t.Helper()
	var passed []Point
	for len(entries) > 0 {
		n := min(len(entries), 1+rng.IntN(1500))
		if _, err := s.Apply(entries[:n], 0, nil); err != nil {
			t.Fatal(err)
		}
		entries = entries[n:]
		passed = append(passed, s.TakePoints()...)
	}
	return passed
}

// TestPoints: points stand at the same indexes with the same sums, whatever the batches were and wherever the store
// was started again or taken over as a snapshot.
func TestPoints(t *testing.T) {
	entries := attestEntries(4*PointEvery + 10)
	one := mustOpen(t, "one", small(vfs.NewMem()))
	want := feed(t, one, entries, rand.New(rand.NewPCG(1, 1)))
	if len(want) != 4 || want[0].Index != PointEvery || want[3].Index != 4*PointEvery || want[0].Effects == want[1].Effects {
		t.Fatalf("points %v", want)
	}
	must(t, one.Close())
	for seed := range uint64(4) {
		rng := rand.New(rand.NewPCG(seed, 2))
		fs := vfs.NewMem()
		s := mustOpen(t, "s", small(fs))
		at := PointEvery + rng.IntN(PointEvery)
		if seed == 0 {
			at = 2 * PointEvery // exactly at a point: it is there again after the start
		}
		got := feed(t, s, entries[:at], rng)
		must(t, s.Flush())
		must(t, s.Close())
		s = mustOpen(t, "s", small(fs))
		if again := s.TakePoints(); seed == 0 != (len(again) == 1) || len(again) == 1 && again[0] != want[1] {
			t.Errorf("seed %d: opened at %d with points %v", seed, at, again)
		}
		got = append(got, feed(t, s, entries[at:], rng)...)
		if !slices.Equal(got, want) {
			t.Errorf("seed %d: points %v, want %v", seed, got, want)
		}
		must(t, s.Close())
	}
}

// TestPointsOfASnapshot: a store that took over another's state passes the same points from there on.
func TestPointsOfASnapshot(t *testing.T) {
	entries := attestEntries(3 * PointEvery)
	rng := rand.New(rand.NewPCG(1, 3))
	for _, at := range []int{2*PointEvery - 1, 2 * PointEvery} {
		one, two := mustOpen(t, "one", small(vfs.NewMem())), mustOpen(t, "two", small(vfs.NewMem()))
		passed := feed(t, one, entries[:at], rng)
		feed(t, two, entries[:10], rng)
		image, err := two.BeginImport()
		must(t, err)
		v := one.View()
		must(t, v.Export(image.Add))
		must(t, v.Close())
		_, err = image.Finish()
		must(t, err)
		must(t, two.Switch(image))
		got := two.TakePoints()
		if at == 2*PointEvery && (len(got) != 1 || got[0] != passed[1]) || at < 2*PointEvery && len(got) != 0 {
			t.Errorf("a snapshot at %d gives points %v; passed were %v", at, got, passed)
		}
		want, more := feed(t, one, entries[at:], rng), feed(t, two, entries[at:], rng)
		if !slices.Equal(more, want) || len(want) == 0 {
			t.Errorf("points %v, want %v", more, want)
		}
		must(t, one.Close())
		must(t, two.Close())
	}
}

// TestPointsTellStoresApart: one key that was changed behind the store's back shows at the first point after a command
// that builds on it, and at every later one.
func TestPointsTellStoresApart(t *testing.T) {
	entries := attestEntries(3 * PointEvery)
	rng := rand.New(rand.NewPCG(1, 4))
	sound, wrong := mustOpen(t, "sound", small(vfs.NewMem())), mustOpen(t, "wrong", small(vfs.NewMem()))
	at := PointEvery + 5
	feed(t, sound, entries[:at], rng)
	feed(t, wrong, entries[:at], rng)
	rows := wrong.gen.db.NewBatch(100)
	must(t, errors.Join(rows.Delete(rowKey(nil, []byte("k58"))), rows.Commit(), rows.Close()))
	wrong.cache.clear()
	want, got := feed(t, sound, entries[at:], rng), feed(t, wrong, entries[at:], rng)
	if len(want) != 2 || len(got) != 2 || got[0] == want[0] || got[1] == want[1] {
		t.Errorf("points %v and %v", got, want)
	}
	must(t, sound.Close())
	must(t, wrong.Close())
}

// TestPointsOften: with another distance the points stand closer, with the same sums where both have one.
func TestPointsOften(t *testing.T) {
	entries := attestEntries(PointEvery + 10)
	rng := rand.New(rand.NewPCG(1, 7))
	seldom, opts := mustOpen(t, "seldom", small(vfs.NewMem())), small(vfs.NewMem())
	opts.PointEvery = 16
	often := mustOpen(t, "often", opts)
	want, got := feed(t, seldom, entries, rng), feed(t, often, entries, rng)
	if len(want) != 1 || len(got) != PointEvery/16 || got[0].Index != 16 || !slices.Contains(got, want[0]) {
		t.Fatalf("%d points %v, and %d in all without %v", len(got), got[:min(2, len(got))], len(got), want)
	}
	must(t, errors.Join(seldom.Close(), often.Close()))
}

// TestExportBytes: a smaller chunk makes more of them, of the same rows.
func TestExportBytes(t *testing.T) {
	opts := small(vfs.NewMem())
	opts.ExportBytes = 64
	for want, opts := range map[bool]Options{false: small(vfs.NewMem()), true: opts} {
		s := mustOpen(t, "s", opts)
		feed(t, s, attestEntries(200), rand.New(rand.NewPCG(1, 8)))
		chunks, v := 0, s.View()
		must(t, v.Export(func([]byte) error { chunks++; return nil }))
		if (chunks > 10) != want {
			t.Errorf("chunks of %d bytes: %d", opts.ExportBytes, chunks)
		}
		must(t, errors.Join(v.Close(), s.Close()))
	}
}
