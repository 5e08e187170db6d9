package watch

import (
	"sort"

	"raftsman.dev/node/kv"
)

// span is what one batch has told: the events of the revisions after before, up to and with last.
type span struct {
	before, last kv.Revision
	blocks       [][]byte
	bytes        int
}

// What a span and a block take besides the events; a bound on bytes must also bound many small batches.
const (
	spanOverhead  = 64
	blockOverhead = 24
)

func newSpan(before, last kv.Revision, blocks [][]byte) span {
	s := span{before: before, last: last, blocks: blocks, bytes: spanOverhead}
	for _, b := range blocks {
		s.bytes += len(b) + blockOverhead
	}
	return s
}

// ring holds the newest spans, without a gap between them, in at most max bytes. A reader keeps what it has taken out:
// spans are never changed.
type ring struct {
	spans []span
	bytes int
	max   int
}

// add hangs in the newest span and lets the oldest go. A span that is too large on its own leaves the ring empty.
func (r *ring) add(s span) {
	r.spans = append(r.spans, s)
	r.bytes += s.bytes
	for r.bytes > r.max {
		r.bytes -= r.spans[0].bytes
		r.spans[0] = span{}
		r.spans = r.spans[1:]
	}
}

func (r *ring) clear() { r.spans, r.bytes = nil, 0 }

// reaches reports whether the ring holds everything after at.
func (r *ring) reaches(at kv.Revision) bool { return len(r.spans) > 0 && r.spans[0].before <= at }

// maxSpans bounds what after copies, for whoever waits meanwhile.
const maxSpans = 512

// after copies the spans that hold what comes after at, about as many bytes of them as asked for, at least one and at
// most maxSpans; none if the ring does not reach back to it.
func (r *ring) after(at kv.Revision, bytes int) []span {
	if !r.reaches(at) {
		return nil
	}
	i := sort.Search(len(r.spans), func(i int) bool { return r.spans[i].last > at })
	var out []span
	for ; i < len(r.spans) && bytes > 0 && len(out) < maxSpans; i++ {
		out = append(out, r.spans[i])
		bytes -= r.spans[i].bytes
	}
	return out
}
