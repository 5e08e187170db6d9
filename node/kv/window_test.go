package kv

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"

	"raftsman.dev/node/kv/seeds"
)

// TestWindowAgainstASet: a window admits what a plain set of all sequences ever applied would, and its row
// says all of it.
func TestWindowAgainstASet(t *testing.T) {
	for _, seed := range seeds.Of(t, 30) {
		rng := rand.New(rand.NewPCG(seed, 1))
		var w window
		m := newModel()
		boot, next, floor := uint64(1), uint64(rng.IntN(3)), uint64(0)
		for step := range 3000 {
			c := Command{ID: CommandID{Origin: 1, Boot: boot, Seq: next}, Floor: floor}
			switch rng.IntN(12) {
			case 0, 1, 2:
				c.ID.Seq -= min(c.ID.Seq, uint64(rng.IntN(200)))
			case 3:
				c.ID.Seq += uint64(rng.IntN(2 * maxWindow))
			case 4:
				c.ID.Boot -= uint64(rng.IntN(2))
			case 5:
				c.Floor = c.ID.Seq + uint64(rng.IntN(3)) // a floor above its own sequence is cut to it
			case 6:
				next += uint64(rng.IntN(5000))
			case 7:
				floor += uint64(rng.IntN(int(min(next-min(floor, next), 1<<20)) + 1))
			case 8:
				if rng.IntN(40) == 0 {
					boot, next, floor = boot+1, 0, 0
				}
			default:
				next++
			}
			if got, want := w.admit(c.ID, c.Floor), m.admit(c); got != want {
				t.Fatalf("seed %d, step %d: %+v with floor %d: admitted %v, want %v", seed, step, c.ID, c.Floor, got, want)
			}
			if len(w.bits) > maxWindow/64+1 {
				t.Fatalf("seed %d, step %d: the window has grown to %d words", seed, step, len(w.bits))
			}
			if len(w.bits) > 0 && w.bits[0]&(1<<(w.floor%64)-1) != 0 {
				t.Fatalf("seed %d, step %d: the window remembers what is below its floor %d: %b", seed, step, w.floor, w.bits[0])
			}
			if step%50 == 0 {
				again, err := decodeWindow(w.appendTo(nil))
				if err != nil || len(w.bits) > 0 && !reflect.DeepEqual(again, w) {
					t.Fatalf("seed %d, step %d: %+v became %+v: %v", seed, step, w, again, err)
				}
				w = again
			}
		}
	}
}

// TestCommandsAreAppliedOnce tells the story of one origin and its messages, with another beside it, on a store,
// on the store after a restart, and on one that had the state by snapshot.
func TestCommandsAreAppliedOnce(t *testing.T) { onEach(t, testCommandsAreAppliedOnce) }

