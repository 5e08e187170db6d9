package snapshot

import (
	"sync"
	"time"
)

// burst is how far a throttle may run ahead of its rate after a pause.
const burst = 50 * time.Millisecond

// Throttle bounds the bytes a second of all streams that share it.
type Throttle struct {
	rate int64
	now  func() time.Time
	mu   struct {
		sync.Mutex
		free time.Time // when all that was taken has been sent at the rate
	}
}

// NewThrottle lets rate bytes a second pass; now is the clock.
func NewThrottle(rate int64, now func() time.Time) *Throttle {
	return &Throttle{rate: max(1, rate), now: now}
}

// Take reserves n bytes and tells how long to wait before they are sent.
func (t *Throttle) Take(n int) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.now()
	if earliest := now.Add(-burst); t.mu.free.Before(earliest) {
		t.mu.free = earliest
	}
	wait := max(0, t.mu.free.Sub(now))
	t.mu.free = t.mu.free.Add(time.Duration(float64(n) / float64(t.rate) * float64(time.Second)))
	return wait
}
