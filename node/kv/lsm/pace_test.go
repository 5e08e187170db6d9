package lsm

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// hand is a clock that is set by hand, and what rested by it.
type hand struct {
	at     time.Time
	rested []time.Duration
}

func (h *hand) pacer() *pacer {
	return newPacer(Clock{Now: func() time.Time { return h.at }, After: func(d time.Duration) <-chan time.Time {
		h.rested = append(h.rested, d)
		h.at = h.at.Add(d)
		return past()
	}})
}

// past is what After gives of a time that has come.
func past() <-chan time.Time {
	c := make(chan time.Time)
	close(c)
	return c
}

// TestRests: who works rests in proportion while somebody writes, and neither when it is urgent nor when all is calm.
func TestRests(t *testing.T) {
	h := &hand{at: time.Unix(1000, 0)}
	p := h.pacer()
	const restTimes = 3
	w := p.begin(restTimes)
	for _, c := range []struct {
		what   string
		worked time.Duration
		writes bool
		urgent bool
		want   time.Duration // 0: no rest
	}{
		{"a moment", restEvery / 2, true, false, 0},
		{"with what the moment left", restEvery / 2, true, false, restTimes * restEvery},
		{"as long as it worked", 2 * time.Millisecond, true, false, restTimes * 2 * time.Millisecond},
		{"not for ever", time.Second, true, false, restMost},
		{"where it is urgent", time.Millisecond, true, true, 0},
		{"a moment after the last write", time.Millisecond, false, false, restTimes * time.Millisecond},
		{"long after the last write", calmAfter, false, false, 0},
		{"as long as it is calm", time.Millisecond, false, false, 0},
		{"once there is a write again", time.Millisecond, true, false, restTimes * time.Millisecond},
	} {
		h.rested = nil
		h.at = h.at.Add(c.worked)
		if c.writes {
			p.written.Add(1)
		}
		w.rest(c.urgent)
		var got time.Duration
		for _, d := range h.rested {
			got += d
		}
		if got != c.want {
			t.Errorf("%s: rests for %v, want %v", c.what, got, c.want)
		}
	}
}

// TestRestEndsWithTheDatabase: a rest does not hold up the end.
func TestRestEndsWithTheDatabase(t *testing.T) {
	now := time.Unix(1000, 0)
	p := newPacer(Clock{Now: func() time.Time { return now }, After: func(time.Duration) <-chan time.Time { return nil }})
	w := p.begin(1)
	now = now.Add(restEvery)
	close(p.over)
	w.rest(false)
}

// wants is a database that wants compactions run.
type wants struct {
	optional []bool // those that it wants, the next one first
	begun    chan pebble.CompactionGrantHandle
}

func (*wants) GetAllowedWithoutPermission() int { return 1 }

func (w *wants) GetWaitingCompaction() (bool, pebble.WaitingCompaction) {
	if len(w.optional) == 0 {
		return false, pebble.WaitingCompaction{}
	}
	return true, pebble.WaitingCompaction{Optional: w.optional[0]}
}

func (w *wants) Schedule(h pebble.CompactionGrantHandle) bool {
	w.optional = w.optional[1:]
	w.begun <- h
	return true
}

// TestOneCompactionAtATime: the next one begins when the one before is done, and none once the database is closed.
func TestOneCompactionAtATime(t *testing.T) {
	db := &wants{optional: make([]bool, 3), begun: make(chan pebble.CompactionGrantHandle, 3)}
	p := newPacer(Clock{Now: time.Now, After: time.After})
	p.Register(1, db)
	for range 3 { // also when it is asked more than once
		if now, _ := p.TrySchedule(); now {
			t.Fatal("a compaction has begun on the caller's goroutine")
		}
	}
	first := <-db.begun
	p.TrySchedule()
	select {
	case <-db.begun:
		t.Fatal("a second compaction has begun beside the first")
	default:
	}
	first.Done()
	second := <-db.begun
	p.Unregister()
	second.Done()
	if p.TrySchedule(); len(db.begun) > 0 {
		t.Fatal("a compaction has begun after the end")
	}
}

