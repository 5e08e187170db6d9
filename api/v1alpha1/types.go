package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// RaftCluster is one replicated key-value store: a group of Raft members that the operator brings to life
// and looks after.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:path=raftclusters,singular=raftcluster,shortName=raft,categories=all
// +kubebuilder:subresource:status
// +kubebuilder:subresource:scale:specpath=.spec.replicas,statuspath=.status.replicas,selectorpath=.status.selector
// +kubebuilder:printcolumn:name=Desired,type=integer,JSONPath=`.spec.replicas`
// +kubebuilder:printcolumn:name=Ready,type=integer,JSONPath=`.status.readyReplicas`
// +kubebuilder:printcolumn:name=Leader,type=string,JSONPath=`.status.leader`
// +kubebuilder:printcolumn:name=Version,type=string,JSONPath=`.status.version`
// +kubebuilder:printcolumn:name=Available,type=string,JSONPath=`.status.conditions[?(@.type=="Available")].status`
// +kubebuilder:printcolumn:name=Reason,type=string,JSONPath=`.status.conditions[?(@.type=="Progressing")].reason`
// +kubebuilder:printcolumn:name=Age,type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name=ClusterID,type=string,JSONPath=`.status.clusterID`,priority=1
// +kubebuilder:printcolumn:name=Learners,type=integer,JSONPath=`.status.learners`,priority=1
// +kubebuilder:printcolumn:name=Updated,type=integer,JSONPath=`.status.updatedReplicas`,priority=1
// +kubebuilder:validation:XValidation:rule="self.metadata.name.size() <= 45 && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",message="metadata.name must be at most 45 characters: a lower case letter first, then letters, digits and dashes; choose another name, Services and Pods are named after it"
// +kubebuilder:validation:XValidation:rule="quantity(string(self.spec.storage.size)).compareTo(quantity(string(oldSelf.spec.storage.size))) >= 0 || (has(oldSelf.status) && has(oldSelf.status.volumeSize) && quantity(string(self.spec.storage.size)).compareTo(quantity(string(oldSelf.status.volumeSize))) >= 0)",message="storage may not shrink: a volume cannot be made smaller; keep storage.size, or make a new cluster and copy the data"
type RaftCluster struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// +optional
	// +kubebuilder:default={}
	Spec RaftClusterSpec `json:"spec,omitempty"`
	// +optional
	Status RaftClusterStatus `json:"status,omitempty"`
}

// RaftClusterList is a list of RaftClusters.
//
// +kubebuilder:object:root=true
type RaftClusterList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []RaftCluster `json:"items"`
}

