package wal

import (
	"bytes"
	"errors"
	"runtime/metrics"
	"testing"

	"raftsman.dev/node/raft"
	"raftsman.dev/node/vfs"
)

// allocated is what do allocates, in bytes; of small pieces it may miss some.
func allocated(do func()) uint64 {
	count := func() uint64 {
		samples := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
		metrics.Read(samples)
		return samples[0].Value.Uint64()
	}
	before := count()
	do()
	return count() - before
}

// bounded refuses what allocates more than a few times the size of its input. What else the process does is counted
// too: only what happens again is meant.
func bounded(t *testing.T, size int, prepare func() func()) {
	t.Helper()
	var n uint64
	for range 4 {
		if n = allocated(prepare()); n <= 64<<10+uint64(60*size) {
			return
		}
	}
	t.Fatalf("%d bytes are allocated for %d", n, size)
}

// seeds are the segments of a log in which everything occurs: a restart, fills, cuts, a change of segments.
func seeds(f *testing.F) [][]byte {
	f.Helper()
	var all [][]byte
	for seed := range uint64(3) {
		t := &testing.T{}
		o, disk := script(t, seed)
		if err := o.session(t, disk, Options{SegmentBytes: 2048, Create: true}, 30); err != nil {
			f.Fatal(err)
		}
		for _, b := range imageOf(t, disk) {
			all = append(all, b)
		}
	}
	return all
}

// FuzzOpen opens any bytes as the segments of a log, as they are and with the sums of their records made right: it
// must find a log or say what is damaged, and take no more memory than a few times what it was given.
func FuzzOpen(f *testing.F) {
	for _, b := range seeds(f) {
		f.Add(b, byte(1), false)
		f.Add(b, byte(2), true)
	}
	f.Fuzz(func(t *testing.T, b []byte, number byte, mend bool) {
		first := uint64(number%3) + 1
		before := image{}
		for i, part := range [][]byte{bytes.Clone(b[:len(b)/2]), bytes.Clone(b[len(b)/2:])} {
			if mend {
				mendSums(part, first+uint64(i))
			}
			before[segmentName(first+uint64(i))] = part
		}
		var disk *vfs.Mem
		var l *Log
		var err error
		opts := Options{SegmentBytes: 1024, Create: number%2 == 0}
		bounded(t, len(b), func() func() {
			disk = before.disk(t)
			return func() { l, _, err = Open(disk, "log", opts) }
		})
		if err != nil {
			if errors.Is(err, ErrCorrupt) && !imageOf(t, disk).equal(before) {
				t.Fatalf("the disk was changed, and found damaged: %v", err)
			}
			return
		}
		must(t, l.Append([]raft.Batch{{Hard: &raft.HardState{Term: 9}}}), l.Close())
		if _, got, err := Open(disk, "log", opts); err != nil || got.Hard.Term != 9 {
			t.Fatalf("opened, written and opened again: %+v, %v", got.Hard, err)
		}
	})
}

// mendSums makes the checksums of a segment's header and of a chain of records right, so that what they say is looked
// at.
func mendSums(b []byte, number uint64) {
	if len(b) < segmentHeader {
		return
	}
	copy(b, appendSegmentHeader(nil, header{number: number, first: uint64(b[16]), size: uint64(len(b))}))
	for at := segmentHeader; at+recordHeader <= len(b); {
		n := int(b[at]) | int(b[at+1])<<8
		if at+recordHeader+n > len(b) {
			return
		}
		b[at+2], b[at+3] = 0, 0
		closeRecord(b[:at+recordHeader+n:at+recordHeader+n], at, place{number, int64(at)})
		at += (recordHeader + n + align - 1) / align * align
	}
}

// FuzzDecoders gives any bytes to every decoder of the package; what one takes it must write again as it was.
func FuzzDecoders(f *testing.F) {
	f.Add(appendHead(nil, head{number: 3, size: 80, durable: 2, end: 7}))
	f.Add(appendItem(appendHead(nil, head{number: 3}), itemFill, raft.Position{Index: 9, Term: 2}, 5))
	f.Add(appendHard(nil, raft.HardState{Term: 1, Vote: 2, Commit: 3}))
	f.Add(appendBase(nil, baseAt(raft.Position{Index: 9, Term: 2})))
	f.Add(appendSegmentHeader(nil, header{number: 1, first: 1, size: 4096}))
	e := entry(1, 1, "put")
	f.Add(e.AppendTo(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		bounded(t, len(b), func() func() { return func() { decodeAll(t, b) } })
	})
}

func decodeAll(t *testing.T, b []byte) {
	t.Helper()
	same := func(what string, again []byte) {
		if string(again) != string(b) {
			t.Fatalf("%s %x is written again as %x", what, b, again)
		}
	}
	if h, items, ok := readHead(b); ok {
		again := appendHead(nil, h)
		for ; len(items) > 0; items = items[itemSize:] {
			x := readItem(items)
			again = appendItem(again, x.kind, x.at, x.sum)
		}
		same("head", again)
	}
	if h, err := readHard(b); err == nil {
		same("hard state", appendHard(nil, h))
	}
	if base, err := readBase(b); err == nil && len(appendBase(nil, base)) > len(b) {
		t.Fatalf("base %x is written again longer", b)
	}
	if h, ok, _ := readSegmentHeader(b, 1); ok && string(appendSegmentHeader(nil, h)[:36]) != string(b[:36]) {
		t.Fatalf("segment header %x is written again differently", b)
	}
	if entries, err := decode(record{kind: kindEntries, body: b}); err == nil {
		var again []byte
		for i := range entries {
			again = entries[i].AppendTo(again)
		}
		same("entries", again)
	}
	if kind, body, size, ok := readRecord(b, place{1, segmentHeader}); ok && (len(body) > len(b) || size > len(b) || kind > kindNext) {
		t.Fatalf("a record of kind %d and %d bytes in %d", kind, size, len(b))
	}
	_, _ = parseSegmentName(string(b))
}
