// Package engine is the seam between the store and what keeps its rows: numbered generations of ordered rows, of
// which one is in force. There are two: lsm, on Pebble, and memory, for simulations. The words mean the same on
// both, and the store's tests run on both.
package engine

import (
	"errors"
	"io"
)

// ErrCorrupt marks stored data that is not what it should be. Both engines mark what they find damaged with it,
// when they open and when they read, and name the place.
var ErrCorrupt = errors.New("store is damaged")

// Engine is one place on a disk. Calls are not concurrent, but for Open and Remove of different generations.
type Engine interface {
	// Current is the generation in force; ok is false while the place is new: then it holds nothing.
	// Data with nothing in force is damage.
	Current() (number uint64, ok bool, err error)
	// SetCurrent makes a generation the one in force, atomically and durably.
	SetCurrent(number uint64) error
	// Open opens a generation. With exists it must be there, and that it is not is damage; without it is made.
	// damaged hears, on any goroutine, of damage that a read or the engine by itself meets; who reads gets an
	// error besides. A generation is open once at a time.
	Open(number uint64, exists bool, damaged func(error)) (DB, error)
	// Remove removes a generation that is not open; it may not be there.
	Remove(number uint64) error
	// RemoveOthers removes all generations but one, and what a SetCurrent that did not come to its end has left.
	RemoveOthers(number uint64) error
}

// Reader is a state that can be read. Keys and values that it gives are valid until the next move or the close, and
// are not to be changed.
type Reader interface {
	// Get gives the value of a key; a nil closer says that there is no such row.
	Get(key []byte) (value []byte, closer io.Closer, err error)
	// NewIter reads the rows in [lo, hi) in order; nil is no bound.
	NewIter(lo, hi []byte) (Iterator, error)
}

// Iterator begins before the first row.
type Iterator interface {
	// First, Next and Seek report whether they found a row. Seek moves to the first one at or behind a key that is
	// within the bounds; it is far cheaper than an iterator of its own.
	First() bool
	Next() bool
	Seek(key []byte) bool
	Key() []byte
	Value() []byte
	// Error is why there are no more rows; nil at the end of the range.
	Error() error
	Close() error
}

// Finder finds single rows of the state that was the newest one when it was made. It costs less than Get where a row is
// not there.
type Finder interface {
	// Find gives the value of a key, valid until the next call, and not to be changed; ok is false where there is no row.
	Find(key []byte) (value []byte, ok bool, err error)
	Close() error
}

// Snapshot is a state that stays as it is until it is closed.
type Snapshot interface {
	Reader
	io.Closer
}

// DB is an open generation. Reading it reads its newest state. One goroutine commits; everything else may run beside.
// There is no log: what is durable after a loss of power is the state after some batch, none torn, that is at or past
// the newest one of the last Flush that returned.
type DB interface {
	Reader
	// NewDurableIter is NewIter on what a loss of power now would leave.
	NewDurableIter(lo, hi []byte) (Iterator, error)
	NewSnapshot() Snapshot
	// NewFinder begins to look for rows in [lo, hi).
	NewFinder(lo, hi []byte) (Finder, error)
	// NewBatch begins a batch of about so many bytes.
	NewBatch(size int) Batch
	// NewLoader begins to fill a generation that holds nothing.
	NewLoader() Loader
	// Flush makes everything that has been committed durable.
	Flush() error
	// Size is the generation's size on disk in bytes.
	Size() int64
	// Close closes the generation; what was not flushed may be gone.
	Close() error
}

// Loader brings many rows into a generation that holds nothing and that nobody commits to.
type Loader interface {
	// Set takes the next row; keys ascend. The arguments may be used again when it returns.
	Set(key, value []byte) error
	// Finish puts all rows into the generation at once, durably.
	Finish() error
	// Close drops what was not finished.
	Close() error
}

// Batch is rows that are committed at once. The arguments may be used again when a call returns.
type Batch interface {
	Set(key, value []byte) error
	Delete(key []byte) error
	Commit() error
	Close() error
}
