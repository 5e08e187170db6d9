package main

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

func TestMedian(t *testing.T) {
	nan := math.NaN()
	for _, c := range []struct {
		in   []float64
		want float64
	}{
		{nil, nan}, {[]float64{nan}, nan}, {[]float64{3}, 3}, {[]float64{4, 1}, 2.5}, {[]float64{9, 1, 5}, 5},
		{[]float64{9, nan, 1, 5}, 5}, {[]float64{1, 100, 2, 3}, 2.5},
	} {
		before := slices.Clone(c.in)
		got := median(c.in)
		if got != c.want && !(math.IsNaN(got) && math.IsNaN(c.want)) {
			t.Errorf("median(%v) = %v, want %v", c.in, got, c.want)
		}
		if len(c.in) > 1 && !math.IsNaN(c.in[1]) && !slices.Equal(before, c.in) {
			t.Errorf("median changed its argument %v to %v", before, c.in)
		}
	}
}

// TestPercentile compares with the definition: the smallest value that enough of them do not exceed.
func TestPercentile(t *testing.T) {
	if got := percentile(nil, 0.5); got != 0 {
		t.Errorf("percentile of nothing is %v", got)
	}
	const seed = 7
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	for range 200 {
		values := make([]time.Duration, 1+rng.IntN(40))
		for i := range values {
			values[i] = time.Duration(rng.IntN(20))
		}
		slices.Sort(values)
		for _, p := range []float64{0, 0.01, 0.5, 0.9, 0.99, 1} {
			want := values[len(values)-1]
			for _, v := range slices.Backward(values) {
				if n, _ := slices.BinarySearch(values, v+1); float64(n) >= p*float64(len(values)) {
					want = v
				}
			}
			if got := percentile(values, p); got != want {
				t.Fatalf("percentile(%v, %v) = %v, want %v", values, p, got, want)
			}
		}
	}
}

func TestRatios(t *testing.T) {
	got := ratios([]float64{10, 6, 1, 7}, []float64{5, 3, 0})
	if len(got) != 3 || got[0] != 2 || got[1] != 2 || !math.IsNaN(got[2]) {
		t.Errorf("ratios are %v, want [2 2 NaN]", got)
	}
}
