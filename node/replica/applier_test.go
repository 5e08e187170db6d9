package replica

import (
	"testing"

	"raftsman.dev/node/kv"
	"raftsman.dev/node/kv/memory"
	"raftsman.dev/node/raft"
)

// payloads makes a run of committed commands behind index.
func payloads(behind raft.Index, sizes ...int) applyWork {
	var w applyWork
	for i, n := range sizes {
		w.entries = append(w.entries, raft.Entry{Index: behind + 1 + raft.Index(i), Term: 3, Kind: raft.EntryCommand, Payload: make([]byte, n)})
	}
	return w
}

// TestTurnsAreBounded: a turn takes whole runs, as many as fit, at least one; what it takes is waited for no more.
func TestTurnsAreBounded(t *testing.T) {
	var a Applier
	half := maxApplyBytes/2 + 1
	for i, w := range []applyWork{payloads(0, half, 1), payloads(2, half), payloads(3, 5), payloads(4, 2*maxApplyBytes), payloads(5, 1)} {
		if a.queue(w); a.backlog() == 0 {
			t.Fatalf("nothing waits after run %d", i)
		}
	}
	for i, want := range []struct {
		first, last uint64
		left        int
	}{{1, 3, 5 + 2*maxApplyBytes + 1}, {4, 5, 1}, {6, 6, 0}} {
		install, entries, config, membership := a.take()
		if install != nil || config != 0 || membership != nil {
			t.Fatalf("turn %d: %v, %d, %v beside commands", i, install, config, membership)
		}
		if n := len(entries); n == 0 || entries[0].Index != want.first || entries[n-1].Index != want.last {
			t.Fatalf("turn %d takes %d entries, want %d to %d", i, n, want.first, want.last)
		}
		if got := a.backlog(); got != want.left {
			t.Fatalf("after turn %d %d bytes wait, want %d", i, got, want.left)
		}
	}
	if _, entries, _, _ := a.take(); len(entries) != 0 || len(a.mu.work) != 0 {
		t.Fatalf("%d entries out of nothing, %d runs kept", len(entries), len(a.mu.work))
	}
	if turn, err := a.Run(); err != nil || turn.Index != 0 || turn.Installed || turn.Points != nil {
		t.Fatalf("a turn without work: %+v, %v", turn, err)
	}
}

// TestSwitchesTakeATurnOfTheirOwn: what was committed before a snapshot is applied before the switch, what comes
// after it after.
func TestSwitchesTakeATurnOfTheirOwn(t *testing.T) {
	var a Applier
	image := &kv.Import{}
	a.queue(payloads(0, 1, 1))
	a.queue(applyWork{install: image})
	a.queue(payloads(9, 1))
	var got []any
	for range 4 {
		install, entries, _, _ := a.take()
		if install != nil {
			got = append(got, install)
		} else {
			got = append(got, len(entries))
		}
	}
	if got[0] != 2 || got[1] != image || got[2] != 1 || got[3] != 0 {
		t.Fatalf("turns %v, want two entries, the switch, one entry, nothing", got)
	}
}

// TestKindsForTheStore: the store is told commands as commands, the newest membership of a turn beside them, and the
// place of everything.
func TestKindsForTheStore(t *testing.T) {
	var a Applier
	a.queue(applyWork{entries: []raft.Entry{
		{Index: 4, Term: 2, Kind: raft.EntryNoop},
		{Index: 5, Term: 2, Kind: raft.EntryMembership, Payload: []byte("old")},
		{Index: 6, Term: 2, Kind: raft.EntryCommand, Payload: []byte("c")},
		{Index: 7, Term: 3, Kind: raft.EntryMembership, Payload: []byte("new")},
	}})
	_, entries, config, membership := a.take()
	if len(entries) != 4 || config != 7 || string(membership) != "new" {
		t.Fatalf("%d entries, membership %q of %d; want 4 and \"new\" of 7", len(entries), membership, config)
	}
	for i, e := range entries {
		if e.Index != uint64(4+i) || (e.Command != nil) != (i == 2) {
			t.Errorf("entry %d is told as %+v", i, e)
		}
	}
	if entries[3].Term != 3 || string(entries[2].Command) != "c" {
		t.Errorf("told as %+v", entries)
	}
}

// TestHistoryGoesAsFastAsItGrows: transactions of many puts, several in a turn and never a pause between turns, leave
// no more behind than the newest compaction wants.
func TestHistoryGoesAsFastAsItGrows(t *testing.T) {
	store, err := kv.Open("store", kv.Options{Engine: memory.New()})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	a := Applier{store: store, waiters: newWaiters(1, 1, 1, 1)}
	index := raft.Index(0)
	entry := func(c kv.Command) raft.Entry {
		index++
		c.ID, c.Floor = kv.CommandID{Origin: 1, Boot: 1, Seq: uint64(index)}, uint64(index)-1
		return raft.Entry{Index: index, Term: 1, Kind: raft.EntryCommand, Payload: c.AppendTo(nil)}
	}
	turn := func() {
		var run applyWork
		for n := range 8 {
			var puts kv.Txn
			for key := range 64 {
				puts.Success = append(puts.Success, kv.Op{Put: &kv.PutRequest{Key: []byte{byte(n), byte(key)}, Value: make([]byte, 256)}})
			}
			run.entries = append(run.entries, entry(kv.Command{Txn: puts}))
		}
		run.entries = append(run.entries, entry(kv.Command{Compact: &kv.Compaction{Revision: store.Revision()}}))
		a.queue(run)
		if _, err := a.Run(); err != nil {
			t.Fatal(err)
		}
	}
	const turns, events = 50, 50 * 8 * 64
	for range turns {
		turn()
	}
	if at := store.Compacted(); at < 8*(turns-2) {
		t.Fatalf("compacted at %d of %d", at, store.Revision())
	}
	steps := 1
	for more := true; more; steps++ {
		if more, err = a.Tidy(); err != nil {
			t.Fatal(err)
		}
	}
	if left := steps * tidyIdle; left > events/8 {
		t.Errorf("of %d events some %d that were compacted had not been removed", events, left)
	}
}