// RaftClusterSpec is what is wanted.
//
// +kubebuilder:validation:XValidation:rule="!has(self.replicas) || self.replicas % 2 == 1 || self.replicas == 0 || (has(self.allowEvenReplicas) && self.allowEvenReplicas)",message="replicas must be odd (or 0 to hibernate): an even group survives no more losses than the odd one below it; choose an odd number or set allowEvenReplicas: true"
// +kubebuilder:validation:XValidation:rule="!has(self.electionTimeout) || !has(self.heartbeatInterval) || duration(self.electionTimeout) >= duration(self.heartbeatInterval) + duration(self.heartbeatInterval) + duration(self.heartbeatInterval) + duration(self.heartbeatInterval) + duration(self.heartbeatInterval)",message="electionTimeout must be at least 5 times heartbeatInterval, or a lost heartbeat unseats a healthy leader; raise electionTimeout or lower heartbeatInterval"
type RaftClusterSpec struct {
	// Replicas is the number of voting members. 0 hibernates: Pods stop, membership and volumes stay.
	// +optional
	// +kubebuilder:default=3
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=15
	Replicas *int32 `json:"replicas,omitempty"`

	// AllowEvenReplicas permits an even number of replicas.
	// +optional
	AllowEvenReplicas bool `json:"allowEvenReplicas,omitempty"`

	// Image of the members. Empty means the operator's own image, so that an upgrade of the operator rolls the members to
	// its version; with an image they keep it until another is named here. Where its tag and what the members say of
	// themselves are versions, one that skips a minor or goes back is refused (UnsupportedUpgradePath) before any Pod is
	// touched.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	Image string `json:"image,omitempty"`

	// ImagePullPolicy says when the image is pulled.
	// +optional
	// +kubebuilder:default=IfNotPresent
	// +kubebuilder:validation:Enum=Always;IfNotPresent;Never
	ImagePullPolicy corev1.PullPolicy `json:"imagePullPolicy,omitempty"`

	// ImagePullSecrets are the secrets with which the image is pulled.
	// +optional
	// +kubebuilder:validation:MaxItems=16
	ImagePullSecrets []corev1.LocalObjectReference `json:"imagePullSecrets,omitempty"`

	// Storage is each member's volume.
	// +optional
	// +kubebuilder:default={}
	Storage StorageSpec `json:"storage,omitempty"`

	// Resources of each member's container.
	// +optional
	Resources corev1.ResourceRequirements `json:"resources,omitempty"`

	// ElectionTimeout is how long a member waits for its leader before it stands for election.
	// +optional
	// +kubebuilder:default="1s"
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('100ms') && duration(self) <= duration('60s')",message="electionTimeout must be between 100ms and 60s"
	ElectionTimeout Duration `json:"electionTimeout,omitempty"`

	// HeartbeatInterval is how often a leader reassures its followers.
	// +optional
	// +kubebuilder:default="100ms"
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('10ms') && duration(self) <= duration('10s')",message="heartbeatInterval must be between 10ms and 10s"
	HeartbeatInterval Duration `json:"heartbeatInterval,omitempty"`

	// ProgressDeadlineSeconds is how long an operation (growing, rolling, replacing and so on) may go without progress
	// before the cluster is called stalled because of DeadlineExceeded. The operator goes on trying all the same.
	// +optional
	// +kubebuilder:default=600
	// +kubebuilder:validation:Minimum=30
	// +kubebuilder:validation:Maximum=86400
	ProgressDeadlineSeconds *int32 `json:"progressDeadlineSeconds,omitempty"`

	// Paused makes the operator report but touch nothing.
	// +optional
	Paused bool `json:"paused,omitempty"`

	// Labels are put on the members' Pods; the operator's own labels win over them.
	// +optional
	Labels map[string]string `json:"labels,omitempty"`
	// Annotations are put on the members' Pods.
	// +optional
	Annotations map[string]string `json:"annotations,omitempty"`

	// NodeSelector limits the nodes that members may run on.
	// +optional
	NodeSelector map[string]string `json:"nodeSelector,omitempty"`
	// Tolerations are the taints that members tolerate.
	// +optional
	// +kubebuilder:validation:MaxItems=64
	Tolerations []corev1.Toleration `json:"tolerations,omitempty"`
	// Affinity rules of the members.
	// +optional
	Affinity *corev1.Affinity `json:"affinity,omitempty"`
	// TopologySpreadConstraints say how members are spread. Empty means: preferably one a node and even
	// over zones. A constraint without a labelSelector counts this cluster's members.
	// +optional
	// +kubebuilder:validation:MaxItems=16
	TopologySpreadConstraints []corev1.TopologySpreadConstraint `json:"topologySpreadConstraints,omitempty"`
	// PriorityClassName is the members' priority class.
	// +optional
	PriorityClassName string `json:"priorityClassName,omitempty"`
	// TerminationGracePeriodSeconds is how long a member may take to hand over leadership and drain.
	// +optional
	// +kubebuilder:default=30
	// +kubebuilder:validation:Minimum=5
	// +kubebuilder:validation:Maximum=600
	TerminationGracePeriodSeconds *int64 `json:"terminationGracePeriodSeconds,omitempty"`
}

