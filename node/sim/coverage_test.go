package sim

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// listed is a fault that the simulator is to cover, with the counters that show it as it took effect: their names
// begin so.
type listed struct {
	name     string
	counters []string
}

// listedFaults are all of them.
func listedFaults() []listed {
	damage := func(kind string) []string { return []string{kind + ": to be repaired", kind + ": fatal"} }
	return []listed{
		{"message lost", []string{"message lost"}}, {"message duplicated", []string{"message duplicated"}},
		{"messages reordered, delayed", []string{"message delayed"}}, {"link clogged", []string{"message clogged"}},
		{"link throttled", []string{"message throttled"}}, {"connection broken", []string{"connection broken"}},
		{"partition, full", []string{"partition: halves"}}, {"partition, one-way", []string{"partition: one-way", "partition: mute", "partition: deaf"}},
		{"partition, bridged", []string{"partition: bridge"}}, {"partition, ring of majorities", []string{"partition: ring"}},
		{"leader isolated", []string{"partition: isolated leader"}}, {"peer at a stale address", []string{"refused at a stale address"}},
		{"peer of another cluster", []string{"refused: of another cluster"}},
		{"crash", []string{"crash"}}, {"crash between any two effects", []string{"ended between two effects"}},
		{"crash of all members", []string{"power lost everywhere"}}, {"kill", []string{"process killed"}},
		{"pause", []string{"process paused"}}, {"pause in a ReadIndex", []string{"paused in a ReadIndex"}}, {"pause in an fsync", []string{"paused in an fsync"}},
		{"slow member", []string{"member slow"}}, {"unsynced data lost", []string{"unsynced sector lost"}},
		{"restart with the previous protocol version", []string{"restarted with protocol version 1"}},
		{"unsynced directory entry lost", []string{"directory entry lost"}}, {"torn write", []string{"power lost in a write"}},
		{"log: bit flip in the tail", damage("bit flip in the tail")}, {"log: bit flip in the middle", damage("bit flip in the middle")},
		{"log: bit flip in metadata", damage("bit flip in metadata")}, {"log: zeroed block", damage("block zeroed")},
		{"log: misdirected write", damage("write misdirected")}, {"log: truncated segment", damage("segment truncated")},
		{"log: missing segment", damage("segment missing")}, {"log: missing", damage("log missing")}, {"identity: bit flip", damage("bit flip in the identity")},
		{"store: damage met while running", []string{"store found damaged while running"}}, {"store: damage met at the start", []string{"damaged store set aside"}},
		{"state altered behind the member's back", []string{"state altered: found"}},
		{"snapshot: damaged chunk", []string{"snapshot refused: a chunk was spoilt"}}, {"snapshot: cut off", []string{"snapshot cut off"}},
		{"snapshot: resumed", []string{"snapshot resumed"}}, {"snapshot: receiver crashes between chunks", []string{"receiver of a snapshot crashes between"}},
		{"snapshot: receiver crashes as it installs", []string{"receiver of a snapshot crashes as it is"}},
		{"EIO once on write", []string{"stopped by its disk: EIO once on a write", "start refused: EIO once on a write"}},
		{"EIO once on fsync", []string{"stopped by its disk: EIO once on an fsync", "start refused: EIO once on an fsync"}},
		{"EIO once on read", []string{"start refused: EIO once on a read", "not read: EIO once"}},
		{"EIO for ever on write", []string{"stopped by its disk: EIO for ever on writes", "start refused: EIO for ever on writes"}},
		{"EIO for ever on fsync", []string{"stopped by its disk: EIO for ever on fsyncs", "start refused: EIO for ever on fsyncs"}},
		{"EIO for ever on read", []string{"start refused: EIO for ever on reads", "not read: EIO for ever"}},
		{"store: EIO", []string{"stopped by its disk: store", "start refused: store"}},
		{"full disk", []string{"disk out of space"}}, {"full disk: no segment", []string{"log found no space"}}, {"full disk: the store's flush", []string{"store found no space for a flush"}},
		{"full disk: write refused", []string{"write refused: no space"}},
		{"disk hangs for 1 to 30 s", []string{"disk hangs"}}, {"slow disk", []string{"disk slow"}}, {"entries kept back", []string{"entries kept back by the leader"}},
		{"volume rolled back", []string{"volume rolled back: refused"}}, {"volume swapped", []string{"swapped volume refused"}}, {"empty volume", []string{"empty volume"}},
		{"clock jumps", []string{"clock jumps"}}, {"clock drifts", []string{"clock drifts"}}, {"clock frozen", []string{"clock frozen"}},
		{"member added", []string{"membership change: add"}}, {"member removed", []string{"membership change: remove"}}, {"member moved", []string{"membership change: move"}},
		{"member promoted", []string{"membership change: promote", "learner promoted"}}, {"member replaced", []string{"lost member replaced"}},
		{"joint change interrupted", []string{"partition while joint", "leader crashes while joint", "member crashes while joint", "transfer while joint"}},
		{"transfer storm", []string{"leadership transfer in a storm"}}, {"struck in a transfer", []string{"struck in a transfer"}},
		{"learner further behind than the log", []string{"learner further behind"}},
		{"watchers come", []string{"watchers come"}}, {"watchers go", []string{"watchers go"}},
		{"request repeated", []string{"request repeated"}}, {"serializable read", []string{"serializable read"}}, {"linearizable read", []string{"linearizable read"}},
		{"compare and swap", []string{"compare-and-swap"}},
	}
}

// leastAnHour is how often each listed fault is to take effect in a soak of an hour.
const leastAnHour = 100

// cover prints how often each listed fault took effect. In a soak of an hour one that did so too seldom is a failure.
func (s *sum) cover(t *testing.T) {
	elapsed := time.Since(s.began)
	for _, l := range listedFaults() {
		n := 0
		for name, count := range s.faults {
			for _, counter := range l.counters {
				if strings.HasPrefix(name, counter) {
					n += count
				}
			}
		}
		note := ""
		if n == 0 {
			note = "  NEVER"
		}
		fmt.Fprintf(os.Stderr, "sim: fault  %-40s %9d %9.0f an hour%s\n", l.name, n, float64(n)/elapsed.Hours(), note)
		if elapsed >= time.Hour && n < leastAnHour && !*pebble {
			t.Errorf("in %v, %q took effect %d times, less than %d", elapsed, l.name, n, leastAnHour)
		}
	}
}
