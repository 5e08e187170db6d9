package etcdapi

import (
	"context"
	"errors"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"raftsman.dev/node/kv"
)

// translation is one line of the error table.
type translation struct {
	ours, theirs error
}

// translations is the one place where our sentinels become etcd's codes and texts, which clients match
// word for word. The first line that matches wins. What may have been done is always Unavailable.
var translations = []translation{
	{kv.ErrKeyNotFound, rpctypes.ErrGRPCKeyNotFound},
	{kv.ErrLeaseNotFound, rpctypes.ErrGRPCLeaseNotFound},
	{kv.ErrLeaseExists, rpctypes.ErrGRPCLeaseExist},
	{kv.ErrDuplicateKey, rpctypes.ErrGRPCDuplicateKey},
	{kv.ErrCompacted, rpctypes.ErrGRPCCompacted},
	{kv.ErrFutureRevision, rpctypes.ErrGRPCFutureRev},
	{kv.ErrMalformed, rpctypes.ErrGRPCTooManyOps},
	{kv.ErrClosed, rpctypes.ErrGRPCStopped},
	{ErrNoLeader, rpctypes.ErrGRPCNoLeader},
	{ErrLeaderChanged, rpctypes.ErrGRPCLeaderChanged},
	{ErrTimeout, rpctypes.ErrGRPCTimeout},
	{ErrBusy, rpctypes.ErrGRPCRequestTooManyRequests},
	{ErrNoSpace, rpctypes.ErrGRPCNoSpace},
	{ErrStopped, rpctypes.ErrGRPCStopped},
	{ErrNotOpen, status.Error(codes.Unavailable, "raftsman: not serving clients yet: the cluster is being formed")},
	{ErrDiverged, status.Error(codes.Unavailable, "raftsman: this member's state differs from the majority's: ask another member")},
	{ErrNotLeader, rpctypes.ErrGRPCNotLeader},
	{ErrLearner, rpctypes.ErrGRPCNotSupportedForLearner},
	{ErrMemberNotFound, rpctypes.ErrGRPCMemberNotFound},
	{ErrMemberExists, rpctypes.ErrGRPCMemberExist},
	{ErrPeerURLExists, rpctypes.ErrGRPCPeerURLExist},
	{ErrBadPeerURL, rpctypes.ErrGRPCMemberBadURLs},
	{ErrNotLearner, rpctypes.ErrGRPCMemberNotLearner},
	{ErrLearnerNotReady, rpctypes.ErrGRPCLearnerNotReady},
	{ErrUnhealthy, rpctypes.ErrGRPCUnhealthy},
	{ErrLastVoter, rpctypes.ErrGRPCMemberNotEnoughStarted},
	{ErrBadTransferee, rpctypes.ErrGRPCBadLeaderTransferee},
	{ErrTransferFailed, rpctypes.ErrGRPCTimeoutDueToLeaderFail},
	{context.Canceled, rpctypes.ErrGRPCCanceled},
	{context.DeadlineExceeded, rpctypes.ErrGRPCDeadlineExceeded},
}

// toStatus translates an error for the wire. A gRPC status passes as it is.
func toStatus(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := status.FromError(err); ok {
		return err
	}
	for _, t := range translations {
		if errors.Is(err, t.ours) {
			return t.theirs
		}
	}
	var managed *ManagedError
	if errors.As(err, &managed) {
		return status.Error(codes.FailedPrecondition, managed.Error())
	}
	// An error of the store or the disk: whether a write was applied is not known here.
	return status.Error(codes.Unavailable, "raftsman: "+err.Error())
}
