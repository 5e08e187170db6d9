package wal

import (
	"errors"
	"fmt"
	"path/filepath"
	"syscall"

	"raftsman.dev/node/vfs"
)

// ErrNoSpace: the disk has no room for another segment. Nothing was written, and the log goes on: what it was given
// can be given again once there is space.
var ErrNoSpace = errors.New("no space for another segment")

// spareName is a segment made ahead: zeros, with their space reserved. It takes a segment's name when it becomes one.
// One that is found at the start is not used: it is made anew.
const spareName = "spare"

// spare is the segment made ahead, if there is one.
type spare struct {
	file vfs.File
	size int64
}

// Reserve makes the next segment ahead of its need, so that a full disk is met here, with a segment's room left to
// write in, and not by a write. It is for the writing goroutine, after a write. ErrNoSpace harms nothing.
func (l *Log) Reserve() error {
	if l.failed != nil || l.spare.file != nil {
		return l.failed
	}
	name := filepath.Join(l.dir, spareName)
	if err := l.fs.RemoveAll(name); err != nil {
		return l.fail(err)
	}
	file, err := l.make(name, l.opts.SegmentBytes)
	if err != nil {
		if errors.Is(err, ErrNoSpace) {
			return err
		}
		return l.fail(err)
	}
	l.spare = spare{file, l.opts.SegmentBytes}
	return nil
}

// make creates a file of zeros with its space reserved. Where there is none, it leaves no file; if that fails too, the
// disk has more wrong with it than no space, and the error does not match ErrNoSpace: a next try would meet the file.
func (l *Log) make(name string, size int64) (vfs.File, error) {
	file, err := l.fs.Create(name)
	if err != nil {
		return nil, noSpace(err)
	}
	if err := file.Preallocate(size); err != nil {
		if left := errors.Join(file.Close(), l.fs.Remove(name)); left != nil {
			return nil, errors.Join(left, err)
		}
		return nil, noSpace(err)
	}
	return file, nil
}

func noSpace(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%w: %w", ErrNoSpace, err)
	}
	return err
}

// segmentFile makes the file of a segment, out of the spare one if that is large enough.
func (l *Log) segmentFile(name string, size int64) (vfs.File, int64, error) {
	if l.spare.file == nil || l.spare.size < size {
		file, err := l.make(name, size)
		return file, size, err
	}
	s := l.spare
	if err := l.fs.Rename(filepath.Join(l.dir, spareName), name); err != nil {
		return nil, 0, err
	}
	l.spare = spare{}
	return s.file, s.size, nil
}

// closeSpare closes the spare segment.
func (l *Log) closeSpare() error {
	if l.spare.file == nil {
		return nil
	}
	return l.spare.file.Close()
}

// refused is fail for what could not be begun: where only a segment found no space, nothing has changed.
func (l *Log) refused(err error) error {
	if errors.Is(err, ErrNoSpace) {
		return fmt.Errorf("log %s: %w", l.dir, err)
	}
	return l.fail(err)
}
