package kv

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// TestReadersBesideTheApplier: while batches are applied, flushed, and a snapshot takes the state's place, every read
// sees whole transactions, in step with the revision it reports, and never an older state than one it has seen.
func TestReadersBesideTheApplier(t *testing.T) { onEach(t, testReadersBesideTheApplier) }

func testReadersBesideTheApplier(t *testing.T, g ground) {
	s := mustOpen(t, "s", g.options("s"))
	var done atomic.Bool
	var readers sync.WaitGroup
	for reader := range 3 {
		readers.Go(func() { readAlong(t, s, reader, &done) })
	}
	ahead := mustOpen(t, "ahead", g.options("ahead"))
	index := uint64(0)
	for round := range 6 {
		for range 40 {
			entries := twins(index+1, 5)
			index += 5
			mustApply(t, ahead, entries)
			if round%2 == 0 {
				mustApply(t, s, entries)
			}
		}
		if err := s.Flush(); err != nil {
			t.Error(err)
		}
		if round%2 == 1 {
			transfer(t, ahead, s)
		}
	}
	done.Store(true)
	readers.Wait()
	if a, b := hashOf(t, s), hashOf(t, ahead); a != b {
		t.Errorf("states %s and %s", a, b)
	}
	mustClose(t, s)
	mustClose(t, ahead)
}

// twins are entries that each write two keys alike: the entry's index.
func twins(first uint64, n int) []Entry {
	var entries []Entry
	for i := first; i < first+uint64(n); i++ {
		value := fmt.Appendf(nil, "%d", i)
		c := Command{ID: CommandID{Origin: 1, Boot: 1, Seq: i}, Floor: i, Txn: Txn{Success: []Op{
			{Put: &PutRequest{Key: []byte("a"), Value: value}}, {Put: &PutRequest{Key: []byte("z"), Value: value}},
		}}}
		entries = append(entries, Entry{Index: i, Term: 1, Command: c.AppendTo(nil)})
	}
	return entries
}

func readAlong(t *testing.T, s *Store, reader int, done *atomic.Bool) {
	pair := Txn{Success: []Op{{Range: &RangeRequest{Key: []byte("a"), End: []byte{0}}}}}
	last, reads := Revision(1), 0
	for ; !done.Load() || reads == 0; reads++ {
		txn := pair
		if reads%2 == reader%2 {
			txn = get("z")
		}
		r, err := s.Read(t.Context(), txn)
		if err != nil {
			t.Errorf("read %d: %v", reads, err)
			return
		}
		got := r.Responses[0].Range
		want := fmt.Sprint(r.Revision - 1) // entry i makes revision i+1
		for _, kv := range got.KVs {
			if string(kv.Value) != want || kv.ModRevision != r.Revision {
				t.Errorf("read %d at revision %d: %s", reads, r.Revision, show(&r))
				return
			}
		}
		if r.Revision < last || r.Revision > 1 && int(got.Count) != len(txn.Success[0].Range.End)+1 {
			t.Errorf("read %d: revision %d after %d: %s", reads, r.Revision, last, show(&r))
			return
		}
		last = r.Revision
	}
}

// TestReadsGoOnWhileTheDiskHangs: when the disk takes no more, Apply waits in the middle of a batch for a memory table
// to be flushed; reads, of one key and of ranges, are answered all the same.
func TestReadsGoOnWhileTheDiskHangs(t *testing.T) {
	release := make(chan struct{})
	fs := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpFileWrite && strings.HasSuffix(op.Path, ".sst") {
			<-release
		}
		return nil
	}))
	s := mustOpen(t, "s", small(fs))
	var applier sync.WaitGroup
	applier.Go(func() {
		for i := uint64(1); i <= 200; i++ {
			if _, err := s.Apply(puts(i, i, letter, strings.Repeat("v", 4000)), 0, nil); err != nil {
				t.Error(err)
			}
		}
	})
	deadline := time.Now().Add(30 * time.Second)
	for rounds := 0; rounds < 20; { // so many reads, and still the same change is under way
		before := s.seq.Load()
		for _, txn := range []Txn{get("a"), everything()} {
			if r, err := s.Read(t.Context(), txn); err != nil || r.Revision > 201 {
				t.Fatalf("%s: %v", show(&r), err)
			}
		}
		v := s.View()
		mustClose(t, v)
		if rounds++; before%2 == 0 || s.seq.Load() != before {
			rounds = 0
		}
		if time.Now().After(deadline) {
			t.Fatalf("after %d changes Apply never waited for the disk", before)
		}
	}
	close(release)
	applier.Wait()
	if s.Applied().Index != 200 {
		t.Errorf("applied %d of 200 entries", s.Applied().Index)
	}
	mustClose(t, s)
}
