package kv

import (
	"fmt"
	"maps"
	"slices"

	"raftsman.dev/node/kv/engine"
)

// readLeases reads all leases that the state holds.
func readLeases(r engine.Reader) (map[int64]Lease, error) {
	leases := map[int64]Lease{}
	err := eachLease(r, func(l Lease) bool { leases[l.ID] = l; return true })
	return leases, err
}

func eachLease(r engine.Reader, f func(Lease) bool) error {
	it, err := r.NewIter([]byte{prefixLease}, []byte{prefixLease + 1})
	if err != nil {
		return damage("the leases", err)
	}
	defer it.Close()
	for ok := it.First(); ok; ok = it.Next() {
		l, err := decodeLease(it.Key(), it.Value())
		if err != nil {
			return err
		}
		if !f(l) {
			break
		}
	}
	return damage("the leases", it.Error())
}

// leaseChanges is what a batch has done to leases and to what is attached to them.
type leaseChanges struct {
	now      map[int64]*Lease          // nil: revoked
	attached map[int64]map[string]bool // by lease and key: whether it is to be attached
	told     []LeaseChange
}

func (c *leaseChanges) clear() {
	clear(c.now)
	clear(c.attached)
	c.told = nil // whoever was told keeps it
}

func (b *batch) lease(id int64) (Lease, bool) {
	if l, touched := b.leases.now[id]; touched {
		if l == nil {
			return Lease{}, false
		}
		return *l, true
	}
	l, ok := b.s.leases[id]
	return l, ok
}

func (b *batch) setLease(l Lease, gone bool) {
	if b.leases.now == nil {
		b.leases.now = map[int64]*Lease{}
	}
	row := []byte(nil)
	if b.leases.now[l.ID] = nil; !gone {
		b.leases.now[l.ID] = &l
		row = l.append(nil)
	}
	b.meta.effectOn(rowLease(l.ID), row)
	b.leases.told = append(b.leases.told, LeaseChange{Lease: l, Revoked: gone})
}

// attach notes that a key went from one lease to another; 0 is none.
func (b *batch) attach(key []byte, from, to int64) {
	if from == to {
		return
	}
	b.leases.attach(from, key, false)
	b.leases.attach(to, key, true)
}

func (c *leaseChanges) attach(id int64, key []byte, there bool) {
	if id == 0 {
		return
	}
	if c.attached == nil {
		c.attached = map[int64]map[string]bool{}
	}
	if c.attached[id] == nil {
		c.attached[id] = map[string]bool{}
	}
	c.attached[id][string(key)] = there
}

// grant gives out a lease.
func (b *batch) grant(l *Lease) (Result, error) {
	if _, exists := b.lease(l.ID); exists {
		return b.failed(fmt.Errorf("lease %016x: %w", uint64(l.ID), ErrLeaseExists))
	}
	b.setLease(Lease{ID: l.ID, TTL: l.TTL, Granted: b.meta.Index}, false)
	return Result{Revision: b.meta.revision}, nil
}

// failed answers a command that did nothing.
func (b *batch) failed(err error) (Result, error) {
	return Result{Revision: b.meta.revision, Err: err}, nil
}

func (b *batch) revoke(r *Revocation) (Result, error) {
	if r.Term != 0 && r.Term != b.meta.Term {
		return b.failed(fmt.Errorf("leases found expired in term %d: %w", r.Term, ErrFenced))
	}
	for _, id := range r.Leases {
		l, exists := b.lease(id)
		if exists && r.Term != 0 && l.Granted > r.Seen {
			continue
		}
		if !exists {
			if len(r.Leases) == 1 {
				return b.failed(fmt.Errorf("lease %016x: %w", uint64(id), ErrLeaseNotFound))
			}
			continue
		}
		if err := b.revokeOne(id); err != nil {
			return Result{}, err
		}
	}
	return Result{Revision: b.meta.revision}, nil
}

// revokeOne deletes a lease and all its keys at one revision.
func (b *batch) revokeOne(id int64) error {
	w := &writing{batch: b, next: b.meta.revision + 1}
	for _, key := range b.keysOf(id) {
		if _, err := w.delete(&DeleteRequest{Key: []byte(key)}); err != nil {
			return err
		}
	}
	w.finish()
	b.setLease(Lease{ID: id}, true)
	return nil
}

func (b *batch) checkpoint(c *Checkpoint) (Result, error) {
	if c.Term != 0 && c.Term != b.meta.Term {
		return b.failed(fmt.Errorf("what is left of leases in term %d: %w", c.Term, ErrFenced))
	}
	for _, left := range c.Leases {
		if l, exists := b.lease(left.ID); exists && (c.Term == 0 || l.Granted <= c.Seen) {
			l.Remaining = left.Remaining
			b.setLease(l, false)
		}
	}
	return Result{Revision: b.meta.revision}, nil
}

// fillLeases turns what happened to leases into rows, in an order that is always the same.
func (b *batch) fillLeases(rows engine.Batch) error {
	if len(b.leases.attached)+len(b.leases.now) == 0 {
		return nil
	}
	for _, id := range slices.Sorted(maps.Keys(b.leases.attached)) {
		for _, key := range slices.Sorted(maps.Keys(b.leases.attached[id])) {
			b.buf = rowAttached(b.buf[:0], id, []byte(key))
			if err := put(rows, b.buf, nil, b.leases.attached[id][key]); err != nil {
				return err
			}
		}
	}
	for _, id := range slices.Sorted(maps.Keys(b.leases.now)) {
		var value []byte
		l := b.leases.now[id]
		if l != nil {
			value = l.append(nil)
		}
		if err := put(rows, rowLease(id), value, l != nil); err != nil {
			return err
		}
	}
	return nil
}

// put sets a row, or deletes it where it is not to be there.
func put(rows engine.Batch, key, value []byte, there bool) error {
	if there {
		return rows.Set(key, value)
	}
	return rows.Delete(key)
}

// keepLeases makes what a committed batch did to leases the store's.
func (s *Store) keepLeases(c *leaseChanges) {
	for id, keys := range c.attached {
		for key, there := range keys {
			s.attached.set(id, key, there)
		}
	}
	for id, l := range c.now {
		if l == nil {
			delete(s.leases, id)
		} else {
			s.leases[id] = *l
		}
	}
}
