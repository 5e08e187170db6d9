package vfs

import (
	"fmt"
	"math"
	"syscall"
)

// SetSize bounds the bytes that all files with a name hold together; a write or a preallocation past it is an error
// matching ENOSPC and changes nothing, names cost nothing, and 0 takes the bound away. What is there stays, also
// where it is more.
func (m *Mem) SetSize(size int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mu.size = size
}

// Free implements FS.
func (m *Mem) Free(dir string) (free, size int64, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, _, _, err := m.existing("statfs", dir); err != nil {
		return 0, 0, err
	}
	if m.mu.size == 0 {
		return math.MaxInt64, math.MaxInt64, nil
	}
	return max(0, m.mu.size-m.mu.root.used()), m.mu.size, nil
}

// used is what a node holds with everything below it.
func (n *memNode) used() int64 {
	bytes := int64(len(n.data))
	for _, below := range n.names {
		bytes += below.used()
	}
	return bytes
}

// room refuses to let a file grow to size where the disk is full.
func (f *memFile) room(op string, size int64) error {
	more := size - int64(len(f.n.data))
	if f.m.mu.size == 0 || more <= 0 || f.m.mu.root.used()+more <= f.m.mu.size {
		return nil
	}
	return fmt.Errorf("%s %s: %w", op, f.name, syscall.ENOSPC)
}
