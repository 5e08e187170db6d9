package kv

// Event is one change of one key: a put, or a deletion, whose KV has a version of 0 and only Key and ModRevision.
type Event struct {
	KV KeyValue
	// Before is the modification revision of what the key had just before, a deletion included; 0 is nothing that
	// is known of. It says where to look for the previous version, no more: members may differ in it.
	Before Revision

	apartBefore bool // the value of what was before stands in a row of its own
}

// Deletion reports whether the key was deleted.
func (e *Event) Deletion() bool { return e.KV.Version == 0 }

// Changes is what one applied batch, or one switch to another state, has changed.
type Changes struct {
	// Index and Term are of the newest entry that the store has applied.
	Index, Term uint64
	// Revision is the store's revision after it.
	Revision Revision
	// Compacted is the revision that the store is compacted at after it.
	Compacted Revision
	// Blocks hold the events in order, encoded: EachEvent reads them. They are never changed, and may be kept. An event's
	// revision is its KV.ModRevision; those of one revision may be spread over neighbouring blocks of the same Changes.
	Blocks [][]byte
	// Leases are the leases that were granted, changed by a checkpoint, or revoked, in order.
	Leases []LeaseChange
	// Switched says that the store has switched to another state, which a snapshot brought: nothing of what follows the
	// revisions is set, and whoever follows the store reads what it needs from a new View.
	Switched bool
}

// Lease is a lease as the store holds it.
type Lease struct {
	ID int64
	// TTL is what was granted, in seconds.
	TTL int64
	// Remaining is what the newest checkpoint left of it, in seconds; 0 is the whole TTL.
	Remaining int64
	// Granted is the index of the entry that granted it: an id may be revoked and granted anew.
	Granted uint64
}

// LeaseChange is one change of a lease: its new state, or that it is gone.
type LeaseChange struct {
	Lease
	Revoked bool
}
