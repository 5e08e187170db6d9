package kv

import (
	"bytes"
	"errors"

	"raftsman.dev/node/kv/engine"
)

// past is the state at an earlier revision, which is compacted at that one at most. It is found from the newest state:
// what a key has now, or its grave, names the newest of its events, and every event names the one before.
type past struct {
	r    engine.Reader
	at   Revision
	bill func(bytes int) error // nil refuses nothing
	view *View                 // of the newest state; nil within a batch
}

func (p past) revision() Revision { return p.at }

// compacted is never asked: whoever made p has checked its revision.
func (p past) compacted() Revision { return 0 }

func (p past) charge(bytes int) error {
	if p.bill == nil {
		return nil
	}
	return p.bill(bytes)
}

func (p past) then(Revision) (source, error) { return p, nil }

// counting begins a count of the newest state, from which that of the past follows.
func (p past) counting() *counting {
	if p.view == nil {
		return nil
	}
	c := p.view.counting()
	c.past = &p
	return c
}

// count is how many keys there were in [lo, hi), nil for no end, of which there are now so many: those that came since are
// taken off, and those that went are added. Where that means to look at more events than there are keys, they are
// scanned.
func (p past) count(lo, hi []byte, now int64) (int64, error) {
	n, events := now, int64(0)
	err := eachBlock(p.r, p.at+1, func(_ place, block []byte) (bool, error) {
		err := EachEvent(block, func(e Event) bool {
			if e.KV.ModRevision <= p.at {
				return true
			}
			events++
			if bytes.Compare(e.KV.Key, lo) >= 0 && (hi == nil || bytes.Compare(e.KV.Key, hi) < 0) {
				switch e.KV.Version {
				case 0:
					n++
				case 1:
					n--
				}
			}
			return events <= now
		})
		return events <= now, err
	})
	if err != nil || events <= now {
		return n, err
	}
	n = 0
	err = p.scan(lo, hi, false, func(KeyValue) bool { n++; return true })
	return n, err
}

// lease is never asked: nothing is written to the past.
func (p past) lease(int64) (Lease, bool) { return Lease{}, false }

func (p past) stat(key []byte) (KeyValue, bool, error) { return p.get(key) }

func (p past) get(key []byte) (KeyValue, bool, error) {
	kv, ok, err := getKey(p.r, key)
	if err != nil || ok && kv.ModRevision <= p.at {
		return kv, ok, err
	}
	from := kv.ModRevision
	if !ok {
		if from, err = getGrave(p.r, key); err != nil {
			return KeyValue{}, false, err
		}
	}
	return p.from(key, from)
}

// from looks for the version in force among the events that led to the one at revision newest.
func (p past) from(key []byte, newest Revision) (KeyValue, bool, error) {
	kv, ok, err := p.bare(key, newest)
	if ok && err == nil {
		err = kv.fetch(p.r, nil)
	}
	kv.apart = false
	return kv, ok && err == nil, err
}

// bare is from without a value that stands apart.
func (p past) bare(key []byte, newest Revision) (KeyValue, bool, error) {
	for at := newest; at != 0; {
		e, ok, err := findEvent(p.r, at, key)
		if err != nil {
			return KeyValue{}, false, err
		}
		if !ok {
			return getBefore(p.r, key, min(at, p.at))
		}
		if at <= p.at && e.Deletion() {
			return KeyValue{}, false, nil
		}
		if at <= p.at {
			return e.KV, true, nil
		}
		at = e.Before
	}
	return KeyValue{}, false, nil
}

// scan goes through the keys that there are and those that were deleted, in order.
func (p past) scan(lo, hi []byte, values bool, f func(KeyValue) bool) error {
	graves, err := newGraveIter(p.r, lo, hi)
	if err != nil {
		return err
	}
	defer graves.Close()
	going := true
	give := func(kv KeyValue) (err error) {
		if values {
			err = kv.fetch(p.r, nil)
		}
		going = err == nil && f(kv)
		return err
	}
	emit := func(key []byte, newest Revision) error {
		kv, ok, err := p.bare(key, newest)
		if ok && err == nil {
			err = give(kv)
		}
		return err
	}
	var bad error
	bury := func(upTo []byte) { // the dead before a key, or all that are left
		for going && bad == nil && graves.ok && (upTo == nil || bytes.Compare(graves.key, upTo) < 0) {
			if graves.at > p.at {
				bad = emit(graves.key, graves.at)
			}
			if bad == nil {
				bad = graves.next()
			}
		}
	}
	err = scanKeys(p.r, lo, hi, false, func(kv KeyValue) bool {
		if bury(kv.Key); !going || bad != nil {
			return false
		}
		if kv.ModRevision <= p.at {
			bad = give(kv)
		} else {
			bad = emit(kv.Key, kv.ModRevision)
		}
		return going && bad == nil
	})
	if err == nil && bad == nil && going {
		bury(nil)
	}
	if err == nil {
		err = bad
	}
	return err
}

// getBefore reads the version of a key that was in force when history was tidied, if it is of revision at or an earlier
// one, without its value if that stands apart.
func getBefore(r engine.Reader, key []byte, at Revision) (KeyValue, bool, error) {
	v, closer, err := r.Get(rowBefore(nil, key))
	if err != nil || closer == nil {
		return KeyValue{}, false, damage("history", err)
	}
	kv, err := decodeStored(bytes.Clone(key), bytes.Clone(v))
	if bad := closer.Close(); err == nil {
		err = bad
	}
	return kv, err == nil && kv.ModRevision <= at, err
}

// getGrave reads at which revision a key was deleted that is not there; 0 is that nothing is known of it.
func getGrave(r engine.Reader, key []byte) (Revision, error) {
	var room [128]byte
	v, closer, err := r.Get(rowGrave(room[:0], key))
	if err != nil || closer == nil {
		return 0, damage("a grave", err)
	}
	at, err := decodeGrave(key, v)
	if bad := closer.Close(); err == nil {
		err = bad
	}
	return at, err
}

// anyGrave reports whether there is a grave at all.
func anyGrave(r engine.Reader) (bool, error) {
	g, err := newGraveIter(r, nil, nil)
	if err != nil {
		return false, err
	}
	return g.ok, g.Close()
}

// graveIter walks the graves of a range, in order.
type graveIter struct {
	it  engine.Iterator
	ok  bool
	key []byte
	at  Revision
}

func newGraveIter(r engine.Reader, lo, hi []byte) (*graveIter, error) {
	upper := []byte{prefixGrave + 1}
	if hi != nil {
		upper = rowGrave(nil, hi)
	}
	it, err := r.NewIter(rowGrave(nil, lo), upper)
	if err != nil {
		return nil, damage("the graves", err)
	}
	g := &graveIter{it: it}
	if err := g.take(it.First()); err != nil {
		return nil, errors.Join(err, it.Close())
	}
	return g, nil
}

func (g *graveIter) next() error { return g.take(g.it.Next()) }

func (g *graveIter) take(ok bool) (err error) {
	if g.ok = ok; !ok {
		return damage("the graves", g.it.Error())
	}
	g.key = append(g.key[:0], g.it.Key()[1:]...)
	g.at, err = decodeGrave(g.key, g.it.Value())
	return err
}

func (g *graveIter) Close() error { return g.it.Close() }
