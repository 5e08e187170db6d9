package kv

import (
	"bytes"
	"slices"

	"raftsman.dev/node/kv/engine"
)

// attachments are the keys of each lease, as the newest state has them; leases without keys are not there.
type attachments map[int64]*keySet

// keySet is a set of keys. Most leases have one, or a few, and those need no map.
type keySet struct {
	few  []string
	many map[string]struct{} // nil while there are few
}

// fewKeys is how many keys are few.
const fewKeys = 8

// readAttachments reads what is attached to leases.
func readAttachments(r engine.Reader) (attachments, error) {
	it, err := newAttachedIter(r)
	if err != nil {
		return nil, damage("the keys of the leases", err)
	}
	defer it.Close()
	a := attachments{}
	for ok := it.First(); ok; ok = it.Next() {
		id, key, err := decodeAttached(it.Key())
		if err != nil {
			return nil, err
		}
		a.set(id, string(key), true)
	}
	return a, damage("the keys of the leases", it.Error())
}

// set says whether a key is attached to a lease.
func (a attachments) set(id int64, key string, there bool) {
	s := a[id]
	switch {
	case there && s == nil:
		a[id] = &keySet{few: []string{key}}
	case there:
		s.add(key)
	case s != nil:
		if s.remove(key); s.empty() {
			delete(a, id)
		}
	}
}

// of calls f for the keys of a lease, in no order.
func (a attachments) of(id int64, f func(key string)) {
	s := a[id]
	if s == nil {
		return
	}
	for _, key := range s.few {
		f(key)
	}
	for key := range s.many {
		f(key)
	}
}

func (s *keySet) add(key string) {
	switch {
	case s.many != nil:
		s.many[key] = struct{}{}
	case slices.Contains(s.few, key):
	case len(s.few) < fewKeys:
		s.few = append(s.few, key)
	default:
		s.many = map[string]struct{}{key: {}}
		for _, k := range s.few {
			s.many[k] = struct{}{}
		}
		s.few = nil
	}
}

func (s *keySet) remove(key string) {
	delete(s.many, key)
	if i := slices.Index(s.few, key); i >= 0 {
		s.few = slices.Delete(s.few, i, i+1)
	}
}

func (s *keySet) empty() bool { return len(s.few)+len(s.many) == 0 }

// newAttachedIter walks over the rows of what is attached to leases.
func newAttachedIter(r engine.Reader) (engine.Iterator, error) {
	return r.NewIter([]byte{prefixAttached}, []byte{prefixAttached + 1})
}

// eachAttached calls f for the keys attached to a lease, in order, until it returns false. What f gets is reused.
func eachAttached(r engine.Reader, id int64, f func(key []byte) bool) error {
	it, err := newAttachedIter(r)
	if err != nil {
		return damage("the keys of a lease", err)
	}
	defer it.Close()
	lease := rowAttached(nil, id, nil)
	for ok := it.Seek(lease); ok && bytes.HasPrefix(it.Key(), lease); ok = it.Next() {
		if !f(it.Key()[len(lease):]) {
			break
		}
	}
	return damage("the keys of a lease", it.Error())
}

// keysOf lists the keys attached to a lease, in order.
func (b *batch) keysOf(id int64) []string {
	var keys []string
	own := b.leases.attached[id]
	b.s.attached.of(id, func(key string) {
		if _, touched := own[key]; !touched {
			keys = append(keys, key)
		}
	})
	for key, there := range own {
		if there {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}
