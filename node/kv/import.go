package kv

import (
	"bytes"
	"errors"
	"fmt"

	"raftsman.dev/node/kv/engine"
)

// Import is a state being received, in a generation of its own. Its rows come in order, so they are loaded and
// not committed: on Pebble they become tables that the database takes over as they are, with no memory table, flush or
// compaction that would take the processor and the disk from what is applied meanwhile.
type Import struct {
	s       *Store
	gen     *generation
	load    engine.Loader
	last    []byte // key of the newest row
	applied uint64 // as Finish found it
}

// BeginImport starts to receive a state. It may run beside everything else, also beside other imports. It ends with
// Switch or Discard.
func (s *Store) BeginImport() (*Import, error) {
	gen, err := s.openGeneration(s.lastGeneration.Add(1), false)
	if err != nil {
		return nil, err
	}
	return &Import{s: s, gen: gen, load: gen.db.NewLoader()}, nil
}

// Add takes one exported chunk; they come in the order of the export. After an error there is nothing to do but
// Discard.
func (i *Import) Add(chunk []byte) error {
	for d := (decoder{b: chunk}); len(d.b) > 0; {
		key, value := d.bytes(), d.bytes()
		if d.bad || len(key) == 0 {
			return fmt.Errorf("snapshot chunk of %d bytes: %w", len(chunk), ErrMalformed)
		}
		if err := checkRow(key, value); err != nil {
			return fmt.Errorf("snapshot chunk of %d bytes: %w", len(chunk), err)
		}
		if bytes.Compare(i.last, key) >= 0 {
			return fmt.Errorf("snapshot chunk of %d bytes: row %x does not follow row %x: %w", len(chunk), key, i.last, ErrMalformed)
		}
		if err := i.load.Set(key, value); err != nil {
			return fmt.Errorf("write the received state: %w", err)
		}
		i.last = append(i.last[:0], key...)
	}
	return nil
}

// Finish makes the received state durable, without switching to it.
func (i *Import) Finish() (Applied, error) {
	if err := i.load.Finish(); err != nil {
		return Applied{}, fmt.Errorf("take over the received state: %w", err)
	}
	_, m, err := readMeta(i.gen.db.NewDurableIter)
	if err == nil && m.Index == 0 {
		err = fmt.Errorf("received state says nothing of how far it is: %w", ErrMalformed)
	}
	i.applied = m.Index
	return m.Applied, err
}

// Discard drops the received state.
func (i *Import) Discard() error {
	i.gen.gone = func() error { return i.s.engine.Remove(i.gen.number) }
	return errors.Join(i.load.Close(), i.gen.release())
}
