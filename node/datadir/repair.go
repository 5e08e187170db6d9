package datadir

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"

	"raftsman.dev/node/vfs"
)

const (
	damagedFile = "store-damaged"
	storeAside  = "aside-store"
	maxWhy      = 1 << 10
)

// MarkStoreDamaged notes durably that the store is not to be used again, and why. Safe beside everything else.
func (d *Dir) MarkStoreDamaged(why string) error {
	if err := d.mark(damagedFile, why); err != nil {
		return fmt.Errorf("mark the store of data directory %s as damaged: %w", d.path, err)
	}
	return nil
}

// StoreDamage is why the store is not to be used again, "" if it may be.
func (d *Dir) StoreDamage() (string, error) {
	return d.marked(damagedFile, "it was found damaged while the member ran")
}

// mark writes durably a file that says why something in the directory is not to be used.
func (d *Dir) mark(name, why string) error {
	return vfs.WriteFile(d.fs, d.path, name, []byte(why[:min(len(why), maxWhy)]))
}

// marked is what such a file says, otherwise if that cannot be read: that it is there says enough. "" is no mark.
func (d *Dir) marked(name, otherwise string) (string, error) {
	there, err := d.has(name)
	if err != nil || !there {
		return "", err
	}
	why, err := vfs.ReadFile(d.fs, filepath.Join(d.path, name), maxWhy)
	if err != nil || len(why) == 0 {
		return otherwise, nil
	}
	return string(why), nil
}

// SetStoreAside moves the store out of the way and then takes the mark of its damage away; a crash in between is taken
// up again at the next start. Where one lies aside already, it is kept, and the one that was to replace it is removed:
// it holds nothing that a peer has not sent.
func (d *Dir) SetStoreAside() error {
	aside, err := d.StoreAside()
	if err != nil {
		return err
	}
	if aside {
		err = d.fs.RemoveAll(d.Store())
	} else if err = d.fs.Rename(d.Store(), filepath.Join(d.path, storeAside)); errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	if err == nil {
		err = d.fs.SyncDir(d.path)
	}
	if err == nil {
		if err = d.fs.Remove(filepath.Join(d.path, damagedFile)); errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
	}
	if err == nil {
		err = d.fs.SyncDir(d.path)
	}
	if err != nil {
		return fmt.Errorf("set aside the store of data directory %s: %w", d.path, err)
	}
	return nil
}

// StoreAside reports whether a store lies aside.
func (d *Dir) StoreAside() (bool, error) { return d.has(storeAside) }

// DropStoreAside removes the store that was set aside: another has taken its place.
func (d *Dir) DropStoreAside() error {
	if err := errors.Join(d.fs.RemoveAll(filepath.Join(d.path, storeAside)), d.fs.SyncDir(d.path)); err != nil {
		return fmt.Errorf("remove the store that was set aside in data directory %s: %w", d.path, err)
	}
	return nil
}

func (d *Dir) has(name string) (bool, error) {
	names, err := d.fs.List(d.path)
	if err != nil {
		return false, fmt.Errorf("data directory %s: %w", d.path, err)
	}
	return slices.Contains(names, name), nil
}
