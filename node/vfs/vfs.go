// Package vfs is the seam between a member and its disk: the few file operations that the log and the data
// directory need, on the operating system (OS), in memory with power loss as an operation (Mem), and with
// faults by rule (Faulty).
package vfs

import (
	"errors"
	"io"
)

// ErrLocked: another process holds the lock.
var ErrLocked = errors.New("locked by another process")

// File is one open file, read and written at offsets. Methods may be called concurrently; overlapping
// writes are the caller's to order.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	// Sync makes written data and the file's size durable (fdatasync).
	Sync() error
	// Truncate sets the size; what lies behind it is gone, what is new reads as zeros.
	Truncate(size int64) error
	// Preallocate makes the file at least that large, with zeros, and its space reserved.
	Preallocate(size int64) error
	Size() (int64, error)
	// Uncache says that the file will hardly be read again: the memory that the system's cache spends on what is durable of
	// it may go. It is a hint, and what is read afterwards is the same.
	Uncache()
}

// FS is a tree of files. A created, renamed or removed name is durable after SyncDir of its directory.
type FS interface {
	// Create makes a new empty file; an existing one is an error matching fs.ErrExist.
	Create(name string) (File, error)
	// Open opens an existing file for reading and writing; a missing one is an error matching fs.ErrNotExist.
	Open(name string) (File, error)
	Remove(name string) error
	// RemoveAll removes a directory and everything below it; a missing one is no error.
	RemoveAll(name string) error
	Rename(from, to string) error
	MkdirAll(name string) error
	// List names the entries of a directory in order; a missing one is an error matching fs.ErrNotExist.
	List(dir string) ([]string, error)
	SyncDir(dir string) error
	// Free says how much space the file system that holds dir has left for this user, of how much, in bytes.
	Free(dir string) (free, size int64, err error)
	// Lock takes an exclusive lock until closed or the process ends; ErrLocked when another has it.
	Lock(name string) (io.Closer, error)
}

// ReadFile reads a whole file of at most limit bytes.
func ReadFile(fs FS, name string, limit int64) ([]byte, error) {
	f, err := fs.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	if size > limit {
		return nil, errors.New(name + ": larger than it may be")
	}
	b := make([]byte, size)
	if n, err := f.ReadAt(b, 0); err != nil && !(errors.Is(err, io.EOF) && n == len(b)) {
		return nil, err
	}
	return b, nil
}

// WriteFile replaces a file atomically and durably: written beside it, synced, renamed, directory synced.
func WriteFile(fs FS, dir, name string, data []byte) error {
	temp := name + ".tmp"
	if err := fs.Remove(join(dir, temp)); err != nil && !isNotExist(err) {
		return err
	}
	f, err := fs.Create(join(dir, temp))
	if err != nil {
		return err
	}
	if _, err := f.WriteAt(data, 0); err != nil {
		return errors.Join(err, f.Close())
	}
	if err := f.Sync(); err != nil {
		return errors.Join(err, f.Close())
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := fs.Rename(join(dir, temp), join(dir, name)); err != nil {
		return err
	}
	return fs.SyncDir(dir)
}
