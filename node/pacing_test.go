package node

import (
	"testing"
	"time"

	"raftsman.dev/node/raft"
)

// span is what comes from an index on: so many entries of a kilobyte each.
func span(from raft.Index, n int) raft.Span {
	payload := make([]byte, 1<<10)
	s := raft.Span{Prev: raft.Position{Index: from - 1}}
	for i := range n {
		s.Entries = append(s.Entries, raft.Entry{Index: from + raft.Index(i), Payload: payload})
	}
	return s
}

// catchUp plays a learner that catches up under a pacing, while so many entries are committed a second, each of a
// kilobyte; it returns how long that takes.
func catchUp(t *testing.T, behind raft.Index, perSecond float64) time.Duration {
	t.Helper()
	start := time.Unix(0, 0)
	now := start
	p := newPacing(32<<20, func() time.Time { return now })
	commit := func() raft.Index { return behind + raft.Index(now.Sub(start).Seconds()*perSecond) }
	from := raft.Index(1)
	for range 1_000_000 {
		if from+64 > commit() { // near enough to become a voter
			return now.Sub(start)
		}
		n := min(pacedBytes>>10, commit()-from+1)
		now = now.Add(p.wait(7, span(from, int(n)), commit()) + time.Millisecond)
		from += n
	}
	t.Fatalf("%d entries behind at %v/s: never caught up", behind, perSecond)
	return 0
}

func TestLearnerIsPaced(t *testing.T) {
	for _, c := range []struct {
		behind          raft.Index
		perSecond       float64
		atLeast, atMost time.Duration
	}{
		{100_000, 0, 24 * time.Second, 26 * time.Second},       // nobody writes: the rate, 4096 entries a second
		{100_000, 1000, 30 * time.Second, 35 * time.Second},    // the rate less what is written
		{100_000, 10_000, 3 * time.Second, 8 * time.Second},    // it gains on whoever writes faster than the rate
		{100_000, 60_000, 400 * time.Millisecond, time.Minute}, // or is not held up at all
	} {
		if took := catchUp(t, c.behind, c.perSecond); took < c.atLeast || took > c.atMost {
			t.Errorf("%d behind at %v/s: caught up in %v, want %v to %v", c.behind, c.perSecond, took, c.atLeast, c.atMost)
		}
	}
}

func TestPacingBeginsAtOnce(t *testing.T) {
	now := time.Unix(0, 0)
	p := newPacing(1<<20, func() time.Time { return now })
	if d := p.wait(7, span(1, pacedBytes>>10), 1000); d != 0 {
		t.Errorf("a learner's first entries wait for %v", d)
	}
	if d := p.wait(7, span(300, pacedBytes>>10), 1000); d != 2*time.Second {
		t.Errorf("a quarter of a megabyte at an eighth of a megabyte a second waits for %v", d)
	}
	now = now.Add(5 * time.Second)
	if d := p.wait(7, span(600, pacedBytes>>10), 1000); d != 0 {
		t.Errorf("a learner that asks late waits for %v besides", d)
	}
	p.forget(raft.Membership{})
	if n := len(p.mu.seen); n != 0 {
		t.Errorf("%d members remembered that are gone", n)
	}
}
