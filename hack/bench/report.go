package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"runtime"
	"strings"
	"text/tabwriter"
	"time"
)

// runs are the measurements of one system, in order.
type runs []measurement

// column is the values of one figure over the runs; a run that lacks it gives NaN.
func (r runs) column(f figure) []float64 {
	values := make([]float64, len(r))
	for i, m := range r {
		v, ok := m.values[f]
		if !ok {
			v = math.NaN()
		}
		values[i] = v
	}
	return values
}

// figures are all figures of any run, in the order in which they first came.
func figures(all ...runs) []figure {
	var order []figure
	seen := map[figure]bool{}
	for _, r := range all {
		for _, m := range r {
			for _, f := range m.order {
				if !seen[f] {
					seen[f] = true
					order = append(order, f)
				}
			}
		}
	}
	return order
}

// line is one line of the comparison. Other is etcd, or the program given by --before; Ratio is Raftsman's by
// the other's, and Verdict what is asked of it and whether it is met.
type line struct {
	figure
	Raftsman     number   `json:"raftsman"`
	Other        number   `json:"other"`
	Ratio        number   `json:"ratio"`
	Verdict      string   `json:"verdict,omitempty"`
	RaftsmanRuns []number `json:"raftsmanRuns"`
	OtherRuns    []number `json:"otherRuns"`
	RatioRuns    []number `json:"ratioRuns"`
}

// number is a float64 that JSON can hold: NaN becomes null.
type number float64

// MarshalJSON writes null for what is not a number.
func (n number) MarshalJSON() ([]byte, error) {
	if math.IsNaN(float64(n)) || math.IsInf(float64(n), 0) {
		return []byte("null"), nil
	}
	return json.Marshal(float64(n))
}

func numbers(values []float64) []number {
	out := make([]number, len(values))
	for i, v := range values {
		out[i] = number(v)
	}
	return out
}

// compare makes the table: medians of each system, and the median of the pairs' ratios.
func compare(ours, theirs runs) []line {
	var table []line
	for _, f := range figures(ours, theirs) {
		a, b := ours.column(f), theirs.column(f)
		pairs := ratios(a, b)
		table = append(table, line{
			figure: f, Raftsman: number(median(a)), Other: number(median(b)), Ratio: number(median(pairs)), Verdict: f.bar.verdict(median(pairs)),
			RaftsmanRuns: numbers(a), OtherRuns: numbers(b), RatioRuns: numbers(pairs),
		})
	}
	return table
}

// without leaves the bars out, where it is not etcd that Raftsman is compared with.
func (r runs) without() runs {
	bare := make(runs, len(r))
	for i, m := range r {
		for _, f := range m.order {
			v := m.values[f]
			f.bar = bar{}
			bare[i].add(f, v)
		}
	}
	return bare
}

func (n number) text(digits int) string {
	if math.IsNaN(float64(n)) {
		return "-"
	}
	return fmt.Sprintf("%.*f", digits, float64(n))
}

// spread is the smallest and the largest of the values that are numbers; nothing of less than two runs.
func spread(values []number, digits int) string {
	if len(values) < 2 {
		return ""
	}
	least, most := number(math.NaN()), number(math.NaN())
	for _, v := range values {
		if v < least || math.IsNaN(float64(least)) {
			least = v
		}
		if v > most || math.IsNaN(float64(most)) {
			most = v
		}
	}
	if math.IsNaN(float64(least)) {
		return "-"
	}
	return least.text(digits) + "–" + most.text(digits)
}

func printTable(out io.Writer, other string, table []line) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(w, "workload\tfigure\traftsman\tmin–max\t%s\tmin–max\tunit\tratio\tmin–max\tasked\t\n", other)
	last := ""
	for _, l := range table {
		name := l.Workload
		if name == last {
			name = ""
		}
		last = l.Workload
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t\n", name, l.Quantity,
			l.Raftsman.text(l.digits), spread(l.RaftsmanRuns, l.digits), l.Other.text(l.digits), spread(l.OtherRuns, l.digits), l.Unit,
			l.Ratio.text(2), spread(l.RatioRuns, 2), l.Verdict)
	}
	return w.Flush()
}

// conditions is what the figures depend on besides the programs.
type conditions struct {
	When     time.Time `json:"when"`
	Go       string    `json:"go"`
	Kernel   string    `json:"kernel"`
	CPU      string    `json:"cpu"`
	Cores    int       `json:"cores"`
	Load     string    `json:"loadAverage"` // before the first run
	Pairs    int       `json:"pairs"`
	Keys     int       `json:"keys"`
	Clients  int       `json:"clients"`
	Conns    int       `json:"connections"`
	Other    string    `json:"other"`
	Measured string    `json:"measured"`
}

func (c conditions) String() string {
	return fmt.Sprintf("%s, %s, %d cores, Linux %s, load average %s; %d pairs, %d keys, %d clients on %d connections, %s each workload",
		c.When.UTC().Format(time.DateTime), c.CPU, c.Cores, c.Kernel, c.Load, c.Pairs, c.Keys, c.Clients, c.Conns, c.Measured)
}

func observeConditions(p plan, pairs int) conditions {
	c := conditions{
		When: time.Now(), Go: runtime.Version(), Cores: runtime.NumCPU(), Pairs: pairs, Keys: int(p.keys),
		Clients: p.clients, Conns: p.conns, Measured: p.measured.String(),
		Kernel: firstLine("/proc/sys/kernel/osrelease"), Load: firstLine("/proc/loadavg"), CPU: "unknown CPU",
	}
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(text)) {
			if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
				c.CPU = strings.TrimSpace(value)
			}
		}
	}
	return c
}

func firstLine(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return "unknown"
	}
	line, _, _ := strings.Cut(string(text), "\n")
	return line
}

// writeJSON writes conditions and table to a file.
func writeJSON(path string, c conditions, table []line) error {
	text, err := json.MarshalIndent(struct {
		Conditions conditions `json:"conditions"`
		Figures    []line     `json:"figures"`
	}{c, table}, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o644)
}
