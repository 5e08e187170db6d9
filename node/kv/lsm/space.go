package lsm

import (
	"errors"
	"io"
	"strings"
	"sync/atomic"
	"syscall"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Patience lets a store outlive a full disk. Pebble tries a table that has failed again for ever, without a pause, and
// ends the process when there is no space for its manifest.
type Patience struct {
	// Wait is called, on any goroutine, before what found no space is tried again, and before the next table after one
	// that failed for whatever reason; it holds it back as long as it does not return. Reads and, until the memory
	// tables are full, batches go on meanwhile. An error, which must match the one given, says that the store is to end:
	// then a table fails with it, and Pebble can be closed. It tries again all the same until it is, so that Wait must
	// take a moment even then. nil: a full disk is an error like any other.
	Wait func(error) error
	// Reserve is how many bytes of the disk no table takes: the manifest and the log go on in them.
	Reserve uint64
}

// isNoSpace reports whether an error says that the disk is full.
func isNoSpace(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// patientFS is a file system on which tables fail at most once after each Wait, and everything else that finds no space
// waits, past the end too: without space for its manifest Pebble would end the process.
type patientFS struct {
	vfs.FS
	p      Patience
	failed atomic.Pointer[error] // why the last table failed
}

func newPatientFS(fs vfs.FS, p Patience) vfs.FS {
	if p.Wait == nil {
		return fs
	}
	return &patientFS{FS: fs, p: p}
}

func isTable(name string) bool {
	return strings.HasSuffix(name, ".sst") || strings.HasSuffix(name, ".blob")
}

func (f *patientFS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	if isTable(name) {
		if err := f.failed.Swap(nil); err != nil {
			if err := f.p.Wait(*err); err != nil {
				return nil, f.note(err)
			}
		}
		file, err := f.table(name, category)
		return file, f.note(err)
	}
	for {
		file, err := f.FS.Create(name, category)
		if !isNoSpace(err) {
			return f.wrap(file, name, err)
		}
		_ = f.p.Wait(err) // the end is no reason to give up: see above
	}
}

func (f *patientFS) table(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	if err := f.reserved(name); err != nil {
		return nil, err
	}
	file, err := f.FS.Create(name, category)
	return f.wrap(file, name, err)
}

func (f *patientFS) wrap(file vfs.File, name string, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	return &patientFile{File: file, fs: f, name: name, table: isTable(name)}, nil
}

// note remembers that a table failed.
func (f *patientFS) note(err error) error {
	if err != nil {
		f.failed.Store(&err)
	}
	return err
}

// OpenDir opens a directory whose sync counts as a table's: a flush is not done before it.
func (f *patientFS) OpenDir(name string) (vfs.File, error) {
	dir, err := f.FS.OpenDir(name)
	if err != nil {
		return nil, err
	}
	return &patientFile{File: dir, fs: f, name: name, table: true}, nil
}

// reserved refuses to write a table into what is kept for the manifest and the log.
func (f *patientFS) reserved(name string) error {
	usage, err := f.FS.GetDiskUsage(f.PathDir(name))
	if err == nil && usage.AvailBytes < f.p.Reserve {
		return syscall.ENOSPC
	}
	return nil // a file system that cannot tell has no reserve
}

// patientFile is a file being written there.
type patientFile struct {
	vfs.File
	fs      *patientFS
	name    string
	table   bool
	written int // bytes since the reserve was looked at
}

// reserveEvery is how many bytes of a table are written between two looks at the reserve.
const reserveEvery = 1 << 20

func (f *patientFile) Write(b []byte) (int, error) {
	if f.table {
		n, err := f.writeTable(b)
		return n, f.fs.note(err)
	}
	done := 0
	for {
		n, err := f.File.Write(b[done:])
		done += n
		if !isNoSpace(err) {
			return done, err
		}
		_ = f.fs.p.Wait(err) // as in Create
	}
}

func (f *patientFile) writeTable(b []byte) (int, error) {
	if f.written += len(b); f.written >= reserveEvery {
		f.written = 0
		if err := f.fs.reserved(f.name); err != nil {
			return 0, err
		}
	}
	n, err := f.File.Write(b)
	if err == nil && n < len(b) {
		err = io.ErrShortWrite
	}
	return n, err
}

// Sync notes a table that fails only now. It is never tried again.
func (f *patientFile) Sync() error { return f.fs.noteTable(f, f.File.Sync()) }

// SyncData is like Sync.
func (f *patientFile) SyncData() error { return f.fs.noteTable(f, f.File.SyncData()) }

// SyncTo is like Sync.
func (f *patientFile) SyncTo(length int64) (bool, error) {
	full, err := f.File.SyncTo(length)
	return full, f.fs.noteTable(f, err)
}

// Close is like Sync.
func (f *patientFile) Close() error { return f.fs.noteTable(f, f.File.Close()) }

func (f *patientFS) noteTable(file *patientFile, err error) error {
	if file.table {
		return f.note(err)
	}
	return err
}
