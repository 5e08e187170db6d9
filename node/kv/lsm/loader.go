package lsm

import (
	"context"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/objstorage/objstorageprovider"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"

	"raftsman.dev/node/kv/engine"
)

const (
	// memTables is how many memory tables' rows make a table.
	memTables = 2
	// syncBytes is how much of a table may wait in the system's cache: what is written in one burst when a table is
	// finished would hold up the log's next sync on the same disk.
	syncBytes = 512 << 10
	// lowestLevel is where a database without other data puts tables that it takes over.
	lowestLevel = 6
)

// loader fills an empty database with rows that come in order, by tables that it writes beside it. Their directory is
// removed at the next start like a generation that is not in force.
type loader struct {
	db      *pebble.DB
	fs      vfs.FS
	dir     string
	options sstable.WriterOptions
	limit   int             // of a table's rows, in bytes
	writer  *sstable.Writer // of the table in the making, nil when there is none
	bytes   int             // of rows in it
	paths   []string
}

var _ engine.Loader = (*loader)(nil)

func newLoader(db *pebble.DB, e *Engine, number uint64) *loader {
	options := e.options(func(error) {}) // nothing is read by it
	options.EnsureDefaults()
	return &loader{
		db: db, fs: e.opts.FS, dir: e.path(generationName(number) + "-tables"), limit: memTables * int(e.opts.MemTableBytes),
		options: options.MakeWriterOptions(lowestLevel, Format.MaxTableFormat()),
	}
}

// Set writes the next row.
func (l *loader) Set(key, value []byte) error {
	if l.writer == nil {
		if err := l.begin(); err != nil {
			return err
		}
	}
	if err := l.writer.Set(key, value); err != nil {
		return err
	}
	if l.bytes += len(key) + len(value); l.bytes < l.limit {
		return nil
	}
	return l.seal()
}

func (l *loader) begin() error {
	if len(l.paths) == 0 {
		if err := l.fs.MkdirAll(l.dir, 0o755); err != nil {
			return err
		}
	}
	path := l.fs.PathJoin(l.dir, fmt.Sprintf("%06d.sst", len(l.paths)))
	f, err := l.fs.Create(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	f = vfs.NewSyncingFile(f, vfs.SyncingFileOptions{BytesPerSync: syncBytes})
	l.writer, l.bytes = sstable.NewWriter(objstorageprovider.NewFileWritable(f), l.options), 0
	l.paths = append(l.paths, path)
	return nil
}

// seal makes the table in the making durable.
func (l *loader) seal() error {
	if l.writer == nil {
		return nil
	}
	w := l.writer
	l.writer = nil
	return w.Close()
}

// Finish lets the database take the tables over.
func (l *loader) Finish() error {
	err := l.seal()
	if err == nil && len(l.paths) > 0 {
		err = l.db.Ingest(context.Background(), l.paths)
	}
	return errors.Join(err, l.fs.RemoveAll(l.dir))
}

// Close removes what was written.
func (l *loader) Close() error {
	_ = l.seal() // what it holds is not wanted
	return l.fs.RemoveAll(l.dir)
}
