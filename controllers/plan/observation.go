package plan

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"

	api "raftsman.dev/api/v1alpha1"
)

// Spec is what is wanted of the members, taken from a RaftCluster's spec.
type Spec struct {
	// Name of the RaftCluster; members are Name-0, Name-1 and so on.
	Name string
	// Replicas is the number of voters; 0 hibernates.
	Replicas int32
	// Paused forbids every step.
	Paused bool
	// Deleting says that the RaftCluster is on its way out: its objects go with it.
	Deleting bool
	// KeepVolumes keeps the volumes of members removed by scaling in.
	KeepVolumes bool
	// Replace is the ID of a member that a person wants replaced; empty for none.
	Replace string
	// Storage is the size of each member's volume.
	Storage resource.Quantity
	// Version is the tag of the wanted image, empty when it has none.
	Version string
	// Deadline is how long an operation may go without progress; 0 means DefaultDeadline.
	Deadline time.Duration
}

// Ordinal is the ordinal of a member's name; ok is false for a name that this cluster does not give.
func (s Spec) Ordinal(name string) (ordinal int32, ok bool) {
	tail, found := strings.CutPrefix(name, s.Name+"-")
	if !found {
		return 0, false
	}
	n, err := strconv.ParseUint(tail, 10, 16)
	if err != nil || strconv.FormatUint(n, 10) != tail {
		return 0, false
	}
	return int32(n), true
}

// Pod is the name of the Pod, and member, with an ordinal.
func (s Spec) Pod(ordinal int32) string { return s.Name + "-" + strconv.Itoa(int(ordinal)) }

// wanted says whether a name is one of the wanted members'.
func (s Spec) wanted(name string) bool {
	n, ok := s.Ordinal(name)
	return ok && n < s.Replicas
}

// Observation is everything that is known of one RaftCluster at one moment.
type Observation struct {
	Latched Latched
	// Outdated are the objects that are absent or differ from what the spec gives, sizes apart.
	Outdated []string
	// Set is the StatefulSet; nil when there is none.
	Set *Set
	// Guard is the minAvailable of the PodDisruptionBudget; nil when there is none.
	Guard *int32
	// Pods by ordinal, each with its member's own report.
	Pods []Pod
	// Claims by ordinal.
	Claims []Claim
}

// Latched is what status remembers from one reconcile to the next.
type Latched struct {
	ClusterID   string
	Founder     string
	Initialized bool
	// Hibernated is the number of Pods to come back to; 0 when the cluster is not hibernated.
	Hibernated int32
	Operation  *api.Operation
}

// Set is what matters of the StatefulSet.
type Set struct {
	Replicas int32
	// Revision is the revision that Pods should have; empty while the controller has not looked at the
	// newest template yet.
	Revision string
	UID      string
	// Storage is the size that its template gives to new volumes; it can only be changed by making it anew.
	Storage resource.Quantity
	// Leaving says that it is being deleted.
	Leaving bool
	// Version is the tag of the template's image, empty when it has none.
	Version string
}

// Pod is one Pod of the cluster and what its member says.
type Pod struct {
	Name string
	UID  string
	// IP is where its member is asked.
	IP string
	// Revision is the controller-revision-hash of the template it was made from.
	Revision string
	// Version is the tag of its image, empty when it has none.
	Version string
	Ready   bool
	// Running says that its container runs, as the kubelet tells, whether or not the member answers.
	Running bool
	// Leaving says that it is being deleted.
	Leaving bool
	// PeerAddress and ClientURL are where its member is reached by the others and by clients.
	PeerAddress string
	ClientURL   string
	// Report is nil when the member gave none; Silence then says why.
	Report  *Report
	Silence string
}

// Claim is one member's volume claim.
type Claim struct {
	Name string
	UID  string
	// Pod that uses it.
	Pod string
	// Member is the ID of the member whose data lies on it, as annotated; empty when it is not, or when the
	// annotation was copied from another claim.
	Member  string
	Leaving bool
	// Size is what it asks for, Capacity what the volume has. Bound says that there is a volume, Remount that
	// the volume is larger already and its file system will be when it is mounted anew or its kubelet comes to it.
	Size, Capacity resource.Quantity
	Bound, Remount bool
	// Refusal is why it cannot be given the wanted size, in the API server's words; empty when it can.
	Refusal string
}

// State is what a member is, as far as a cluster is concerned.
type State string

const (
	Unjoined State = "unjoined"
	Joined   State = "joined"
	Removed  State = "removed"
	Corrupt  State = "corrupt"
)

// Report is a member's report of itself.
type Report struct {
	Member  string
	Cluster string
	Version string
	State   State
	Problem string
	Leads   bool
	Term    uint64
	// Boot counts the starts on its disk; Last is the end of its log, Commit how far it knows that to be committed.
	Boot, Last, Commit uint64
	// Disk is nil when the member does not say. NoSpace says that it knows of writes being refused for want of space.
	Disk    *Disk
	NoSpace bool
	// Ready says that the member serves clients; Open that the cluster has been opened to them.
	Ready bool
	Open  bool
	// Quorate says that a quorum answered a linearizable read for this member just now.
	Quorate bool
	// Membership in force on this member; nil when it has none.
	Membership *Membership
	// Peers is what the leader knows of each other member, by ID; nil elsewhere.
	Peers map[string]Peer
}

