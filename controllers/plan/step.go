package plan

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"

	api "raftsman.dev/api/v1alpha1"
)

// Kind is what a step does. Each kind touches one thing.
type Kind string

const (
	// Rest: everything is as it should be, or nothing may be done.
	Rest Kind = "Rest"
	// Wait: something is in flight that needs no help.
	Wait Kind = "Wait"
	// Apply brings all objects up to date with Replicas and Guard as their sizes.
	Apply Kind = "Apply"
	// Scale sets the StatefulSet's size to Replicas.
	Scale Kind = "Scale"
	// Protect sets the budget's minAvailable to Guard.
	Protect Kind = "Protect"
	// Latch writes Latch into status, and does nothing else.
	Latch Kind = "Latch"
	// Form asks the member in Pod to found the cluster.
	Form Kind = "Form"
	// Change asks the member in Pod, the leader, for the membership Change.
	Change Kind = "Change"
	// Transfer asks the member in Pod, the leader, to hand leadership to the member To.
	Transfer Kind = "Transfer"
	// Open asks the member in Pod, the leader, to open the cluster to clients.
	Open Kind = "Open"
	// Annotate writes the ID of the member in Pod on its Claim.
	Annotate Kind = "Annotate"
	// Evict evicts Pod; the disruption budget is asked.
	Evict Kind = "Evict"
	// Remove deletes Pod, which no healthy member lives in.
	Remove Kind = "Remove"
	// Drop deletes Claim, and with it the data on it.
	Drop Kind = "Drop"
	// Enlarge makes Claim ask for the wanted size.
	Enlarge Kind = "Enlarge"
	// Orphan deletes the StatefulSet and leaves its Pods and claims as they are, for one that is made anew.
	Orphan Kind = "Orphan"
)

// Acts says that a step of this kind changes something outside the operator.
func (k Kind) Acts() bool { return k != Rest && k != Wait }

// Step is the one thing to do next, and why.
type Step struct {
	Kind Kind
	// Reason is one of the reasons of package v1alpha1; Why is the sentence for log, event and condition.
	Reason string
	Why    string
	// Stalled is a reason why nothing will get better without a person; empty otherwise.
	Stalled string
	// Refusal is why the wanted version is not rolled out; empty otherwise. The step may be about something else.
	Refusal string
	// Operation that this step belongs to; empty when it belongs to none.
	Operation api.OperationType
	// Event to be recorded when the step has been performed; empty for none.
	Event string

	Replicas int32
	Guard    int32
	// From is the size of the StatefulSet that a new size was planned on; nil when there was none.
	From *int32
	// Storage is the size that the StatefulSet's template gives to new volumes; Set the StatefulSet itself.
	Storage resource.Quantity
	Set     *Set
	Latch   *LatchChange
	// Pod that is asked, evicted or removed.
	Pod Pod
	// Claim that is annotated or dropped.
	Claim  Claim
	Change *MembershipChange
	// To is the ID of the member that is to lead, ToName its name.
	To, ToName string
}

// LatchChange is one change of what status remembers. Fields that are nil stay as they are.
type LatchChange struct {
	// Found latches a newly drawn cluster ID with this founder.
	Found *string
	// Adopt latches the ID of a cluster that the members already share.
	Adopt *string
	// Abandon forgets a cluster that never served anybody, so that birth begins anew.
	Abandon bool
	// Initialize latches that the wanted size was reached; or, on adoption, that clients were served.
	Initialize bool
	// Hibernated latches the size to come back to.
	Hibernated *int32
}

// MembershipChange is one membership change, planned on configuration Index.
type MembershipChange struct {
	Index   uint64
	Add     []NewMember
	Promote []string
	Remove  []string
}

// NewMember is a member to be added as a learner.
type NewMember struct {
	ID, Name, PeerAddress, ClientURL string
}

// Quiet says that nothing is in flight: the next look may wait.
func (s Step) Quiet() bool { return s.Kind == Rest }

// String is one line for logs and golden files.
func (s Step) String() string {
	var b strings.Builder
	b.WriteString(string(s.Kind))
	switch s.Kind {
	case Scale:
		fmt.Fprintf(&b, " replicas=%d", s.Replicas)
	case Apply:
		fmt.Fprintf(&b, " replicas=%d guard=%d", s.Replicas, s.Guard)
	case Protect:
		fmt.Fprintf(&b, " guard=%d", s.Guard)
	case Latch:
		b.WriteString(s.Latch.String())
	case Form, Open, Evict, Remove:
		fmt.Fprintf(&b, " pod=%s", s.Pod.Name)
	case Transfer:
		fmt.Fprintf(&b, " pod=%s to=%s", s.Pod.Name, s.ToName)
	case Annotate, Drop, Enlarge:
		fmt.Fprintf(&b, " claim=%s", s.Claim.Name)
	case Change:
		fmt.Fprintf(&b, " on=%s%s", s.Pod.Name, s.Change.String())
	}
	if s.Operation != "" {
		fmt.Fprintf(&b, " operation=%s", s.Operation)
	}
	if s.Stalled != "" {
		fmt.Fprintf(&b, " stalled=%s", s.Stalled)
	}
	fmt.Fprintf(&b, " (%s: %s)", s.Reason, s.Why)
	return b.String()
}

// String lists what changes.
func (l *LatchChange) String() string {
	var b strings.Builder
	if l.Found != nil {
		fmt.Fprintf(&b, " found=%s", *l.Found)
	}
	if l.Adopt != nil {
		fmt.Fprintf(&b, " adopt=%s", *l.Adopt)
	}
	if l.Abandon {
		b.WriteString(" abandon")
	}
	if l.Initialize {
		b.WriteString(" initialize")
	}
	if l.Hibernated != nil {
		fmt.Fprintf(&b, " hibernated=%d", *l.Hibernated)
	}
	return b.String()
}

// String lists what changes.
func (c *MembershipChange) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, " index=%d", c.Index)
	for _, m := range c.Add {
		fmt.Fprintf(&b, " +%s@%s", m.ID, m.Name)
	}
	for _, id := range c.Promote {
		fmt.Fprintf(&b, " ^%s", id)
	}
	for _, id := range c.Remove {
		fmt.Fprintf(&b, " -%s", id)
	}
	return b.String()
}
