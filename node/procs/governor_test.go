package procs

import (
	"context"
	"runtime"
	"runtime/metrics"
	"testing"
	"time"
)

// What a tenth of a second of a member looks like.
var (
	idle     = sample{wall: every, used: 1 * time.Millisecond, starts: 4}
	fewer    = sample{wall: every, used: 38 * time.Millisecond, starts: 300, late: 3}   // one client, one processor
	between  = sample{wall: every, used: 70 * time.Millisecond, starts: 300, late: 12}  // neither
	waiting  = sample{wall: every, used: 40 * time.Millisecond, starts: 500, late: 60}  // many clients
	busy     = sample{wall: every, used: 95 * time.Millisecond, starts: 10}             // a compaction
	unproven = sample{wall: every, used: 10 * time.Millisecond, starts: 19, late: 19}   // too few to tell
	double   = sample{wall: every, used: 190 * time.Millisecond, starts: 300, late: 10} // two processors
)

// feed gives the same sample n times, and says after how many the answer changed, 0 if it did not.
func feed(t *testing.T, g *governor, s sample, n int) int {
	t.Helper()
	was := g.one
	for i := range n {
		if g.next(s) != was {
			return i + 1
		}
	}
	return 0
}

func TestGovernor(t *testing.T) {
	for _, c := range []struct {
		name  string
		s     sample
		one   bool // processor, at first
		after int  // so many samples the answer changes; 0: never
	}{
		{"idle", idle, false, calmFor},
		{"one client", fewer, false, calmFor},
		{"too few starts to tell", unproven, false, calmFor},
		{"more than is little", between, false, 0},
		{"many clients", waiting, false, 0},
		{"a compaction", busy, false, 0},
		{"idle with one", idle, true, 0},
		{"one client with one", fewer, true, 0},
		{"more than is little with one", between, true, 0},
		{"too few starts to tell with one", unproven, true, 0},
		{"many clients with one", waiting, true, 1},
		{"a compaction with one", busy, true, 1},
		{"work for two with one", double, true, 1},
	} {
		g := governor{one: c.one}
		if got := feed(t, &g, c.s, 10*calmFor); got != c.after {
			t.Errorf("%s: changes after %d samples, want %d", c.name, got, c.after)
		}
	}
}

// Calm counts in a row.
func TestCalmBeginsAnew(t *testing.T) {
	var g governor
	for range 20 {
		if feed(t, &g, idle, calmFor-1) != 0 || feed(t, &g, waiting, 1) != 0 {
			t.Fatal("one processor after calm that was interrupted")
		}
	}
	if got := feed(t, &g, idle, 100); got != calmFor {
		t.Fatalf("one processor after %d calm samples, want %d", got, calmFor)
	}
}

// Where one processor soon proves too few, again and again, it is tried less and less often; once it was enough for a
// while, as at first.
func TestWrongGuessesBecomeRarer(t *testing.T) {
	var g governor
	for want := calmFor; ; want *= 2 {
		if got := feed(t, &g, idle, 2*calmMost); got != want {
			t.Fatalf("one processor after %d calm samples, want %d", got, want)
		}
		if feed(t, &g, waiting, 1) != 1 {
			t.Fatal("one processor where goroutines wait")
		}
		if want == calmMost {
			break
		}
	}
	for _, want := range []int{calmMost, calmFor} {
		if got := feed(t, &g, idle, 2*calmMost); got != want {
			t.Fatalf("one processor after %d calm samples, want %d", got, want)
		}
		if feed(t, &g, idle, provenAfter) != 0 || feed(t, &g, waiting, 1) != 1 {
			t.Fatal("the answer does not follow the samples")
		}
	}
}

func TestCount(t *testing.T) {
	h := &metrics.Float64Histogram{Counts: []uint64{1, 10, 100, 1000}, Buckets: []float64{0, lateBy / 2, lateBy, 1, 10}}
	if got := count(h); got != (counts{starts: 1111, late: 1100}) {
		t.Errorf("%+v", got)
	}
}

// A sample of this process: what it does in between is in it, and what was before is not.
func TestMeter(t *testing.T) {
	m := newMeter()
	began := m.at
	if _, err := m.sample(began); err != nil {
		t.Fatal(err)
	}
	before := m.total
	n := uint64(0)
	for n < 10_000 && m.used < time.Hour { // Go counts one start in eight
		done := make(chan bool)
		go func() { done <- true }()
		<-done
		n++
	}
	s, err := m.sample(began.Add(every))
	if err != nil || s.wall != every || s.used <= 0 || s.starts < n/16 || s.starts != m.total.starts-before.starts || s.late > s.starts {
		t.Fatalf("%+v, %v after %d goroutines", s, err, n)
	}
}

// What a member sets is undone at its end; where somebody else has said what it is to be nothing is set.
func TestGovern(t *testing.T) {
	if runtime.NumCPU() == 1 {
		t.Skip("one processor: there is nothing to govern")
	}
	t.Setenv("GOMAXPROCS", "")
	runtime.SetDefaultGOMAXPROCS()
	all := runtime.GOMAXPROCS(0)
	set(true)
	if n := runtime.GOMAXPROCS(0); n != 1 {
		t.Fatalf("%d processors, want one", n)
	}
	set(false)
	if n := runtime.GOMAXPROCS(0); n != all {
		t.Fatalf("%d processors, want %d", n, all)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan bool)
	go func() {
		Govern(ctx)
		close(done)
	}()
	for runtime.GOMAXPROCS(0) != 1 { // this process is calm but for this
		select {
		case <-time.After(10 * time.Millisecond):
		case <-done:
			t.Fatal("it has ended")
		}
	}
	cancel()
	<-done
	if n := runtime.GOMAXPROCS(0); n != all {
		t.Fatalf("%d processors at the end, want %d", n, all)
	}
	t.Setenv("GOMAXPROCS", "2")
	Govern(context.Background()) // returns at once
}
