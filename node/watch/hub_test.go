package watch

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"raftsman.dev/node/kv"
)

func never() bool { return false }

// bench is a hub that is moved by hand, with one stream.
type bench struct {
	*testing.T
	hub    *Hub
	store  *store
	stream *Stream
}

func newBench(t *testing.T, o Options) *bench {
	b := &bench{T: t, store: newStore()}
	o.History, o.Revision = b.store.view, 1
	b.hub = newHub(o)
	b.stream = b.hub.Stream()
	return b
}

func (b *bench) rest() {
	b.Helper()
	for range 10_000 {
		if !b.hub.turn() {
			return
		}
	}
	b.Fatal("the pump does not come to rest")
}

func (b *bench) write(changes ...kv.KeyValue) { b.hub.Tell(b.store.write(never, changes)) }

func (b *bench) watch(r Request) int64 {
	b.Helper()
	id, err := b.stream.Watch(context.Background(), r)
	if err != nil {
		b.Fatal(err)
	}
	return id
}

// said tells what comes next on the stream, one line an answer, up to where nothing is queued.
func (b *bench) said() []string {
	b.Helper()
	b.rest()
	var lines []string
	for range 10_000 {
		r, ok, err := b.stream.take()
		if err != nil {
			return append(lines, "ended: "+err.Error())
		}
		if !ok {
			return lines
		}
		lines = append(lines, describe(r))
		b.rest()
	}
	b.Fatal("the stream does not end")
	return nil
}

func describe(r Response) string {
	line := fmt.Sprintf("%d@%d", r.ID, r.Revision)
	if r.Created {
		line += " created"
	}
	if r.Canceled {
		line += " canceled"
	}
	if r.CompactRevision != 0 {
		line += fmt.Sprintf(" compacted %d", r.CompactRevision)
	}
	if r.Err != nil {
		line += " " + r.Err.Error()
	}
	for _, e := range r.Events {
		line += fmt.Sprintf(" %s=%s/%d", e.KV.Key, e.KV.Value, e.KV.ModRevision)
		if r.Request.PrevKV && e.Prev != nil {
			line += fmt.Sprintf("(%s/%d)", e.Prev.Value, e.Prev.ModRevision)
		}
	}
	return line
}

func (b *bench) hears(want ...string) {
	b.Helper()
	if got := b.said(); !slices.Equal(got, want) {
		b.Errorf("heard %q\nwant  %q", got, want)
	}
}

// hearsOf is hears where several watchers hear of the same: the order among them is nobody's business.
func (b *bench) hearsOf(want ...string) {
	b.Helper()
	got := b.said()
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		b.Errorf("heard %q\nwant  %q", got, want)
	}
}

func TestIDsAreGivenAsEtcdDoes(t *testing.T) {
	b := newBench(t, Options{})
	for _, want := range []int64{0, 1} {
		if id := b.watch(Request{Key: key(1)}); id != want {
			t.Errorf("given %d, want %d", id, want)
		}
	}
	if id := b.watch(Request{Key: key(1), ID: 2}); id != 2 {
		t.Errorf("asked for 2, given %d", id)
	}
	if id := b.watch(Request{Key: key(1)}); id != 3 {
		t.Errorf("given %d beside 0, 1 and 2, want 3", id)
	}
	if _, err := b.stream.Watch(context.Background(), Request{Key: key(1), ID: 2}); !errors.Is(err, ErrDuplicate) {
		t.Errorf("2 again: %v", err)
	}
	for _, r := range []Request{{Key: key(2), End: key(1)}, {Key: key(2), End: key(2)}} {
		if _, err := b.stream.Watch(context.Background(), r); !errors.Is(err, ErrEmptyRange) {
			t.Errorf("range %q: %v", r.Key, err)
		}
	}
	if _, err := b.stream.Watch(context.Background(), Request{Key: key(2), Start: -1}); !errors.Is(err, kv.ErrCompacted) {
		t.Errorf("negative start: %v", err)
	}
	if ok, err := b.stream.Cancel(context.Background(), 2); !ok || err != nil {
		t.Errorf("cancel: %v, %v", ok, err)
	}
	if ok, err := b.stream.Cancel(context.Background(), 2); ok || err != nil {
		t.Errorf("cancel again: %v, %v", ok, err)
	}
	if err := b.stream.Refuse(context.Background(), ErrEmptyRange); err != nil {
		t.Error(err)
	}
	b.hears("0@1 created", "1@1 created", "2@1 created", "3@1 created", "2@1 canceled", "-1@1 created canceled watcher range is empty")
}

