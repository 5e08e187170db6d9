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
	"syscall"
)

// sector is the unit in which a torn write is kept or lost.
const sector = 512

// Mem is a disk in memory that knows what has been synced, names included, so that a loss of power can be
// played: Crash gives the disk as it may be found afterwards.
type Mem struct {
	mu struct {
		sync.Mutex
		root    *memNode
		locks   map[*memNode]bool
		renames uint64          // numbers given to renames
		kept    map[uint64]bool // renames of which one half has been synced: so is the other
		size    int64           // of the whole disk in bytes, 0: without bound
		lost    losses
	}
}

// losses counts what a loss of power took.
type losses struct{ names, sectors int }

// memNode is a file or a directory: as a running process sees it, and what is certain to survive a loss of power.
type memNode struct {
	data    []byte
	durable []byte
	pending []memWrite // since the last sync

	dir     bool
	names   map[string]*memNode
	synced  map[string]*memNode
	changes []memChange // of names, since the last sync
}

type memWrite struct {
	at   int64
	data []byte // nil for a change of size to at
}

// memChange gives a name to a node, or takes it away. Both halves of a rename carry its number, and are kept or
// lost together; 0 stands alone.
type memChange struct {
	name   string
	node   *memNode
	rename uint64
}

func newMemDir() *memNode {
	return &memNode{dir: true, names: map[string]*memNode{}, synced: map[string]*memNode{}}
}

// NewMem makes an empty disk.
func NewMem() *Mem {
	m := &Mem{}
	m.mu.root, m.mu.locks, m.mu.kept = newMemDir(), map[*memNode]bool{}, map[uint64]bool{}
	return m
}

// Crash returns the disk as it may be found after a loss of power: every name change that was not synced,
// and every sector of every write that was not synced, is kept or lost by coin.
func (m *Mem) Crash(rng *rand.Rand) *Mem {
	m.mu.Lock()
	defer m.mu.Unlock()
	after := NewMem()
	after.mu.root, after.mu.size = m.mu.root.crash(rng, maps.Clone(m.mu.kept), &after.mu.lost), m.mu.size
	return after
}

// Lost is what the loss of power that made this disk has taken: name changes, and sectors of writes.
func (m *Mem) Lost() (names, sectors int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.mu.lost.names, m.mu.lost.sectors
}

// Clone is the disk as it is, written through: everything in it counts as synced.
func (m *Mem) Clone() *Mem {
	m.mu.Lock()
	defer m.mu.Unlock()
	after := NewMem()
	after.mu.root, after.mu.size = m.mu.root.clone(), m.mu.size
	return after
}

func (n *memNode) clone() *memNode {
	if !n.dir {
		return &memNode{data: slices.Clone(n.data), durable: slices.Clone(n.data)}
	}
	after := newMemDir()
	for name, child := range n.names {
		after.names[name] = child.clone()
	}
	after.synced = maps.Clone(after.names)
	return after
}

// Damage changes what lies at rest in a file, behind the back of whoever uses it. The new content counts as synced.
func (m *Mem) Damage(path string, change func([]byte) []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, _, node, err := m.existing("damage", path)
	if err != nil {
		return err
	}
	if node.dir {
		return fmt.Errorf("damage %s: %w", path, syscall.EISDIR)
	}
	node.data = change(slices.Clone(node.data))
	node.durable, node.pending = slices.Clone(node.data), nil
	return nil
}

// crash is what is found of a node; decided holds which renames happened.
func (n *memNode) crash(rng *rand.Rand, decided map[uint64]bool, lost *losses) *memNode {
	if !n.dir {
		data := n.crashData(rng, lost)
		return &memNode{data: data, durable: slices.Clone(data)}
	}
	found := maps.Clone(n.synced)
	for _, c := range n.changes {
		happened, known := decided[c.rename]
		if !known {
			happened = rng.IntN(2) == 0
			if c.rename != 0 {
				decided[c.rename] = happened
			}
		}
		if happened {
			c.apply(found)
		} else {
			lost.names++
		}
	}
	after := newMemDir()
	for _, name := range slices.Sorted(maps.Keys(found)) {
		after.names[name] = found[name].crash(rng, decided, lost)
	}
	after.synced = maps.Clone(after.names)
	return after
}

func (c *memChange) apply(names map[string]*memNode) {
	if c.node == nil {
		delete(names, c.name)
		return
	}
	names[c.name] = c.node
}

