package lsm

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"

	"raftsman.dev/node/kv/engine"
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
	return 0, fmt.Errorf("it holds %q, not the name of a generation with its checksum: %w", b, engine.ErrCorrupt)
}

// Current reads which generation is in force, or makes sure that the directory is new.
func (e *Engine) Current() (number uint64, ok bool, err error) {
	path := e.path(currentFile)
	f, err := e.opts.FS.Open(path)
	if isNotExist(err) {
		return 0, false, e.checkNew()
	}
	if err != nil {
		return 0, false, fmt.Errorf("store %s: %w", e.dir, err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, 64))
	if err != nil {
		return 0, false, fmt.Errorf("store %s: %w", e.dir, err)
	}
	if number, err = decodeCurrent(b); err != nil {
		return 0, false, fmt.Errorf("store: %s is damaged: %w", path, err)
	}
	if _, err := e.opts.FS.Stat(e.path(generationName(number))); err != nil {
		if isNotExist(err) {
			err = errors.Join(err, engine.ErrCorrupt)
		}
		return 0, false, fmt.Errorf("store: the generation that %s names: %w", path, err)
	}
	return number, true, nil
}

// checkNew makes sure that a store without a current file is new: there may be the first generation, from a
// start that did not come to its end, and nothing else. Tables are written only after the file has been, so a
// generation with tables has lost it.
func (e *Engine) checkNew() error {
	names, err := e.generations()
	if err != nil {
		return err
	}
	for _, name := range names {
		files, err := e.opts.FS.List(e.path(name))
		if err != nil {
			return fmt.Errorf("store %s: %w", e.dir, err)
		}
		if name != generationName(1) || slices.ContainsFunc(files, func(f string) bool { return strings.HasSuffix(f, ".sst") }) {
			return fmt.Errorf("store %s holds %s, but no file %s that names the one in force: %w", e.dir, name, currentFile, engine.ErrCorrupt)
		}
		if err := e.remove(name); err != nil {
			return err
		}
	}
	return nil
}

// generations lists the directories of generations, whole or not.
func (e *Engine) generations() ([]string, error) {
	names, err := e.opts.FS.List(e.dir)
	if err != nil && !isNotExist(err) {
		return nil, fmt.Errorf("store %s: %w", e.dir, err)
	}
	return slices.DeleteFunc(names, func(name string) bool { return !strings.HasPrefix(name, "gen-") }), nil
}

// SetCurrent names the generation in force.
func (e *Engine) SetCurrent(number uint64) error {
	fs := e.opts.FS
	temp := e.path(tempFile)
	f, err := fs.Create(temp, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	_, err = f.Write(encodeCurrent(number))
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := fs.Rename(temp, e.path(currentFile)); err != nil {
		return err
	}
	return syncDir(fs, e.dir)
}

func syncDir(fs vfs.FS, dir string) error {
	d, err := fs.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Remove removes a generation's directory.
func (e *Engine) Remove(number uint64) error { return e.remove(generationName(number)) }

// remove removes what may not be there.
func (e *Engine) remove(name string) error {
	if err := e.opts.FS.RemoveAll(e.path(name)); err != nil {
		return fmt.Errorf("store %s: remove what is left of %s: %w", e.dir, name, err)
	}
	return nil
}

// RemoveOthers drops what an import that never became current, or one that was replaced, has left.
func (e *Engine) RemoveOthers(current uint64) error {
	names, err := e.generations()
	if err != nil {
		return err
	}
	for _, name := range names {
		if name == generationName(current) {
			continue
		}
		if err := e.remove(name); err != nil {
			return err
		}
	}
	return e.remove(tempFile)
}
