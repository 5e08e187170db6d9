package kv

import (
	"errors"
	"fmt"
	"hash/maphash"
	"slices"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"raftsman.dev/node/kv/engine"
	"raftsman.dev/node/kv/lsm"
	"raftsman.dev/node/kv/tally"
)

// Options are the store's tuning and surroundings.
type Options struct {
	// Engine keeps the rows; then what follows about Pebble is not used. nil is Pebble in the store's directory.
	Engine engine.Engine
	// FS is Pebble's file system; nil is the operating system's.
	FS vfs.FS
	// MemTableBytes is the size of a memory table; a flush makes that much durable at once. Default 16 MiB.
	MemTableBytes uint64
	// BlockCacheBytes is the size of the block cache; memory tables come on top. Default 64 MiB.
	BlockCacheBytes int64
	// CacheSlots is how many keys' newest versions are remembered for puts at most, at about 96 bytes each; the cache
	// grows with the keys. Default 1048576.
	CacheSlots int
	// ExportBytes is about how large a chunk of an exported state is; the receiver need not agree. Default 256 KiB.
	ExportBytes int
	// PointEvery is how many entries lie between two points of attestation; all members must have the same. Default
	// 1024.
	PointEvery uint64
	// Stretch is about how many keys are counted together where it is remembered how many there are. A count walks over
	// four times as many at most where it begins and where it ends; the memory is about 80 bytes and a key for each so
	// many. No answer depends on it.
	// Default 512.
	Stretch int
	// ApartBytes is from how many bytes on a value stands in a row of its own; members may differ in it. Default 512.
	ApartBytes int
	// Logger hears what Pebble has to say; nil drops it, but for what is fatal.
	Logger pebble.Logger
	// Hash is for tables in memory alone: what they forget depends on it, nothing that is stored or answered.
	// nil has a seed that is drawn at start, so that no choice of keys can crowd a table.
	Hash func(key []byte) uint64
	// Damaged hears, on any goroutine, of every damaged file that a read, a flush or a compaction meets: an
	// error that matches ErrCorrupt and names the file. Who reads gets an error besides. nil tells Logger.
	Damaged func(error)
	// Changed hears, on the applying goroutine and right after they can be read, what each batch has changed, and
	// when the store has switched to another state. It must not wait. nil is nobody.
	Changed func(Changes)
	// Full says what is done on a full disk.
	Full lsm.Patience
	// Clock has Pebble's flushes and compactions rest most of the time while there are writes, so that these and reads
	// get the processors; the zero value does not.
	Clock lsm.Clock
}

func (o *Options) fill() {
	if o.FS == nil {
		o.FS = vfs.Default
	}
	if o.MemTableBytes == 0 {
		o.MemTableBytes = 16 << 20
	}
	if o.BlockCacheBytes == 0 {
		o.BlockCacheBytes = 64 << 20
	}
	if o.CacheSlots == 0 {
		o.CacheSlots = 1 << 20
	}
	if o.ExportBytes == 0 {
		o.ExportBytes = 256 << 10
	}
	if o.PointEvery == 0 {
		o.PointEvery = PointEvery
	}
	if o.Stretch == 0 {
		o.Stretch = 512
	}
	if o.ApartBytes == 0 {
		o.ApartBytes = 512
	}
	if o.Hash == nil {
		seed := maphash.MakeSeed()
		o.Hash = func(key []byte) uint64 { return maphash.Bytes(seed, key) }
	}
	if o.Logger == nil {
		o.Logger = quiet{}
	}
	if o.Damaged == nil {
		o.Damaged = func(err error) { o.Logger.Errorf("%v", err) }
	}
}

// Store is one member's state machine. Apply, Switch and Close are for one goroutine; everything else may
// run beside them.
type Store struct {
	dir    string // the store's name in messages
	opts   Options
	engine engine.Engine

	// Owned by the applying goroutine.
	gen      *generation // nil once the store is closed
	layout   byte        // of its rows, 0 while there are none
	meta     meta
	windows  map[uint64]window
	leases   map[int64]Lease
	attached attachments
	cache    metaCache
	batch    batch
	points   []Point // not taken yet
	hash     func(key []byte) uint64
	buried   bool   // there may be graves; where there are none nobody looks for one
	grown    int    // events that the last Apply has added to history
	lookups  uint64 // writes and compares that had to read the database

	lastGeneration atomic.Uint64 // the highest number given to a generation

	// What readers see. While seq is odd a batch is being committed; published is valid for the database
	// state at an even seq. It is stored under the lock of learning.
	seq       atomic.Uint64
	published atomic.Pointer[published]
	learning  learning
}

