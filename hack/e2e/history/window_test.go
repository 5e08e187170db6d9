package history

import (
	"testing"
	"time"
)

func TestWindow(t *testing.T) {
	const ms = time.Millisecond
	ack := func(at time.Duration) Operation { return Operation{Kind: Put, End: at * ms, Outcome: OK} }
	h := History{
		ack(100), ack(200), ack(900), ack(1000), ack(3000), ack(3100),
		{Kind: Get, First: 1200 * ms, Start: 2500 * ms, End: 2600 * ms, Outcome: Unknown, GaveUp: true},
		{Kind: Put, First: 1200 * ms, Start: 2500 * ms, End: 2600 * ms, Outcome: Unknown},
	}
	cases := []struct {
		name     string
		from, to time.Duration
		stalls   []Gap
		want     Window
	}{
		{"the window decides", 0, 950 * ms, nil, Window{Gap: Gap{200 * ms, 900 * ms}}},
		{"a gap that reaches in counts whole", 2900 * ms, 3050 * ms, nil, Window{Gap: Gap{1000 * ms, 3000 * ms}}},
		{"a failed operation that began before", 1100 * ms, 1300 * ms, nil, Window{Gap: Gap{1000 * ms, 3000 * ms}, GaveUp: 1}},
		{"the end counts as an acknowledgement", 3150 * ms, 8000 * ms, nil, Window{Gap: Gap{3100 * ms, 8000 * ms}}},
		{"the machine stood still", 0, 3050 * ms, []Gap{{1400 * ms, 1700 * ms}}, Window{Gap: Gap{200 * ms, 900 * ms}, Discarded: 2}},
		{"a stall elsewhere", 0, 950 * ms, []Gap{{1400 * ms, 1700 * ms}}, Window{Gap: Gap{200 * ms, 900 * ms}}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if got := h.Window(c.from, c.to, 8*time.Second, c.stalls); got != c.want {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
		})
	}
}
