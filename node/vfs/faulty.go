package vfs

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
)

// Op is a set of operations.
type Op uint16

const (
	OpCreate Op = 1 << iota
	OpOpen
	OpRemove // and RemoveAll
	OpRename
	OpMkdir
	OpList
	OpSyncDir
	OpLock
	OpRead
	OpWrite
	OpSync
	OpTruncate // and Preallocate
)

// OpAny is every operation; OpChange is those that change the disk.
const (
	OpAny    = OpCreate | OpOpen | OpRemove | OpRename | OpMkdir | OpList | OpSyncDir | OpLock | OpRead | OpWrite | OpSync | OpTruncate
	OpChange = OpCreate | OpRemove | OpRename | OpMkdir | OpSyncDir | OpWrite | OpSync | OpTruncate
)

// Rule is one fault: which operations it hits, and what it does to them. An operation is hit if it is one of Ops
// and its path contains Path; a rename's path is the old one, a space and the new one. The first After of them pass,
// the next Times are hit (0: all the rest).
type Rule struct {
	Ops   Op
	Path  string
	After int
	Times int
	// From and To, if To is set, are a stretch of the file: the rule hits only reads and writes that touch it, and
	// counts only those.
	From, To int64
	// Space lets writes pass until they have brought that many bytes, instead of counting with After; the one that
	// crosses it is written as far as it fits, and from then on the other Ops are hit too. It is how a disk becomes
	// full.
	Space int64
	// Err is the answer; what it says is in the chain. A hit write with Torn has written its first half.
	Err  error
	Torn bool
	// Flip inverts one bit, in the middle, of what a hit read gives; the disk stays as it is.
	Flip bool
	// Hang, if not nil, holds the operation until the channel is closed; then it goes on, to Err if there is one.
	Hang <-chan struct{}
}

// Faulty is a file system with faults by rule.
type Faulty struct {
	under FS
	mu    struct {
		sync.Mutex
		rules []*ruleState
		quiet bool
	}
}

type ruleState struct {
	Rule
	seen    int
	written int64
}

// NewFaulty puts rules between under and its user. Of several that match, the first that hits counts; all count what
// they see.
func NewFaulty(under FS, rules ...Rule) *Faulty {
	f := &Faulty{under: under}
	f.Set(rules...)
	return f
}

// Set replaces all rules; counting begins anew.
func (f *Faulty) Set(rules ...Rule) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mu.rules = nil
	for _, r := range rules {
		f.mu.rules = append(f.mu.rules, &ruleState{Rule: r})
	}
}

// Quietly runs do, whose operations no rule hits or counts: an observer reads what the user cannot.
func (f *Faulty) Quietly(do func()) {
	f.quiet(true)
	defer f.quiet(false)
	do()
}

func (f *Faulty) quiet(on bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mu.quiet = on
}

// hit counts an operation, waits if it is to hang, and says which rule it met; fits is how many of size bytes a full
// disk still takes.
func (f *Faulty) hit(op Op, path string, at int64, size int) (rule *Rule, fits int) {
	f.mu.Lock()
	for _, r := range f.mu.rules {
		if f.mu.quiet || !r.meets(op, path, at, size) {
			continue
		}
		if fit, struck := r.strikes(op, size); struck && rule == nil {
			rule, fits = &r.Rule, fit
		}
	}
	f.mu.Unlock()
	if rule != nil && rule.Hang != nil {
		<-rule.Hang
	}
	return rule, fits
}

// meets reports whether a rule is about an operation.
func (r *Rule) meets(op Op, path string, at int64, size int) bool {
	if r.Ops&op == 0 || !strings.Contains(path, r.Path) {
		return false
	}
	return r.To == 0 || op&(OpRead|OpWrite) == 0 || at < r.To && at+int64(size) > r.From
}

func (r *ruleState) strikes(op Op, size int) (fits int, struck bool) {
	if r.Space > 0 && op != OpWrite {
		return 0, r.written >= r.Space
	}
	if r.Space > 0 {
		left := r.Space - r.written
		r.written += min(left, int64(size))
		return int(min(left, int64(size))), left < int64(size)
	}
	r.seen++
	if r.Torn {
		fits = size / 2
	}
	return fits, r.seen > r.After && (r.Times == 0 || r.seen <= r.After+r.Times)
}