func TestOneRevisionIsOneAnswerAndFiltersLeaveNoEmptyOnes(t *testing.T) {
	b := newBench(t, Options{})
	all := Request{Key: []byte{0}, End: []byte{0}, PrevKV: true}
	b.watch(all)
	noPut, noDelete := all, Request{Key: key(0), End: key(9), NoDelete: true}
	noPut.NoPut = true
	b.watch(noPut)
	b.watch(noDelete)
	b.hearsOf("0@1 created", "1@1 created", "2@1 created")
	b.write(put(1, "a"), put(2, "b"))
	b.hearsOf("0@2 k001=a/2 k002=b/2", "2@2 k001=a/2 k002=b/2")
	b.write(del(1))
	b.hearsOf("0@3 k001=/3(a/2)", "1@3 k001=/3(a/2)")
	b.write(put(1, "c"), del(2))
	b.hearsOf("0@4 k001=c/4 k002=/4(b/2)", "1@4 k002=/4(b/2)", "2@4 k001=c/4")
}

func TestRevisionsAreJoinedOnlyBehindTheLastProgress(t *testing.T) {
	b := newBench(t, Options{})
	b.watch(Request{Key: key(1)})
	b.write(put(1, "a"))
	b.write(put(1, "b"))
	b.rest()
	b.stream.Progress()
	b.rest()
	b.write(put(1, "c"))
	b.hears("0@1 created", "0@3 k001=a/2 k001=b/3", "-1@3", "0@4 k001=c/4")
}

func TestAStartIsInThePastNowOrAhead(t *testing.T) {
	b := newBench(t, Options{})
	for _, v := range []string{"a", "b", "c"} {
		b.write(put(1, v))
	}
	b.hub.Tell(b.store.compact(3))
	for _, start := range []kv.Revision{2, 3, 4, 5, 6, 0} {
		b.watch(Request{Key: key(1), ID: 10 + int64(start), Start: start, PrevKV: true})
	}
	b.stream.Progress()
	b.hearsOf("10@4 created", "12@4 canceled compacted 3", "12@4 created", "13@4 created", "13@4 k001=b/3 k001=c/4(b/3)",
		"14@4 created", "14@4 k001=c/4(b/3)", "15@4 created", "16@4 created")
	b.write(put(1, "d"))
	b.hearsOf("10@5 k001=d/5(c/4)", "13@5 k001=d/5(c/4)", "14@5 k001=d/5(c/4)", "15@5 k001=d/5(c/4)")
	b.write(put(1, "e"))
	if heard := b.said(); len(heard) != 6 || heard[5] != "-1@6" {
		t.Errorf("heard %q, want five events and then the progress that waited for the last watcher", heard)
	}
}

// After the store has switched, a watcher goes on from history; a start that still lies ahead stays silent.
func TestASwitchLosesNothingAndWakesNobodyEarly(t *testing.T) {
	b := newBench(t, Options{})
	b.watch(Request{Key: key(1)})
	b.watch(Request{Key: key(1), Start: 6, Progress: true})
	b.write(put(1, "a"))
	b.hears("0@1 created", "1@1 created", "0@2 k001=a/2")
	for _, v := range []string{"b", "c"} {
		b.store.write(never, []kv.KeyValue{put(1, v)})
	}
	b.hub.Tell(kv.Changes{Revision: 4, Switched: true})
	b.stream.Progress()
	b.hub.Tick(time.Unix(1, 0))
	b.rest()
	b.hub.Tick(time.Unix(1e6, 0))
	b.hears("0@4 k001=b/3 k001=c/4")
	b.store.write(never, []kv.KeyValue{put(1, "d")}, []kv.KeyValue{put(1, "e")}, []kv.KeyValue{put(2, "x")})
	b.store.compact(6)
	b.hub.Tell(kv.Changes{Revision: 7, Compacted: 6, Switched: true})
	b.hears("0@7 canceled compacted 6", "1@6 k001=e/6", "-1@7")
}

