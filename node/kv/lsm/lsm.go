// Package lsm is the production engine of the store: each generation is a Pebble database with its own log switched
// off, in a directory of its own beside the file that names the one in force (drawn in the doc of package kv).
package lsm

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"syscall"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"

	"raftsman.dev/node/kv/engine"
)

// Format is the version of Pebble's own files. It is named, not "newest": a newer Pebble must not write what the
// program before cannot read, as long as the store's layout version is the same.
const Format = pebble.FormatValueSeparation

// Options are Pebble's tuning and surroundings. All must be set but for the last two.
type Options struct {
	FS vfs.FS
	// MemTableBytes is the size of a memory table; a flush makes that much durable at once.
	MemTableBytes uint64
	// BlockCacheBytes is the size of the block cache; memory tables come on top.
	BlockCacheBytes int64
	Logger          pebble.Logger
	// Full says what is done on a full disk; the zero value is nothing.
	Full Patience
	// Clock has flushes and compactions rest while somebody writes; the zero value does not.
	Clock Clock
}

// Engine keeps generations in one directory.
type Engine struct {
	dir  string
	opts Options
}

var _ engine.Engine = (*Engine)(nil)

// New is the engine of a directory. It touches nothing yet.
func New(dir string, opts Options) *Engine { return &Engine{dir: dir, opts: opts} }

func (e *Engine) path(name string) string { return e.opts.FS.PathJoin(e.dir, name) }

// Open opens the Pebble database of a generation.
func (e *Engine) Open(number uint64, exists bool, damaged func(error)) (engine.DB, error) {
	dir := e.path(generationName(number))
	// Pebble takes the memory tables (the one in use and the one being flushed) out of what the cache may hold.
	cache := pebble.NewCache(e.opts.BlockCacheBytes + 2*int64(e.opts.MemTableBytes))
	defer cache.Unref()
	options, pacer := e.options(damaged), newPacer(e.opts.Clock)
	options.Cache, options.ErrorIfNotExists = cache, exists
	pacer.pace(options)
	p, err := pebble.Open(dir, options)
	if err != nil {
		return nil, fmt.Errorf("open the store's database in %s: %w", dir, openError(err))
	}
	return db{p, number, e, pacer}, nil
}

// options are those of every database.
func (e *Engine) options(damaged func(error)) *pebble.Options {
	options := &pebble.Options{
		FS:                          newPatientFS(orderedFS{e.opts.FS}, e.opts.Full),
		DisableWAL:                  true,
		MemTableSize:                e.opts.MemTableBytes,
		MemTableStopWritesThreshold: 4,
		L0CompactionThreshold:       4,
		L0StopWritesThreshold:       24,
		FormatMajorVersion:          Format,
		Logger:                      e.opts.Logger,
		// Who reads damaged data gets an error; by default Pebble would end the process.
		EventListener: &pebble.EventListener{DataCorruption: func(info pebble.DataCorruptionInfo) {
			damaged(fmt.Errorf("%s: %w", info.Path, errors.Join(info.Details, engine.ErrCorrupt)))
		}},
	}
	// A filter spares most reads of tables that do not hold the key; one level of index spares one block a read.
	options.Levels[0] = pebble.LevelOptions{FilterPolicy: bloom.FilterPolicy(10), IndexBlockSize: 256 << 10}
	// Compressing what is rewritten again and again costs more than the disk that it saves.
	options.ApplyCompressionSettings(func() pebble.DBCompressionSettings { return pebble.DBCompressionNone })
	options.Experimental.SpanPolicyFunc = oneKind
	return options
}

// oneKind ends every table where the first byte of the keys changes: rows of one kind are never in a table with those of
// another, so that a compaction may take those of one kind alone. From level 0 Pebble still takes along what lies beside
// them and overlaps nothing below, as long as that does not make it too large.
func oneKind(start []byte) (pebble.SpanPolicy, []byte, error) {
	if len(start) == 0 || start[0] == 0xff {
		return pebble.SpanPolicy{}, nil, nil
	}
	return pebble.SpanPolicy{}, []byte{start[0] + 1}, nil
}

