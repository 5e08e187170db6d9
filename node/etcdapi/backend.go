package etcdapi

import (
	"context"
	"crypto/tls"
	"errors"

	"raftsman.dev/node/kv"
	"raftsman.dev/node/watch"
)

// Errors that a Backend returns, besides those of package kv and the context's own. Each stands for one
// decision of the caller; the error table translates them to etcd's codes and texts.
var (
	// ErrNoLeader: nothing was done, no leader is known.
	ErrNoLeader = errors.New("no leader")
	// ErrLeaderChanged: the leader changed while the request waited; a write's outcome is unknown.
	ErrLeaderChanged = errors.New("leader changed")
	// ErrTimeout: no answer within the bound; a write's outcome is unknown.
	ErrTimeout = errors.New("request timed out")
	// ErrBusy: too much is in flight; nothing was done.
	ErrBusy = errors.New("too many requests")
	// ErrNoSpace: too little disk space is left for it, on this member's leader or on too many members.
	ErrNoSpace = errors.New("no space")
	// ErrStopped: the member is going down; nothing was done.
	ErrStopped = errors.New("member is stopping")
	// ErrNotOpen: the cluster has not been opened to clients yet, or this member has no cluster.
	ErrNotOpen = errors.New("not serving clients yet")
	// ErrDiverged: this member's state differs from the majority's, so it answers nothing.
	ErrDiverged = errors.New("state differs from the majority's")
	// ErrNotLeader: the request must go to the leader.
	ErrNotLeader = errors.New("not the leader")
	// ErrLearner: a learner answers only reads of its own state.
	ErrLearner = errors.New("not served by a learner")
	// ErrMemberNotFound, ErrMemberExists, ErrPeerURLExists, ErrNotLearner, ErrLearnerNotReady,
	// ErrBadPeerURL and ErrUnhealthy answer membership requests.
	ErrMemberNotFound  = errors.New("member not found")
	ErrMemberExists    = errors.New("member exists")
	ErrPeerURLExists   = errors.New("peer address exists")
	ErrNotLearner      = errors.New("member is not a learner")
	ErrLearnerNotReady = errors.New("learner has not caught up")
	ErrBadPeerURL      = errors.New("peer URLs cannot be used")
	ErrUnhealthy       = errors.New("another membership change is in flight or the leader is new")
	// ErrLastVoter: the change would leave no voter.
	ErrLastVoter = errors.New("change would leave no voter")
	// ErrBadTransferee: leadership can only go to a voter.
	ErrBadTransferee = errors.New("no such voter")
	// ErrTransferFailed: leadership did not move within the bound.
	ErrTransferFailed = errors.New("leadership transfer failed")
)

// ManagedError refuses a membership request where an operator manages the membership.
type ManagedError struct {
	// Instead says what to do to reach the same.
	Instead string
}

// Error says who manages the membership and what to do instead.
func (e *ManagedError) Error() string {
	return "raftsman: an operator manages this cluster's membership: " + e.Instead
}

// Header is what every response says of its sender.
type Header struct {
	ClusterID, MemberID, Term uint64
	Revision                  kv.Revision
}

// Member is one member as clients see it.
type Member struct {
	ID         uint64
	Name       string
	PeerURLs   []string
	ClientURLs []string
	Learner    bool
}

// Status is what Maintenance.Status reports.
type Status struct {
	Version        string // the etcd API version that is implemented, semver
	StorageVersion string
	DBSize         int64
	DBSizeInUse    int64
	DBSizeQuota    int64 // the size at which growth is refused for want of space, as far as it can be told now
	Leader         uint64
	Index          uint64
	Applied        uint64
	Learner        bool
	Errors         []string
}

// Backend is what the services need of a member. All methods may be called concurrently.
type Backend interface {
	// Propose replicates one transaction and returns its result once this member has applied it. Errors
	// of the transaction itself come in Result.Err.
	Propose(ctx context.Context, txn kv.Txn) (kv.Result, error)
	// Barrier returns once this member has applied everything that was committed when it was called, so
	// that a read of its store is linearizable (ReadIndex, thesis §6.4).
	Barrier(ctx context.Context) error
	// Read runs a read-only transaction on this member's store as it is. bill is told of the bytes that answers to ranges
	// take up as they grow; its error ends the read and is returned.
	Read(ctx context.Context, txn kv.Txn, bill func(bytes int) error) (kv.Result, error)
	// Glance notes that a client looks at this member's state as it is, so that it is kept as new as can be. The first one in
	// a while asks the leader how far it is: for one heartbeat interval at most, and a member that is cut off goes on without
	// an answer.
	Glance(ctx context.Context)
	// View pins this member's state as it is; whoever asks closes it.
	View() *kv.View
	// Compact forgets history before a revision. It returns once this member has applied it and, if physical, has
	// removed what it made unreadable. Errors of the command itself come in Result.Err.
	Compact(ctx context.Context, at kv.Revision, physical bool) (kv.Result, error)
	// Watch opens a stream of watchers of this member's store. It must be closed.
	Watch() *watch.Stream
	// Grant gives out a lease, and Revoke takes one away with its keys. Errors of the command itself come in Result.Err.
	Grant(ctx context.Context, l kv.Lease) (kv.Result, error)
	Revoke(ctx context.Context, id int64) (kv.Result, error)
	// Renew begins a lease's time anew and says how many seconds it was granted for, and TimeLeft how many are left.
	// Only the leader does so (ErrNotLeader); kv.ErrLeaseNotFound if there is no such lease.
	Renew(ctx context.Context, id int64) (ttl int64, err error)
	TimeLeft(ctx context.Context, id int64) (granted, left int64, err error)
	// SoonestFirst puts leases in the order in which they run out, to the second, on the leader, which alone knows it;
	// elsewhere they stay as they are.
	SoonestFirst(ids []int64)
	// MinTTL is the shortest time that a lease is granted for, in seconds.
	MinTTL() int64
	// HashKeys is a checksum of what can be read up to a revision, 0 for the newest. Errors: those of package kv.
	HashKeys(at kv.Revision) (kv.KeysHash, error)
	// NoSpace are the members for whose sake commands that let the data grow are refused now.
	NoSpace() []uint64
	// Header reports the identity, term and revision at this moment.
	Header() Header
	Status() Status
	// Parting is closed when clients' streams are to end.
	Parting() <-chan struct{}
	// Serving is nil when client requests may be answered here, or ErrNotOpen, ErrLearner or ErrDiverged.
	Serving() error
	Members() []Member
	// LeaderURLs are the client URLs of the member that leads, for requests that only a leader can do.
	LeaderURLs() []string
	// MemberTLS is how this member connects to another one's client port at that host, where its URL is https.
	MemberTLS(host string) *tls.Config
	// AddLearner adds the unjoined member that answers at one of the URLs. AddLearner, Move, Promote and Remove
	// return once the change is committed.
	AddLearner(ctx context.Context, peerURLs []string) (Member, []Member, error)
	// Move gives a member another peer URL, before or after it goes there. There must be one.
	Move(ctx context.Context, id uint64, peerURLs []string) ([]Member, error)
	Promote(ctx context.Context, id uint64) ([]Member, error)
	Remove(ctx context.Context, id uint64) ([]Member, error)
	// MoveLeader hands leadership to that voter; only the leader does so (ErrNotLeader).
	MoveLeader(ctx context.Context, to uint64) error
}
