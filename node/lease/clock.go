package lease

import (
	"math"
	"time"
)

// never is later than every time.
const never = time.Duration(math.MaxInt64)

// clock turns the caller's time into kept time, which leaves the pauses out: it stands still for a gap between two
// readings that is longer than pause, and until still.
type clock struct {
	pause time.Duration
	seen  time.Duration // newest reading
	still time.Duration // kept time stands until then, in the caller's time
	lost  time.Duration // what does not count of seen
}

// restart begins to count at now, with kept time standing still for one pause.
func (c *clock) restart(now time.Duration) {
	*c = clock{pause: c.pause, seen: now, still: later(now, c.pause)}
}

// read takes a reading and returns kept time. A reading older than the newest says nothing.
func (c *clock) read(now time.Duration) time.Duration {
	gap := now - c.seen
	switch {
	case gap <= 0:
		return c.kept()
	case gap > c.pause:
		c.lost += gap
		c.still = later(now, c.pause)
	case c.seen < c.still:
		c.lost += min(now, c.still) - c.seen
	}
	c.seen = now
	return c.kept()
}

func (c *clock) kept() time.Duration { return c.seen - c.lost }

// stands reports whether kept time stands still.
func (c *clock) stands() bool { return c.seen < c.still }

// when is the caller's time at which t will be due, if nothing pauses until then.
func (c *clock) when(t time.Duration) time.Duration {
	return later(max(c.seen, c.still), max(t-c.kept(), 0))
}

// later is t+d, but never more than never: a lease may be granted for 9e9 seconds, which leaves a Duration seven years.
func later(t, d time.Duration) time.Duration {
	if d > never-max(t, 0) {
		return never
	}
	return t + d
}

// seconds is n seconds, at most never.
func seconds(n int64) time.Duration {
	if n > int64(never/time.Second) {
		return never
	}
	return time.Duration(n) * time.Second
}
