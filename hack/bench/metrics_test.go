package main

import (
	"slices"
	"testing"
)

func TestParseMetrics(t *testing.T) {
	const text = "# HELP a_total things\n# TYPE a_total counter\na_total 7\na_total_more 5\nb{x=\"1 }\"} 2\nb{x=\"2\"} 3.5 1700000000\n"
	got, err := parseMetrics(text, "a_total", "b")
	if err != nil || !slices.Equal(got, []float64{7, 5.5}) {
		t.Errorf("got %v, %v; want 7 and 5.5", got, err)
	}
	for _, name := range []string{"c", "a", "a_total_mor"} {
		if got, err := parseMetrics(text, name); err == nil {
			t.Errorf("%s was read as %v", name, got)
		}
	}
	if got, err := parseMetrics("a_total x\n", "a_total"); err == nil {
		t.Errorf("a value that is no number was read as %v", got)
	}
}
