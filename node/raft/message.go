package raft

// Message is the envelope of everything that Step takes and that Output sends. Messages between
// members carry From, To, the boots and the term; messages of this member to itself (proposals, reads,
// answers of its disk and applier) have only a body.
type Message struct {
	From, To MemberID
	// FromBoot is the sender's boot. ToBoot is the boot of the receiver that the sender means: a reply
	// copies it from the request, a request has the last boot it knows of, or 0 for "any". A receiver
	// drops a message that names another boot of itself.
	FromBoot, ToBoot Boot
	Term             Term
	Body             Body
}

// Body is one of the message bodies below.
type Body interface{ body() }

// VoteRequest asks for a vote, or with Pre whether one would be given (thesis §3.4, §9.6). Transfer is
// set in the campaign that a TimeoutNow started, which passes stickiness (thesis §3.10, §4.2.3).
// Campaign is echoed in the reply and never used twice by one boot.
type VoteRequest struct {
	Pre, Transfer bool
	Campaign      uint64
	Last          Position
}

// VoteReply answers a VoteRequest.
type VoteReply struct {
	Pre, Granted bool
	Campaign     uint64
}

// Append replicates entries after Prev and tells the commit index (thesis §3.5). An empty one probes.
type Append struct {
	Prev    Position
	Commit  Index
	Entries []Entry
}

// AppendReply acknowledges everything up to Match as durable on the sender, or rejects: then Match is
// the Prev.Index that did not fit and Hint is the last position at which the two logs may agree, found
// by skipping whole terms.
type AppendReply struct {
	Match    Index
	Rejected bool
	Hint     Position
}

// Heartbeat keeps followers; Read is the newest read round that it confirms, or 0. Space is what the leader
// takes of clients' commands. Point is the newest point of the leader's state that it asks everybody for, or, with
// Diverged, one at which the receiver's sum is not that of the majority, which it gives. Quiet says that it only tells
// the commit index: it has neither Read nor Point, and a member in its term does not answer it.
type Heartbeat struct {
	Commit   Index
	Read     uint64
	Space    Space
	Point    Point
	Diverged bool
	Quiet    bool
}

// HeartbeatReply echoes Read, and tells how much space the sender's disk has, and its own sum at the point that it was
// asked for, if it has it. Unwatched says that nobody there looks at what is committed without asking the leader, see
// Watched; an older program leaves it unset. A member that comes to be watched says so unasked, with Read 0.
type HeartbeatReply struct {
	Read      uint64
	Space     Space
	Point     Point
	Unwatched bool
}

// TimeoutNow tells a voter to campaign at once (thesis §3.10).
type TimeoutNow struct{}

// Forward hands proposals of a follower's clients to the leader.
type Forward struct {
	Proposals []Proposal
}

// ForwardRefused tells the origin which of its forwarded proposals were not taken and may be retried.
type ForwardRefused struct {
	Refs   []uint64
	Reason Refusal
}

// ReadRequest asks the leader for a read index on behalf of a follower's clients. Ref is the origin's
// own and never used twice by one boot.
type ReadRequest struct {
	Ref uint64
}

// ReadReply grants it, or refuses it (Reason not RefusedNot).
type ReadReply struct {
	Ref    uint64
	Index  Index
	Reason Refusal
}

// Stranger is a leader's answer to a member that is not in its committed membership: the cluster goes
// on without it.
type Stranger struct {
	Config Index
}

// RepairRequest asks any member for the entries of a range that the sender's disk has lost.
type RepairRequest struct {
	From, To Index
}

// RepairReply carries those of them that its sender holds undamaged, each with its own checksum, perhaps not all
// of them. First is the first index that its log still has: what lies before is to be had as a snapshot only.
type RepairReply struct {
	First   Index
	Entries []Entry
}

// SnapshotRequest asks any member for a snapshot of its state at Min or later. Committed is a position, at Min where
// that is known to be committed: where no leader can be elected, only that may tell a peer that it may apply enough.
type SnapshotRequest struct {
	Min       Index
	Committed Position
}

// Proposal is one command on its way into the log. Ref is chosen by the member that proposes, to match
// a refusal; the payload is opaque. Grows says that it lets the data grow, so that it is not taken when there is
// little space.
type Proposal struct {
	Ref     uint64
	Grows   bool
	Payload []byte
}

// Propose brings in a command of this member's clients (local).
type Propose struct {
	Proposals []Proposal
}

// Read asks for a linearizable read point (local); the answer is a ReadGrant or a Refused with that Ref.
type Read struct {
	Ref uint64
}

// ChangeMembership asks the leader for a membership change (local). Answer: Accepted or Refused by Ref.
type ChangeMembership struct {
	Ref    uint64
	Change Change
}

// Transfer asks the leader to hand over leadership (local). To 0 lets the core choose the voter that
// is furthest ahead. Answer: Accepted (begun) or Refused by Ref.
type Transfer struct {
	Ref uint64
	To  MemberID
}

// Persisted says that every batch up to Seq is durable in the log (local).
type Persisted struct {
	Seq uint64
}

// Applied says that everything up to Index is in the store, and which points of attestation it has passed (local).
// Installed says that the store has switched to another state, of which the points are.
type Applied struct {
	Index     Index
	Points    []Point
	Installed bool
}

// Fetched answers a Fetch, whose To and Repair it repeats, with entries read back from the log (local). Entries
// may be fewer than asked for; none means that the log no longer has them.
type Fetched struct {
	To     MemberID
	Repair bool
	Span   Span
}

