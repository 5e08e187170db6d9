package e2e

import (
	"bytes"
	"fmt"
	"slices"
	"testing"
	"text/tabwriter"
	"time"

	"raftsman.dev/hack/e2e/load"
)

// kind is what an operation on a cluster may cost its clients.
type kind string

const (
	planned kind = "planned" // whatever a person orders: no operation of a client fails, no write gap above a second
	lost    kind = "lost"    // somebody is lost, be it the leader: writes resume within three seconds
	outage  kind = "outage"  // too many are lost at once: nothing is acknowledged for as long as it takes
)

// most is the longest write gap that an operation may bring; 0 is no bound.
func (k kind) most() time.Duration {
	switch k {
	case planned:
		return time.Second
	case lost:
		return 3 * time.Second
	}
	return 0
}

// span is the time that one operation took, on the load's clock.
type span struct {
	kind     kind
	what     string
	from, to time.Duration
}

// row is a line of the table: what clients noticed of one operation.
type row struct {
	Scenario, Operation string
	Kind                kind
	Took, Gap           time.Duration
	GaveUp, Discarded   int
}

// judge says what is wrong with a row, or nothing.
func (r row) judge() error {
	switch most := r.Kind.most(); {
	case most > 0 && r.Gap > most:
		return fmt.Errorf("%s: no write was acknowledged for %v: at most %v are promised", r.Operation, r.Gap, most)
	case r.Kind == planned && r.GaveUp > 0:
		return fmt.Errorf("%s: %d operations of clients failed, though they were tried again", r.Operation, r.GaveUp)
	}
	return nil
}

// during performs an operation and has the table tell what clients noticed of it.
func (r running) during(k kind, what string, do func()) {
	r.t.Helper()
	x := span{kind: k, what: what, from: r.now()}
	do()
	x.to = r.now()
	*r.spans = append(*r.spans, x)
}

// now is the time on the load's own clock.
func (r running) now() time.Duration {
	r.t.Helper()
	stats, err := r.stats(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	return stats.Now
}

// rows judge every operation of a load; one that had none is judged as a whole.
func (r running) rows(result load.Result) {
	r.t.Helper()
	spans := *r.spans
	if len(spans) == 0 {
		spans = []span{{kind: outage, what: "all of it", to: result.Length}}
	}
	for _, x := range spans {
		w := result.History.Window(x.from, x.to, result.Length, result.Stalls)
		line := row{
			Scenario: r.s.scene, Operation: x.what, Kind: x.kind, Took: (x.to - x.from).Round(100 * time.Millisecond),
			Gap: w.Gap.Length().Round(time.Millisecond), GaveUp: w.GaveUp, Discarded: w.Discarded,
		}
		r.s.rows = append(r.s.rows, line)
		r.s.say("  %s (%s): write gap %v, %d failed, %d discarded", line.Operation, line.Kind, line.Gap, line.GaveUp, line.Discarded)
		if err := line.judge(); err != nil {
			r.t.Error(err)
		}
	}
	still := time.Duration(0)
	for _, stall := range result.Stalls {
		still += stall.Length()
	}
	if still > result.Length/4 {
		r.t.Errorf("the machine stood still for %v of %v: nothing can be said of gaps", still, result.Length)
	}
}

// table renders rows for people.
func table(rows []row) string {
	var text bytes.Buffer
	w := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "SCENARIO\tOPERATION\tKIND\tTOOK\tWRITE GAP\tFAILED\tDISCARDED")
	for _, r := range rows {
		fmt.Fprintf(w, "%s\t%s\t%s\t%v\t%v\t%d\t%d\n", short(r.Scenario), r.Operation, r.Kind, r.Took, r.Gap, r.GaveUp, r.Discarded)
	}
	_ = w.Flush() // into memory
	return text.String()
}

// worst is, of each kind of operation, the longest gap and all failed operations, in a line.
func worst(rows []row) string {
	text := ""
	for _, k := range []kind{planned, lost, outage} {
		of := slices.DeleteFunc(slices.Clone(rows), func(r row) bool { return r.Kind != k })
		gap, failed := time.Duration(0), 0
		for _, r := range of {
			gap, failed = max(gap, r.Gap), failed+r.GaveUp
		}
		text += fmt.Sprintf("%s: %d operations, longest write gap %v, %d client operations failed\n", k, len(of), gap, failed)
	}
	return text
}

func TestRowsAreJudged(t *testing.T) {
	cases := []struct {
		row row
		bad bool
	}{
		{row{Kind: planned, Gap: time.Second}, false},
		{row{Kind: planned, Gap: time.Second + 1}, true},
		{row{Kind: planned, GaveUp: 1}, true},
		{row{Kind: lost, Gap: 3 * time.Second, GaveUp: 5}, false},
		{row{Kind: lost, Gap: 3*time.Second + 1}, true},
		{row{Kind: outage, Gap: time.Minute, GaveUp: 5}, false},
	}
	for _, c := range cases {
		if err := c.row.judge(); (err != nil) != c.bad {
			t.Errorf("%+v: %v", c.row, err)
		}
	}
}
