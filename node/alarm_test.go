package node

import (
	"testing"
	"time"
)

// TestAlarm: it rings for an entry that stays, once; it does not for one that is gone, and begins anew for another one.
func TestAlarm(t *testing.T) {
	a := newAlarm(time.Millisecond)
	defer a.timer.Stop()
	a.watch(7)
	<-a.timer.C
	a.watch(7)
	if a.timer.Stop() {
		t.Error("it would ring twice for one entry")
	}
	a.watch(8)
	a.after = time.Hour
	a.watch(9)
	if !a.timer.Stop() {
		t.Error("it does not wait for the second entry as long as it is to")
	}
	a.watch(10)
	a.watch(0)
	if a.timer.Stop() {
		t.Error("it would ring for nothing")
	}
}
