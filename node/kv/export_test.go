package kv

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// chunked is one exported chunk and the key of its first row.
type chunked struct{ first, rows []byte }

func exportFrom(t testing.TB, v *View, from []byte) (all []chunked) {
	t.Helper()
	if err := v.ExportFrom(from, func(first, chunk []byte) error {
		all = append(all, chunked{bytes.Clone(first), bytes.Clone(chunk)})
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return all
}

// filled is a store with n keys of that many bytes each.
func filled(t testing.TB, o Options, n, size int) *Store {
	t.Helper()
	s := mustOpen(t, "filled", o)
	const at = 20 // entries at a time
	for i := uint64(1); i <= uint64(n); i += at {
		mustApply(t, s, puts(i, min(i+at-1, uint64(n)), func(i uint64) string { return fmt.Sprintf("%08d", i*7919%uint64(n)) }, string(bytes.Repeat([]byte{byte(i)}, size))))
	}
	return s
}

// TestExportFromEveryChunk: one view's chunks are the same from whichever of them it is exported, whatever is applied,
// flushed and compacted meanwhile.
func TestExportFromEveryChunk(t *testing.T) {
	s := filled(t, small(vfs.NewMem()), 900, 3000)
	defer mustClose(t, s)
	v := s.View()
	defer mustClose(t, v)
	whole := exportFrom(t, v, nil)
	if len(whole) < 8 {
		t.Fatalf("only %d chunks", len(whole))
	}
	for i := range whole {
		mustApply(t, s, puts(uint64(901+i), uint64(901+i), func(i uint64) string { return fmt.Sprintf("%08d", i%900) }, "other"))
		if err := s.Flush(); err != nil {
			t.Fatal(err)
		}
		rest := exportFrom(t, v, whole[i].first)
		if len(rest) != len(whole)-i {
			t.Fatalf("from chunk %d: %d chunks, want %d", i, len(rest), len(whole)-i)
		}
		for k, c := range rest {
			if !bytes.Equal(c.first, whole[i+k].first) || !bytes.Equal(c.rows, whole[i+k].rows) {
				t.Fatalf("from chunk %d: chunk %d differs", i, i+k)
			}
		}
	}
	if rest := exportFrom(t, v, []byte("z")); len(rest) != 0 {
		t.Fatalf("behind the end: %d chunks", len(rest))
	}
}

// pebbleOf is the database under a store.
func pebbleOf(s *Store) interface {
	Metrics() *pebble.Metrics
	Compact(ctx context.Context, start, end []byte, parallelize bool) error
} {
	return s.gen.db.(interface {
		Metrics() *pebble.Metrics
		Compact(ctx context.Context, start, end []byte, parallelize bool) error
	})
}

// TestExportSparesTheCache: a state far larger than the block cache is read once, and what clients read all the time is
// still in the cache afterwards.
func TestExportSparesTheCache(t *testing.T) {
	s := filled(t, Options{FS: vfs.NewMem(), MemTableBytes: 1 << 20, BlockCacheBytes: 2 << 20, CacheSlots: 16}, 5000, 4000)
	defer mustClose(t, s)
	// What the database still has to tidy up would take blocks out of the cache as well.
	if err := errors.Join(s.Flush(), pebbleOf(s).Compact(t.Context(), []byte{'k'}, []byte{'z'}, false)); err != nil {
		t.Fatal(err)
	}
	hot := func() int64 {
		before := pebbleOf(s).Metrics().BlockCache.Misses
		for i := range 100 {
			if _, ok, err := getKey(s.gen.db, fmt.Appendf(nil, "%08d", i)); err != nil || !ok {
				t.Fatalf("key %d: %v, %v", i, ok, err)
			}
		}
		return pebbleOf(s).Metrics().BlockCache.Misses - before
	}
	cold := hot()
	for range 5 {
		hot()
	}
	v := s.View()
	defer mustClose(t, v)
	size, chunks := 0, 0
	if err := v.Export(func(chunk []byte) error {
		size += len(chunk)
		if chunks++; chunks%8 == 0 { // 2 MiB
			hot()
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if again := hot(); again > cold/4 {
		t.Errorf("%d blocks are read from the disk again after an export of %d bytes, %d were at first", again, size, cold)
	}
}

// TestImportOfManyTables: a state larger than one table comes over whole.
func TestImportOfManyTables(t *testing.T) {
	fs := vfs.NewMem()
	source, s := filled(t, small(fs), 900, 3000), mustOpen(t, "s", small(fs))
	defer mustClose(t, source)
	defer mustClose(t, s)
	in, err := s.BeginImport()
	if err != nil {
		t.Fatal(err)
	}
	v := source.View()
	defer mustClose(t, v)
	if err := v.Export(in.Add); err != nil {
		t.Fatal(err)
	}
	if names, err := fs.List("s/gen-0000000000000002-tables"); err != nil || len(names) < 10 {
		t.Fatalf("tables %q (%v)", names, err)
	}
	if _, err := in.Finish(); err != nil {
		t.Fatal(err)
	}
	if n := (onPebble{fs}).generations("s"); n != 2 {
		t.Fatalf("a finished import has left %d directories", n)
	}
	if err := s.Switch(in); err != nil {
		t.Fatal(err)
	}
	if a, b := hashOf(t, s), hashOf(t, source); a != b {
		t.Fatalf("state %s, want %s", a, b)
	}
}

// TestImportRefusesDisorder: rows that do not follow each other are no export's.
func TestImportRefusesDisorder(t *testing.T) {
	onEach(t, func(t *testing.T, g ground) {
		s := filled(t, g.options("filled"), 300, 3000)
		defer mustClose(t, s)
		v := s.View()
		defer mustClose(t, v)
		all := exportFrom(t, v, nil)
		for name, order := range map[string][]int{"repeated": {0, 0}, "backwards": {1, 0}} {
			in, err := s.BeginImport()
			if err != nil {
				t.Fatal(err)
			}
			if err := in.Add(all[order[0]].rows); err != nil {
				t.Fatal(err)
			}
			if err := in.Add(all[order[1]].rows); !errors.Is(err, ErrMalformed) {
				t.Errorf("%s: %v", name, err)
			}
			if err := in.Discard(); err != nil {
				t.Fatal(err)
			}
		}
		if n := g.generations("filled"); n != 1 {
			t.Fatalf("left behind: %d generations", n)
		}
	})
}

// BenchmarkImport takes in a state of 128 MiB on the machine's disk.
func BenchmarkImport(b *testing.B) {
	source := mustOpen(b, "source", Options{FS: vfs.NewMem()})
	defer mustClose(b, source)
	const n, size = 128 << 10, 1 << 10
	value := make([]byte, size)
	for i := uint64(1); i <= n; i += 64 {
		for j := range value {
			value[j] = byte(uint64(j) * i >> 5)
		}
		mustApply(b, source, puts(i, i+63, func(i uint64) string { return fmt.Sprintf("%08d", i*7919%n) }, string(value)))
	}
	v := source.View()
	defer mustClose(b, v)
	s := mustOpen(b, b.TempDir(), Options{})
	defer mustClose(b, s)
	b.SetBytes(n * size)
	before := cpuTime(b)
	for b.Loop() {
		in, err := s.BeginImport()
		if err != nil {
			b.Fatal(err)
		}
		if err := v.Export(in.Add); err != nil {
			b.Fatal(err)
		}
		if _, err := in.Finish(); err != nil {
			b.Fatal(err)
		}
		if err := in.Discard(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(cpuTime(b)-before)/float64(b.N)/1e6, "cpu-ms/op")
}
