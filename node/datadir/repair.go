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
	damagedFile  = "store-damaged"
	storeAside   = "aside-store"
	maxDamageWhy = 1 << 10
)

// MarkStoreDamaged notes durably that the store is not to be used again, and why. Safe beside everything else.
func (d *Dir) MarkStoreDamaged(why string) error {
	if err := vfs.WriteFile(d.fs, d.path, damagedFile, []byte(why[:min(len(why), maxDamageWhy)])); err != nil {
		return fmt.Errorf("mark the store of data directory %s as damaged: %w", d.path, err)
	}
	return nil
}

// StoreDamage is why the store is not to be used again, "" if it may be.
func (d *Dir) StoreDamage() (string, error) {
	marked, err := d.has(damagedFile)
	if err != nil || !marked {
		return "", err
	}
	why, err := vfs.ReadFile(d.fs, filepath.Join(d.path, damagedFile), maxDamageWhy)
	if err != nil || len(why) == 0 {
		return "it was found damaged while the member ran", nil // that the mark is there says enough
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
