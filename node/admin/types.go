package admin

// State is what a member is, as far as a cluster is concerned.
type State string

const (
	// StateUnjoined is a member with an identity but no cluster: it waits to be asked.
	StateUnjoined State = "unjoined"
	// StateJoined is a member of a cluster.
	StateJoined State = "joined"
	// StateRemoved is a member whose identity its cluster has removed.
	StateRemoved State = "removed"
	// StateCorrupt is a member whose data cannot be trusted: it answers here and nowhere else.
	StateCorrupt State = "corrupt"
)

// Role is a joined member's part at this moment.
type Role string

const (
	RoleLeader    Role = "leader"
	RoleFollower  Role = "follower"
	RoleCandidate Role = "candidate"
	RoleLearner   Role = "learner"
)

// Seat is a member's place in the membership.
type Seat string

const (
	SeatLearner  Seat = "learner"
	SeatVoter    Seat = "voter"
	SeatIncoming Seat = "incoming" // votes in the new half of a joint membership only
	SeatOutgoing Seat = "outgoing" // votes in the old half of a joint membership only
)

// Status is a member's report of itself. IDs are 16 hex digits; "" means none. Indexes are log indexes.
type Status struct {
	MemberID  string `json:"memberID"`
	ClusterID string `json:"clusterID,omitempty"`
	Name      string `json:"name"`
	Version   string `json:"version"`
	Boot      uint64 `json:"boot"`
	State     State  `json:"state"`
	// Problem says in one sentence what is wrong and what to do, when State is corrupt or removed.
	Problem string `json:"problem,omitempty"`

	Role    Role   `json:"role,omitempty"`
	Term    uint64 `json:"term,omitempty"`
	Leader  string `json:"leader,omitempty"`
	Commit  uint64 `json:"commit,omitempty"`
	Applied uint64 `json:"applied,omitempty"`
	// First and Last bound the log that this member holds.
	First uint64 `json:"first,omitempty"`
	Last  uint64 `json:"last,omitempty"`
	// Revision is the store's revision.
	Revision int64 `json:"revision,omitempty"`
	// StateHash is a checksum of the store's logical state at HashIndex: equal on equal members. It is
	// only filled when asked for (GET /v1/status?hash=1).
	StateHash string `json:"stateHash,omitempty"`
	HashIndex uint64 `json:"hashIndex,omitempty"`
	// Open says that the cluster has been opened to clients; Ready that this member serves them now.
	Open  bool `json:"open"`
	Ready bool `json:"ready"`
	// Quorate is true when a leader confirmed a linearizable read for this member just now. It is only
	// filled when asked for (GET /v1/status?quorum=1, bounded by the request's deadline).
	Quorate bool `json:"quorate,omitempty"`

	Membership *Membership `json:"membership,omitempty"`
	// Progress is what the leader knows of each other member; nil elsewhere.
	Progress []Progress `json:"progress,omitempty"`
	// StepDowns counts how often this boot gave up leadership; LastStepDown says why it last did.
	StepDowns    uint64 `json:"stepDowns,omitempty"`
	LastStepDown string `json:"lastStepDown,omitempty"`
	// Disk is the space of the member's data directory.
	Disk *Disk `json:"disk,omitempty"`
	// NoSpace says that clients' commands that let the data grow are refused in the whole cluster, because the
	// leader's disk or too many members' disks are low on space.
	NoSpace bool `json:"noSpace,omitempty"`
	// Diverged says that this member's state differs from that of the majority: it serves no clients. Progress names
	// the others that the leader has found so.
	Diverged *Divergence `json:"diverged,omitempty"`
	// Attested is the newest index at which this leader saw a majority of the members agree on one state; Suspected
	// the newest at which states differ and no majority agrees on one, so that nobody can be told wrong.
	Attested  uint64 `json:"attested,omitempty"`
	Suspected uint64 `json:"suspected,omitempty"`
	// Forwarded counts the proposals that this boot sent on to a leader.
	Forwarded uint64 `json:"forwarded,omitempty"`
	// Snapshots counts the snapshots that this boot installed from a peer.
	Snapshots uint64 `json:"snapshots,omitempty"`
	// Lost counts the log's entries whose content this member's disk has lost and no peer has brought back yet,
	// Repaired those that came back in this boot. A member that has lost some votes, but cannot lead.
	Lost     uint64 `json:"lost,omitempty"`
	Repaired uint64 `json:"repaired,omitempty"`
	// Rebuilding says that the store is lost and waits for a peer's snapshot: the member votes and keeps the log,
	// and counts as failed for everything else.
	Rebuilding bool `json:"rebuilding,omitempty"`
	// SnapshotStreams are the snapshots on their way to and from this member.
	SnapshotStreams []SnapshotStream `json:"snapshotStreams,omitempty"`
}

// Direction says which way a snapshot goes, as the member that reports it sees it.
type Direction string

