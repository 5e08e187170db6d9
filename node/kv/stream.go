package kv

// Chunk is part of the answer to a range, in order. The last one says how many keys there are in all, and whether the
// limit cut some off.
type Chunk struct {
	KVs   []KeyValue
	Last  bool
	Count int64
	More  bool
}

// Stream answers a range in chunks of about so many bytes of keys and values; the chunks together are what Read answers.
// What f gets is its own. It stops at f's first error and returns it. Orders other than by key, and bounds on revisions,
// are the caller's to refuse: the first are ignored, of the second nothing is known before the end. Errors:
// ErrCompacted, ErrFutureRevision.
func (v *View) Stream(r *RangeRequest, bytes int, f func(Chunk) error) error {
	if v.err != nil {
		return v.err
	}
	if err := checkRevision(v.revision(), v.compacted(), r); err != nil {
		return err
	}
	src := source(v)
	if r.Revision > 0 && r.Revision < v.revision() {
		var err error
		if src, err = v.then(r.Revision); err != nil {
			return err
		}
	}
	s := streaming{r: r, room: bytes, f: f}
	lo, hi, one := bounds(r.Key, r.End)
	switch {
	case one:
		kv, ok, err := src.get(lo)
		if err != nil {
			return err
		}
		if ok {
			s.visit(kv)
		}
	case r.CountOnly || r.Limit > 0:
		if err := s.scan(src, lo, hi); err != nil {
			return err
		}
	default:
		if err := src.scan(lo, hi, r.readsValues(), s.visit); err != nil {
			return err
		}
	}
	return s.finish()
}

// streaming is a range on its way.
type streaming struct {
	r     *RangeRequest
	room  int // of a chunk
	f     func(Chunk) error
	chunk []KeyValue
	size  int
	taken int64
	count int64
	err   error

	rest    *counting // nil if every key is visited
	counted bool      // count is that of the whole range up to hi
	hi      []byte
}

// scan takes the keys of a range of which the limit may cut some off: those are only counted.
func (s *streaming) scan(src source, lo, hi []byte) (err error) {
	s.rest, s.hi = src.counting(), hi
	if s.rest == nil {
		return src.scan(lo, hi, s.r.readsValues(), s.visit)
	}
	if s.r.CountOnly {
		s.count, err = s.rest.count(lo, hi)
		return err
	}
	defer s.rest.end()
	return src.scan(lo, hi, s.r.readsValues(), s.visit)
}

// visit takes a key; what is behind the limit is only counted.
func (s *streaming) visit(kv KeyValue) bool {
	cut := s.r.CountOnly || s.r.Limit > 0 && s.taken == s.r.Limit
	full := s.size >= s.room
	if s.rest != nil && !s.counted && (cut || full) { // before f: who counts must not wait for a client
		n, err := s.rest.count(kv.Key, s.hi)
		if s.err = err; err != nil {
			return false
		}
		s.count, s.counted = s.count+n, true
	}
	if !s.counted {
		s.count++
	}
	if cut {
		return !s.counted
	}
	if full {
		if s.err = s.f(Chunk{KVs: s.chunk}); s.err != nil {
			return false
		}
		s.chunk, s.size = nil, 0
	}
	kv = kv.copy(s.r.KeysOnly)
	s.chunk = append(s.chunk, kv)
	s.size += len(kv.Key) + len(kv.Value)
	s.taken++
	return true
}

func (s *streaming) finish() error {
	if s.err != nil {
		return s.err
	}
	return s.f(Chunk{KVs: s.chunk, Last: true, Count: s.count, More: !s.r.CountOnly && s.taken < s.count})
}
