package kv

import (
	"bytes"
	"slices"
	"sync"

	"raftsman.dev/node/kv/engine"
	"raftsman.dev/node/kv/tally"
)

const (
	// maxWalkers is how many counts learn at a time; those beyond are answered and teach nothing.
	maxWalkers = 16
	// maxNotes is how many keys may come and go beside a walker before what it learns is dropped.
	maxNotes = 64 << 10
	// maxTaught is how many stretches are put into the index while the applying goroutine may wait for it.
	maxTaught = 128
)

// learning is who learns how many keys there are. Its lock is held by whoever publishes, too, and nothing waits for a
// disk under it.
type learning struct {
	sync.Mutex
	walkers []*walker
}

// walker learns how many keys a viewed state has in stretches of its gaps, while other states follow: it is told of what
// comes and goes in them.
type walker struct {
	learnt []tally.Stretch

	// Under the lock of learning.
	notes  []tally.Change
	spoilt bool // it was not told of everything
}

// counting is a count of what a view has in a range. It begins before the range is read, so that the walker is not told
// too late of what happens beside it.
type counting struct {
	view   *View
	known  tally.Index
	walker *walker // nil if nobody learns from this
	past   *past   // the state that the view had, if that is meant
	it     engine.Iterator
}

// counting begins a count, which must end.
func (v *View) counting() *counting {
	if v.err != nil {
		return &counting{view: v}
	}
	w, known := v.s.enter(v)
	return &counting{view: v, known: known, walker: w}
}

// end ends the count; what a walk has learnt that did not come to its end is gone.
func (c *counting) end() {
	if c.walker != nil {
		c.view.s.leave(c.walker)
		c.walker = nil
	}
}

// count is how many keys there are in [lo, hi), nil for no end. It ends the count.
func (c *counting) count(lo, hi []byte) (int64, error) {
	n, err := c.now(lo, hi)
	if err == nil && c.past != nil {
		n, err = c.past.count(lo, hi, n)
	}
	return n, err
}

// now is how many keys the view has in [lo, hi).
func (c *counting) now(lo, hi []byte) (n int64, err error) {
	defer c.end()
	if c.view.err != nil {
		return 0, c.view.err
	}
	for p := range c.known.Pieces(lo, hi) {
		if p.Kind != tally.Known {
			p.N, err = c.walk(p, hi)
		}
		if n += p.N; err != nil {
			break
		}
	}
	if c.it != nil {
		c.it.Close()
	}
	if err != nil {
		return 0, err
	}
	if c.walker != nil {
		c.view.s.teach(c.walker)
	}
	return n, nil
}

// walk counts a piece of a range that ends at hi, key by key.
func (c *counting) walk(p tally.Piece, hi []byte) (n int64, err error) {
	if c.it == nil {
		upper := []byte{prefixKey + 1}
		if hi != nil {
			upper = rowKey(nil, hi)
		}
		if c.it, err = c.view.snap.NewIter(rowKey(nil, p.Lo), upper); err != nil {
			return 0, damage("a range", err)
		}
	}
	piece := lesson{walker: c.walker, size: c.known.Size(), from: p.Lo}
	if p.Kind == tally.Part {
		piece.walker = nil
	}
	for ok := c.it.Seek(rowKey(nil, p.Lo)); ok; ok = c.it.Next() {
		key := c.it.Key()[1:]
		if p.Hi != nil && bytes.Compare(key, p.Hi) >= 0 {
			break
		}
		if piece.walker != nil {
			piece.take(key)
		}
		n++
	}
	if err := c.it.Error(); err != nil {
		return 0, damage("a range", err)
	}
	if piece.walker != nil && p.Meets {
		piece.meet(p.Hi)
	}
	return n, nil
}

// lesson cuts a gap into stretches.
type lesson struct {
	walker *walker
	size   int64
	from   []byte
	n      int64 // keys from there on
	cut    bool  // from is where a stretch of this gap ends
}

// take takes the next key.
func (l *lesson) take(key []byte) {
	if l.n == l.size {
		l.end(bytes.Clone(key))
	}
	l.n++
}

func (l *lesson) end(hi []byte) {
	if !l.cut { // it may be the client's
		l.from = bytes.Clone(l.from)
	}
	l.walker.learnt = append(l.walker.learnt, tally.Stretch{Lo: l.from, Hi: hi, N: l.n})
	l.from, l.n, l.cut = hi, 0, true
}

// meet ends the gap where a stretch begins. What is left is worth knowing then: it closes the gap. A gap that ends where
// the client's range does is not closed, or as many little stretches would come of it as there are ranges.
func (l *lesson) meet(hi []byte) {
	if l.cut && l.n < l.size/2 { // too few for themselves
		last := &l.walker.learnt[len(l.walker.learnt)-1]
		last.Hi, last.N = hi, last.N+l.n
		return
	}
	l.end(hi)
}

