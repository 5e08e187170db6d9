package raft

import (
	"math/rand/v2"
	"runtime"
	"testing"
)

// heap is what is in use once everything that nobody holds is gone, in bytes.
func heap() int {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

// restored is a log of n commands of that many bytes each.
func restored(n, size int) Restored {
	entries := []Entry{sealed(1, 1, EntryMembership, voters(3).AppendTo(nil))}
	for i := range n {
		entries = append(entries, sealed(Index(i+2), 1, EntryCommand, make([]byte, size)))
	}
	return Restored{Hard: HardState{Term: 1, Commit: Index(n + 1)}, Entries: entries, Applied: Index(n + 1)}
}

// TestMemoryAfterTheStart: of the entries that a start has read, those that the store has applied are let go, but for
// the tail, without waiting for new ones.
func TestMemoryAfterTheStart(t *testing.T) {
	const tail, size = 1 << 20, 1 << 10
	before := heap()
	c, err := New(Config{ID: 1, Boot: 1, TailBytes: tail, Rand: rand.New(rand.NewPCG(1, 1))}, restored(50_000, size))
	if err != nil {
		t.Fatal(err)
	}
	if held := heap() - before; held > 4*tail {
		t.Errorf("a core with a tail of %d bytes holds %d after a start with 50 MB of log", tail, held)
	}
	if c.log.bytes > tail || c.log.last.Index != 50_001 || len(c.log.entries) < tail/size {
		t.Errorf("%d bytes in %d entries up to %v in memory", c.log.bytes, len(c.log.entries), c.log.last)
	}
	runtime.KeepAlive(c)
}

// TestMemoryOfALeaderWithASlowFollower: what a follower has not acknowledged is read from the log when its time comes;
// it does not stay in memory.
func TestMemoryOfALeaderWithASlowFollower(t *testing.T) {
	const tail, size, rounds, batch = 1 << 20, 1 << 10, 1000, 64
	l := newLab(t, 1, voters(3), 1, 1)
	l.cfg.TailBytes = tail
	l.lead()
	l.ack(2)
	c := l.Core
	must := func(m Message) {
		if err := c.Step(m); err != nil {
			t.Fatal(err)
		}
	}
	before, most := heap(), 0
	for round := range rounds {
		var proposals []Proposal
		for range batch {
			proposals = append(proposals, Proposal{Ref: 1, Payload: make([]byte, size)})
		}
		must(Message{Body: Propose{Proposals: proposals}})
		if seq := c.Take().Persist.Seq; seq != 0 {
			must(Message{Body: Persisted{Seq: seq}})
		}
		must(Message{From: 2, To: 1, FromBoot: 1, Term: c.hard.Term, Body: AppendReply{Match: c.log.last.Index}})
		c.Take()
		must(Message{Body: Applied{Index: c.commit}})
		if round%100 == 99 {
			most = max(most, heap()-before)
		}
	}
	if c.commit < rounds*batch {
		t.Fatalf("only %d entries were committed", c.commit)
	}
	if most > 8*tail {
		t.Errorf("a leader with a tail of %d bytes holds %d after %d bytes of log", tail, most, rounds*batch*size)
	}
	runtime.KeepAlive(c)
}
