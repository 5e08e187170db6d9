package replica

import (
	"errors"

	"raftsman.dev/node/kv"
	"raftsman.dev/node/raft"
)

// Env is what a Replica asks of its surroundings. Every method starts an effect and returns at once.
type Env interface {
	// Send hands messages to the transport, which may lose them.
	Send(msgs []raft.Message)
	// WriterReady and ApplierReady say that Writer.Run and Applier.Run have something to do.
	WriterReady()
	ApplierReady()
	// Fetch reads old entries from the log; the answer comes to Replica.Step as raft.Fetched.
	Fetch(f raft.Fetch)
	// SendSnapshot streams this member's state to a peer; the answer comes to Replica.SnapshotSent.
	SendSnapshot(to raft.MemberID)
	// CutLog cuts the log behind base and, where the store has not made enough durable, flushes it; the
	// answer comes to Replica.LogCut.
	CutLog(base raft.Base)
	// MembershipChanged tells the membership now in force, for the transport.
	MembershipChanged(m raft.Membership)
	// Removed says that the cluster goes on without this identity.
	Removed()
	// Events reports what changed in the core.
	Events(events []raft.Event)
}

// Outcomes of a proposal or a read that was not answered with a result.
var (
	// ErrNoLeader: no leader took it; nothing was done.
	ErrNoLeader = errors.New("no leader")
	// ErrBusy: too much is in flight; nothing was done.
	ErrBusy = errors.New("too much in flight")
	// ErrUnknown: no answer within the bound; a proposal may still be applied.
	ErrUnknown = errors.New("outcome unknown")
	// ErrStopped: the member stops; the outcome of a proposal is unknown.
	ErrStopped = errors.New("member is stopping")
)

// RefusedError is the core's refusal of a membership change or transfer: nothing was done.
type RefusedError struct{ Reason raft.Refusal }

// Error names the reason.
func (e *RefusedError) Error() string { return "refused: " + reasons[e.Reason] }

var reasons = [...]string{
	raft.RefusedNot:           "no reason",
	raft.RefusedNoLeader:      "this member is not the leader",
	raft.RefusedBusy:          "too many uncommitted bytes",
	raft.RefusedTransferring:  "leadership is being handed over",
	raft.RefusedStaleConfig:   "it was planned on another configuration index",
	raft.RefusedInFlight:      "another membership change is in flight, or the leader is new",
	raft.RefusedUnknownMember: "it names a member that is not there or has the wrong seat",
	raft.RefusedExists:        "the member to be added is there already",
	raft.RefusedLagging:       "the learner to be promoted has not caught up",
	raft.RefusedInvalid:       "the change is empty, contradicts itself, or would leave no voter",
	raft.RefusedNoSpace:       "too little disk space is left",
}

// Outcome answers a proposal: Err is nil and Result is what the command did, or Err is one of the above.
type Outcome struct {
	Result kv.Result
	Err    error
}