// refuse is the error of an operation that carries no bytes.
func (f *Faulty) refuse(op Op, what, path string) error {
	if rule, _ := f.hit(op, path, 0, 0); rule != nil && rule.Err != nil {
		return fmt.Errorf("%s %s: %w", what, path, rule.Err)
	}
	return nil
}

func (f *Faulty) Create(name string) (File, error) {
	if err := f.refuse(OpCreate, "create", name); err != nil {
		return nil, err
	}
	return f.file(name, f.under.Create)
}

func (f *Faulty) Open(name string) (File, error) {
	if err := f.refuse(OpOpen, "open", name); err != nil {
		return nil, err
	}
	return f.file(name, f.under.Open)
}

func (f *Faulty) file(name string, open func(string) (File, error)) (File, error) {
	file, err := open(name)
	if err != nil {
		return nil, err
	}
	return &faultyFile{File: file, f: f, name: name}, nil
}

func (f *Faulty) Remove(name string) error {
	if err := f.refuse(OpRemove, "remove", name); err != nil {
		return err
	}
	return f.under.Remove(name)
}

func (f *Faulty) RemoveAll(name string) error {
	if err := f.refuse(OpRemove, "remove", name); err != nil {
		return err
	}
	return f.under.RemoveAll(name)
}

func (f *Faulty) Rename(from, to string) error {
	if err := f.refuse(OpRename, "rename", from+" "+to); err != nil {
		return err
	}
	return f.under.Rename(from, to)
}

func (f *Faulty) MkdirAll(name string) error {
	if err := f.refuse(OpMkdir, "make directory", name); err != nil {
		return err
	}
	return f.under.MkdirAll(name)
}

func (f *Faulty) List(dir string) ([]string, error) {
	if err := f.refuse(OpList, "list", dir); err != nil {
		return nil, err
	}
	return f.under.List(dir)
}

func (f *Faulty) SyncDir(dir string) error {
	if err := f.refuse(OpSyncDir, "sync directory", dir); err != nil {
		return err
	}
	return f.under.SyncDir(dir)
}

func (f *Faulty) Lock(name string) (io.Closer, error) {
	if err := f.refuse(OpLock, "lock", name); err != nil {
		return nil, err
	}
	return f.under.Lock(name)
}

// Free implements FS: a rule with Space leaves what it has not let pass yet.
func (f *Faulty) Free(dir string) (free, size int64, err error) {
	if free, size, err = f.under.Free(dir); err != nil {
		return 0, 0, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, r := range f.mu.rules {
		if r.Space > 0 && strings.Contains(dir, r.Path) {
			free, size = min(free, r.Space-r.written), min(size, r.Space)
		}
	}
	return free, size, nil
}

// faultyFile is an open file under rules; its size and its closing are never hit.
type faultyFile struct {
	File
	f    *Faulty
	name string
}

func (f *faultyFile) ReadAt(b []byte, at int64) (int, error) {
	rule, _ := f.f.hit(OpRead, f.name, at, len(b))
	if rule != nil && rule.Err != nil {
		return 0, fmt.Errorf("read %s at %d: %w", f.name, at, rule.Err)
	}
	n, err := f.File.ReadAt(b, at)
	if rule != nil && rule.Flip && n > 0 {
		b[n/2] ^= 1 << (n % 8)
	}
	return n, err
}

func (f *faultyFile) WriteAt(b []byte, at int64) (int, error) {
	rule, fits := f.f.hit(OpWrite, f.name, at, len(b))
	if rule == nil || rule.Err == nil {
		return f.File.WriteAt(b, at)
	}
	n := 0
	if fits > 0 {
		var err error
		if n, err = f.File.WriteAt(slices.Clone(b[:fits]), at); err != nil {
			return n, err
		}
	}
	return n, fmt.Errorf("write %s at %d: %w", f.name, at, rule.Err)
}

func (f *faultyFile) Sync() error {
	if err := f.f.refuse(OpSync, "sync", f.name); err != nil {
		return err
	}
	return f.File.Sync()
}

func (f *faultyFile) Truncate(size int64) error {
	if err := f.f.refuse(OpTruncate, "truncate", f.name); err != nil {
		return err
	}
	return f.File.Truncate(size)
}

func (f *faultyFile) Preallocate(size int64) error {
	if err := f.f.refuse(OpTruncate, "preallocate", f.name); err != nil {
		return err
	}
	return f.File.Preallocate(size)
}
