package load

import (
	"context"
	"time"

	"raftsman.dev/hack/e2e/history"
)

const (
	// beat is the metronome's pace; late is from when on its ticks tell of a machine that stood still: much more than a
	// busy scheduler takes, much less than any gap that is judged.
	beat = 10 * time.Millisecond
	late = 150 * time.Millisecond
)

// metronome measures how late its own ticks come. It asks nobody for anything, so only the machine can hold it up.
type metronome struct {
	last   time.Duration
	stalls []history.Gap
}

// run ticks until ctx ends.
func (m *metronome) run(ctx context.Context, began time.Time) {
	ticks := time.NewTicker(beat)
	defer ticks.Stop()
	m.last = time.Since(began)
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticks.C:
			m.tick(time.Since(began))
		}
	}
}

// tick notes that time has passed, and whether it was too much since the tick before.
func (m *metronome) tick(now time.Duration) {
	if now-m.last > beat+late {
		m.stalls = append(m.stalls, history.Gap{From: m.last, To: now})
	}
	m.last = now
}
