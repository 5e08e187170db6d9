package load

import (
	"slices"
	"strings"
	"testing"
	"time"

	"raftsman.dev/hack/e2e/history"
)

func TestMetronome(t *testing.T) {
	const ms = time.Millisecond
	var m metronome
	for _, at := range []time.Duration{10, 20, 35, 150, 160, 500, 510} {
		m.tick(at * ms)
	}
	if want := []history.Gap{{From: 160 * ms, To: 500 * ms}}; !slices.Equal(m.stalls, want) {
		t.Errorf("stalls: %v, want %v", m.stalls, want)
	}
}

// TestPatience: with a member that is gone every operation is tried until patience is over, under another value each
// time, and only the last attempt says that the client gave up.
func TestPatience(t *testing.T) {
	endpoint, stop := member(t)
	stop()
	p := plan(endpoint)
	p.Writers, p.Readers, p.Timeout, p.Patience = 1, 0, 50*time.Millisecond, 300*time.Millisecond
	r, err := Start(p)
	if err != nil {
		t.Fatal(err)
	}
	until(t, "some attempts have failed", func() bool { return r.Stats().Unknown >= 8 })
	r.cancel()
	r.wg.Wait()
	if err := r.close(); err != nil {
		t.Fatal(err)
	}
	values, gaveUp := map[string]bool{}, 0
	for _, o := range r.mu.history {
		if values[o.Value] {
			t.Errorf("%q was written twice", o.Value)
		}
		values[o.Value] = true
		if !o.GaveUp {
			continue
		}
		gaveUp++
		if spent := o.End - o.Began(); spent < p.Patience-pause || spent > p.Patience+time.Second || !strings.Contains(o.Value[2:], ".") {
			t.Errorf("gave up after %v, with %q", spent, o.Value)
		}
	}
	if gaveUp == 0 || gaveUp == len(values) {
		t.Errorf("of %d attempts %d were the last", len(values), gaveUp)
	}
}