func TestProgressComesWhenIdleOnly(t *testing.T) {
	b := newBench(t, Options{Interval: time.Minute})
	b.watch(Request{Key: key(1), Progress: true})
	b.watch(Request{Key: key(2)})
	at := time.Unix(1e9, 0)
	tick := func(d time.Duration) {
		at = at.Add(d)
		b.hub.Tick(at)
		b.rest()
	}
	tick(0)
	b.hears("0@1 created", "1@1 created")
	tick(59 * time.Second)
	b.hears()
	b.write(put(2, "a"))
	tick(time.Second)
	b.hears("1@2 k002=a/2")
	tick(time.Second)
	b.hears("0@2")
	tick(59 * time.Second)
	b.write(put(1, "b"))
	b.hears("0@3 k001=b/3")
	tick(time.Second)
	b.hears()
	tick(59 * time.Second)
	b.hears()
	tick(time.Second)
	tick(time.Hour)
	tick(time.Hour) // nobody has read meanwhile: one is enough
	b.hears("0@3")
}

// Whoever asks again and again, as a Kubernetes API server does ten times a second while it waits, is answered although
// there is always something newer than what the watchers have: by what was there when it first asked, and so on.
func TestRequestsForProgressDoNotPutItOff(t *testing.T) {
	const ahead, rounds = 5, 40
	b := newBench(t, Options{})
	b.hub.limits.bytes = 1 // one revision a turn
	b.watch(Request{Key: key(1)})
	b.hears("0@1 created")
	for range ahead {
		b.write(put(2, "a"))
	}
	heard := kv.Revision(0)
	for i := range rounds {
		b.write(put(2, "a"))
		b.stream.Progress()
		b.hub.turn()
		for {
			r, ok, err := b.stream.take()
			if err != nil {
				t.Fatal(err)
			}
			if !ok {
				break
			}
			heard = r.Revision
		}
		if main := b.hub.pump.main.at; i >= 2*ahead && heard < main-2*ahead {
			t.Fatalf("round %d: heard of progress up to %d, the watchers are at %d", i, heard, main)
		}
	}
	b.rest()
	if r, ok, _ := b.stream.take(); !ok || r.ID != -1 || r.Revision != 1+ahead+rounds {
		t.Errorf("at rest: %+v (%v), want progress of all", r, ok)
	}
}

func TestAStreamWithoutWatchersGetsNoProgress(t *testing.T) {
	b := newBench(t, Options{})
	b.stream.Progress()
	b.hears()
	b.watch(Request{Key: key(1)})
	b.stream.Progress()
	b.stream.Progress()
	b.hears("0@1 created", "-1@1")
}

// A slow stream holds its budget and no more; what it takes meanwhile is never more than that behind.
func TestASlowStreamGoesBackToHistory(t *testing.T) {
	const value = 1000
	b := newBench(t, Options{StreamBytes: 10 * value, RingBytes: 5 * value})
	b.watch(Request{Key: key(1)})
	for range 300 {
		b.write(put(1, string(make([]byte, value))))
		b.rest()
		if b.stream.mu.bytes > 10*value {
			t.Fatalf("%d bytes are queued", b.stream.mu.bytes)
		}
	}
	if s := b.hub.Stats(); s.Behind != 1 || s.RingBytes > 5*value || s.RingBytes == 0 {
		t.Errorf("%+v", s)
	}
	next := kv.Revision(2)
	for range 1000 {
		r, ok, err := b.stream.take()
		if err != nil || !ok {
			break
		}
		for _, e := range r.Events {
			if e.KV.ModRevision != next {
				t.Fatalf("revision %d, want %d", e.KV.ModRevision, next)
			}
			next++
		}
		b.rest()
	}
	if s := b.hub.Stats(); next != 302 || s.Behind != 0 || s.QueuedBytes != 0 || s.Events != 300 {
		t.Errorf("at the end: next %d, %+v", next, s)
	}
}

// One answer larger than every budget still passes.
func TestALargeAnswerPasses(t *testing.T) {
	b := newBench(t, Options{StreamBytes: 10, QueueBytes: 10, RingBytes: 10})
	b.watch(Request{Key: key(1)})
	b.watch(Request{Key: key(1)})
	b.write(put(1, "much more than fits"))
	b.write(put(1, "and again"))
	b.hearsOf("0@1 created", "1@1 created", "0@2 k001=much more than fits/2", "1@2 k001=much more than fits/2",
		"0@3 k001=and again/3", "1@3 k001=and again/3")
}

