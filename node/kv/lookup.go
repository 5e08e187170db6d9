package kv

import (
	"fmt"

	"raftsman.dev/node/kv/engine"
)

// lookup reads from the newest state of a database what writes need to know of keys. Whoever uses it closes it before the
// state changes. Keys and graves have a finder each, made when one is looked for: what lies far apart is found slower.
type lookup struct {
	db           engine.DB
	buried       bool // there may be graves
	keys, graves engine.Finder
	row          []byte // scratch: the key of a row
}

// prior is what a key has, or when it was deleted.
func (l *lookup) prior(key []byte) (prior, error) {
	l.row = rowKey(l.row[:0], key)
	v, ok, err := l.find(&l.keys)
	if err != nil {
		return prior{}, damage(fmt.Sprintf("key %q", key), err)
	}
	if ok {
		kv, err := decodeStored(key, v)
		return kv.prior(), err
	}
	if !l.buried {
		return prior{}, nil
	}
	l.row = rowGrave(l.row[:0], key)
	if v, ok, err = l.find(&l.graves); err != nil || !ok {
		return prior{}, damage("a grave", err)
	}
	at, err := decodeGrave(key, v)
	return prior{mod: at}, err
}

// find reads the row by a finder of its kind.
func (l *lookup) find(by *engine.Finder) (value []byte, ok bool, err error) {
	if *by == nil {
		kind := l.row[0]
		f, err := l.db.NewFinder([]byte{kind}, []byte{kind + 1})
		if err != nil {
			return nil, false, err
		}
		*by = f
	}
	return (*by).Find(l.row)
}

// close lets go of the state. What was wrong with it has been told by what looked.
func (l *lookup) close() {
	for _, f := range []*engine.Finder{&l.keys, &l.graves} {
		if *f != nil {
			_ = (*f).Close()
		}
		*f = nil
	}
}
