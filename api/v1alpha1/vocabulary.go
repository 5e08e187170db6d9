package v1alpha1

// Condition types. Reconciling and Stalled are present only when they are True.
const (
	ConditionReady       = "Ready"       // all wanted voters healthy, on the wanted revision, nothing in flight
	ConditionAvailable   = "Available"   // a quorum answered a linearizable read just now
	ConditionProgressing = "Progressing" // an operation is in flight
	ConditionDegraded    = "Degraded"    // fewer failures are survived than the spec promises
	ConditionInitialized = "Initialized" // latched: the wanted number of voters was reached once
	ConditionReconciling = "Reconciling"
	ConditionStalled     = "Stalled"
)

// Reasons of conditions.
const (
	ReasonQuorumHealthy            = "QuorumHealthy"
	ReasonQuorumLost               = "QuorumLost"
	ReasonWaitingForFirstMember    = "WaitingForFirstMember"
	ReasonForming                  = "Forming"
	ReasonAddingLearner            = "AddingLearner"
	ReasonWaitingForLearnerCatchUp = "WaitingForLearnerCatchUp"
	ReasonPromotingLearners        = "PromotingLearners"
	ReasonTransferringLeadership   = "TransferringLeadership"
	ReasonRemovingMember           = "RemovingMember"
	ReasonDeletingVolume           = "DeletingVolume"
	ReasonRollingUpdate            = "RollingUpdate"
	ReasonReplacingMember          = "ReplacingMember"
	ReasonOpeningToClients         = "OpeningToClients"
	ReasonPaused                   = "Paused"
	ReasonHibernated               = "Hibernated"
	ReasonAllMembersLost           = "AllMembersLost"
	ReasonClusterIDMismatch        = "ClusterIDMismatch"
	ReasonDeadlineExceeded         = "DeadlineExceeded"
	ReasonInvalidSpec              = "InvalidSpec"
	ReasonUnsupportedUpgradePath   = "UnsupportedUpgradePath"
	// ReasonApplyingObjects is for the moments in which Services, budget or StatefulSet are brought up to date.
	ReasonApplyingObjects = "ApplyingObjects"
	// ReasonMemberUnhealthy is for a member that is down while the group is served by the others.
	ReasonMemberUnhealthy = "MemberUnhealthy"
	// ReasonExpandingVolumes is for volumes on their way to a larger storage.size.
	ReasonExpandingVolumes = "ExpandingVolumes"
	// ReasonVolumeExpansionRefused is for a storage.size that the volumes cannot be given.
	ReasonVolumeExpansionRefused = "VolumeExpansionRefused"
	// ReasonLowDiskSpace is for a member whose disk fills up, or is full.
	ReasonLowDiskSpace = "LowDiskSpace"
)

// Reasons of events.
const (
	EventMemberAdded            = "MemberAdded"
	EventMemberPromoted         = "MemberPromoted"
	EventMemberRemoved          = "MemberRemoved"
	EventMemberReplaced         = "MemberReplaced"
	EventLeadershipTransferred  = "LeadershipTransferred"
	EventPodRolled              = "PodRolled"
	EventScaleUp                = "ScaleUp"
	EventScaleDown              = "ScaleDown"
	EventRollingUpdateStarted   = "RollingUpdateStarted"
	EventRollingUpdateCompleted = "RollingUpdateCompleted"
	EventQuorumLost             = "QuorumLost"
	EventQuorumRestored         = "QuorumRestored"
	EventVolumeExpanded         = "VolumeExpanded"
)

// Labels and annotations. LabelCluster and LabelInstance alone are selected by.
const (
	LabelCluster  = "raftsman.dev/cluster"
	LabelName     = "app.kubernetes.io/name"
	LabelInstance = "app.kubernetes.io/instance"
	LabelPart     = "app.kubernetes.io/component"
	LabelManager  = "app.kubernetes.io/managed-by"
	LabelPartOf   = "app.kubernetes.io/part-of"
	LabelVersion  = "app.kubernetes.io/version"

	// AnnotationRestartedAt on a RaftCluster is put on its Pods: another value of it, whatever it is, rolls them.
	AnnotationRestartedAt = "raftsman.dev/restartedAt"
	// AnnotationMember on a claim is the ID of the member whose data lies on it.
	AnnotationMember = "raftsman.dev/member-id"
	// AnnotationClaim on a claim is that claim's own UID: one that was copied from another does not count.
	AnnotationClaim = "raftsman.dev/claim-uid"
	// AnnotationReplace on a RaftCluster is the ID of a member that a person wants replaced: under a new ID and on a
	// new volume, which may lie on another node. It says nothing any more when there is no member of that ID.
	AnnotationReplace = "raftsman.dev/replace-member"
	// AnnotationApplied on an object is a checksum of what the operator last applied.
	AnnotationApplied = "raftsman.dev/applied"
)
