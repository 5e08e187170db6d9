package node

import (
	"testing"
	"time"

	"raftsman.dev/node/kv"
)

func TestParseAutoCompaction(t *testing.T) {
	for _, c := range []struct {
		mode, retention string
		want            AutoCompaction
		bad             bool
	}{
		{"periodic", "", AutoCompaction{}, false},
		{"nonsense", "0", AutoCompaction{}, false},
		{"periodic", "5m", AutoCompaction{Period: 5 * time.Minute}, false},
		{"periodic", "2", AutoCompaction{Period: 2 * time.Hour}, false},
		{"revision", "1000", AutoCompaction{Revisions: 1000}, false},
		{"periodic", "10ms", AutoCompaction{}, true},
		{"periodic", "-1", AutoCompaction{}, true},
		{"periodic", "9999999999", AutoCompaction{}, true},
		{"revision", "5m", AutoCompaction{}, true},
		{"revision", "-5", AutoCompaction{}, true},
		{"nonsense", "5m", AutoCompaction{}, true},
	} {
		got, err := ParseAutoCompaction(c.mode, c.retention)
		if got != c.want || (err != nil) != c.bad {
			t.Errorf("%s %q: %+v, %v", c.mode, c.retention, got, err)
		}
	}
}

// Every revision can be read for its period, and not for much longer.
func TestHistoryByTime(t *testing.T) {
	keep := AutoCompaction{Period: 100 * time.Second}
	h := history{keep: keep}
	compacted := kv.Revision(0)
	for now := time.Duration(0); now < 1000*time.Second; now += keep.interval() {
		revision := kv.Revision(now/time.Second) + 1 // one a second
		if at := h.look(now, revision); at != 0 {
			compacted = at
		}
		if age := revision - compacted; compacted > 0 && age < 100 || now > 110*time.Second && age > 110 {
			t.Fatalf("after %v the oldest revision is %d of %d", now, compacted, revision)
		}
		if len(h.seen) > 11 {
			t.Fatalf("%d glances are kept", len(h.seen))
		}
	}
}

func TestHistoryByNumber(t *testing.T) {
	h := history{keep: AutoCompaction{Revisions: 100}}
	for revision, want := range map[kv.Revision]kv.Revision{1: 0, 100: 0, 101: 1, 1000: 900} {
		if at := h.look(0, revision); at != want {
			t.Errorf("at revision %d: compacted at %d, want %d", revision, at, want)
		}
	}
}