// SnapshotReceived says that a whole, verified snapshot of From's state lies ready (local). It is committed state
// and nothing more: whoever sends it, in whatever term, does not lead by it. The core answers with
// Output.Install, or ignores it when it is of no use.
type SnapshotReceived struct {
	From MemberID
	Base Base
}

// SnapshotSent reports how a snapshot stream to a peer ended (local): At is the position that the peer
// now holds when OK.
type SnapshotSent struct {
	To MemberID
	At Position
	OK bool
}

// Compacted says that the log was cut: it now begins behind Base (local).
type Compacted struct {
	Base Base
}

// Connected says that a connection to Peer was made and that it runs that boot (local).
type Connected struct {
	Peer MemberID
	Boot Boot
}

// Watched says whether somebody at this member looks at what is committed without asking the leader, as watchers and
// serializable reads do (local). Where nobody does, the leader lets the commit index wait for the next append or the
// next heartbeat. A core counts as watched until it hears otherwise.
type Watched struct {
	On bool
}

// Hurry asks a leader to send at once what it keeps back for a moment (local).
type Hurry struct{}

// Unreachable says that messages to Peer were lost (local): streaming falls back to probing, and reads on
// their way to it fail at once. Forwarded proposals do not, since they may have arrived: who waits for them
// proposes them again.
type Unreachable struct {
	Peer MemberID
}

func (VoteRequest) body()      {}
func (VoteReply) body()        {}
func (Append) body()           {}
func (AppendReply) body()      {}
func (Heartbeat) body()        {}
func (HeartbeatReply) body()   {}
func (TimeoutNow) body()       {}
func (Forward) body()          {}
func (ForwardRefused) body()   {}
func (ReadRequest) body()      {}
func (ReadReply) body()        {}
func (Stranger) body()         {}
func (RepairRequest) body()    {}
func (RepairReply) body()      {}
func (SnapshotRequest) body()  {}
func (Propose) body()          {}
func (Read) body()             {}
func (ChangeMembership) body() {}
func (Transfer) body()         {}
func (Persisted) body()        {}
func (Applied) body()          {}
func (Fetched) body()          {}
func (SnapshotReceived) body() {}
func (SnapshotSent) body()     {}
func (Compacted) body()        {}
func (Connected) body()        {}
func (Watched) body()          {}
func (Hurry) body()            {}
func (Unreachable) body()      {}
func (Space) body()            {}

// Refusal says why something was not taken. Nothing that is refused has been or will be done.
type Refusal uint8

const (
	// RefusedNot is the zero value: not refused.
	RefusedNot Refusal = iota
	// RefusedNoLeader: no leader is known, or this member is not (any longer) the leader that was asked.
	RefusedNoLeader
	// RefusedBusy: the bound on uncommitted bytes is reached; try again later.
	RefusedBusy
	// RefusedTransferring: leadership is being handed over; try again at the new leader.
	RefusedTransferring
	// RefusedStaleConfig: the change was planned on another configuration index.
	RefusedStaleConfig
	// RefusedInFlight: a membership change is still in flight, or the term's no-op is not committed yet.
	RefusedInFlight
	// RefusedUnknownMember: the change or transfer names a member that is not there, or has the wrong seat.
	RefusedUnknownMember
	// RefusedExists: a member to be added is there already.
	RefusedExists
	// RefusedLagging: a learner to be promoted has not caught up.
	RefusedLagging
	// RefusedInvalid: the change is empty, contradicts itself, or would leave no voter.
	RefusedInvalid
	// RefusedNoSpace: the leader's disk, or those of too many voters, have too little space left for it.
	RefusedNoSpace
)

// Refused answers a local request that was not taken. Forwarded says that the refusal came from another member:
// one copy of what was forwarded was not taken, and the network may have made more of them.
type Refused struct {
	Ref       uint64
	Reason    Refusal
	Forwarded bool
}

// Accepted answers a membership change (At is the entry that begins it) or a transfer (At is zero).
type Accepted struct {
	Ref uint64
	At  Position
}

// ReadGrant answers a Read: serve it once everything up to Index is applied.
type ReadGrant struct {
	Ref   uint64
	Index Index
}

// Fetch asks the log for entries from From on, at most MaxBytes of payload (at least one entry), for a
// peer that is further behind than the core's memory, or with Repair for one that has lost them.
type Fetch struct {
	To       MemberID
	From     Index
	MaxBytes int
	Repair   bool
}

// Install orders a received snapshot into place: the store switches to it. Then the log restarts there (the same
// Base comes in a Batch), unless KeepLog is set: the log holds that position and goes on behind it, and is to be
// cut there once every batch given out so far is durable.
type Install struct {
	Base    Base
	KeepLog bool
}

// Output is what is to be done now. The zero Output means idle. Effects are started in the order of the
// fields; none of them may block the caller.
type Output struct {
	Persist   Batch     // to the log writer, which answers with Persisted
	Early     []Message // may leave before Persist is durable
	Late      []Message // only after Persist is durable
	Install   *Install  // switch the store to the received snapshot before anything of Commit
	Commit    []Entry   // apply in order, exactly once; also durable in this member's own log
	Reads     []ReadGrant
	Accepted  []Accepted
	Refused   []Refused
	Fetches   []Fetch    // read from the log, answer with Fetched
	Snapshots []MemberID // start a snapshot stream to each, answer with SnapshotSent
	Removed   bool       // this identity is no longer a member: a leader says so, or it led its own removal
	Events    []Event    // what changed, for logs, metrics and golden scripts
}

// Event is one observable change of the core's state, with a stable one-line String.
type Event interface{ String() string }
