package kv

import (
	"errors"
	"fmt"

	"raftsman.dev/node/kv/engine"
)

// Errors of a command or a read; nothing was changed.
var (
	ErrKeyNotFound    = errors.New("key not found")
	ErrLeaseNotFound  = errors.New("lease not found")
	ErrCompacted      = errors.New("revision has been compacted")
	ErrFutureRevision = errors.New("revision is in the future")
	ErrLeaseExists    = errors.New("lease exists")
	ErrDuplicateKey   = errors.New("key is written twice in one transaction")
	// ErrFenced: the leader that decided so leads no more.
	ErrFenced = errors.New("decided in another term")
)

var (
	// ErrCorrupt marks stored data that is not what it should be.
	ErrCorrupt = engine.ErrCorrupt
	// ErrMalformed marks a command or chunk that cannot be decoded.
	ErrMalformed = errors.New("malformed")
	// ErrClosed: the store was closed.
	ErrClosed = errors.New("store is closed")
)

// damage wraps what a read of the engine answered. A nil err stays nil.
func damage(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("read %s: %w", what, err)
}
