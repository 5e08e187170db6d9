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

// Import is a state being received, in a generation of its own.
type Import struct {
	s       *Store
	gen     *generation
	applied uint64 // as Finish found it
}

// BeginImport starts to receive a state. It may run beside everything else, also beside other imports. It ends with
// Switch or Discard.
func (s *Store) BeginImport() (*Import, error) {
	gen, err := s.openGeneration(s.lastGeneration.Add(1), false)
	if err != nil {
		return nil, err
	}
	return &Import{s: s, gen: gen}, nil
}

// Add takes one exported chunk.
func (i *Import) Add(chunk []byte) error {
	rows := i.gen.db.NewBatch(len(chunk))
	defer rows.Close()
	for d := (decoder{b: chunk}); len(d.b) > 0; {
		key, value := d.bytes(), d.bytes()
		if d.bad || len(key) == 0 {
			return fmt.Errorf("snapshot chunk of %d bytes: %w", len(chunk), ErrMalformed)
		}
		if err := checkRow(key, value); err != nil {
			return fmt.Errorf("snapshot chunk of %d bytes: %w", len(chunk), err)
		}
		if err := rows.Set(key, value); err != nil {
			return err
		}
	}
	return rows.Commit()
}

// Finish makes the received state durable, without switching to it.
func (i *Import) Finish() (Applied, error) {
	if err := i.gen.db.Flush(); err != nil {
		return Applied{}, err
	}
	m, err := readMeta(i.gen.db.NewDurableIter)
	if err == nil && m.Index == 0 {
		err = fmt.Errorf("received state says nothing of how far it is: %w", ErrMalformed)
	}
	i.applied = m.Index
	return m.Applied, err
}

// Discard drops the received state.
func (i *Import) Discard() error {
	i.gen.gone = func() error { return i.s.engine.Remove(i.gen.number) }
	return i.gen.release()
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
	old.gone = func() error { return s.engine.Remove(old.number) }
	return old.release()
}