// TestOptionalCompactionsWait: while somebody writes there is one in a while; when nobody does they are done at once.
func TestOptionalCompactionsWait(t *testing.T) {
	h := &hand{at: time.Unix(1000, 0)}
	p := h.pacer()
	db := &wants{begun: make(chan pebble.CompactionGrantHandle, 1)}
	p.db = db
	look := p.begin(0)
	var last time.Time
	begins := func(optional bool) bool {
		db.optional = []bool{optional}
		wait := p.next(&look, &last)
		select {
		case c := <-db.begun:
			c.Done()
			return true
		default:
			if wait == 0 {
				t.Error("nobody will look at it again")
			}
			return false
		}
	}
	for i, c := range []struct {
		after            time.Duration
		writes, optional bool
		want             bool
	}{
		{0, true, true, true}, {time.Millisecond, true, true, false}, {time.Millisecond, true, false, true},
		{optionalEvery - 3*time.Millisecond, true, true, false}, {time.Millisecond, true, true, true},
		{calmAfter - 1, false, true, false}, {1, false, true, true}, {1, false, true, true}, {1, true, true, false},
	} {
		h.at = h.at.Add(c.after)
		if c.writes {
			p.written.Add(1)
		}
		if got := begins(c.optional); got != c.want {
			t.Errorf("step %d, optional %v: begins %v, want %v", i, c.optional, got, c.want)
		}
	}
}

// TestPebbleIsPaced: the database's flushes and compactions come by where they rest, and every table has rows of one kind.
func TestPebbleIsPaced(t *testing.T) {
	var p *pacer
	var ticks, rests atomic.Int64
	p = newPacer(Clock{Now: func() time.Time { return time.Unix(1000, ticks.Add(int64(restEvery))) }, After: func(time.Duration) <-chan time.Time {
		rests.Add(1)
		p.written.Add(1) // there is always somebody who writes
		return past()
	}})
	options := New("", Options{FS: vfs.NewMem(), MemTableBytes: 1 << 20, Logger: quiet{}}).options(func(err error) { t.Error(err) })
	p.pace(options)
	var hurry atomic.Bool // flushes are urgent, so that they do not rest
	paced := options.EventListener.FlushBegin
	options.EventListener.FlushBegin = func(i pebble.FlushInfo) {
		if paced(i); hurry.Load() {
			p.behind.Store(true)
		}
	}
	d, err := pebble.Open("db", options)
	if err != nil {
		t.Fatal(err)
	}
	flush := func() {
		for _, kind := range "akhz\xff" {
			for i := range 200 { // which fit into one memory table
				if err := d.Set(fmt.Appendf([]byte{byte(kind)}, "%06d", i), make([]byte, 100), pebble.NoSync); err != nil {
					t.Fatal(err)
				}
			}
		}
		p.written.Add(1)
		if err := d.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	if flush(); rests.Load() == 0 {
		t.Error("a flush did not rest")
	}
	hurry.Store(true)
	rests.Store(0)
	flush()
	flush()
	if err := d.Compact(t.Context(), []byte("a"), []byte("z"), false); err != nil {
		t.Fatal(err)
	}
	if rests.Load() == 0 {
		t.Error("a compaction did not rest")
	}
	levels, err := d.SSTables()
	if err != nil {
		t.Fatal(err)
	}
	tables := 0
	for _, level := range levels {
		for _, table := range level {
			tables++
			if lo, hi := table.Smallest.UserKey[0], table.Largest.UserKey[0]; lo != hi {
				t.Errorf("a table reaches from %q to %q", lo, hi)
			}
		}
	}
	if tables < 5 {
		t.Errorf("there are %d tables", tables)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}

type quiet struct{}

func (quiet) Infof(string, ...any)  {}
func (quiet) Errorf(string, ...any) {}
func (quiet) Fatalf(format string, args ...any) {
	panic(fmt.Sprintf(format, args...))
}
