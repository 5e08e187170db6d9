package wal

import (
	"testing"

	"raftsman.dev/node/raft"
	"raftsman.dev/node/vfs"
)

// TestInspect: every record of a log is shown with its place, and what is flipped there verifies no more.
func TestInspect(t *testing.T) {
	disk := vfs.NewMem()
	l, _, err := Open(disk, "log", Options{Create: true})
	if err != nil {
		t.Fatal(err)
	}
	for i := 1; i <= 3; i++ {
		b := raft.Batch{Hard: &raft.HardState{Term: 1, Commit: raft.Index(i)}, Entries: []raft.Entry{entry(2*i-1, 1, "first"), entry(2*i, 1, "second")}}
		if err := l.Append([]raft.Batch{b}); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Seal(); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	look := func() (entries, damaged []Seen, durable uint64) {
		t.Helper()
		if err := Inspect(disk, "log", func(s Seen) error {
			switch s.Kind {
			case "entries":
				entries = append(entries, s)
			case "damaged":
				damaged = append(damaged, s)
			}
			durable = max(durable, s.Durable)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		return entries, damaged, durable
	}
	entries, damaged, durable := look()
	if len(entries) != 3 || len(damaged) != 0 || entries[1].First != 3 || entries[1].Last != 4 || durable != entries[2].Write {
		t.Fatalf("entries %+v, damaged %+v, durable %d", entries, damaged, durable)
	}
	hit := entries[1]
	f, err := disk.Open("log/" + hit.Segment)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte{0xff}, hit.Offset+hit.Bytes/2); err != nil {
		t.Fatal(err)
	}
	entries, damaged, _ = look()
	if len(entries) != 2 || len(damaged) != 1 || damaged[0].Offset != hit.Offset || damaged[0].Bytes != hit.Bytes {
		t.Errorf("after a byte of %+v was flipped: entries %+v, damaged %+v", hit, entries, damaged)
	}
}
