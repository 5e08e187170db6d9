package kv

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

const currentFile = "current"

func generationName(number uint64) string { return fmt.Sprintf("gen-%016x", number) }

// currentGeneration reads which generation is in force; a store without the file is new.
func (s *Store) currentGeneration() (uint64, error) {
	path := s.opts.FS.PathJoin(s.dir, currentFile)
	f, err := s.opts.FS.Open(path)
	if err != nil {
		if !isNotExist(err) {
			return 0, fmt.Errorf("store %s: %w", s.dir, err)
		}
		return s.firstGeneration()
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, 64))
	if err != nil {
		return 0, fmt.Errorf("store %s: %w", s.dir, err)
	}
	var number uint64
	if _, err := fmt.Sscanf(string(b), "gen-%016x\n", &number); err != nil {
		return 0, fmt.Errorf("store: %s holds %q, not the name of a generation: %w", path, b, ErrCorrupt)
	}
	return number, nil
}

// firstGeneration is for a store without a current file: new, unless generations are there.
func (s *Store) firstGeneration() (uint64, error) {
	names, err := s.opts.FS.List(s.dir)
	if err != nil {
		return 0, err
	}
	for _, name := range names {
		if strings.HasPrefix(name, "gen-") && name != generationName(1) {
			return 0, fmt.Errorf("store %s holds %s, but no file %s that names the one in force: %w", s.dir, name, currentFile, ErrCorrupt)
		}
	}
	return 1, s.setCurrent(1)
}

// setCurrent names the generation in force, atomically and durably.
func (s *Store) setCurrent(number uint64) error {
	fs := s.opts.FS
	temp := fs.PathJoin(s.dir, currentFile+".tmp")
	f, err := fs.Create(temp, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	_, err = f.Write([]byte(generationName(number) + "\n"))
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := fs.Rename(temp, fs.PathJoin(s.dir, currentFile)); err != nil {
		return err
	}
	return syncDir(fs, s.dir)
}

func syncDir(fs vfs.FS, dir string) error {
	d, err := fs.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// removeOthers drops what an import that never became current, or one that was replaced, has left.
func (s *Store) removeOthers(current uint64) error {
	names, err := s.opts.FS.List(s.dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		if strings.HasPrefix(name, "gen-") && name != generationName(current) {
			if err := s.opts.FS.RemoveAll(s.opts.FS.PathJoin(s.dir, name)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *Store) openGeneration(number uint64) (*generation, error) {
	dir := s.opts.FS.PathJoin(s.dir, generationName(number))
	db, err := s.openDB(dir)
	if err != nil {
		return nil, err
	}
	g := &generation{db: db, dir: dir}
	g.refs.Store(1)
	return g, nil
}

// Import is a state being received, in a generation of its own.
type Import struct {
	s      *Store
	number uint64
	gen    *generation
}

// BeginImport starts to receive a state. One import at a time.
func (s *Store) BeginImport() (*Import, error) {
	number, err := s.currentGeneration()
	if err != nil {
		return nil, err
	}
	if err := s.opts.FS.RemoveAll(s.opts.FS.PathJoin(s.dir, generationName(number+1))); err != nil {
		return nil, err
	}
	gen, err := s.openGeneration(number + 1)
	if err != nil {
		return nil, err
	}
	return &Import{s: s, number: number + 1, gen: gen}, nil
}

// Add takes one exported chunk.
func (i *Import) Add(chunk []byte) error {
	rows := i.gen.db.NewBatch()
	defer rows.Close()
	for d := (decoder{b: chunk}); len(d.b) > 0; {
		key, value := d.bytes(), d.bytes()
		if d.bad || len(key) == 0 {
			return fmt.Errorf("snapshot chunk of %d bytes: %w", len(chunk), ErrMalformed)
		}
		if err := rows.Set(key, value, nil); err != nil {
			return err
		}
	}
	return rows.Commit(pebble.NoSync)
}

// Finish makes the received state durable, without switching to it.
func (i *Import) Finish() (Applied, error) {
	if err := i.gen.db.Flush(); err != nil {
		return Applied{}, err
	}
	m, err := readMeta(i.gen.db, &pebble.IterOptions{OnlyReadGuaranteedDurable: true})
	if err == nil && m.Index == 0 {
		err = fmt.Errorf("received state says nothing of how far it is: %w", ErrMalformed)
	}
	m.Membership = bytes.Clone(m.Membership)
	return m.Applied, err
}

// Discard drops the received state.
func (i *Import) Discard() error {
	i.gen.gone = func() error { return i.s.opts.FS.RemoveAll(i.gen.dir) }
	return i.gen.release()
}

// Switch makes the imported state the one in force, atomically. Views of the old state stay valid until they
// are closed; then its files go.
func (s *Store) Switch(i *Import) error {
	if err := s.setCurrent(i.number); err != nil {
		return fmt.Errorf("store %s: make %s current: %w", s.dir, generationName(i.number), err)
	}
	s.committed.Lock()
	s.seq.Add(1)
	old := s.gen
	err := s.adopt(i.gen)
	s.seq.Add(1)
	s.committed.Unlock()
	if err != nil {
		return err
	}
	old.gone = func() error { return s.opts.FS.RemoveAll(old.dir) }
	return old.release()
}
