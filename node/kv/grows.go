package kv

import "slices"

// Grows reports whether the command may let the data grow: one branch of its transaction puts something. Deletes
// shrink it, and what only reads or opens the cluster leaves it as it is.
func (c *Command) Grows() bool { return !c.Open && c.Txn.grows() }

func (t *Txn) grows() bool {
	return slices.ContainsFunc(t.Success, grows) || slices.ContainsFunc(t.Failure, grows)
}

func grows(op Op) bool { return op.Put != nil || op.Txn != nil && op.Txn.grows() }
