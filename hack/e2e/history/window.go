package history

import "time"

// Window is what clients noticed of one operation on the store, which lasted from one moment of the run to another.
type Window struct {
	Gap    Gap // the longest time without an acknowledged write that reaches into the window
	GaveUp int // operations of clients that failed although they were tried again
	// Discarded are the longer gaps and the failed operations that are not counted, because the machine itself stood
	// still meanwhile.
	Discarded int
}

// Window judges the time between two moments of a run that lasted until end. Stalls are the times in which the
// machine stood still: what happened in them says nothing about the store.
func (h History) Window(from, to, end time.Duration, stalls []Gap) Window {
	var w Window
	var spoilt []Gap
	last := time.Duration(0)
	for _, at := range append(h.acks(), end) {
		gap := Gap{last, at}
		last = at
		switch {
		case !gap.touches(Gap{from, to}):
		case gap.stalled(stalls):
			spoilt = append(spoilt, gap)
		case gap.Length() > w.Gap.Length():
			w.Gap = gap
		}
	}
	for _, gap := range spoilt {
		if gap.Length() > w.Gap.Length() {
			w.Discarded++
		}
	}
	for _, o := range h {
		life := Gap{o.Began(), o.End}
		switch {
		case !o.GaveUp || !life.touches(Gap{from, to}):
		case life.stalled(stalls):
			w.Discarded++
		default:
			w.GaveUp++
		}
	}
	return w
}

// Began is when the client began with the operation: with the first attempt at it.
func (o Operation) Began() time.Duration {
	if o.GaveUp && o.First < o.Start {
		return o.First
	}
	return o.Start
}

func (g Gap) touches(o Gap) bool { return g.From < o.To && o.From < g.To }

func (g Gap) stalled(stalls []Gap) bool {
	for _, s := range stalls {
		if g.touches(s) {
			return true
		}
	}
	return false
}
