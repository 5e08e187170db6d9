package datadir

import "fmt"

const rolledBackFile = "rolled-back"

// MarkRolledBack notes durably that the directory is an older copy of itself, and how that is known: Open refuses it
// from now on. Safe beside everything else.
func (d *Dir) MarkRolledBack(why string) error {
	if err := d.mark(rolledBackFile, why); err != nil {
		return fmt.Errorf("mark data directory %s as rolled back: %w", d.path, err)
	}
	return nil
}

// rolledBack refuses a directory with that mark.
func (d *Dir) rolledBack() error {
	why, err := d.marked(rolledBackFile, "it was found to be an older copy of itself; remove the member from the cluster and let a new one replace it")
	if err != nil || why == "" {
		return err
	}
	return fmt.Errorf("data directory %s must not be used again: %s: %w", d.path, why, ErrCorrupt)
}
