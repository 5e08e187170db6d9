package replica

import (
	"fmt"
	"testing"

	"raftsman.dev/node/raft"
)

// TestLogIsKeptForASnapshot: while a snapshot is on its way to a peer, and for a while after it was cut, the log reaches
// back to the state that was sent; not for ever, and not beyond the bound on the disk.
func TestLogIsKeptForASnapshot(t *testing.T) {
	w := group(t, 8, 3, Tuning{KeepEntries: 10, KeepSegments: 1000, SnapshotTicks: 1 << 40})
	l := w.leader()
	writes := 0
	write := func(n int) {
		for range n {
			writes++
			p, err := l.put(fmt.Sprint("k", writes%20), fmt.Sprint(writes))
			l.must(err)
			w.outcome(p)
		}
	}
	first := func() raft.Index { return l.replica.Brief().First }
	write(50)
	from := l.replica.Applied()
	l.replica.expect(7)
	write(150)
	if first() > from+1 {
		t.Fatalf("on its way: the log begins at %d, the snapshot goes to %d", first(), from)
	}
	l.replica.SnapshotSent(7, raft.Position{}, false)
	l.replica.expect(7) // it goes on, of the same state
	l.replica.SnapshotSent(7, raft.Position{}, false)
	write(150)
	if first() > from+1 {
		t.Fatalf("cut: the log begins at %d, the snapshot goes to %d", first(), from)
	}
	l.replica.awaited[7].until = l.replica.Now()
	write(50)
	if first() <= from+1 || len(l.replica.awaited) != 0 {
		t.Fatalf("given up: the log still begins at %d, %d peers are awaited", first(), len(l.replica.awaited))
	}
	from = l.replica.Applied()
	l.replica.expect(8)
	l.replica.SnapshotSent(8, raft.Position{Index: from, Term: 1}, true)
	write(100)
	if first() > from+1 {
		t.Fatalf("arrived: the log begins at %d, the snapshot goes to %d", first(), from)
	}
	l.replica.tuning.KeepSegments = 1
	write(600)
	if first() <= from+1 {
		t.Fatalf("too much log: it still begins at %d, in %d segments", first(), l.wal.Stats().Segments)
	}
}