// Duration is a length of time as Go writes it, for instance 100ms or 1.5s.
//
// +kubebuilder:validation:Type=string
// +kubebuilder:validation:MaxLength=32
// +kubebuilder:validation:Pattern=`^([0-9]+(\.[0-9]+)?(ms|s|m))+$`
type Duration string

// StorageSpec is a member's volume.
//
// +kubebuilder:validation:XValidation:rule="!has(self.accessMode) || !has(oldSelf.accessMode) || self.accessMode == oldSelf.accessMode",message="storage.accessMode is fixed when the cluster is made: keep it, or make a new cluster and copy the data"
// +kubebuilder:validation:XValidation:rule="has(self.className) == has(oldSelf.className) && (!has(self.className) || self.className == oldSelf.className)",message="storage.className is fixed when the cluster is made: keep it, or make a new cluster and copy the data"
type StorageSpec struct {
	// Size of the volume. Raising it makes all volumes larger while their Pods run, where the StorageClass allows
	// that; what no volume has been asked for yet can be taken back.
	// +optional
	// +kubebuilder:default="1Gi"
	Size resource.Quantity `json:"size,omitempty"`
	// ClassName is the StorageClass; empty means the cluster's default.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	ClassName *string `json:"className,omitempty"`
	// AccessMode of the volume. ReadWriteOncePod, where the class's driver has it, lets no second Pod use it.
	// +optional
	// +kubebuilder:default=ReadWriteOnce
	// +kubebuilder:validation:Enum=ReadWriteOnce;ReadWriteOncePod
	AccessMode corev1.PersistentVolumeAccessMode `json:"accessMode,omitempty"`
	// Retention says what becomes of volumes that are no longer used.
	// +optional
	// +kubebuilder:default={}
	Retention RetentionSpec `json:"retention,omitempty"`
}

// RetentionPolicy is what becomes of a volume.
//
// +kubebuilder:validation:Enum=Retain;Delete
type RetentionPolicy string

const (
	// Retain keeps the volume's claim.
	Retain RetentionPolicy = "Retain"
	// Delete deletes the volume's claim.
	Delete RetentionPolicy = "Delete"
)

// RetentionSpec says what becomes of volumes that are no longer used.
type RetentionSpec struct {
	// WhenDeleted is for all volumes when the RaftCluster is deleted.
	// +optional
	// +kubebuilder:default=Retain
	WhenDeleted RetentionPolicy `json:"whenDeleted,omitempty"`
	// WhenScaled is for the volume of a member that was removed by scaling in.
	// +optional
	// +kubebuilder:default=Delete
	WhenScaled RetentionPolicy `json:"whenScaled,omitempty"`
}

