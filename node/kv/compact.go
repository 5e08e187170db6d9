package kv

import (
	"bytes"
	"fmt"
	"maps"
	"slices"

	"raftsman.dev/node/kv/engine"
)

// compact forgets what is older than a revision. That is one number: what becomes unreadable by it goes in Tidy.
func (b *batch) compact(c *Compaction) (Result, error) {
	switch {
	case c.Revision <= b.meta.compacted:
		return b.failed(fmt.Errorf("compact at revision %d, after %d: %w", c.Revision, b.meta.compacted, ErrCompacted))
	case c.Revision > b.meta.revision:
		return b.failed(fmt.Errorf("compact at revision %d of %d: %w", c.Revision, b.meta.revision, ErrFutureRevision))
	}
	b.meta.compacted = c.Revision
	b.meta.effectOn([]byte{prefixHistory}, rowHistory(place{revision: c.Revision}))
	return Result{Revision: b.meta.revision}, nil
}

// tidying is a step of Tidy: blocks that go, and the newest event in them of each key.
type tidying struct {
	blocks [][]byte // row keys
	values [][]byte // row keys of the values that stand apart and are of what these events have replaced
	newest map[string]Event
	upTo   Revision
	events int
}

// Grown is how many events the last Apply has added to history. It is for the applying goroutine.
func (s *Store) Grown() int { return s.grown }

// Tidy removes history that a compaction has made unreadable: about so many events, and at least a block if there is one
// to remove. more is false when nothing is left to do. It is for the applying goroutine, which calls it where it has
// nothing better to do; it changes nothing that any read can see, and each member is as far with it as it is.
func (s *Store) Tidy(events int) (more bool, err error) {
	if s.gen == nil {
		return false, ErrClosed
	}
	if s.meta.compacted <= s.meta.tidied+1 {
		return false, nil
	}
	t, more, err := s.untidy(events)
	if err != nil {
		return false, err
	}
	m := s.meta
	if m.tidied = t.upTo; !more { // what comes next is not to be looked for where there is nothing any more
		m.tidied = m.compacted - 1
	}
	if err := s.tidy(t, m); err != nil {
		return false, err
	}
	if !more && s.buried {
		s.buried, err = anyGrave(s.gen.db)
	}
	return more, err
}

// untidy collects the next blocks of which every event is older than the compacted revision. An event at that revision
// stays: a watcher may begin there.
func (s *Store) untidy(events int) (t tidying, more bool, err error) {
	t.newest, t.upTo = map[string]Event{}, s.meta.tidied
	err = eachBlock(s.gen.db, s.meta.tidied, func(last place, block []byte) (bool, error) {
		if last.revision >= s.meta.compacted {
			return false, nil
		}
		if more = t.events >= events && t.events > 0; more {
			return false, nil
		}
		t.blocks = append(t.blocks, rowHistory(last))
		t.upTo = last.revision
		return true, EachEvent(bytes.Clone(block), func(e Event) bool {
			t.newest[string(e.KV.Key)] = e
			if e.apartBefore {
				t.values = append(t.values, rowValue(nil, e.Before, e.KV.Key))
			}
			t.events++
			return true
		})
	})
	return t, more, err
}

func (s *Store) tidy(t tidying, m meta) error {
	rows := s.gen.db.NewBatch(1024 + 64*len(t.newest))
	defer rows.Close()
	for _, row := range slices.Concat(t.blocks, t.values) {
		if err := rows.Delete(row); err != nil {
			return err
		}
	}
	l := lookup{db: s.gen.db, buried: s.buried}
	defer l.close()
	for _, key := range slices.Sorted(maps.Keys(t.newest)) { // in order: which damage it meets is not to be chance
		e := t.newest[key]
		if err := s.settle(rows, &l, []byte(key), &e); err != nil {
			return err
		}
	}
	row := rowApplied()
	if err := rows.Set(row, m.append(nil)); err != nil {
		return err
	}
	s.seq.Add(1)
	err := rows.Commit()
	if err == nil {
		s.meta = m
		s.reveal(m, nil)
	}
	s.seq.Add(1)
	if err != nil {
		return fmt.Errorf("remove compacted history from the store: %w", err)
	}
	return nil
}

// settle keeps what an event that goes has left, where a read at the compacted revision still needs it: a version that
// is not the key's newest. The grave of what was deleted is not needed any more.
func (s *Store) settle(rows engine.Batch, l *lookup, key []byte, e *Event) error {
	at := e.KV.ModRevision
	now, cached := s.cache.get(key, s.hash(key))
	if !cached { // and it is not remembered: what is put again and again is to stay in the cache
		var err error
		if now, err = l.prior(key); err != nil {
			return err
		}
	}
	switch {
	case e.Deletion():
		if now.version == 0 && now.mod == at {
			if err := rows.Delete(rowGrave(nil, key)); err != nil {
				return err
			}
		}
	case now.version == 0 || now.mod != at:
		return rows.Set(rowBefore(nil, key), appendStored(nil, &e.KV))
	}
	if e.Before == 0 {
		return nil
	}
	return rows.Delete(rowBefore(nil, key))
}
