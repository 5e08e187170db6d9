package kv

import "fmt"

func (s *Store) openGeneration(number uint64, exists bool) (*generation, error) {
	db, err := s.engine.Open(number, exists, s.opts.Damaged)
	if err != nil {
		return nil, err
	}
	g := &generation{db: db, number: number}
	g.refs.Store(1)
	return g, nil
}

// Switch makes the imported state, which Finish has made durable, the one in force, atomically. Views of the
// old state stay valid until they are closed; then its files go. A state behind the store's is refused, and the
// store is as it was: what was applied is never undone.
func (s *Store) Switch(i *Import) error {
	if s.gen == nil {
		return ErrClosed
	}
	if i.applied == 0 || i.applied < s.meta.Index {
		return fmt.Errorf("store %s is at entry %d and does not go back to a state at entry %d", s.dir, s.meta.Index, i.applied)
	}
	if err := s.engine.SetCurrent(i.gen.number); err != nil {
		return fmt.Errorf("store %s: make generation %d current: %w", s.dir, i.gen.number, err)
	}
	s.seq.Add(1)
	old := s.gen
	err := s.adopt(i.gen)
	s.seq.Add(1)
	if err != nil {
		return err
	}
	if s.opts.Changed != nil {
		s.opts.Changed(Changes{Index: s.meta.Index, Term: s.meta.Term, Revision: s.meta.revision, Compacted: s.meta.compacted, Switched: true})
	}
	old.gone = func() error { return s.engine.Remove(old.number) }
	return old.release()
}
