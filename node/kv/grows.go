package kv

import "slices"

// Grows reports whether the command may let the data grow: one branch of its transaction puts something, or it grants a
// lease, as in etcd. Deletes, revocations and compactions shrink it, and everything else leaves it about as it is.
func (c *Command) Grows() bool {
	return c.Grant != nil || c.kind() == bodyTxn && c.Txn.grows()
}

func (t *Txn) grows() bool {
	return slices.ContainsFunc(t.Success, grows) || slices.ContainsFunc(t.Failure, grows)
}

func grows(op Op) bool { return op.Put != nil || op.Txn != nil && op.Txn.grows() }