// RaftClusterStatus is how the cluster is. ClusterID, Founder, HibernatedReplicas, Operation and the
// Initialized condition are also the operator's memory; all else is computed afresh.
type RaftClusterStatus struct {
	// ObservedGeneration is the generation of the spec that this status speaks of.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// Replicas is the number of Pods.
	// +optional
	Replicas int32 `json:"replicas"`
	// ReadyReplicas is the number of members that serve clients.
	// +optional
	ReadyReplicas int32 `json:"readyReplicas"`
	// UpdatedReplicas is the number of Pods of the wanted revision.
	// +optional
	UpdatedReplicas int32 `json:"updatedReplicas"`
	// VotingMembers is the number of voters in the membership.
	// +optional
	VotingMembers int32 `json:"votingMembers"`
	// Learners is the number of members that do not vote yet.
	// +optional
	Learners int32 `json:"learners"`
	// Leader is the name of the member that leads.
	// +optional
	Leader string `json:"leader,omitempty"`
	// ClusterID is the cluster's identity, 16 hex digits, fixed at birth.
	// +optional
	ClusterID string `json:"clusterID,omitempty"`
	// Founder is the member ID of the member that was asked to form the cluster.
	// +optional
	Founder string `json:"founder,omitempty"`
	// HibernatedReplicas is the number of Pods to come back to after hibernation.
	// +optional
	HibernatedReplicas int32 `json:"hibernatedReplicas,omitempty"`
	// Version that all members run, empty while they differ.
	// +optional
	Version string `json:"version,omitempty"`
	// Selector finds the members' Pods, for the scale subresource.
	// +optional
	Selector string `json:"selector,omitempty"`
	// VolumeSize is the largest size that any member's volume claim asks for: storage.size cannot go below it.
	// +optional
	VolumeSize *resource.Quantity `json:"volumeSize,omitempty"`
	// Members are the Pods and the members of the membership, by name.
	// +optional
	// +listType=atomic
	Members []MemberStatus `json:"members,omitempty"`
	// Operation is what the operator is doing, announced before it is begun.
	// +optional
	Operation *Operation `json:"operation,omitempty"`
	// Conditions say how the cluster is, in the closed vocabulary of this package.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// MemberStatus is one member.
type MemberStatus struct {
	// Name of the member and of its Pod.
	Name string `json:"name"`
	// ID is the member ID, 16 hex digits.
	// +optional
	ID string `json:"id,omitempty"`
	// Role is leader, voter, learner, unjoined, removed, corrupt, or unknown when it does not answer.
	// +optional
	Role string `json:"role,omitempty"`
	// Ready says that it serves clients.
	Ready bool `json:"ready"`
	// Lag is ok, behind or far, as seen by the leader.
	// +optional
	Lag string `json:"lag,omitempty"`
	// Version of its program.
	// +optional
	Version string `json:"version,omitempty"`
	// Disk is ok, filling when less than twice the space is left below which the data may not grow, low when it may
	// not, or full when the member takes nothing more.
	// +optional
	Disk string `json:"disk,omitempty"`
	// Remains are what is known of its disk while the quorum is lost, from its newest report.
	// +optional
	Remains *MemberRemains `json:"remains,omitempty"`
}

// MemberRemains are how far a member's disk has come, for the person who has to bring a lost quorum back.
type MemberRemains struct {
	// Boot counts the starts on this disk.
	Boot int64 `json:"boot"`
	// Term is the newest one it knows.
	Term int64 `json:"term"`
	// LastIndex is the end of its log.
	LastIndex int64 `json:"lastIndex"`
	// CommitIndex is how far it knows its log to be committed.
	CommitIndex int64 `json:"commitIndex"`
}

// OperationType is what the operator is doing to members.
type OperationType string

const (
	OperationForm      OperationType = "Form"
	OperationGrow      OperationType = "Grow"
	OperationShrink    OperationType = "Shrink"
	OperationReplace   OperationType = "Replace"
	OperationRoll      OperationType = "Roll"
	OperationHibernate OperationType = "Hibernate"
	OperationWake      OperationType = "Wake"
	OperationExpand    OperationType = "Expand"
)

// Operation is one operation and how far it is.
type Operation struct {
	// Type of the operation.
	Type OperationType `json:"type"`
	// Member that the present step is about, where it is about one.
	// +optional
	Member string `json:"member,omitempty"`
	// Step that is about to be taken or waited for.
	// +optional
	Step string `json:"step,omitempty"`
	// StartedAt is when the operation began.
	StartedAt metav1.Time `json:"startedAt"`
	// Progress is a number that changes with everything the operation achieves.
	// +optional
	Progress int64 `json:"progress,omitempty"`
	// ProgressedAt is when Progress last changed: spec.progressDeadlineSeconds counts from here.
	// +optional
	ProgressedAt metav1.Time `json:"progressedAt,omitempty"`
}

// Wanted is the number of voters wanted.
func (c *RaftCluster) Wanted() int32 {
	if c.Spec.Replicas == nil {
		return DefaultReplicas
	}
	return *c.Spec.Replicas
}

// DefaultReplicas is the number of voters when the spec says nothing.
const DefaultReplicas = 3