// Membership is a configuration in force.
type Membership struct {
	Index     uint64
	Committed bool
	Joint     bool
	Members   []Member
}

// Member is one entry of a membership.
type Member struct {
	ID   string
	Name string
	// Voter says that it votes in the newest half; Outgoing that it votes only in the old half of a joint
	// membership; neither makes a learner. Incoming says that it votes only in the new half.
	Voter, Incoming, Outgoing bool
}

// Disk is a member's own view of its volume, in bytes. Below LowBytes, Low, the data may not grow; Out, the member
// takes nothing more.
type Disk struct {
	FreeBytes, LowBytes int64
	Low, Out            bool
}

// Peer is the leader's view of another member.
type Peer struct {
	// Active says that it answered lately; Caught that it is close to the leader's commit; Streaming that
	// entries flow to it without a gap.
	Active, Caught, Streaming bool
	// Far says that it needs a snapshot.
	Far bool
}

// Voters are the IDs that vote in the newest half.
func (m *Membership) Voters() []string {
	return m.ids(func(e Member) bool { return e.Voter })
}

// OldVoters are the IDs that vote in the old half while joint; the same as Voters otherwise.
func (m *Membership) OldVoters() []string {
	return m.ids(func(e Member) bool { return e.Voter && !e.Incoming || e.Outgoing })
}

// Learners are the IDs that receive the log and do not vote.
func (m *Membership) Learners() []string {
	return m.ids(func(e Member) bool { return !e.Voter && !e.Outgoing })
}

func (m *Membership) ids(which func(Member) bool) []string {
	var ids []string
	for _, e := range m.Members {
		if which(e) {
			ids = append(ids, e.ID)
		}
	}
	return ids
}

// pods is how many Pods it takes for every member to have its own.
func (m *Membership) pods(want Spec) (n int32) {
	for _, e := range m.Members {
		if o, ok := want.Ordinal(e.Name); ok {
			n = max(n, o+1)
		}
	}
	return n
}

// Find is the entry with an ID.
func (m *Membership) Find(id string) (Member, bool) {
	i := slices.IndexFunc(m.Members, func(e Member) bool { return e.ID == id })
	if i < 0 {
		return Member{}, false
	}
	return m.Members[i], true
}

// pod is the Pod with a name.
func (o Observation) pod(name string) (Pod, bool) {
	i := slices.IndexFunc(o.Pods, func(p Pod) bool { return p.Name == name })
	if i < 0 {
		return Pod{}, false
	}
	return o.Pods[i], true
}

// home is the Pod whose member reports an ID.
func (o Observation) home(id string) (Pod, bool) {
	i := slices.IndexFunc(o.Pods, func(p Pod) bool { return p.Report != nil && p.Report.Member == id })
	if i < 0 {
		return Pod{}, false
	}
	return o.Pods[i], true
}

// ours says that a Pod's member is in the cluster that status names.
func (o Observation) ours(p Pod) bool {
	return p.Report != nil && p.Report.State == Joined && o.Latched.ClusterID != "" && p.Report.Cluster == o.Latched.ClusterID
}

// Leader is the Pod of the member that leads with a quorum behind it.
func (o Observation) Leader() (Pod, bool) {
	var leader Pod
	found := false
	for _, p := range o.Pods {
		if o.ours(p) && p.Report.Leads && p.Report.Quorate && p.Report.Membership != nil && (!found || p.Report.Term > leader.Report.Term) {
			leader, found = p, true
		}
	}
	return leader, found
}

// Membership is the newest membership that any member of the cluster reports; the leader's where there is
// one. It is nil when nobody reports any.
func (o Observation) Membership() *Membership {
	if leader, ok := o.Leader(); ok {
		return leader.Report.Membership
	}
	var newest *Membership
	for _, p := range o.Pods {
		if o.ours(p) && p.Report.Membership != nil && (newest == nil || p.Report.Membership.Index > newest.Index) {
			newest = p.Report.Membership
		}
	}
	return newest
}

// Available says that a quorum answered a linearizable read just now.
func (o Observation) Available() bool {
	return slices.ContainsFunc(o.Pods, func(p Pod) bool { return o.ours(p) && p.Report.Quorate })
}

// idle is how long the announced operation has achieved nothing.
func (o Observation) idle(now time.Time) time.Duration {
	op := o.Latched.Operation
	switch {
	case op == nil:
		return 0
	case op.ProgressedAt.IsZero():
		return now.Sub(op.StartedAt.Time)
	}
	return now.Sub(op.ProgressedAt.Time)
}

// achieved is a number that changes with everything that an operation achieves: Pods of the wanted revision and
// changes of the membership. It is 0 when that cannot be seen.
func (o Observation) achieved() int64 {
	m := o.Membership()
	if m == nil || o.Set == nil || o.Set.Revision == "" {
		return 0
	}
	return int64(m.Index) + int64(o.updated())
}

// updated is the number of Pods of the wanted revision.
func (o Observation) updated() int32 {
	var n int32
	for _, p := range o.Pods {
		if o.Set != nil && o.Set.Revision != "" && !o.outdated(p) {
			n++
		}
	}
	return n
}
