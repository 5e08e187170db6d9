package procs

import (
	"context"
	"os"
	"runtime"
	"runtime/metrics"
	"time"

	"golang.org/x/sys/unix"
)

// Govern sets GOMAXPROCS while ctx lasts, and at its end leaves it as Go itself would have it. It does nothing where the
// environment variable GOMAXPROCS says what it is to be, or where there is one processor anyway.
func Govern(ctx context.Context) {
	if os.Getenv("GOMAXPROCS") != "" || runtime.GOMAXPROCS(0) == 1 {
		return
	}
	defer runtime.SetDefaultGOMAXPROCS()
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	var g governor
	m := newMeter()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			s, err := m.sample(now)
			if err != nil {
				return
			}
			was := g.one
			if one := g.next(s); one != was {
				set(one)
			}
		}
	}
}

// set gives one processor, or as many as Go chooses and goes on choosing as the limits of the control group change.
func set(one bool) {
	if one {
		runtime.GOMAXPROCS(1)
	} else {
		runtime.SetDefaultGOMAXPROCS()
	}
}

// meter takes samples of this process.
type meter struct {
	at    time.Time
	used  time.Duration
	waits []metrics.Sample // one: a histogram of how long goroutines that were ready waited; Go counts one start in eight
	total counts
}

type counts struct{ starts, late uint64 }

func newMeter() *meter {
	return &meter{at: time.Now(), waits: []metrics.Sample{{Name: "/sched/latencies:seconds"}}}
}

// sample is what happened since the last one, or since the process began.
func (m *meter) sample(now time.Time) (sample, error) {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		return sample{}, err
	}
	used := time.Duration(u.Utime.Nano() + u.Stime.Nano())
	metrics.Read(m.waits)
	total := count(m.waits[0].Value.Float64Histogram())
	s := sample{wall: now.Sub(m.at), used: used - m.used, starts: total.starts - m.total.starts, late: total.late - m.total.late}
	m.at, m.used, m.total = now, used, total
	return s, nil
}

func count(h *metrics.Float64Histogram) (c counts) {
	for i, n := range h.Counts {
		c.starts += n
		if h.Buckets[i] >= lateBy {
			c.late += n
		}
	}
	return c
}
