package main

import (
	"fmt"
	"math"
	"strings"
)

// bar is what is asked of the ratio of a figure, Raftsman's by etcd's: at least, or at most, or nothing (zero).
type bar struct{ least, most float64 }

func atLeast(ratio float64) bar { return bar{least: ratio} }

func atMost(ratio float64) bar { return bar{most: ratio} }

func (b bar) asks() bool { return b != bar{} }

// met reports whether the ratio clears the bar; what is not a number does not.
func (b bar) met(ratio float64) bool {
	if b.least > 0 && !(ratio >= b.least) {
		return false
	}
	return b.most == 0 || ratio <= b.most
}

// verdict says in a few letters what is asked and whether that is met.
func (b bar) verdict(ratio float64) string {
	if !b.asks() {
		return ""
	}
	asked := fmt.Sprintf(">= %.2f", b.least)
	if b.most > 0 {
		asked = fmt.Sprintf("<= %.2f", b.most)
	}
	switch {
	case math.IsNaN(ratio):
		return asked + " ?"
	case b.met(ratio):
		return asked
	}
	return asked + " MISSED"
}

// verdicts counts the bars that are met, and names those that are not and those that nothing is known of.
func verdicts(table []line) string {
	met := 0
	var missed, unknown []string
	for _, l := range table {
		name := l.Workload + ": " + l.Quantity
		switch ratio := float64(l.Ratio); {
		case !l.bar.asks():
		case math.IsNaN(ratio):
			unknown = append(unknown, name)
		case l.bar.met(ratio):
			met++
		default:
			missed = append(missed, fmt.Sprintf("%s (%.2f, asked %s)", name, ratio, strings.TrimSuffix(l.bar.verdict(ratio), " MISSED")))
		}
	}
	text := fmt.Sprintf("bars met: %d; missed: %d", met, len(missed))
	for _, m := range missed {
		text += "\n  missed: " + m
	}
	if len(unknown) > 0 {
		text += "\n  NOT MEASURED: " + strings.Join(unknown, ", ")
	}
	return text
}