// openError marks a failure to open the database as damage, unless the surroundings are to blame: then the
// operating system says why (a held lock, no permission, no space, ...), and the data may be well.
func openError(err error) error {
	var errno syscall.Errno
	if errors.As(err, &errno) && errno != syscall.ENOENT {
		return err
	}
	return errors.Join(err, engine.ErrCorrupt)
}

// damage marks what Pebble found damaged; the message names the file. A nil err stays nil.
func damage(err error) error {
	if err == nil {
		return nil
	}
	if info := pebble.ExtractDataCorruptionInfo(err); info != nil {
		return fmt.Errorf("%s: %w", info.Path, errors.Join(err, engine.ErrCorrupt))
	}
	if pebble.IsCorruptionError(err) {
		return errors.Join(err, engine.ErrCorrupt)
	}
	return err
}

// db is an open generation.
type db struct {
	*pebble.DB
	number uint64
	e      *Engine
	pacer  *pacer
}

// The types below are one pointer each, so that giving one out costs nothing.
type (
	snapshot struct{ *pebble.Snapshot }
	batch    struct{ *pebble.Batch }
	iterator struct{ *pebble.Iterator }
	finder   struct{ *pebble.Iterator }
)

func get(r pebble.Reader, key []byte) ([]byte, io.Closer, error) {
	v, closer, err := r.Get(key)
	if err == nil {
		return v, closer, nil
	}
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, nil, nil
	}
	return nil, nil, damage(err)
}

func newIter(r pebble.Reader, o *pebble.IterOptions) (engine.Iterator, error) {
	it, err := r.NewIter(o)
	if err != nil {
		return nil, damage(err)
	}
	return iterator{it}, nil
}

func (d db) Get(key []byte) ([]byte, io.Closer, error) { return get(d.DB, key) }

func (d db) NewIter(lo, hi []byte) (engine.Iterator, error) {
	return newIter(d.DB, &pebble.IterOptions{LowerBound: lo, UpperBound: hi})
}

func (d db) NewDurableIter(lo, hi []byte) (engine.Iterator, error) {
	return newIter(d.DB, &pebble.IterOptions{LowerBound: lo, UpperBound: hi, OnlyReadGuaranteedDurable: true})
}

func (d db) NewSnapshot() engine.Snapshot { return snapshot{d.DB.NewSnapshot()} }

// NewFinder makes an iterator that asks the filters of the lowest level as well, which Get does not: it reads a block of
// that level to learn that a key is not there.
func (d db) NewFinder(lo, hi []byte) (engine.Finder, error) {
	it, err := d.DB.NewIter(&pebble.IterOptions{LowerBound: lo, UpperBound: hi, UseL6Filters: true})
	if err != nil {
		return nil, damage(err)
	}
	return finder{it}, nil
}

func (d db) NewBatch(size int) engine.Batch {
	d.pacer.written.Add(1)
	return batch{d.NewBatchWithSize(size)}
}

func (d db) NewLoader() engine.Loader { return newLoader(d.DB, d.e, d.number) }

func (d db) Size() int64 { return int64(d.Metrics().DiskSpaceUsage()) }

func (s snapshot) Get(key []byte) ([]byte, io.Closer, error) { return get(s.Snapshot, key) }

func (s snapshot) NewIter(lo, hi []byte) (engine.Iterator, error) {
	return newIter(s.Snapshot, &pebble.IterOptions{LowerBound: lo, UpperBound: hi})
}

func (b batch) Set(key, value []byte) error { return b.Batch.Set(key, value, nil) }

func (b batch) Delete(key []byte) error { return b.Batch.Delete(key, nil) }

func (b batch) Commit() error { return b.Batch.Commit(pebble.NoSync) }

func (i iterator) Seek(key []byte) bool { return i.SeekGE(key) }

func (f finder) Find(key []byte) ([]byte, bool, error) {
	if !f.SeekPrefixGE(key) {
		return nil, false, damage(f.Error())
	}
	value, err := f.ValueAndErr()
	return value, err == nil, damage(err)
}

func (i iterator) Error() error { return damage(i.Iterator.Error()) }

func isNotExist(err error) bool { return errors.Is(err, fs.ErrNotExist) }
