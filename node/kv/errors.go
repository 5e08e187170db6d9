package kv

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"

	"github.com/cockroachdb/pebble/v2"
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

// damage wraps what a read of the database answered, and marks what Pebble found damaged; the message names
// the file. A nil err stays nil.
func damage(what string, err error) error {
	if err == nil {
		return nil
	}
	if info := pebble.ExtractDataCorruptionInfo(err); info != nil {
		return fmt.Errorf("read %s from %s: %w", what, info.Path, errors.Join(err, ErrCorrupt))
	}
	if pebble.IsCorruptionError(err) {
		err = errors.Join(err, ErrCorrupt)
	}
	return fmt.Errorf("read %s: %w", what, err)
}

// openError marks a failure to open the database as damage, unless the surroundings are to blame: then the
// operating system says why (a held lock, no permission, no space, ...), and the data may be well.
func openError(err error) error {
	var errno syscall.Errno
	if errors.As(err, &errno) && errno != syscall.ENOENT {
		return err
	}
	return errors.Join(err, ErrCorrupt)
}
