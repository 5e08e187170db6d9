package vfs

import (
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
)

// sector is the unit in which a torn write is kept or lost.
const sector = 512

// Mem is a disk in memory that knows what has been synced, names included, so that a loss of power can be
// played: Crash gives the disk as it may be found afterwards.
type Mem struct {
	mu struct {
		sync.Mutex
		names  map[string]*memInode // what a running process sees
		synced map[string]*memInode // what survives a loss of power
		locks  map[string]bool
	}
}

// memInode is a file's content: durable bytes, and the writes since the last sync.
type memInode struct {
	data    []byte // as a running process sees it
	durable []byte
	pending []memWrite
}

type memWrite struct {
	at   int64
	data []byte // nil for a change of size to at
}

// NewMem makes an empty disk.
func NewMem() *Mem {
	m := &Mem{}
	m.mu.names, m.mu.synced, m.mu.locks = map[string]*memInode{}, map[string]*memInode{}, map[string]bool{}
	return m
}

// Crash returns the disk as it may be found after a loss of power: every name change that was not synced,
// and every sector of every write that was not synced, is kept or lost by coin.
func (m *Mem) Crash(rng *rand.Rand) *Mem {
	m.mu.Lock()
	defer m.mu.Unlock()
	after := NewMem()
	all := maps.Clone(m.mu.synced)
	maps.Copy(all, m.mu.names)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		now, before := m.mu.names[name], m.mu.synced[name]
		found := before
		if now != before && rng.IntN(2) == 0 {
			found = now
		}
		if found != nil {
			data := found.crash(rng)
			node := &memInode{data: data, durable: slices.Clone(data)}
			after.mu.names[name], after.mu.synced[name] = node, node
		}
	}
	return after
}

func (n *memInode) crash(rng *rand.Rand) []byte {
	data := slices.Clone(n.durable)
	for _, w := range n.pending {
		if w.data == nil {
			if rng.IntN(2) == 0 {
				data = resize(data, w.at)
			}
			continue
		}
		for from := int64(0); from < int64(len(w.data)); {
			to := min(int64(len(w.data)), (w.at+from)/sector*sector+sector-w.at)
			if rng.IntN(2) == 0 {
				data = resize(data, max(int64(len(data)), w.at+to))
				copy(data[w.at+from:], w.data[from:to])
			}
			from = to
		}
	}
	return data
}

func resize(b []byte, size int64) []byte {
	if size <= int64(len(b)) {
		return b[:size:size]
	}
	return append(b, make([]byte, size-int64(len(b)))...)
}

func (m *Mem) Create(name string) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.mu.names[name] != nil {
		return nil, fmt.Errorf("create %s: %w", name, fs.ErrExist)
	}
	n := &memInode{}
	m.mu.names[name] = n
	return &memFile{m: m, n: n}, nil
}

func (m *Mem) Open(name string) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := m.mu.names[name]
	if n == nil {
		return nil, fmt.Errorf("open %s: %w", name, fs.ErrNotExist)
	}
	return &memFile{m: m, n: n}, nil
}

func (m *Mem) Remove(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.mu.names[name] == nil {
		return fmt.Errorf("remove %s: %w", name, fs.ErrNotExist)
	}
	delete(m.mu.names, name)
	return nil
}

func (m *Mem) RemoveAll(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for path := range m.mu.names {
		if path == name || strings.HasPrefix(path, name+"/") {
			delete(m.mu.names, path)
		}
	}
	return nil
}

func (m *Mem) Rename(from, to string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	moved := false
	for _, path := range slices.Sorted(maps.Keys(m.mu.names)) {
		if path == from || strings.HasPrefix(path, from+"/") {
			m.mu.names[to+strings.TrimPrefix(path, from)] = m.mu.names[path]
			delete(m.mu.names, path)
			moved = true
		}
	}
	if !moved {
		return fmt.Errorf("rename %s: %w", from, fs.ErrNotExist)
	}
	return nil
}

// MkdirAll has nothing to do: a directory is there when something is in it.
func (m *Mem) MkdirAll(string) error { return nil }

func (m *Mem) List(dir string) ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	found := map[string]bool{}
	for path := range m.mu.names {
		if rest, ok := strings.CutPrefix(path, dir+"/"); ok {
			first, _, _ := strings.Cut(rest, "/")
			found[first] = true
		}
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("list %s: %w", dir, fs.ErrNotExist)
	}
	return slices.Sorted(maps.Keys(found)), nil
}

func (m *Mem) SyncDir(dir string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for path := range m.mu.synced {
		if filepath.Dir(path) == dir && m.mu.names[path] == nil {
			delete(m.mu.synced, path)
		}
	}
	for path, n := range m.mu.names {
		if filepath.Dir(path) == dir {
			m.mu.synced[path] = n
		}
	}
	return nil
}

func (m *Mem) Lock(name string) (io.Closer, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.mu.locks[name] {
		return nil, fmt.Errorf("%s: %w", name, ErrLocked)
	}
	m.mu.locks[name] = true
	return memLock{m, name}, nil
}

type memLock struct {
	m    *Mem
	name string
}

func (l memLock) Close() error {
	l.m.mu.Lock()
	defer l.m.mu.Unlock()
	delete(l.m.mu.locks, l.name)
	return nil
}

type memFile struct {
	m *Mem
	n *memInode
}

func (f *memFile) ReadAt(b []byte, at int64) (int, error) {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if at >= int64(len(f.n.data)) {
		return 0, io.EOF
	}
	n := copy(b, f.n.data[at:])
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

func (f *memFile) WriteAt(b []byte, at int64) (int, error) {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	f.n.data = resize(f.n.data, max(int64(len(f.n.data)), at+int64(len(b))))
	copy(f.n.data[at:], b)
	f.n.pending = append(f.n.pending, memWrite{at, append([]byte{}, b...)})
	return len(b), nil
}

func (f *memFile) Truncate(size int64) error {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	f.n.data = slices.Clone(resize(f.n.data, size))
	f.n.pending = append(f.n.pending, memWrite{at: size})
	return nil
}

func (f *memFile) Preallocate(size int64) error {
	if now, _ := f.Size(); now >= size {
		return nil
	}
	return f.Truncate(size)
}

func (f *memFile) Size() (int64, error) {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	return int64(len(f.n.data)), nil
}

func (f *memFile) Sync() error {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	f.n.durable, f.n.pending = slices.Clone(f.n.data), nil
	return nil
}

func (f *memFile) Close() error { return nil }
