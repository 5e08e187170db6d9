package sim

import (
	"testing"

	"raftsman.dev/node/raft"
)

// TestCalm: a fault that was decided on in the chaos, and was to strike a moment later, does not strike a world that
// has healed in between. Nothing would end it there.
func TestCalm(t *testing.T) {
	const always = 1_000_000
	weather := Weather{Ambush: always, CrashInWrite: always, PauseInWrite: always, Members: 3, KeepEntries: 30, TailBytes: 4 << 10}
	for seed := uint64(1); seed <= 8; seed++ {
		w := newWorld(seed, weather, nil)
		if err := w.born(); err != nil {
			t.Fatal(err)
		}
		l := w.leader()
		w.calm = true
		w.runUntil(w.now+second, func() bool { return !l.writing })
		w.calm = false
		before := len(w.agenda)
		l.ambush(raft.RoleChanged{})
		l.ambush(raft.HandingOver{To: 2})
		l.ambushJoint(l.replica.Status().Membership)
		l.WriterReady()
		if got := len(w.agenda) - before; got != 6 { // five faults and the turn of the writer
			t.Fatalf("seed %d: %d things are on the agenda, want 6", seed, got)
		}
		w.heal()
		w.runUntil(w.now+second, nil)
		for _, name := range []string{
			"crash", "process paused", "power lost at a vote", "struck in a transfer", "partition while joint",
			"leader crashes while joint", "member crashes while joint", "transfer while joint",
			"power lost before a write", "paused in an fsync",
		} {
			if n := w.Faults[name]; n > 0 {
				t.Errorf("seed %d: %q strikes %d times after everything healed", seed, name, n)
			}
		}
		w.close()
		if w.failed != nil {
			t.Error(w.failed)
		}
	}
}
