package kv

// Revision is the store's logical time, as in etcd: 1 when empty, +1 for each write transaction.
type Revision int64

// KeyValue is one version of one key, with etcd's metadata.
type KeyValue struct {
	Key            []byte
	Value          []byte
	CreateRevision Revision
	ModRevision    Revision
	Version        int64
	Lease          int64

	// apart says that the value stands in a row of its own. It is for what is about to be read or written; in no answer is
	// it set.
	apart bool
}

// CommandID names a command for ever: who proposed it, in which boot, and its place there.
type CommandID struct {
	Origin uint64
	Boot   uint64
	Seq    uint64
}

// Command is what travels through the log. Floor is the origin's lowest sequence in this boot that is
// still unanswered: a command below the highest floor seen is refused, one at or above it is applied at
// most once.
type Command struct {
	ID    CommandID
	Floor uint64
	// One of these at most is set; then Txn is ignored. Open marks the cluster as opened to clients.
	Open       bool
	Compact    *Compaction
	Grant      *Lease // all but ID and TTL is ignored
	Revoke     *Revocation
	Checkpoint *Checkpoint

	Txn Txn
}

// Compaction forgets what no read at Revision or a later one can see. Refused with ErrCompacted where the store is
// compacted as far already, and with ErrFutureRevision past its revision.
type Compaction struct {
	Revision Revision
}

// Revocation takes leases away with the keys that are attached to them: those of one lease at one revision, the leases
// one after the other. A Term other than 0 is the leader's that found them expired: in an entry of any other term the
// command does nothing and answers ErrFenced, and a lease that was granted behind the entry at Seen, which the leader
// had applied then, is another one and is passed over. A single lease that is not there answers ErrLeaseNotFound, one
// of several is passed over.
type Revocation struct {
	Term, Seen uint64
	Leases     []int64
}

// Checkpoint notes how much is left of leases, in seconds; it is fenced as a Revocation. What is not there is passed
// over.
type Checkpoint struct {
	Term, Seen uint64
	Leases     []Lease // all but ID and Remaining is ignored
}

// Txn is one transaction: if every compare holds, Success is done, else Failure. A plain put, range or
// delete is a transaction without compares and with one operation.
type Txn struct {
	Compares []Compare
	Success  []Op
	Failure  []Op
}

// ReadOnly reports whether neither branch can write, so that the transaction needs no log entry.
func (t Txn) ReadOnly() bool {
	for _, ops := range [][]Op{t.Success, t.Failure} {
		for _, op := range ops {
			if op.Put != nil || op.Delete != nil || op.Txn != nil && !op.Txn.ReadOnly() {
				return false
			}
		}
	}
	return true
}

// Op is one operation of a transaction: exactly one field is set.
type Op struct {
	Range  *RangeRequest
	Put    *PutRequest
	Delete *DeleteRequest
	Txn    *Txn
}

// CompareTarget is what a compare looks at. Frozen: it is part of the command's format.
type CompareTarget uint8

const (
	CompareVersion CompareTarget = iota
	CompareCreate
	CompareMod
	CompareValue
	CompareLease
)

// CompareResult is how the two sides must relate. Frozen: it is part of the command's format.
type CompareResult uint8

const (
	CompareEqual CompareResult = iota
	CompareGreater
	CompareLess
	CompareNotEqual
)

// Compare must hold for every key in [Key, End) (End empty: for Key alone). A missing key compares as 0,
// but a compare on its value fails, as in etcd.
type Compare struct {
	Key, End []byte
	Target   CompareTarget
	Result   CompareResult
	Number   int64  // for all targets but CompareValue
	Value    []byte // for CompareValue
}

// SortOrder and SortTarget order a range's answer as etcd does.
type (
	SortOrder  uint8
	SortTarget uint8
)

const (
	SortNone SortOrder = iota
	SortAscend
	SortDescend
)

const (
	SortByKey SortTarget = iota
	SortByVersion
	SortByCreate
	SortByMod
	SortByValue
)

// RangeRequest reads [Key, End): End empty is Key alone, End "\0" is every key from Key on. Revision 0 or
// negative is the newest. Limit 0 is none.
type RangeRequest struct {
	Key, End             []byte
	Limit                int64
	Revision             Revision
	Order                SortOrder
	Target               SortTarget
	KeysOnly, CountOnly  bool
	MinMod, MaxMod       Revision
	MinCreate, MaxCreate Revision
}

// RangeResult answers it. Count is the number of keys in the range, ignoring the limit; More says that
// the limit cut something off. Revision is the store's at the time of the read.
type RangeResult struct {
	KVs      []KeyValue
	Count    int64
	More     bool
	Revision Revision
}

// PutRequest writes one key.
type PutRequest struct {
	Key, Value               []byte
	Lease                    int64
	PrevKV                   bool
	IgnoreValue, IgnoreLease bool
}

// DeleteRequest deletes [Key, End), ranged as in RangeRequest.
type DeleteRequest struct {
	Key, End []byte
	PrevKV   bool
}

// Result is what a command did. Revision is its own if it wrote, else the store's. Err is the command's
// own failure (ErrKeyNotFound, ...): then nothing was changed. Duplicate says that the command had been
// applied before (or is below its origin's floor) and did nothing now.
type Result struct {
	ID        CommandID
	Revision  Revision
	Succeeded bool
	Responses []OpResult
	Duplicate bool
	Err       error
}

// OpResult answers one Op: the field of the same name is set.
type OpResult struct {
	Range  *RangeResult
	Put    *PutResult
	Delete *DeleteResult
	Txn    *Result
}

// PutResult answers a put. Prev is the version before, when it was asked for and there was one.
type PutResult struct {
	Prev *KeyValue
}

// DeleteResult answers a delete.
type DeleteResult struct {
	Deleted int64
	Prev    []KeyValue
}

// Entry is one committed log entry to apply. Command is nil for entries that carry none (no-ops and
// memberships): they only move the applied index.
type Entry struct {
	Index, Term uint64
	Command     []byte
}

// Applied is how far the store is. Config and Membership are the last ones handed to Apply (or
// installed), opaque to the store. Effects is a rolling checksum of all that commands have ever left in the
// store: members that are at the same Index and differ in it have come to differ.
type Applied struct {
	Index, Term uint64
	Config      uint64
	Membership  []byte
	Effects     uint32
}