func (n *memNode) crashData(rng *rand.Rand, lost *losses) []byte {
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
			} else {
				lost.sectors++
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

// lookup finds a name's directory, its last element, and its node, nil if there is none. A missing directory on
// the way is an error.
func (m *Mem) lookup(op, path string) (dir *memNode, name string, node *memNode, err error) {
	path = strings.TrimPrefix(filepath.Clean(path), "/")
	dir = m.mu.root
	if path == "." || path == "" {
		return nil, "", dir, nil
	}
	parts := strings.Split(path, "/")
	for _, part := range parts[:len(parts)-1] {
		next := dir.names[part]
		if next == nil {
			return nil, "", nil, fmt.Errorf("%s %s: no directory %s: %w", op, path, part, fs.ErrNotExist)
		}
		if !next.dir {
			return nil, "", nil, fmt.Errorf("%s %s: %s: %w", op, path, part, syscall.ENOTDIR)
		}
		dir = next
	}
	name = parts[len(parts)-1]
	return dir, name, dir.names[name], nil
}

// existing is lookup for what must be there.
func (m *Mem) existing(op, path string) (dir *memNode, name string, node *memNode, err error) {
	dir, name, node, err = m.lookup(op, path)
	if err == nil && node == nil {
		err = fmt.Errorf("%s %s: %w", op, path, fs.ErrNotExist)
	}
	return dir, name, node, err
}

func (n *memNode) change(c memChange) {
	c.apply(n.names)
	n.changes = append(n.changes, c)
}

func (m *Mem) Create(path string) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir, name, node, err := m.lookup("create", path)
	if err != nil {
		return nil, err
	}
	if node != nil {
		return nil, fmt.Errorf("create %s: %w", path, fs.ErrExist)
	}
	node = &memNode{}
	dir.change(memChange{name: name, node: node})
	return &memFile{m: m, n: node, name: path}, nil
}

func (m *Mem) Open(path string) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, _, node, err := m.existing("open", path)
	if err != nil {
		return nil, err
	}
	if node.dir {
		return nil, fmt.Errorf("open %s: %w", path, syscall.EISDIR)
	}
	return &memFile{m: m, n: node, name: path}, nil
}

func (m *Mem) Remove(path string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir, name, node, err := m.existing("remove", path)
	if err != nil {
		return err
	}
	if dir == nil || len(node.names) > 0 {
		return fmt.Errorf("remove %s: %w", path, syscall.ENOTEMPTY)
	}
	dir.change(memChange{name: name})
	return nil
}

func (m *Mem) RemoveAll(path string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir, name, node, err := m.existing("remove", path)
	if isNotExist(err) {
		return nil
	}
	if err != nil {
		return err
	}
	node.removeChildren()
	if dir != nil {
		dir.change(memChange{name: name})
	}
	return nil
}

// removeChildren removes name by name, so that a loss of power may leave some.
func (n *memNode) removeChildren() {
	for _, name := range slices.Sorted(maps.Keys(n.names)) {
		n.names[name].removeChildren()
		n.change(memChange{name: name})
	}
}

func (m *Mem) Rename(from, to string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	fromDir, fromName, node, err := m.lookup("rename", from)
	if err != nil {
		return err
	}
	toDir, toName, there, err := m.lookup("rename", to)
	switch {
	case err != nil:
		return err
	case node == nil:
		return fmt.Errorf("rename %s: %w", from, fs.ErrNotExist)
	case fromDir == nil || toDir == nil:
		return fmt.Errorf("rename %s to %s: %w", from, to, syscall.EINVAL)
	case there == node:
		return nil
	case there != nil && there.dir:
		return fmt.Errorf("rename %s to %s: %w", from, to, fs.ErrExist)
	case there != nil && node.dir:
		return fmt.Errorf("rename %s to %s: %w", from, to, syscall.ENOTDIR)
	}
	m.mu.renames++
	fromDir.change(memChange{name: fromName, rename: m.mu.renames})
	toDir.change(memChange{name: toName, node: node, rename: m.mu.renames})
	return nil
}

func (m *Mem) MkdirAll(path string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir := m.mu.root
	for _, part := range strings.Split(strings.TrimPrefix(filepath.Clean(path), "/"), "/") {
		if part == "." || part == "" {
			continue
		}
		next := dir.names[part]
		if next == nil {
			next = newMemDir()
			dir.change(memChange{name: part, node: next})
		}
		if !next.dir {
			return fmt.Errorf("make directory %s: %s: %w", path, part, syscall.ENOTDIR)
		}
		dir = next
	}
	return nil
}

func (m *Mem) List(path string) ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, _, node, err := m.existing("list", path)
	if err != nil {
		return nil, err
	}
	if !node.dir {
		return nil, fmt.Errorf("list %s: %w", path, syscall.ENOTDIR)
	}
	return slices.Sorted(maps.Keys(node.names)), nil
}

func (m *Mem) SyncDir(path string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, _, node, err := m.existing("sync", path)
	if err != nil {
		return err
	}
	if !node.dir {
		return fmt.Errorf("sync directory %s: %w", path, syscall.ENOTDIR)
	}
	for _, c := range node.changes {
		if c.rename != 0 {
			m.mu.kept[c.rename] = true
		}
	}
	node.synced, node.changes = maps.Clone(node.names), nil
	return nil
}

func (m *Mem) Lock(path string) (io.Closer, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir, name, node, err := m.lookup("lock", path)
	if err != nil {
		return nil, err
	}
	if node == nil {
		node = &memNode{}
		dir.change(memChange{name: name, node: node})
	}
	if m.mu.locks[node] {
		return nil, fmt.Errorf("%s: %w", path, ErrLocked)
	}
	m.mu.locks[node] = true
	return memLock{m, node}, nil
}

type memLock struct {
	m    *Mem
	node *memNode
}

func (l memLock) Close() error {
	l.m.mu.Lock()
	defer l.m.mu.Unlock()
	delete(l.m.mu.locks, l.node)
	return nil
}