const (
	Sending   Direction = "sending"
	Receiving Direction = "receiving"
)

// SnapshotStream is a snapshot on its way, over all the connections that it has taken so far.
type SnapshotStream struct {
	Peer      string    `json:"peer"`
	Direction Direction `json:"direction"`
	// Index is the log index up to which its state goes.
	Index  uint64 `json:"index"`
	Bytes  uint64 `json:"bytes"`
	Chunks uint64 `json:"chunks"`
	// Resumed counts how often it has gone on after a cut; Cut says that it waits to.
	Resumed uint64 `json:"resumed,omitempty"`
	Cut     bool   `json:"cut,omitempty"`
}

// Divergence is where a member's state was found to differ: its checksum at a log index, and the majority's, in hex.
type Divergence struct {
	Index    uint64 `json:"index"`
	Sum      string `json:"sum"`
	Majority string `json:"majority"`
}

// Disk is what the volume of a member's data directory has left. Low: the member asks for nothing that grows; Out: it
// takes nothing more into its log.
type Disk struct {
	FreeBytes int64 `json:"freeBytes"`
	SizeBytes int64 `json:"sizeBytes"`
	// LowBytes is the free space below which Low is said.
	LowBytes int64 `json:"lowBytes,omitempty"`
	Low      bool  `json:"low,omitempty"`
	Out      bool  `json:"out,omitempty"`
}

// Membership is the configuration in force on the member that reports it.
type Membership struct {
	// Index is the configuration index: every membership request names the one it was planned on.
	Index uint64 `json:"index"`
	// Committed is false while that configuration's entry is not known to be committed.
	Committed bool     `json:"committed"`
	Joint     bool     `json:"joint,omitempty"`
	Members   []Member `json:"members"`
}

// Member is one entry of a membership.
type Member struct {
	ID          string   `json:"id"`
	Name        string   `json:"name"`
	PeerAddress string   `json:"peerAddress"`
	ClientURLs  []string `json:"clientURLs,omitempty"`
	Seat        Seat     `json:"seat"`
}

// Progress is the leader's view of one other member.
type Progress struct {
	ID    string `json:"id"`
	Match uint64 `json:"match"`
	// Active says that the member answered within the last election timeout.
	Active bool `json:"active"`
	// Caught says that a learner is close enough to the leader's commit to be promoted.
	Caught bool `json:"caught"`
	// Mode is probe, stream or snapshot.
	Mode string `json:"mode"`
	// Diverged says that the member's state differs from the majority's.
	Diverged *Divergence `json:"diverged,omitempty"`
}

// FormRequest turns the one unjoined member that it names into the founder of a cluster of one. A member
// refuses any founder but itself; asking the founder again with the same cluster is harmless.
type FormRequest struct {
	ClusterID string `json:"clusterID"`
	Founder   string `json:"founder"`
}

// ChangeRequest asks the leader for one membership change, planned on configuration Index. Promotions
// and removals become one joint change.
type ChangeRequest struct {
	ClusterID   string   `json:"clusterID"`
	Index       uint64   `json:"index"`
	AddLearners []Member `json:"addLearners,omitempty"`
	Promote     []string `json:"promote,omitempty"`
	Remove      []string `json:"remove,omitempty"`
}

// TransferRequest asks the leader to hand leadership to the voter To ("" lets it choose).
type TransferRequest struct {
	ClusterID string `json:"clusterID"`
	To        string `json:"to,omitempty"`
}

// OpenRequest opens the cluster to clients, through the log, once and for all members.
type OpenRequest struct {
	ClusterID string `json:"clusterID"`
}

// Reason says why a request was refused, so that the operator can tell what to do next.
type Reason string

const (
	ReasonNotLeader     Reason = "NotLeader"     // ask the leader named in Leader
	ReasonNotJoined     Reason = "NotJoined"     // the member has no cluster
	ReasonOtherCluster  Reason = "OtherCluster"  // the member belongs to another cluster
	ReasonOtherFounder  Reason = "OtherFounder"  // the named founder is not this member
	ReasonStaleIndex    Reason = "StaleIndex"    // planned on another configuration index
	ReasonInFlight      Reason = "InFlight"      // another change is in flight
	ReasonUnknownMember Reason = "UnknownMember" // no such member, or it has the wrong seat
	ReasonExists        Reason = "Exists"        // the member to be added is there already
	ReasonLagging       Reason = "Lagging"       // a learner to be promoted has not caught up
	ReasonInvalid       Reason = "Invalid"       // the request itself is wrong
	ReasonUnavailable   Reason = "Unavailable"   // try again; the outcome may be unknown
)

// Error is the body of every answer that is not 2xx, and the error that the client returns for it.
type Error struct {
	Reason  Reason `json:"reason"`
	Message string `json:"message"`
	Leader  string `json:"leader,omitempty"`
}

// Error renders the message and its reason.
func (e *Error) Error() string { return string(e.Reason) + ": " + e.Message }