func TestABatchIsNotDecodedForNobody(t *testing.T) {
	b := newBench(t, Options{})
	b.hub.Tell(kv.Changes{Revision: 2, Blocks: [][]byte{{0xff, 0xff}}}) // no block at all: whoever reads it fails
	b.rest()
	b.watch(Request{Key: key(1)})
	b.hears("0@2 created")
}

// What cannot be read ends the streams that need it, and no others.
func TestAReadErrorEndsTheStream(t *testing.T) {
	broken := errors.New("broken disk")
	b := newBench(t, Options{})
	b.write(put(1, "a"))
	other := b.hub.Stream()
	if _, err := other.Watch(context.Background(), Request{Key: key(1)}); err != nil {
		t.Fatal(err)
	}
	b.rest()
	b.hub.mu.ring.clear()
	b.store.fail(broken)
	b.watch(Request{Key: key(1), Start: 2})
	b.hears("ended: broken disk")
	if _, err := b.stream.Watch(context.Background(), Request{Key: key(1)}); !errors.Is(err, broken) {
		t.Errorf("watch on an ended stream: %v", err)
	}
	b.store.fail(nil)
	b.write(put(1, "b"))
	b.rest()
	for _, want := range []string{"0@2 created", "0@3 k001=b/3"} {
		if r, ok, err := other.take(); !ok || err != nil || describe(r) != want {
			t.Errorf("the other stream: %v, %v, %v; want %s", r, ok, err, want)
		}
	}
	if s := b.hub.Stats(); s.Watchers != 1 || s.Streams != 1 || b.store.opened() != 0 {
		t.Errorf("%+v, %d views are open", s, b.store.opened())
	}
	// The same of a block in the ring.
	b.hub.Tell(kv.Changes{Revision: 4, Blocks: [][]byte{{0xff, 0xff}}})
	b.rest()
	if _, _, err := other.take(); !errors.Is(err, kv.ErrCorrupt) {
		t.Errorf("a damaged block: %v", err)
	}
}

