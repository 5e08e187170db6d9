package plan

import (
	"strings"
	"testing"
)

// TestRefusal is the table of upgrades: which version may members be taken to that run these?
func TestRefusal(t *testing.T) {
	for _, c := range []struct {
		to      string
		running string
		says    string // a piece of the refusal; empty where there is none
	}{
		{"1.2.0", "1.2.0 1.2.0", ""},
		{"1.2.9", "1.2.0", ""},
		{"1.2.0", "1.2.9", ""},
		{"1.3.0", "1.2.0 1.2.4", ""},
		{"v1.3.0-rc.1+build", "1.2.0", ""},
		{"1.4.0", "1.2.0", "go to the one after 1.2"},
		{"1.1.0", "1.2.0", "no way back"},
		{"2.0.0", "1.9.3", ""},
		{"2.1.0", "1.9.3", "go to the one after 1.9"},
		{"3.0.0", "1.9.3", "go to the one after 1.9"},
		{"1.9.0", "2.0.0", "no way back"},
		// An upgrade that is half done goes on, or back, and nowhere else.
		{"1.3.0", "1.2.0 1.3.0 1.2.0", ""},
		{"1.2.0", "1.2.0 1.3.0 1.3.0", ""},
		{"1.4.0", "1.2.0 1.3.0 1.3.0", "go to the one after 1.2"},
		{"1.1.0", "1.2.0 1.3.0 1.3.0", "no way back"},
		{"1.4.0", "1.2.0 1.4.0", ""},
		// What nobody can read forbids nothing.
		{"", "1.2.0", ""},
		{"latest", "1.2.0", ""},
		{"1.2", "1.9.0", ""},
		{"1.9.0", "dev dev", ""},
		{"1.9.0", "dev 1.2.0", "go to the one after 1.2"},
		{"1.9.0", "", ""},
	} {
		var seen Observation
		for n, v := range strings.Fields(c.running) {
			seen.Pods = append(seen.Pods, Pod{Name: Spec{Name: "db"}.Pod(int32(n)), Report: &Report{State: Joined, Open: true, Version: v}})
		}
		got := Refusal(c.to, seen)
		if (got == "") != (c.says == "") || !strings.Contains(got, c.says) {
			t.Errorf("%q to %q: %q, want %q", c.running, c.to, got, c.says)
		}
	}
}

// TestWhoseVersionCounts: only those in whose hands the data is.
func TestWhoseVersionCounts(t *testing.T) {
	joined := func(v string) *Report { return &Report{State: Joined, Open: true, Version: v} }
	for what, c := range map[string]struct {
		seen    Observation
		refused bool
	}{
		"a member that answers":                 {Observation{Pods: []Pod{{Report: joined("1.2.0")}}}, true},
		"a member out of reach, and ready":      {Observation{Pods: []Pod{{Ready: true, Version: "1.2.0"}}}, true},
		"a member of a cluster that is opened":  {Observation{Latched: Latched{Initialized: true}, Pods: []Pod{{Report: &Report{State: Joined, Version: "1.2.0"}}}}, true},
		"a member before that":                  {Observation{Pods: []Pod{{Report: &Report{State: Joined, Version: "1.2.0"}}}}, false},
		"a Pod that never served":               {Observation{Pods: []Pod{{Version: "1.2.0"}}}, false},
		"a member that has joined nothing":      {Observation{Pods: []Pod{{Report: &Report{State: Unjoined, Version: "1.2.0"}}}}, false},
		"a cluster that is hibernated":          {Observation{Latched: Latched{Hibernated: 3}, Set: &Set{Version: "1.2.0"}}, true},
		"a StatefulSet that has no Pods so far": {Observation{Set: &Set{Version: "1.2.0"}}, false},
	} {
		if got := Refusal("1.4.0", c.seen); (got != "") != c.refused {
			t.Errorf("%s: %q, want it refused: %v", what, got, c.refused)
		}
	}
}
