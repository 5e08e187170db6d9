package main

import (
	"fmt"
	"strconv"
	"strings"
)

// parseMetrics reads the named counters from Prometheus' text format; of one with labels it reads the sum.
func parseMetrics(text string, names ...string) ([]float64, error) {
	sums, found := make([]float64, len(names)), make([]bool, len(names))
	for line := range strings.Lines(text) {
		for i, name := range names {
			rest, ok := strings.CutPrefix(line, name)
			if !ok || rest[0] != ' ' && rest[0] != '{' {
				continue
			}
			fields := strings.Fields(rest[strings.LastIndexByte(rest, '}')+1:])
			if len(fields) == 0 {
				return nil, fmt.Errorf("metric line %q has no value", line)
			}
			value, err := strconv.ParseFloat(fields[0], 64)
			if err != nil {
				return nil, fmt.Errorf("metric line %q: %w", line, err)
			}
			sums[i], found[i] = sums[i]+value, true
		}
	}
	for i, ok := range found {
		if !ok {
			return nil, fmt.Errorf("there is no metric %s", names[i])
		}
	}
	return sums, nil
}
