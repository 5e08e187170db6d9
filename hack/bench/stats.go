package main

import (
	"math"
	"slices"
	"time"
)

// median is the middle of the values, or the mean of the two middle ones; NaN of none. Values that are not
// numbers are left out.
func median(values []float64) float64 {
	var known []float64
	for _, v := range values {
		if !math.IsNaN(v) {
			known = append(known, v)
		}
	}
	if len(known) == 0 {
		return math.NaN()
	}
	slices.Sort(known)
	middle := len(known) / 2
	if len(known)%2 == 1 {
		return known[middle]
	}
	return (known[middle-1] + known[middle]) / 2
}

// percentile is the smallest of the sorted latencies that at least p (0 to 1) of them do not exceed (nearest
// rank); 0 of none.
func percentile(sorted []time.Duration, p float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	rank := int(math.Ceil(p * float64(len(sorted))))
	return sorted[min(max(rank, 1), len(sorted))-1]
}

// ratio is a by b, NaN where that says nothing.
func ratio(a, b float64) float64 {
	if b == 0 {
		return math.NaN()
	}
	return a / b
}

// ratios pairs the i-th run of a with the i-th of b; runs without a partner are left out.
func ratios(a, b []float64) []float64 {
	n := min(len(a), len(b))
	out := make([]float64, n)
	for i := range n {
		out[i] = ratio(a[i], b[i])
	}
	return out
}
