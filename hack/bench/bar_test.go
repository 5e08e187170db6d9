package main

import (
	"math"
	"strings"
	"testing"
)

func TestVerdict(t *testing.T) {
	nan := math.NaN()
	for _, c := range []struct {
		bar   bar
		ratio float64
		want  string
	}{
		{bar{}, 9, ""}, {bar{}, nan, ""},
		{atLeast(1), 1, ">= 1.00"}, {atLeast(1), 0.99, ">= 1.00 MISSED"}, {atLeast(1), nan, ">= 1.00 ?"},
		{atMost(0.6), 0.6, "<= 0.60"}, {atMost(0.6), 0.61, "<= 0.60 MISSED"}, {atMost(0.6), nan, "<= 0.60 ?"},
	} {
		if got := c.bar.verdict(c.ratio); got != c.want {
			t.Errorf("%+v says %q of %v, want %q", c.bar, got, c.ratio, c.want)
		}
	}
}

func TestVerdicts(t *testing.T) {
	make := func(quantity string, b bar, ratio float64) line {
		return line{figure: figure{"put", quantity, "", 0, b}, Ratio: number(ratio)}
	}
	text := verdicts([]line{
		make("rate", atLeast(1), 1.5), make("p99", atMost(1), 1.1), make("p50", bar{}, 7), make("cgroup peak", atMost(1), math.NaN()),
	})
	for _, want := range []string{"met: 1; missed: 1", "missed: put: p99 (1.10, asked <= 1.00)", "NOT MEASURED: put: cgroup peak"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in:\n%s", want, text)
		}
	}
}
