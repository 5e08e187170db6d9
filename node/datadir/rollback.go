package datadir

import (
	"fmt"
	"path/filepath"

	"raftsman.dev/node/vfs"
)

const (
	rolledBackFile   = "rolled-back"
	maxRolledBackWhy = 1 << 10
)

// MarkRolledBack notes durably that the directory is an older copy of itself, and how that is known: Open refuses it
// from now on. Safe beside everything else.
func (d *Dir) MarkRolledBack(why string) error {
	if err := vfs.WriteFile(d.fs, d.path, rolledBackFile, []byte(why[:min(len(why), maxRolledBackWhy)])); err != nil {
		return fmt.Errorf("mark data directory %s as rolled back: %w", d.path, err)
	}
	return nil
}

// rolledBack refuses a directory with that mark.
func (d *Dir) rolledBack() error {
	marked, err := d.has(rolledBackFile)
	if err != nil || !marked {
		return err
	}
	why, err := vfs.ReadFile(d.fs, filepath.Join(d.path, rolledBackFile), maxRolledBackWhy)
	if err != nil || len(why) == 0 {
		why = []byte("it was found to be an older copy of itself; remove the member from the cluster and let a new one replace it") // that the mark is there says enough
	}
	return fmt.Errorf("data directory %s must not be used again: %s: %w", d.path, why, ErrCorrupt)
}
