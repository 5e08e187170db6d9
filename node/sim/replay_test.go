package sim

import (
	"crypto/sha256"
	"encoding/hex"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"reflect"
	"runtime/debug"
	"testing"
)

var pebble = flag.Bool("sim.pebble", false, "put the stores on Pebble: then a seed replays nearly, not exactly")

// TestMain lets more garbage pile up than usual: worlds are small and short, and the collector took a third of the time.
func TestMain(m *testing.M) {
	debug.SetGCPercent(400)
	os.Exit(m.Run())
}

// telling is what can be told of one run: every line of its story as one sum, and its report.
type telling struct {
	sum    string
	lines  []string
	report Report
	err    string
}

func retell(seed uint64) telling {
	h := sha256.New()
	var t telling
	r, err := Run(seed, Draw(rand.New(rand.NewPCG(seed, 0xfade))), func(line string) {
		fmt.Fprintln(h, line)
		t.lines = append(t.lines, line)
	})
	t.sum, t.report, t.err = hex.EncodeToString(h.Sum(nil)), r, fmt.Sprint(err)
	return t
}

// TestReplay: a seed tells the same story, to the last line, with the same faults and the same answers, as often as
// it is told.
func TestReplay(t *testing.T) {
	powerLosses := 0
	for seed := uint64(1); seed <= 12; seed++ {
		first, second := retell(seed), retell(seed)
		if first.sum != second.sum {
			t.Fatalf("seed %d: the stories part: %s", seed, parting(first.lines, second.lines))
		}
		if !maps.Equal(first.report.Faults, second.report.Faults) {
			t.Fatalf("seed %d: faults %v, then %v", seed, first.report.Faults, second.report.Faults)
		}
		if !reflect.DeepEqual(first.report, second.report) || first.err != second.err {
			t.Fatalf("seed %d: what clients saw differs, or the end: %s, then %s", seed, first.err, second.err)
		}
		powerLosses += first.report.Faults["crash"]
	}
	if powerLosses < 50 {
		t.Fatalf("only %d losses of power", powerLosses)
	}
}

// parting is where two stories differ first.
func parting(a, b []string) string {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return fmt.Sprintf("line %d is\n%s\nthen\n%s", i+1, a[i], b[i])
		}
	}
	return fmt.Sprintf("%d lines, then %d", len(a), len(b))
}

// TestSimOnPebble runs a few seeds with the stores on Pebble, which is what runs in production.
func TestSimOnPebble(t *testing.T) {
	for seed := uint64(1); seed <= 6; seed++ {
		weather := Draw(rand.New(rand.NewPCG(seed, 0xfade)))
		weather.Pebble = true
		r, err := Run(seed, weather, nil)
		if err == nil {
			err = linearizable(r)
		}
		if err != nil {
			t.Errorf("%v\nweather %+v\nagain: go test ./node/sim -run TestSim -sim.pebble -sim.seed %d", err, weather, seed)
		}
	}
}
