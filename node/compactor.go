package node

import (
	"fmt"
	"strconv"
	"time"

	"raftsman.dev/node/kv"
)

// AutoCompaction says what history a member that leads forgets by itself. The zero value is none.
type AutoCompaction struct {
	// Period keeps every revision for that long at least, and a tenth longer at most. At least 1 s.
	Period time.Duration
	// Revisions keeps the newest so many revisions; looked at every five minutes, as in etcd.
	Revisions int64
}

// ParseAutoCompaction reads etcd's pair of flags: mode periodic (a duration, or hours without a unit) or revision (a
// number), and how much is kept; "" and "0" are none.
func ParseAutoCompaction(mode, retention string) (AutoCompaction, error) {
	if retention == "" || retention == "0" {
		return AutoCompaction{}, nil
	}
	number, err := strconv.ParseInt(retention, 10, 64)
	switch mode {
	case "periodic":
		period := time.Duration(number) * time.Hour
		if err != nil {
			period, err = time.ParseDuration(retention)
		}
		if err != nil || period < time.Second || number > 1<<20 {
			return AutoCompaction{}, fmt.Errorf("--auto-compaction-retention is %q: in mode periodic it must be a duration of at least a second such as 5m, or a number of hours", retention)
		}
		return AutoCompaction{Period: period}, nil
	case "revision":
		if err != nil || number < 1 {
			return AutoCompaction{}, fmt.Errorf("--auto-compaction-retention is %q: in mode revision it must be a number of revisions", retention)
		}
		return AutoCompaction{Revisions: number}, nil
	}
	return AutoCompaction{}, fmt.Errorf("--auto-compaction-mode is %q: it must be periodic or revision", mode)
}

// interval is how often a member looks at its revision; 0 is never.
func (a AutoCompaction) interval() time.Duration {
	switch {
	case a.Period > 0:
		return a.Period / 10
	case a.Revisions > 0:
		return 5 * time.Minute
	}
	return 0
}

// history is what a member, leader or not, has seen of its revision, so that a new leader need not begin anew.
type history struct {
	keep AutoCompaction
	seen []glance // oldest first, a period and an interval of them
}

// glance is the revision at a moment of a monotonic clock.
type glance struct {
	at       time.Duration
	revision kv.Revision
}

// look notes the revision and says which one is to be compacted at now, 0 for none.
func (h *history) look(now time.Duration, revision kv.Revision) kv.Revision {
	if h.keep.Period == 0 {
		return max(0, revision-kv.Revision(h.keep.Revisions))
	}
	h.seen = append(h.seen, glance{now, revision})
	at := kv.Revision(0)
	for len(h.seen) > 0 && now-h.seen[0].at >= h.keep.Period {
		at = h.seen[0].revision
		h.seen = h.seen[1:]
	}
	return at
}

// compact forgets old history for as long as the member runs, if it is told to.
func (m *Member) compact() {
	interval := m.cfg.AutoCompaction.interval()
	if interval == 0 {
		return
	}
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	h, began := history{keep: m.cfg.AutoCompaction}, time.Now()
	for {
		select {
		case <-m.ending:
			return
		case <-ticker.C:
		}
		at := h.look(time.Since(began), m.store.Revision())
		if at <= m.store.Compacted() || !m.facts.leads() {
			continue
		}
		res, err := m.command(m.endingContext, kv.Command{Compact: &kv.Compaction{Revision: at}})
		if err == nil {
			err = res.Err
		}
		if err != nil {
			m.cfg.Log.Info("history was not compacted: tried again later", "revision", int64(at), "error", err.Error())
		} else {
			m.cfg.Log.V(1).Info("history compacted", "revision", int64(at))
		}
	}
}