// published is the state that readers may see together; gen is nil once the store is closed.
type published struct {
	gen  *generation
	meta meta
	keys tally.Index // how many there are
}

// generation is one database of the engine; it is closed when it is neither current nor viewed.
type generation struct {
	db     engine.DB
	number uint64
	refs   atomic.Int64
	gone   func() error // removes it once it is closed
}

func (g *generation) release() error {
	if g.refs.Add(-1) > 0 {
		return nil
	}
	err := g.db.Close()
	if g.gone != nil {
		err = errors.Join(err, g.gone())
	}
	return err
}

// Open opens the store in dir, or makes an empty one where there is none. Errors that match ErrCorrupt say
// that what is there is damaged; then, and after any other error, nothing has been removed.
func Open(dir string, opts Options) (*Store, error) {
	opts.fill()
	s := &Store{dir: dir, opts: opts, engine: opts.Engine, cache: newMetaCache(opts.CacheSlots), hash: opts.Hash}
	s.batch.s, s.batch.lookup = s, &lookup{}
	if s.engine == nil {
		s.engine = lsm.New(dir, lsm.Options{FS: opts.FS, MemTableBytes: opts.MemTableBytes, BlockCacheBytes: opts.BlockCacheBytes, Logger: opts.Logger, Full: opts.Full, Clock: opts.Clock})
	}
	number, exists, err := s.engine.Current()
	if err != nil {
		return nil, err
	}
	if !exists {
		number = 1
	}
	gen, err := s.openGeneration(number, exists)
	if err != nil {
		return nil, err
	}
	if err := s.begin(gen, exists); err != nil {
		return nil, errors.Join(err, gen.release())
	}
	return s, nil
}

// begin takes up an opened generation, and only then tidies what is beside it.
func (s *Store) begin(gen *generation, named bool) error {
	if err := s.adopt(gen); err != nil {
		return err
	}
	if !named {
		if err := s.engine.SetCurrent(gen.number); err != nil {
			return fmt.Errorf("store %s: %w", s.dir, err)
		}
	}
	s.lastGeneration.Store(gen.number)
	return s.engine.RemoveOthers(gen.number)
}

// adopt reads the state of a generation and makes it the one in force.
func (s *Store) adopt(gen *generation) error {
	layout, m, err := readMeta(gen.db.NewIter)
	if err != nil {
		return err
	}
	windows, err := readWindows(gen.db)
	if err != nil {
		return err
	}
	leases, err := readLeases(gen.db)
	if err != nil {
		return err
	}
	attached, err := readAttachments(gen.db)
	if err != nil {
		return err
	}
	buried, err := anyGrave(gen.db)
	if err != nil {
		return err
	}
	s.gen, s.layout, s.meta, s.windows, s.leases, s.attached, s.buried = gen, layout, m, windows, leases, attached, buried
	s.cache.clear()
	s.points = nil
	if m.Index > 0 && m.Index%s.opts.PointEvery == 0 {
		s.points = []Point{{m.Index, m.Effects}}
	}
	s.publish(gen, m)
	return nil
}

// readMeta reads the applied row, and of which layout it is; a database without one is new and empty, at revision 1.
func readMeta(newIter func(lo, hi []byte) (engine.Iterator, error)) (layout byte, m meta, err error) {
	it, err := newIter([]byte{prefixMeta}, []byte{prefixMeta + 1})
	if err != nil {
		return 0, meta{}, damage("the applied row", err)
	}
	defer it.Close()
	var version, applied []byte
	for ok := it.First(); ok; ok = it.Next() {
		switch string(it.Key()) {
		case string(rowVersion()):
			version = append([]byte{}, it.Value()...)
		case string(rowApplied()):
			applied = append([]byte{}, it.Value()...)
		}
	}
	if err := it.Error(); err != nil {
		return 0, meta{}, damage("the applied row", err)
	}
	if version != nil { // before anything else: another version's rows may be anything
		if layout, err = checkLayout(version); err != nil {
			return 0, meta{}, err
		}
	}
	switch {
	case applied == nil:
		return 0, newMeta(), nil
	case version == nil:
		return 0, meta{}, fmt.Errorf("the store has an applied row but no layout version: %w", ErrCorrupt)
	}
	m, err = decodeMeta(applied)
	return layout, m, err
}

// checkLayout refuses a store or snapshot that this program cannot read.
func checkLayout(v []byte) (layout byte, err error) {
	if len(v) != 1 || v[0] < oldestLayout || v[0] > layoutVersion {
		return 0, fmt.Errorf("store has layout version %v, this program knows %d to %d: start it with the program that wrote it", v, oldestLayout, layoutVersion)
	}
	return v[0], nil
}

