package kv

import (
	"encoding/binary"
	"testing"
)

// BenchmarkCount is what the count of a million keys costs: asked alone, beside a page of 500 keys somewhere in them, and
// beside such a page at an earlier revision, as the pages of one list are asked for while others write.
func BenchmarkCount(b *testing.B) {
	const n = 1_000_000
	s := mustOpen(b, b.TempDir(), Options{})
	defer mustClose(b, s)
	f := newFeeder(n)
	entries := make([]Entry, 0, 250)
	for i := range uint64(n) {
		f.index++
		c := Command{ID: CommandID{Origin: 1, Boot: 1, Seq: i}, Floor: i, Txn: Txn{Success: []Op{{Put: &PutRequest{Key: benchKey(i), Value: f.value}}}}}
		if entries = append(entries, Entry{Index: f.index, Term: 1, Command: c.AppendTo(nil)}); len(entries) == cap(entries) {
			mustApply(b, s, entries)
			entries = entries[:0]
		}
	}
	if err := s.Flush(); err != nil {
		b.Fatal(err)
	}
	read := func(b *testing.B, r *RangeRequest) *RangeResult {
		res, err := s.Read(b.Context(), Txn{Success: []Op{{Range: r}}})
		if err != nil {
			b.Fatal(err)
		}
		return res.Responses[0].Range
	}
	page := func() *RangeRequest {
		key := binary.BigEndian.AppendUint64([]byte("/registry/bench/"), f.rng.Uint64())
		return &RangeRequest{Key: key, End: []byte("/registry/bench0"), Limit: 500}
	}
	b.Run("all", func(b *testing.B) {
		b.ReportAllocs()
		cpu := cpuTime(b)
		for range b.N {
			if res := read(b, &RangeRequest{Key: []byte("/registry/bench/"), End: []byte("/registry/bench0"), CountOnly: true}); res.Count != n {
				b.Fatalf("counted %d", res.Count)
			}
		}
		b.ReportMetric(float64(cpuTime(b)-cpu)/float64(b.N), "cpu-ns/op")
	})
	b.Run("page", func(b *testing.B) {
		b.ReportAllocs()
		cpu := cpuTime(b)
		for range b.N {
			read(b, page())
		}
		b.ReportMetric(float64(cpuTime(b)-cpu)/float64(b.N), "cpu-ns/op")
	})
	b.Run("page-of-the-past", func(b *testing.B) {
		at := s.Revision()
		for range 100 {
			mustApply(b, s, f.batch(make([]Entry, 10)))
		}
		b.ReportAllocs()
		cpu := cpuTime(b)
		for range b.N {
			r := page()
			r.Revision = at
			read(b, r)
		}
		b.ReportMetric(float64(cpuTime(b)-cpu)/float64(b.N), "cpu-ns/op")
	})
}