// enter makes a walker of a view of the published state, nil if it is of another one or there are too many, and says what
// is known of the keys that the view has. A view may be of a state that is about to be published: who learnt of that one,
// and taught before, would have what comes and goes with it counted twice.
func (s *Store) enter(v *View) (*walker, tally.Index) {
	s.learning.Lock()
	defer s.learning.Unlock()
	p := s.published.Load()
	if p.gen != v.gen || p.meta.Index != v.meta.Index {
		return nil, v.keys
	}
	var w *walker
	if len(s.learning.walkers) < maxWalkers {
		w = &walker{}
		s.learning.walkers = append(s.learning.walkers, w)
	}
	return w, p.keys // perhaps more is known by now than when the view was made
}

// leave ends a walker.
func (s *Store) leave(w *walker) {
	s.learning.Lock()
	defer s.learning.Unlock()
	s.leaveLocked(w)
}

func (s *Store) leaveLocked(w *walker) {
	if i := slices.Index(s.learning.walkers, w); i >= 0 {
		s.learning.walkers = slices.Delete(s.learning.walkers, i, i+1)
	}
}

// spoilLocked ends a walker that has missed something.
func (s *Store) spoilLocked(w *walker) {
	w.spoilt, w.notes = true, nil
	s.leaveLocked(w)
}

// teach brings what a walker has learnt up to the newest state and publishes it.
func (s *Store) teach(w *walker) {
	if len(w.learnt) == 0 {
		return
	}
	s.learning.Lock()
	notes := w.notes
	w.notes = nil
	s.learning.Unlock()
	tally.Adjust(w.learnt, notes) // most of it while nobody waits
	for len(w.learnt) > 0 && s.teachSome(w) {
	}
}

// teachSome publishes some of what a walker has learnt. ok is false if it is spoilt.
func (s *Store) teachSome(w *walker) (ok bool) {
	s.learning.Lock()
	defer s.learning.Unlock()
	if w.spoilt {
		return false
	}
	tally.Adjust(w.learnt, w.notes)
	w.notes = nil
	p := *s.published.Load()
	n := min(maxTaught, len(w.learnt))
	for _, stretch := range w.learnt[:n] {
		p.keys = p.keys.Learn(stretch)
	}
	w.learnt = w.learnt[n:]
	s.published.Store(&p)
	return true
}

// publish lets readers see another state than the one before, of whose keys nothing is known. gen is nil once the store
// is closed.
func (s *Store) publish(gen *generation, m meta) {
	s.learning.Lock()
	defer s.learning.Unlock()
	for len(s.learning.walkers) > 0 {
		s.spoilLocked(s.learning.walkers[0])
	}
	s.published.Store(&published{gen: gen, meta: m, keys: tally.New(s.opts.Stretch)})
}

// reveal lets readers see the state that a commit has made of the one before, after writes to it, nil for none.
func (s *Store) reveal(m meta, w *writeSet) {
	s.learning.Lock()
	defer s.learning.Unlock()
	keys := s.published.Load().keys
	if w != nil && (len(s.learning.walkers) > 0 || !keys.Empty()) {
		if changes := w.comings(); len(changes) > 0 {
			keys = keys.Add(changes)
			s.noteLocked(changes)
		}
	}
	s.published.Store(&published{gen: s.gen, meta: m, keys: keys})
}

// noteLocked tells the walkers what has come and gone.
func (s *Store) noteLocked(changes []tally.Change) {
	var own []tally.Change // the keys are the batch's
	for _, w := range slices.Clone(s.learning.walkers) {
		if len(w.notes)+len(changes) > maxNotes {
			s.spoilLocked(w)
			continue
		}
		if own == nil {
			own = slices.Clone(changes)
			for i := range own {
				own[i].Key = bytes.Clone(own[i].Key)
			}
		}
		w.notes = append(w.notes, own...)
	}
}

// comings are the keys that have come into the database with the batch or gone from it, in order; they are valid until
// the next call.
func (w *writeSet) comings() []tally.Change {
	w.changes = w.changes[:0]
	for _, place := range w.inOrder() {
		p := &w.list[place]
		switch there := p.kv.Version > 0; {
		case there && !p.had:
			w.changes = append(w.changes, tally.Change{Key: p.kv.Key, By: 1})
		case !there && p.had:
			w.changes = append(w.changes, tally.Change{Key: p.kv.Key, By: -1})
		}
	}
	return w.changes
}
