package kv

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"golang.org/x/sys/unix"
)

// benchKeys is how many keys the benchmarks' stores hold.
const benchKeys = 200_000

func benchKey(i uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte("/registry/bench/"), i*0x9e3779b97f4a7c15)
}

// feeder makes committed entries of one put each, with commands as a busy member makes them.
type feeder struct {
	rng   *rand.Rand
	index uint64
	value []byte
	keys  uint64
}

func newFeeder(keys uint64) *feeder {
	return &feeder{rng: rand.New(rand.NewPCG(1, 2)), value: make([]byte, 256), keys: keys}
}

func (f *feeder) batch(entries []Entry) []Entry {
	for i := range entries {
		f.index++
		c := Command{ID: CommandID{Origin: 0xabcdef0123456789, Boot: 1, Seq: f.index}, Floor: f.index - min(f.index, 200), Txn: Txn{Success: []Op{{
			Put: &PutRequest{Key: benchKey(f.rng.Uint64N(f.keys)), Value: f.value},
		}}}}
		entries[i] = Entry{Index: f.index, Term: 1, Command: c.AppendTo(entries[i].Command[:0])}
	}
	return entries
}

func (f *feeder) fill(b *testing.B, s *Store) {
	for i := range f.keys {
		c := Command{ID: CommandID{Origin: 1, Boot: 1, Seq: i}, Floor: i, Txn: Txn{Success: []Op{{Put: &PutRequest{Key: benchKey(i), Value: f.value}}}}}
		f.index++
		if _, err := s.Apply([]Entry{{Index: f.index, Term: 1, Command: c.AppendTo(nil)}}, 0, nil); err != nil {
			b.Fatal(err)
		}
	}
	// What the database still has to tidy up is not part of what is measured.
	pebble := s.gen.db.(interface {
		Compact(ctx context.Context, start, end []byte, parallelize bool) error
	})
	if err := errors.Join(s.Flush(), pebble.Compact(b.Context(), []byte{'k'}, []byte{'z'}, false)); err != nil {
		b.Fatal(err)
	}
}

// cpuTime is the processor time that this process has used, in ns: unlike the clock it does not count what
// others do on the machine, and it does count what the database does behind the scenes.
func cpuTime(b *testing.B) int64 {
	b.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return u.Utime.Nano() + u.Stime.Nano()
}

// BenchmarkApply is the cost of one put, on one member, in batches of several sizes.
func BenchmarkApply(b *testing.B) {
	for _, size := range []int{1, 16, 256} {
		b.Run(fmt.Sprint("batch=", size), func(b *testing.B) {
			s := mustOpen(b, b.TempDir(), Options{})
			defer mustClose(b, s)
			f := newFeeder(benchKeys)
			f.fill(b, s)
			entries := make([]Entry, size)
			b.ReportAllocs()
			b.ResetTimer()
			cpu, lookups := cpuTime(b), s.lookups
			for done := 0; done < b.N; done += size {
				mustApply(b, s, f.batch(entries))
			}
			b.ReportMetric(float64(cpuTime(b)-cpu)/float64(b.N), "cpu-ns/op")
			b.ReportMetric(float64(s.lookups-lookups)/float64(b.N), "lookups/op")
		})
	}
}

// BenchmarkRange reads one key: always the same, any of those that are there, and one that is not.
func BenchmarkRange(b *testing.B) {
	s := mustOpen(b, b.TempDir(), Options{})
	defer mustClose(b, s)
	f := newFeeder(benchKeys)
	f.fill(b, s)
	for name, key := range map[string]func() []byte{
		"hot":     func() []byte { return benchKey(7) },
		"random":  func() []byte { return benchKey(f.rng.Uint64N(f.keys)) },
		"missing": func() []byte { return benchKey(f.keys + f.rng.Uint64N(f.keys)) },
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			cpu := cpuTime(b)
			for range b.N {
				if _, err := s.Read(b.Context(), Txn{Success: []Op{{Range: &RangeRequest{Key: key()}}}}); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(cpuTime(b)-cpu)/float64(b.N), "cpu-ns/op")
		})
	}
	b.Run("list=100", func(b *testing.B) {
		b.ReportAllocs()
		for range b.N {
			r := &RangeRequest{Key: []byte("/registry/bench/\x00"), End: []byte("/registry/bench/\x10"), Limit: 100}
			if _, err := s.Read(b.Context(), Txn{Success: []Op{{Range: r}}}); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkRevoke is the cost of one lease that ends with its one key, on one member, 64 in a command.
func BenchmarkRevoke(b *testing.B) {
	s := mustOpen(b, b.TempDir(), Options{})
	defer mustClose(b, s)
	const together = 64
	f := newFeeder(benchKeys)
	f.fill(b, s)
	ids := func(n int) (from, to int64) { return int64(n*together + 1), int64((n + 1) * together) }
	apply := func(commands ...Command) {
		var entries []Entry
		for _, c := range commands {
			f.index++
			c.ID, c.Floor = CommandID{Origin: 1, Boot: 2, Seq: f.index}, f.index-min(f.index, 200)
			entries = append(entries, Entry{Index: f.index, Term: 1, Command: c.AppendTo(nil)})
		}
		mustApply(b, s, entries)
	}
	n := max(b.N/together, 1)
	for i := range n {
		var commands []Command
		for id, to := ids(i); id <= to; id++ {
			commands = append(commands, Command{Grant: &Lease{ID: id, TTL: 60}},
				Command{Txn: Txn{Success: []Op{{Put: &PutRequest{Key: binary.BigEndian.AppendUint64([]byte("leased/"), uint64(id)), Value: f.value, Lease: id}}}}})
		}
		apply(commands...)
	}
	b.ReportAllocs()
	b.ResetTimer()
	cpu := cpuTime(b)
	for i := range n {
		r := Revocation{}
		for id, to := ids(i); id <= to; id++ {
			r.Leases = append(r.Leases, id)
		}
		apply(Command{Revoke: &r})
	}
	b.ReportMetric(float64(cpuTime(b)-cpu)/float64(n*together), "cpu-ns/op")
	if len(s.leases) > 0 {
		b.Fatalf("%d leases are left", len(s.leases))
	}
}
