package node

import (
	"time"

	"raftsman.dev/node/raft"
)

// hurryAfter is how long a leader may keep from a peer what no quorum waits for: long enough for several commands to go
// together, and short beside everything that somebody may come to wait for.
const hurryAfter = 10 * time.Millisecond

// alarm rings when an entry has been kept back for too long.
type alarm struct {
	timer *time.Timer
	after time.Duration
	entry raft.Index // 0: none
}

func newAlarm(after time.Duration) *alarm {
	a := &alarm{timer: time.NewTimer(after), after: after}
	a.timer.Stop()
	return a
}

// watch sets the alarm for an entry that was not the one before.
func (a *alarm) watch(entry raft.Index) {
	switch {
	case entry == a.entry:
		return
	case entry == 0:
		a.timer.Stop()
	default:
		a.timer.Reset(a.after)
	}
	a.entry = entry
}
