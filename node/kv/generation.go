package kv

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

const (
	currentFile = "current"
	tempFile    = currentFile + ".tmp"
	currentSize = len("gen-0123456789abcdef 01234567\n")
)

func generationName(number uint64) string { return fmt.Sprintf("gen-%016x", number) }

// encodeCurrent is the content of the current file.
func encodeCurrent(number uint64) []byte {
	name := generationName(number)
	return fmt.Appendf(nil, "%s %08x\n", name, crc32.Checksum([]byte(name), crc32.MakeTable(crc32.Castagnoli)))
}

func decodeCurrent(b []byte) (uint64, error) {
	if len(b) == currentSize {
		number, err := strconv.ParseUint(string(b[4:20]), 16, 64)
		if err == nil && bytes.Equal(b, encodeCurrent(number)) {
			return number, nil
		}
	}
	return 0, fmt.Errorf("it holds %q, not the name of a generation with its checksum: %w", b, ErrCorrupt)
}

// currentGeneration reads which generation is in force, or says that the store is new.
func (s *Store) currentGeneration() (number uint64, exists bool, err error) {
	path := s.opts.FS.PathJoin(s.dir, currentFile)
	f, err := s.opts.FS.Open(path)
	if isNotExist(err) {
		return 1, false, s.checkNew()
	}
	if err != nil {
		return 0, false, fmt.Errorf("store %s: %w", s.dir, err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, 64))
	if err != nil {
		return 0, false, fmt.Errorf("store %s: %w", s.dir, err)
	}
	if number, err = decodeCurrent(b); err != nil {
		return 0, false, fmt.Errorf("store: %s is damaged: %w", path, err)
	}
	if _, err := s.opts.FS.Stat(s.opts.FS.PathJoin(s.dir, generationName(number))); err != nil {
		if isNotExist(err) {
			err = errors.Join(err, ErrCorrupt)
		}
		return 0, false, fmt.Errorf("store: the generation that %s names: %w", path, err)
	}
	return number, true, nil
}

// checkNew makes sure that a store without a current file is new: there may be the first generation, from a
// start that did not come to its end, and nothing else. Tables are written only after the file has been, so a
// generation with tables has lost it.
func (s *Store) checkNew() error {
	names, err := s.generations()
	if err != nil {
		return err
	}
	for _, name := range names {
		dir := s.opts.FS.PathJoin(s.dir, name)
		files, err := s.opts.FS.List(dir)
		if err != nil {
			return fmt.Errorf("store %s: %w", s.dir, err)
		}
		if name != generationName(1) || slices.ContainsFunc(files, func(f string) bool { return strings.HasSuffix(f, ".sst") }) {
			return fmt.Errorf("store %s holds %s, but no file %s that names the one in force: %w", s.dir, name, currentFile, ErrCorrupt)
		}
		if err := s.remove(name); err != nil {
			return err
		}
	}
	return nil
}

// remove removes what may not be there.
func (s *Store) remove(name string) error {
	if err := s.opts.FS.RemoveAll(s.opts.FS.PathJoin(s.dir, name)); err != nil {
		return fmt.Errorf("store %s: remove what is left of %s: %w", s.dir, name, err)
	}
	return nil
}

// generations lists the directories of generations, whole or not.
func (s *Store) generations() ([]string, error) {
	names, err := s.opts.FS.List(s.dir)
	if err != nil && !isNotExist(err) {
		return nil, fmt.Errorf("store %s: %w", s.dir, err)
	}
	return slices.DeleteFunc(names, func(name string) bool { return !strings.HasPrefix(name, "gen-") }), nil
}

// setCurrent names the generation in force, atomically and durably.
func (s *Store) setCurrent(number uint64) error {
	fs := s.opts.FS
	temp := fs.PathJoin(s.dir, tempFile)
	f, err := fs.Create(temp, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	_, err = f.Write(encodeCurrent(number))
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
	names, err := s.generations()
	if err != nil {
		return err
	}
	for _, name := range names {
		if name == generationName(current) {
			continue
		}
		if err := s.remove(name); err != nil {
			return err
		}
	}
	return s.remove(tempFile)
}

func (s *Store) openGeneration(number uint64, exists bool) (*generation, error) {
	dir := s.opts.FS.PathJoin(s.dir, generationName(number))
	db, err := s.openDB(dir, exists)
	if err != nil {
		return nil, err
	}
	g := &generation{db: db, number: number, dir: dir}
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
	rows := i.gen.db.NewBatch()
	defer rows.Close()
	for d := (decoder{b: chunk}); len(d.b) > 0; {
		key, value := d.bytes(), d.bytes()
		if d.bad || len(key) == 0 {
			return fmt.Errorf("snapshot chunk of %d bytes: %w", len(chunk), ErrMalformed)
		}
		if err := checkRow(key, value); err != nil {
			return fmt.Errorf("snapshot chunk of %d bytes: %w", len(chunk), err)
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
	i.applied = m.Index
	return m.Applied, err
}

// Discard drops the received state.
func (i *Import) Discard() error {
	i.gen.gone = func() error { return i.s.opts.FS.RemoveAll(i.gen.dir) }
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
	if err := s.setCurrent(i.gen.number); err != nil {
		return fmt.Errorf("store %s: make %s current: %w", s.dir, generationName(i.gen.number), err)
	}
	s.seq.Add(1)
	old := s.gen
	err := s.adopt(i.gen)
	s.seq.Add(1)
	if err != nil {
		return err
	}
	old.gone = func() error { return s.opts.FS.RemoveAll(old.dir) }
	return old.release()
}