func readWindows(r engine.Reader) (map[uint64]window, error) {
	it, err := r.NewIter([]byte{prefixWindow}, []byte{prefixWindow + 1})
	if err != nil {
		return nil, damage("the windows", err)
	}
	defer it.Close()
	windows := map[uint64]window{}
	for ok := it.First(); ok; ok = it.Next() {
		origin, w, err := decodeWindowRow(it.Key(), it.Value())
		if err != nil {
			return nil, err
		}
		windows[origin] = w
	}
	return windows, damage("the windows", it.Error())
}

// commit writes the batch's rows at once and lets readers see them.
func (s *Store) commit(b *batch) error {
	rows := s.gen.db.NewBatch(len(b.rows) + b.history.bytes() + 64*len(b.writes.list) + 1024)
	defer rows.Close()
	if s.layout != layoutVersion {
		if err := rows.Set(rowVersion(), []byte{layoutVersion}); err != nil {
			return err
		}
	}
	if err := b.fill(rows); err != nil {
		return err
	}
	s.seq.Add(1)
	err := rows.Commit()
	if err == nil {
		s.reveal(b.meta, &b.writes)
	}
	s.seq.Add(1)
	if err != nil {
		return fmt.Errorf("commit to the store: %w", err)
	}
	s.layout, s.meta, s.grown = layoutVersion, b.meta, b.history.told.events
	for i := range b.touched {
		s.windows[b.touched[i].origin] = b.touched[i].window
	}
	for i := range b.writes.list {
		p := &b.writes.list[i]
		s.cache.put(p.kv.Key, p.hash, p.kv.prior())
		s.buried = s.buried || p.kv.Version == 0
	}
	s.keepLeases(&b.leases)
	s.tell(b)
	return nil
}

// tell passes on what a committed batch has changed, if it has.
func (s *Store) tell(b *batch) {
	if s.opts.Changed == nil {
		return
	}
	s.opts.Changed(Changes{Index: b.meta.Index, Term: b.meta.Term, Revision: b.meta.revision, Compacted: b.meta.compacted, Blocks: b.history.told.all(), Leases: b.leases.told})
}

// Applied reports how far the store is.
func (s *Store) Applied() Applied { return s.published.Load().meta.Applied }

// Revision is the store's revision.
func (s *Store) Revision() Revision { return s.published.Load().meta.revision }

// Compacted is the oldest revision that can be read, -1 before the first compaction, as in etcd.
func (s *Store) Compacted() Revision { return s.published.Load().meta.compacted }

// Tidied reports whether nothing is left of what compactions have made unreadable.
func (s *Store) Tidied() bool {
	m := s.published.Load().meta
	return m.compacted <= m.tidied+1
}

// Opened reports whether the cluster has been opened to clients.
func (s *Store) Opened() bool { return s.published.Load().meta.opened }

// Durable is the applied index that would survive a loss of power now, read back from what the database has
// flushed.
func (s *Store) Durable() (uint64, error) {
	v, err := s.acquire()
	if err != nil {
		return 0, err
	}
	defer v.Close()
	_, m, err := readMeta(v.gen.db.NewDurableIter)
	return m.Index, err
}

// Flush makes everything applied so far durable.
func (s *Store) Flush() error {
	v, err := s.acquire()
	if err != nil {
		return err
	}
	defer v.Close()
	return v.gen.db.Flush()
}

// Size is the database's size on disk in bytes, 0 once the store is closed.
func (s *Store) Size() int64 {
	v, err := s.acquire()
	if err != nil {
		return 0
	}
	defer v.Close()
	return v.gen.db.Size()
}

// Close closes the store; later calls answer ErrClosed. What was not flushed is read again from the log at the
// next start. The files are free for another opener when the last view is closed too.
func (s *Store) Close() error {
	gen := s.gen
	if gen == nil {
		return nil
	}
	s.gen = nil
	s.seq.Add(1)
	s.publish(nil, s.meta)
	s.seq.Add(1)
	return gen.release()
}

func isCommandError(err error) bool {
	return slices.ContainsFunc([]error{ErrKeyNotFound, ErrLeaseNotFound, ErrDuplicateKey, ErrCompacted, ErrFutureRevision}, func(of error) bool { return errors.Is(err, of) })
}

// quiet drops what Pebble says, but for what it cannot survive.
type quiet struct{}

func (quiet) Infof(string, ...any)  {}
func (quiet) Errorf(string, ...any) {}
func (quiet) Fatalf(format string, args ...any) {
	panic(fmt.Sprintf("store: "+format, args...))
}
