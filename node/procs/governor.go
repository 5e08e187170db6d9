package procs

import "time"

// sample is what the process did since the sample before.
type sample struct {
	wall, used   time.Duration // time that passed, and that processors worked for the process
	starts, late uint64        // goroutines that were ready and then ran, and those of them that had waited for long
}

const (
	every  = 100 * time.Millisecond // from sample to sample
	lateBy = 250e-6                 // seconds after which a goroutine that is ready has waited for long

	// A sample of so few starts says nothing about waiting.
	fewest = 20
	// One processor is too few when so many percent of it are used, or of the starts are late.
	usedUp, tooLate = 80, 5
	// It would be enough when at most so many are.
	usedLittle, hardlyLate = 60, 2

	// calmFor is for how many samples in a row it must look as if one were enough; calmMost after it has proved wrong.
	calmFor, calmMost = 8, 256
	// provenAfter is after how many samples with one processor it was right.
	provenAfter = 20
)

// governor says from sample to sample whether one processor is enough. The zero value begins with all of them.
type governor struct {
	one  bool // processor
	calm int  // samples in a row in which one would be enough
	held int  // samples since the last change
	wary int  // how many times the calm that is asked for has doubled
}

// next takes a sample and reports whether one processor is enough from now on.
func (g *governor) next(s sample) (one bool) {
	g.held++
	if g.one {
		g.stay(s)
	} else {
		g.wait(s)
	}
	return g.one
}

// stay gives one processor up at once where it is not enough. Where that comes soon, the next calm must be longer.
func (g *governor) stay(s sample) {
	if g.held == provenAfter {
		g.wary = 0
	}
	if !s.beyond(usedUp, tooLate) {
		return
	}
	if g.held < provenAfter && calmFor<<g.wary < calmMost {
		g.wary++
	}
	g.one, g.calm, g.held = false, 0, 0
}

func (g *governor) wait(s sample) {
	if g.calm++; s.beyond(usedLittle, hardlyLate) {
		g.calm = 0
	}
	if g.calm >= calmFor<<g.wary {
		g.one, g.held = true, 0
	}
}

// beyond reports whether more than that many percent of one processor were used, or of the starts late.
func (s sample) beyond(used, late uint64) bool {
	return s.used*100 > s.wall*time.Duration(used) || s.starts >= fewest && s.late*100 > s.starts*late
}