func testCommandsAreAppliedOnce(t *testing.T, g ground) {
	type word struct {
		origin, boot, seq, floor uint64
		once                     bool
		why                      string
	}
	before := []word{
		{1, 1, 1, 1, true, "the first"},
		{1, 1, 1, 1, false, "the same again"},
		{1, 1, 3, 1, true, "out of order"},
		{2, 1, 1, 1, true, "another origin's sequences are its own"},
		{1, 1, 2, 1, true, "late, but not too late"},
		{1, 1, 70, 5, true, "everything below 5 has been answered"},
		{1, 1, 4, 1, false, "below the lowest unanswered"},
		{1, 1, 5 + maxWindow, 1, false, "past the window"},
	}
	after := []word{
		{1, 1, 70, 5, false, "known from before"},
		{1, 1, 3, 1, false, "answered before"},
		{1, 1, 69, 5, true, "a gap is still open"},
		{2, 1, 1, 1, false, "the other's is known too"},
		{1, 2, 1, 1, true, "a new boot begins anew"},
		{1, 1, 71, 5, false, "the boot before is over"},
		{1, 2, 1 + maxWindow - 1, 1, true, "the last within the window"},
		{1, 2, 1 + maxWindow - 1, 2, false, "it again, from further on"},
		{2, 1, 2, 9, true, "a floor above itself counts as its own sequence"},
	}
	index := uint64(0)
	entries := func(words []word) []Entry {
		var list []Entry
		for _, w := range words {
			index++
			c := Command{ID: CommandID{w.origin, w.boot, w.seq}, Floor: w.floor, Txn: Txn{Success: []Op{{Put: &PutRequest{Key: []byte("k")}}}}}
			list = append(list, Entry{Index: index, Term: 1, Command: c.AppendTo(nil)})
		}
		return list
	}
	hold := func(name string, words []word, results []Result) {
		t.Helper()
		for i, w := range words {
			if r := results[i]; r.Duplicate == w.once || r.ID != (CommandID{w.origin, w.boot, w.seq}) {
				t.Errorf("%s: %+v (%s): duplicate %v", name, w, w.why, r.Duplicate)
			}
		}
	}
	s := mustOpen(t, "s", g.options("s"))
	hold("begun", before, mustApply(t, s, entries(before)))
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	received := mustOpen(t, "received", g.options("received"))
	transfer(t, s, received)
	rest := entries(after)
	hold("gone on", after, mustApply(t, s, rest))
	want := hashOf(t, s)
	mustClose(t, s)
	s = mustOpen(t, "s", g.options("s"))
	if s.Applied().Index != uint64(len(before)) {
		t.Fatalf("restarted at entry %d", s.Applied().Index)
	}
	hold("restarted", after, mustApply(t, s, rest))
	var one []Result
	for i := range rest { // in batches of one
		one = append(one, mustApply(t, received, rest[i:i+1])...)
	}
	hold("received", after, one)
	if a, b := hashOf(t, s), hashOf(t, received); a != want || b != want {
		t.Fatalf("states %s, restarted %s, received %s", want, a, b)
	}
	if v := fmt.Sprint(s.Revision(), received.Revision()); v != "10 10" {
		t.Fatalf("revisions %s", v)
	}
	mustClose(t, s)
	mustClose(t, received)
}

// TestWindowsAreBounded: an origin that never raises its floor, and draws its sequences from as far as it likes, fills
// its row to the bound and not beyond; the row goes on by snapshot, and what it remembers is still refused there.
func TestWindowsAreBounded(t *testing.T) { onEach(t, testWindowsAreBounded) }

func testWindowsAreBounded(t *testing.T, g ground) {
	s, received := mustOpen(t, "s", g.options("s")), mustOpen(t, "received", g.options("received"))
	defer mustClose(t, s)
	defer mustClose(t, received)
	rng := rand.New(rand.NewPCG(1, 3))
	index, once := uint64(0), map[uint64]bool{}
	command := func(seq uint64) Entry {
		index++
		c := Command{ID: CommandID{Origin: 1, Boot: 1, Seq: seq}, Floor: 1, Txn: Txn{Success: []Op{{Put: &PutRequest{Key: []byte("k")}}}}}
		return Entry{Index: index, Term: 1, Command: c.AppendTo(nil)}
	}
	for range 20 {
		var entries []Entry
		var seqs []uint64
		for range 200 {
			seqs = append(seqs, 1+rng.Uint64N(2*MaxInFlight))
			entries = append(entries, command(seqs[len(seqs)-1]))
		}
		for i, r := range mustApply(t, s, entries) {
			if fresh := seqs[i] < 1+MaxInFlight && !once[seqs[i]]; r.Duplicate == fresh {
				t.Fatalf("sequence %d: duplicate %v, fresh %v", seqs[i], r.Duplicate, fresh)
			}
			once[seqs[i]] = true
		}
	}
	row, closer, err := s.gen.db.Get(rowWindow(1))
	if err != nil || len(row) < MaxInFlight/16 || len(row) > MaxInFlight/8+16 {
		t.Fatalf("the row has %d bytes: %v", len(row), err)
	}
	mustClose(t, closer)
	transfer(t, s, received)
	var again []Entry
	for seq := range once {
		again = append(again, command(seq))
	}
	for i, r := range mustApply(t, received, again) {
		if !r.Duplicate {
			t.Fatalf("command %d is applied again after a snapshot: %+v", i, r)
		}
	}
}
