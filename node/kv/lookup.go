package kv

import (
	"fmt"

	"raftsman.dev/node/kv/engine"
)

// lookup reads from the newest state of a database what writes need to know of keys. It makes its finder when something
// is looked for, and whoever uses it closes it before the state changes.
type lookup struct {
	db     engine.DB
	finder engine.Finder
	row    []byte // scratch: the key of a row
}

// prior is what a key has, or when it was deleted.
func (l *lookup) prior(key []byte) (prior, error) {
	l.row = rowKey(l.row[:0], key)
	v, ok, err := l.find(key)
	if err != nil {
		return prior{}, err
	}
	if ok {
		kv, err := decodeVersion(key, v)
		return kv.prior(), err
	}
	l.row = rowGrave(l.row[:0], key)
	if v, ok, err = l.find(key); err != nil || !ok {
		return prior{}, err
	}
	at, err := decodeGrave(key, v)
	return prior{mod: at}, err
}

// find reads the row, which is about a key.
func (l *lookup) find(key []byte) (value []byte, ok bool, err error) {
	if l.finder == nil {
		if l.finder, err = l.db.NewFinder(); err != nil {
			l.finder = nil
			return nil, false, damage(fmt.Sprintf("key %q", key), err)
		}
	}
	if value, ok, err = l.finder.Find(l.row); err != nil {
		return nil, false, damage(fmt.Sprintf("key %q", key), err)
	}
	return value, ok, nil
}

// close lets go of the state. What was wrong with it has been told by what looked.
func (l *lookup) close() {
	if l.finder != nil {
		_ = l.finder.Close()
	}
	l.finder = nil
}
