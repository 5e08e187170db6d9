// Package history is what clients remember of a run: every operation with its times and its outcome. From it
// follows whether the store kept its word: that the history is linearizable, that nothing acknowledged is
// lost, and how long nothing was acknowledged.
//
// Every written value is unique, so a read names the one write that it saw.
package history

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"
)

// Kind is what an operation does.
type Kind string

const (
	Put Kind = "put"
	Get Kind = "get"
)

// Outcome is what a client knows of an operation when it has ended.
type Outcome string

const (
	// OK was acknowledged.
	OK Outcome = "ok"
	// Failed was refused, and certainly had no effect.
	Failed Outcome = "failed"
	// Unknown may have taken effect, or may yet do so at any later time.
	Unknown Outcome = "unknown"
)

// Operation is one request of one client. Start and End count from the beginning of the run, on one monotonic
// clock for all clients.
type Operation struct {
	Client  int           `json:"c"`
	Kind    Kind          `json:"k"`
	Key     string        `json:"key"`
	Value   string        `json:"v,omitempty"` // written, or read; empty when a read found nothing
	Start   time.Duration `json:"s"`
	End     time.Duration `json:"e"`
	Outcome Outcome       `json:"o"`
	Error   string        `json:"err,omitempty"`
	// GaveUp says that the client tried no more: this was its last attempt, and no earlier one had succeeded. First is
	// when the first of them began. Every attempt is an operation of its own here.
	GaveUp bool          `json:"g,omitempty"`
	First  time.Duration `json:"f,omitempty"`
}

// History is all operations of one run, in no particular order.
type History []Operation

// Write stores a history, one operation a line.
func (h History) Write(w io.Writer) error {
	buffered := bufio.NewWriter(w)
	out := json.NewEncoder(buffered)
	for i := range h {
		if err := out.Encode(&h[i]); err != nil {
			return err
		}
	}
	return buffered.Flush()
}

// Read reads what Write has written.
func Read(r io.Reader) (History, error) {
	in := json.NewDecoder(r)
	var h History
	for {
		var o Operation
		if err := in.Decode(&o); errors.Is(err, io.EOF) {
			return h, nil
		} else if err != nil {
			return nil, fmt.Errorf("operation %d of a history: %w", len(h)+1, err)
		}
		h = append(h, o)
	}
}

// acks are the times of all acknowledged writes, in order.
func (h History) acks() []time.Duration {
	var at []time.Duration
	for _, o := range h {
		if o.Kind == Put && o.Outcome == OK {
			at = append(at, o.End)
		}
	}
	slices.Sort(at)
	return at
}

// Gap is a time in which no write was acknowledged.
type Gap struct{ From, To time.Duration }

// Length is how long the gap lasted.
func (g Gap) Length() time.Duration { return g.To - g.From }

// String renders a gap for people.
func (g Gap) String() string {
	return fmt.Sprintf("%v, from %v to %v of the run", g.Length().Round(time.Millisecond), g.From.Round(time.Millisecond), g.To.Round(time.Millisecond))
}

// LargestGap is the longest time between two acknowledged writes, the run's beginning and its end counting
// as acknowledgements: a store that stops answering for good has a gap too.
func (h History) LargestGap(end time.Duration) Gap {
	var largest Gap
	last := time.Duration(0)
	for _, at := range append(h.acks(), end) {
		if at-last > largest.Length() {
			largest = Gap{last, at}
		}
		last = at
	}
	return largest
}

// Figures are the numbers of a run.
type Figures struct {
	Writes, Reads, Unknown, Failed int
	PerSecond                      float64 // acknowledged writes
	Gap                            Gap
}

// String renders the figures in one line.
func (f Figures) String() string {
	return fmt.Sprintf("%d writes acknowledged (%.0f/s), %d reads, %d outcomes unknown, %d refused, largest gap between acks %v",
		f.Writes, f.PerSecond, f.Reads, f.Unknown, f.Failed, f.Gap)
}

// Figures counts a run that lasted until end.
func (h History) Figures(end time.Duration) Figures {
	f := Figures{Gap: h.LargestGap(end)}
	for _, o := range h {
		switch {
		case o.Outcome == Failed:
			f.Failed++
		case o.Kind == Put && o.Outcome == OK:
			f.Writes++
		case o.Kind == Put:
			f.Unknown++
		case o.Outcome == OK:
			f.Reads++
		}
	}
	if end > 0 {
		f.PerSecond = float64(f.Writes) / end.Seconds()
	}
	return f
}
