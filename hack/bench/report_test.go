package main

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func measured(values map[string]float64) measurement {
	var m measurement
	for _, q := range []string{"rate", "p99", "errors"} {
		if v, ok := values[q]; ok {
			m.add(figure{"put", q, "", 0, bar{}}, v)
		}
	}
	return m
}

func TestCompare(t *testing.T) {
	ours := runs{measured(map[string]float64{"rate": 20, "p99": 5}), measured(map[string]float64{"rate": 30, "p99": 6, "errors": 1}), measured(map[string]float64{"rate": 10, "p99": 7})}
	theirs := runs{measured(map[string]float64{"rate": 10, "p99": 10}), measured(map[string]float64{"rate": 20, "p99": 0}), measured(map[string]float64{"rate": 20, "p99": 7})}
	table := compare(ours, theirs)
	if len(table) != 3 {
		t.Fatalf("the table has %d rows, want 3: %+v", len(table), table)
	}
	// The medians are 20 and 20; the ratios of the pairs are 2, 1.5 and 0.5.
	if r := table[0]; r.Raftsman != 20 || r.Other != 20 || r.Ratio != 1.5 {
		t.Errorf("rate: %+v", r)
	}
	// A pair whose ratio says nothing does not count: 0.5 and 1 remain.
	if r := table[1]; r.Ratio != 0.75 {
		t.Errorf("p99: %+v", r)
	}
	if r := table[2]; r.Raftsman != 1 || !math.IsNaN(float64(r.Other)) || !math.IsNaN(float64(r.Ratio)) {
		t.Errorf("errors: %+v", r)
	}
	var text strings.Builder
	if err := printTable(&text, "etcd", table); err != nil || !strings.Contains(text.String(), "1.50") {
		t.Errorf("the table lacks the ratio (%v):\n%s", err, text.String())
	}
}

func TestJSON(t *testing.T) {
	path := filepath.Join(t.TempDir(), "figures.json")
	table := compare(runs{measured(map[string]float64{"rate": 8})}, nil)
	if err := writeJSON(path, observeConditions(plan{}, 1), table); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var back struct {
		Conditions map[string]any
		Figures    []map[string]any
	}
	if err := json.Unmarshal(text, &back); err != nil {
		t.Fatal(err)
	}
	if f := back.Figures[0]; f["raftsman"] != 8.0 || f["other"] != nil || f["workload"] != "put" || back.Conditions["cores"] == 0.0 {
		t.Errorf("read back %v", back)
	}
}

func TestSpread(t *testing.T) {
	nan := number(math.NaN())
	for _, c := range []struct {
		values []number
		want   string
	}{{nil, ""}, {[]number{3}, ""}, {[]number{nan, nan}, "-"}, {[]number{3, nan}, "3.0–3.0"}, {[]number{nan, 4, 2, nan, 3}, "2.0–4.0"}} {
		if got := spread(c.values, 1); got != c.want {
			t.Errorf("spread of %v is %q, want %q", c.values, got, c.want)
		}
	}
}

// TestBarsOnlyBesideEtcd: against another build nothing is asked.
func TestBarsOnlyBesideEtcd(t *testing.T) {
	var m measurement
	m.add(figure{"put", "rate", "/s", 0, atLeast(1)}, 1)
	ours, theirs := runs{m}, runs{m}
	theirs[0].values = map[figure]float64{theirs[0].order[0]: 2}
	if table := compare(ours, theirs); table[0].Verdict != ">= 1.00 MISSED" {
		t.Errorf("half of it is %q", table[0].Verdict)
	}
	if table := compare(ours.without(), theirs.without()); table[0].Verdict != "" || table[0].Ratio != 0.5 {
		t.Errorf("without bars: %+v", table[0])
	}
}
