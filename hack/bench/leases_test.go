package main

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// TestTerm: whenever leases are granted, they end within the second that begins at due.
func TestTerm(t *testing.T) {
	const seed = 11
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	begun := time.Unix(1000, 123456789)
	due := term{begun: begun, due: begun.Add(90 * time.Second)}
	for range 10_000 {
		now := begun.Add(time.Duration(rng.Int64N(int64(80 * time.Second))))
		ttl, wait := due.secondsFor(now)
		ends := now.Add(wait).Add(time.Duration(ttl) * time.Second)
		if wait < 0 || wait >= time.Second || ends.Before(due.due) || !ends.Before(due.due.Add(time.Second)) {
			t.Fatalf("granted %v in, waits %v and ends %v after due", now.Sub(begun), wait, ends.Sub(due.due))
		}
	}
}

// TestLeasesVerdict: what is not met is said, and is an error.
func TestLeasesVerdict(t *testing.T) {
	ms := func(all ...int) (took []time.Duration) {
		for _, n := range all {
			took = append(took, time.Duration(n)*time.Millisecond)
		}
		return took
	}
	good := leaseFigures{name: "x", capacity: 10, rate: 3, gone: 3 * time.Second, before: ms(1, 2), during: ms(1, 4)}
	for what, spoil := range map[string]func(*leaseFigures){
		"":             func(*leaseFigures) {},
		"not gone":     func(f *leaseFigures) { f.gone = 0 },
		"within 10s":   func(f *leaseFigures) { f.gone = 11 * time.Second },
		"at most 2":    func(f *leaseFigures) { f.during = ms(5) },
		"that before;": func(f *leaseFigures) { f.before = nil },
		"puts failed":  func(f *leaseFigures) { f.failed = 1 },
	} {
		f := good
		spoil(&f)
		var said strings.Builder
		o := leaseOptions{share: 0.3, progress: func(format string, _ ...any) { said.WriteString(format) }}
		err := f.print(o)
		if (err == nil) != (what == "") || err != nil && !strings.Contains(err.Error(), what) {
			t.Errorf("%q: %v", what, err)
		}
		if met := strings.Contains(said.String(), "met:"); met != (what == "") {
			t.Errorf("%q: said to be met: %v", what, met)
		}
	}
}

func TestParseLeases(t *testing.T) {
	for _, bad := range [][]string{{"x"}, {"--raftsman="}, {"--share=0"}, {"--leases=0"}} {
		if _, err := parseLeases(bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
	if o, err := parseLeases([]string{"--raftsman=r"}); err != nil || o.leases != 100_000 || o.share != 0.3 {
		t.Errorf("%+v, %v", o, err)
	}
}
