package lsm

import (
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// While somebody writes, a flush or compaction that is not urgent works for restEvery at least and then rests for so many
// times as long as it has worked, but restMost at most: whoever waits for a processor meanwhile gets it, however few there
// are. A flush holds memory, and so rests less. Of the compactions that are optional, which make reads cheaper where much
// was deleted, there is one in optionalEvery. Where nothing was written for calmAfter nobody rests or waits.
const (
	restEvery     = 500 * time.Microsecond
	flushRests    = 4
	compactRests  = 10
	restMost      = 30 * time.Millisecond
	calmAfter     = 100 * time.Millisecond
	optionalEvery = 2 * time.Second
)

// urgentDepth is with how many tables over each other in level 0 compactions rest no more.
const urgentDepth = 8

// Clock is the time by which flushes and compactions rest; where it is the zero value they do not.
type Clock struct {
	Now   func() time.Time
	After func(time.Duration) <-chan time.Time // as time.After
}

// pacer schedules the compactions of one database, one at a time, and lets them and the flushes rest.
type pacer struct {
	clock Clock

	wake  chan struct{} // something has changed, or may have
	over  chan struct{} // closed when the database is closed: nothing rests any more
	ended chan struct{} // closed when the database hears nothing more

	db pebble.DBForCompaction // set before anything else happens

	written atomic.Uint64 // how many batches have been begun
	behind  atomic.Bool   // whether what is being flushed is more than one memory table
	running atomic.Bool   // whether a compaction is
}

func newPacer(c Clock) *pacer {
	return &pacer{clock: c, wake: make(chan struct{}, 1), over: make(chan struct{}), ended: make(chan struct{})}
}

// pace has a database's flushes and compactions paced by p, if there is a clock.
func (p *pacer) pace(o *pebble.Options) {
	if p.clock.Now == nil {
		return
	}
	o.FS = pacedFS{o.FS, p}
	o.EventListener.FlushBegin = func(i pebble.FlushInfo) { p.behind.Store(i.Input > 1) }
	o.Experimental.CompactionScheduler = p
	// The second compaction is never run: that there may be one is how the database says that the first is urgent.
	o.CompactionConcurrencyRange = func() (lower, upper int) { return 1, 2 }
	o.Experimental.L0CompactionConcurrency = urgentDepth
	o.Experimental.CompactionGarbageFractionForMaxConcurrency = func() float64 { return 0 } // what is deleted is not urgent
}

// Register implements pebble.CompactionScheduler.
func (p *pacer) Register(_ int, db pebble.DBForCompaction) {
	p.db = db
	go p.run()
}

// Unregister implements pebble.CompactionScheduler: afterwards the database hears nothing more, and what still runs
// comes to its end without a rest.
func (p *pacer) Unregister() {
	close(p.over)
	<-p.ended
}

// TrySchedule implements pebble.CompactionScheduler. The database has remembered what it wants to run; run asks for it.
func (p *pacer) TrySchedule() (bool, pebble.CompactionGrantHandle) {
	p.stir()
	return false, nil
}

// UpdateGetAllowedWithoutPermission implements pebble.CompactionScheduler: there is never more than one.
func (p *pacer) UpdateGetAllowedWithoutPermission() {}

func (p *pacer) stir() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// run begins one compaction after the other, until the database is closed.
func (p *pacer) run() {
	defer close(p.ended)
	look := p.begin(0)
	var optional time.Time // when the last one was begun that was optional
	for {
		var later <-chan time.Time
		if wait := p.next(&look, &optional); wait > 0 {
			later = p.clock.After(wait)
		}
		select {
		case <-p.over:
			return
		case <-p.wake:
		case <-later:
		}
	}
}

// next begins what waits for its turn; wait is when to look again at what is to wait longer, 0 if there is nothing such.
func (p *pacer) next(look *work, optional *time.Time) (wait time.Duration) {
	if p.running.Load() {
		return 0
	}
	waiting, which := p.db.GetWaitingCompaction()
	if !waiting {
		return 0
	}
	now := p.clock.Now()
	if calm := look.calm(now); which.Optional && !calm && now.Sub(*optional) < optionalEvery {
		return calmAfter
	}
	if which.Optional {
		*optional = now
	}
	p.running.Store(true)
	if !p.db.Schedule(&turn{pacer: p}) {
		p.running.Store(false)
	}
	return 0
}

// work is one flush or compaction.
type work struct {
	pacer   *pacer
	times   int       // how many times as long as it works it rests
	since   time.Time // when it began to work, or went on after its last rest
	written uint64    // as the pacer had it when it was last looked at
	last    time.Time // when that had changed
}

func (p *pacer) begin(times int) work {
	now := p.clock.Now()
	return work{pacer: p, times: times, since: now, last: now, written: p.written.Load()}
}

// rest is called again and again, and rests where it is time to.
func (w *work) rest(urgent bool) {
	now := w.pacer.clock.Now()
	worked := now.Sub(w.since)
	if worked < restEvery {
		return
	}
	if w.since = now; w.calm(now) || urgent {
		return
	}
	select {
	case <-w.pacer.clock.After(min(time.Duration(w.times)*worked, restMost)):
	case <-w.pacer.over:
	}
	w.since = w.pacer.clock.Now()
}

// calm reports whether nothing was written for a while.
func (w *work) calm(now time.Time) bool {
	if n := w.pacer.written.Load(); n != w.written {
		w.written, w.last = n, now
	}
	return now.Sub(w.last) >= calmAfter
}

// turn is one compaction's.
type turn struct {
	pacer *pacer
	work  work
}

// Started implements pebble.CompactionGrantHandle.
func (t *turn) Started() { t.work = t.pacer.begin(compactRests) }

// MeasureCPU implements pebble.CompactionGrantHandle. The compaction's own goroutine calls it again and again, and rests
// here; the others have to wait for it then.
func (t *turn) MeasureCPU(kind pebble.CompactionGoroutineKind) {
	if kind == pebble.CompactionGoroutinePrimary {
		t.work.rest(t.pacer.db.GetAllowedWithoutPermission() > 1)
	}
}

// CumulativeStats implements pebble.CompactionGrantHandle.
func (t *turn) CumulativeStats(pebble.CompactionGrantHandleStats) {}

// Done implements pebble.CompactionGrantHandle.
func (t *turn) Done() {
	t.pacer.running.Store(false)
	t.pacer.stir()
}

// pacedFS is a file system on which flushes rest, too: between the blocks of their tables.
type pacedFS struct {
	vfs.FS
	pacer *pacer
}

// flushing is the category of what a flush writes.
const flushing vfs.DiskWriteCategory = "pebble-memtable-flush"

func (f pacedFS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	file, err := f.FS.Create(name, category)
	if err != nil || category != flushing {
		return file, err
	}
	return &pacedFile{File: file, work: f.pacer.begin(flushRests)}, nil
}

type pacedFile struct {
	vfs.File
	work work
}

func (f *pacedFile) Write(b []byte) (int, error) {
	f.work.rest(f.work.pacer.behind.Load())
	return f.File.Write(b)
}