// A client that asks without reading waits, instead of queueing answers without a bound.
func TestRequestsWaitForTheirAnswersToBeRead(t *testing.T) {
	b := newBench(t, Options{})
	for range maxControls {
		b.watch(Request{Key: key(1)})
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := b.stream.Watch(ctx, Request{Key: key(1)}); !errors.Is(err, context.Canceled) {
		t.Errorf("one more: %v", err)
	}
	const callers = 3
	errs := make(chan error, callers)
	for range callers {
		go func() {
			_, err := b.stream.Watch(context.Background(), Request{Key: key(1)})
			errs <- err
		}()
	}
	for range maxControls + callers {
		if _, err := b.stream.Next(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	for range callers {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}

// A watcher that needs only what the ring has does not wait for those that read all of history.
func TestTheRingIsNotBehindHistory(t *testing.T) {
	b := newBench(t, Options{RingBytes: 3000})
	b.hub.limits = limits{events: 1, bytes: 1, seeks: 1, passes: 1}
	for range 1000 {
		b.write(put(1, "a"))
	}
	b.watch(Request{Key: key(1), Start: 2})
	b.hub.turn()
	near := b.hub.Stream()
	if _, err := near.Watch(context.Background(), Request{Key: key(1), Start: 1000}); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		b.hub.turn()
	}
	if n := len(near.mu.items); n != 2 {
		t.Errorf("%d answers are queued for a watcher of the newest events, want 2", n)
	}
	if s := b.hub.Stats(); s.Behind != 1 {
		t.Errorf("%+v, want one behind", s)
	}
}

// Watchers that wait for a pass are taken along by one that comes by, instead of each reading all of history alone.
func TestAPassTakesWatchersAlong(t *testing.T) {
	const revisions, watchers = 400, 39
	b := newBench(t, Options{RingBytes: 1})
	b.hub.limits = limits{events: 4, bytes: 1 << 20, seeks: 100, passes: 1, near: 4}
	for range revisions {
		b.write(put(1, "a"))
	}
	for i := range watchers {
		b.watch(Request{Key: key(1), Start: kv.Revision(2 + 10*i)})
	}
	turns := 0
	for b.hub.turn() {
		if turns++; turns > 2*revisions/4 {
			t.Fatalf("%d turns of 4 revisions for %d revisions, and %d watchers are still behind", turns, revisions, b.hub.Stats().Behind)
		}
	}
	heard := b.said()
	for i := range watchers {
		if heard[i] != fmt.Sprintf("%d@%d created", i, revisions+1) {
			t.Errorf("heard %s", heard[i])
		}
	}
	got := 0
	for _, line := range heard[watchers:] {
		got += strings.Count(line, "=a/")
	}
	if want := watchers*revisions - 10*watchers*(watchers-1)/2; got != want {
		t.Errorf("%d events, want %d", got, want)
	}
}

// Previous versions are looked up one by one, which takes far longer than to read events: a turn does so only for some.
func TestATurnLooksUpFewPreviousVersions(t *testing.T) {
	const revisions, seeks = 100, 8
	for _, ring := range []int{1, 1 << 20} {
		b := newBench(t, Options{RingBytes: ring})
		b.hub.limits.seeks = seeks
		for range revisions {
			b.write(put(1, "a"))
		}
		b.watch(Request{Key: key(1), Start: 2, PrevKV: true})
		before, turns := 0, 0
		for b.hub.turn() {
			turns++
			after := b.store.lookups()
			if after-before > seeks {
				t.Errorf("ring of %d bytes: turn %d looked up %d versions, want at most %d", ring, turns, after-before, seeks)
			}
			before = after
		}
		if before != revisions-1 {
			t.Errorf("ring of %d bytes: %d versions were looked up, want %d", ring, before, revisions-1)
		}
		if heard := strings.Count(strings.Join(b.said(), " "), "=a/"); heard != revisions {
			t.Errorf("ring of %d bytes: heard of %d revisions, want %d", ring, heard, revisions)
		}
	}
}

// A pass may overtake the main cohort, which has read less of the ring meanwhile. Its watchers enter the main cohort
// ahead of its place: when they have met, or when one had no room there.
func TestAPassMayOvertakeTheMainCohort(t *testing.T) {
	for _, budget := range []int{1 << 20, 2500} {
		b := newBench(t, Options{RingBytes: 1500, StreamBytes: budget})
		b.hub.limits = limits{events: 100, bytes: 95, seeks: 100, passes: 1} // a span of the ring, or 20 events of history
		other := b.hub.Stream()
		if _, err := other.Watch(context.Background(), Request{Key: key(2)}); err != nil {
			t.Fatal(err)
		}
		for range 10 {
			b.write(put(1, "a"))
		}
		b.rest()
		b.watch(Request{Key: key(1), Start: 2})
		if r, ok, _ := b.stream.take(); !ok || !r.Created {
			t.Fatalf("%+v instead of created", r)
		}
		for range 8 {
			b.write(put(1, "b"))
		}
		b.hub.turn()
		next, answers := kv.Revision(2), 0
		for range 100 {
			r, ok, err := b.stream.take()
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range r.Events {
				if e.KV.ModRevision != next {
					t.Fatalf("budget %d: revision %d, want %d", budget, e.KV.ModRevision, next)
				}
				next++
			}
			if ok {
				answers++
			}
			if main := b.hub.pump.main.at; answers == 1 && main >= next {
				t.Fatalf("budget %d: the main cohort is at %d and was not overtaken at %d", budget, main, next)
			}
			if !b.hub.turn() && !ok {
				break
			}
		}
		if s := b.hub.Stats(); next != 20 || s.Behind != 0 {
			t.Errorf("budget %d: heard up to %d, want 20; %+v", budget, next, s)
		}
	}
}

// TestFirstWatcherIsTold: whoever wants to know is told of the first watcher, of no other while there is one, and again
// of the first one after all have gone.
func TestFirstWatcherIsTold(t *testing.T) {
	told := 0
	b := newBench(t, Options{First: func() { told++ }})
	for i, want := range []int{1, 1, 2} {
		if i == 2 {
			b.stream.Close()
			b.rest()
			b.stream = b.hub.Stream()
		}
		if b.watch(Request{Start: 1, Key: []byte("k")}); told != want {
			t.Fatalf("told %d times of watcher %d, want %d", told, i, want)
		}
	}
	if n := b.hub.Watchers(); n != 1 {
		t.Errorf("%d watchers, want 1", n)
	}
}
