package kv

import (
	"errors"
	"io/fs"
)

// Errors of a command or a read; nothing was changed.
var (
	ErrKeyNotFound    = errors.New("key not found")
	ErrLeaseNotFound  = errors.New("lease not found")
	ErrCompacted      = errors.New("revision has been compacted")
	ErrFutureRevision = errors.New("revision is in the future")
)

var (
	// ErrCorrupt marks stored data that is not what it should be.
	ErrCorrupt = errors.New("store is damaged")
	// ErrMalformed marks a command or chunk that cannot be decoded.
	ErrMalformed = errors.New("malformed")
	// ErrClosed: the store was closed.
	ErrClosed = errors.New("store is closed")
)

func isNotExist(err error) bool { return errors.Is(err, fs.ErrNotExist) }
