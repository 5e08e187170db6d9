package memory

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"raftsman.dev/node/kv/engine"
)

// show renders a state as it is read, or why it cannot be.
func show(t *testing.T, newIter func(lo, hi []byte) (engine.Iterator, error), lo, hi []byte) string {
	t.Helper()
	it, err := newIter(lo, hi)
	if err != nil {
		return err.Error()
	}
	var b strings.Builder
	for ok := it.First(); ok; ok = it.Next() {
		fmt.Fprintf(&b, "%x=%x ", it.Key(), it.Value())
	}
	if err := errors.Join(it.Error(), it.Close()); err != nil {
		return err.Error()
	}
	return b.String()
}

// tell renders what show should, of a plain map.
func tell(twin map[string]string, lo, hi []byte) string {
	var b strings.Builder
	for _, key := range slices.Sorted(maps.Keys(twin)) {
		if key >= string(lo) && (hi == nil || key < string(hi)) {
			fmt.Fprintf(&b, "%x=%x ", key, twin[key])
		}
	}
	return b.String()
}

func open(t *testing.T, d *Disk, number uint64, exists bool) engine.DB {
	t.Helper()
	b, err := d.Open(number, exists, func(error) {})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func randomKey(rng *rand.Rand) []byte {
	key := make([]byte, 1+rng.IntN(3))
	for i := range key {
		key[i] = "\x00ab\xff"[rng.IntN(4)]
	}
	return key
}

// commit makes one random batch, on the generation and on the twin.
func commit(t *testing.T, rng *rand.Rand, b engine.DB, twin map[string]string) error {
	t.Helper()
	rows := b.NewBatch(0)
	for range 1 + rng.IntN(6) {
		key, value := randomKey(rng), make([]byte, rng.IntN(4))
		var err error
		if rng.IntN(3) == 0 {
			delete(twin, string(key))
			err = rows.Delete(key)
		} else {
			twin[string(key)] = string(value)
			err = rows.Set(key, value)
		}
		if err != nil {
			t.Fatal(err)
		}
		clear(key)
		clear(value) // what was handed over is the caller's again
	}
	return errors.Join(rows.Commit(), rows.Close())
}

// TestAgainstAMap: whatever is written, every state that can be read is the map's: the newest, each snapshot, the
// durable one; and a loss of power goes back to the durable one or a later one, never in between.
func TestAgainstAMap(t *testing.T) {
	for seed := range uint64(8) {
		rng := rand.New(rand.NewPCG(seed, 3))
		d := New()
		b := open(t, d, 1, false)
		if err := d.SetCurrent(1); err != nil {
			t.Fatal(err)
		}
		twin, durable := map[string]string{}, 0
		states := []string{""} // of the twin, after each batch
		check := func(what, got, want string) {
			t.Helper()
			if got != want {
				t.Fatalf("seed %d, batch %d: %s is %q, want %q", seed, len(states)-1, what, got, want)
			}
		}
		for range 400 {
			snap := b.NewSnapshot()
			before := len(states) - 1
			if err := commit(t, rng, b, twin); err != nil {
				t.Fatal(err)
			}
			states = append(states, tell(twin, nil, nil))
			lo, hi := randomKey(rng), randomKey(rng)
			check("a range", show(t, b.NewIter, lo, hi), tell(twin, lo, hi))
			check("the snapshot", show(t, snap.NewIter, nil, nil), states[before])
			value, closer, err := b.Get(lo)
			if want, ok := twin[string(lo)]; err != nil || ok != (closer != nil) || string(value) != want {
				t.Fatalf("seed %d: %x is %x, %v, %v; want %x, %v", seed, lo, value, closer, err, want, ok)
			}
			switch rng.IntN(20) {
			case 0:
				if err := b.Flush(); err != nil {
					t.Fatal(err)
				}
				durable = len(states) - 1
				check("what is durable", show(t, b.NewDurableIter, nil, nil), states[durable])
			case 1:
				d.FlushSome(rng)
				now := show(t, b.NewDurableIter, nil, nil)
				if !slices.Contains(states[durable:], now) {
					t.Fatalf("seed %d: %q is durable, which never was the state", seed, now)
				}
			case 2:
				atLeast := show(t, b.NewDurableIter, nil, nil)
				d = d.Crash(rng)
				b = open(t, d, 1, true)
				found := show(t, b.NewIter, nil, nil)
				if at := lastIndex(states, found); at < durable || at < slices.Index(states, atLeast) {
					t.Fatalf("seed %d: found state %d %q, %d was durable", seed, at, found, durable)
				}
				check("what is durable", show(t, b.NewDurableIter, nil, nil), found)
				durable = lastIndex(states, found)
				states = states[:durable+1]
				twin = reread(t, b)
			}
		}
	}
}

func lastIndex(states []string, s string) int {
	for i := len(states) - 1; i >= 0; i-- {
		if states[i] == s {
			return i
		}
	}
	return -1
}

// reread makes a map of a generation.
func reread(t *testing.T, b engine.DB) map[string]string {
	t.Helper()
	it, err := b.NewIter(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	m := map[string]string{}
	for ok := it.First(); ok; ok = it.Next() {
		m[string(it.Key())] = string(it.Value())
	}
	return m
}

// TestStatesAreBounded: without a flush for long, a loss of power has fewer states to go back to, the newest among
// them.
func TestStatesAreBounded(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	d := New()
	b := open(t, d, 1, false)
	twin := map[string]string{}
	for i := range 5 * mostStates {
		if err := commit(t, rng, b, twin); err != nil {
			t.Fatal(err)
		}
		if n := len(d.mu.generations[1].since); n > mostStates {
			t.Fatalf("%d states are kept after %d batches", n, i+1)
		}
	}
	if err := b.Flush(); err != nil {
		t.Fatal(err)
	}
	if got, want := show(t, b.NewDurableIter, nil, nil), tell(twin, nil, nil); got != want {
		t.Fatalf("durable is %q, want %q", got, want)
	}
}

// TestRules: a rule hits what it names, when it says, with its error, and with Done only the answer is wrong.
func TestRules(t *testing.T) {
	full, broken := errors.New("no space"), errors.New("input or output error")
	rng := rand.New(rand.NewPCG(1, 2))
	d, twin := New(), map[string]string{}
	b := open(t, d, 1, false)
	d.Set(Rule{Ops: OpSpace, After: 1, Times: 2, Err: full}, Rule{Ops: OpRead, After: 3, Times: 1, Err: broken})
	for i, want := range []error{nil, full, full, nil} {
		if err := commit(t, rng, b, twin); err != nil {
			t.Fatal(err)
		}
		before := tell(reread(t, open(t, d.Clone(), 1, true)), nil, nil)
		if err := b.Flush(); !errors.Is(err, want) {
			t.Fatalf("flush %d: %v, want %v", i, err, want)
		}
		if want == nil {
			before = tell(twin, nil, nil)
		}
		found := d.Clone().mu.generations[1]
		if got := show(t, state{&db{d: New(), g: found}, found.newest()}.NewIter, nil, nil); got != before {
			t.Fatalf("flush %d left %q, want %q", i, got, before)
		}
	}
	for i, want := range []error{nil, nil, nil, broken, nil} {
		if _, _, err := b.Get([]byte("a")); !errors.Is(err, want) {
			t.Fatalf("read %d: %v, want %v", i, err, want)
		}
	}
	d.Set(Rule{Ops: OpSwitch, Err: broken}, Rule{Ops: OpSwitch, Err: full})
	if err := d.SetCurrent(1); !errors.Is(err, broken) || d.mu.current != 0 {
		t.Fatalf("switched to %d: %v", d.mu.current, err)
	}
	d.Set(Rule{Ops: OpSwitch, Err: broken, Done: true})
	if err := d.SetCurrent(1); !errors.Is(err, broken) || d.mu.current != 1 {
		t.Fatalf("switched to %d: %v", d.mu.current, err)
	}
}

// TestRot: what has rotted is never read as if it were sound, by whatever way; the rest is, and so is a row that was
// written anew.
func TestRot(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 4))
	d := New()
	if d.Rot(rng) {
		t.Fatal("an empty disk has rotted")
	}
	var heard error
	b, err := d.Open(1, false, func(err error) { heard = err })
	if err != nil {
		t.Fatal(err)
	}
	rows := b.NewBatch(0)
	for i := range byte(100) {
		if err := rows.Set([]byte{i}, []byte{i}); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(rows.Commit(), b.Flush(), d.SetCurrent(1)); err != nil {
		t.Fatal(err)
	}
	snap, sound := b.NewSnapshot(), d.Clone()
	if !d.Rot(rng) {
		t.Fatal("nothing has rotted")
	}
	var bad []byte
	for i := range byte(100) {
		value, _, err := b.Get([]byte{i})
		if err == nil && bytes.Equal(value, []byte{i}) {
			continue
		}
		if !errors.Is(err, engine.ErrCorrupt) || heard == nil || heard.Error() != err.Error() {
			t.Fatalf("row %d: %x, %v; heard %v", i, value, err, heard)
		}
		bad = append(bad, i)
	}
	if len(bad) == 0 || len(bad) > blockRows || int(bad[len(bad)-1]-bad[0]) != len(bad)-1 {
		t.Fatalf("rotten: %v", bad)
	}
	for name, newIter := range map[string]func(lo, hi []byte) (engine.Iterator, error){
		"newest": b.NewIter, "snapshot": snap.NewIter, "durable": b.NewDurableIter, "after a loss of power": open(t, d.Crash(rng), 1, true).NewIter,
	} {
		if got := show(t, newIter, nil, nil); !strings.Contains(got, engine.ErrCorrupt.Error()) {
			t.Errorf("%s: %s", name, got)
		}
		if got := show(t, newIter, nil, bad[:1]); strings.Count(got, "=") != int(bad[0]) {
			t.Errorf("%s before the damage: %s", name, got)
		}
	}
	if got := show(t, open(t, sound, 1, true).NewIter, nil, nil); strings.Count(got, "=") != 100 {
		t.Errorf("the older copy: %s", got)
	}
	again := b.NewBatch(0)
	if err := errors.Join(again.Set(bad[:1], []byte("new")), again.Commit()); err != nil {
		t.Fatal(err)
	}
	if value, _, err := b.Get(bad[:1]); err != nil || string(value) != "new" {
		t.Errorf("written anew: %q, %v", value, err)
	}
	d.SpoilName()
	if _, _, err := d.Crash(rng).Current(); !errors.Is(err, engine.ErrCorrupt) {
		t.Errorf("the spoilt name: %v", err)
	}
}

// TestPlaces: what is new, in force, left over, and lost.
func TestPlaces(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 5))
	d := New()
	if _, ok, err := d.Current(); ok || err != nil {
		t.Fatalf("a new disk: %v, %v", ok, err)
	}
	if _, err := d.Open(1, true, nil); !errors.Is(err, engine.ErrCorrupt) {
		t.Fatalf("what is not there: %v", err)
	}
	b := open(t, d, 1, false)
	if _, err := d.Open(1, true, nil); err == nil || errors.Is(err, engine.ErrCorrupt) {
		t.Fatalf("opened twice: %v", err)
	}
	if err := d.Remove(1); err == nil {
		t.Fatal("removed what is open")
	}
	begun := d.Crash(rng) // a start that did not come to its end
	if _, ok, err := begun.Current(); ok || err != nil || len(begun.Generations()) != 0 {
		t.Fatalf("a start that was cut off: %v, %v, %v", ok, err, begun.Generations())
	}
	if err := errors.Join(commit(t, rng, b, map[string]string{}), b.Flush()); err != nil {
		t.Fatal(err)
	}
	if _, _, err := d.Crash(rng).Current(); !errors.Is(err, engine.ErrCorrupt) {
		t.Fatalf("data with nothing in force: %v", err)
	}
	second := open(t, d, 2, false)
	if err := errors.Join(d.SetCurrent(2), b.Close(), d.RemoveOthers(2)); err != nil {
		t.Fatal(err)
	}
	if n, ok, err := d.Current(); n != 2 || !ok || err != nil || !slices.Equal(d.Generations(), []uint64{2}) {
		t.Fatalf("in force: %d, %v, %v of %v", n, ok, err, d.Generations())
	}
	if err := errors.Join(second.Close(), d.Remove(2)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := d.Current(); !errors.Is(err, engine.ErrCorrupt) {
		t.Fatalf("the one in force was lost: %v", err)
	}
}

// TestAlter: a row that was altered is read as it now is, without an error, in every state in which it stood, and after
// a loss of power; what was pinned before and every other row are as they were; and it is gone once it is overwritten
// in every state.
func TestAlter(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 6))
	d := New()
	change := func(_, value []byte, _ func([]byte) []byte) []byte { return append(bytes.Clone(value), '!') }
	if _, ok := d.Alter(rng, change); ok {
		t.Fatal("a row of an empty disk was altered")
	}
	b, twin := open(t, d, 1, false), map[string]string{}
	for range 20 {
		if err := commit(t, rng, b, twin); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(b.Flush(), d.SetCurrent(1)); err != nil {
		t.Fatal(err)
	}
	before, snap := tell(twin, nil, nil), b.NewSnapshot()
	if _, ok := d.Alter(rng, func(_, _ []byte, _ func([]byte) []byte) []byte { return nil }); ok || d.Altered() {
		t.Fatal("altered into nothing")
	}
	key, ok := d.Alter(rng, change)
	if !ok || !d.Altered() {
		t.Fatalf("not altered: %v, %v", ok, d.Altered())
	}
	was := twin[string(key)]
	twin[string(key)] += "!"
	after := tell(twin, nil, nil)
	if after == before {
		t.Fatal("nothing differs")
	}
	for name, newIter := range map[string]func(lo, hi []byte) (engine.Iterator, error){
		"newest": b.NewIter, "durable": b.NewDurableIter, "after a loss of power": open(t, d.Crash(rng), 1, true).NewIter,
	} {
		if got := show(t, newIter, nil, nil); got != after {
			t.Errorf("%s is %q, want %q", name, got, after)
		}
	}
	if got := show(t, snap.NewIter, nil, nil); got != before {
		t.Errorf("the snapshot is %q, want %q", got, before)
	}
	rows := b.NewBatch(0)
	if err := errors.Join(rows.Set(key, []byte(was)), rows.Commit()); err != nil {
		t.Fatal(err)
	}
	if !d.Altered() {
		t.Error("what is durable is still altered, and Altered does not say so")
	}
	if err := b.Flush(); err != nil || d.Altered() {
		t.Errorf("overwritten everywhere, and still altered: %v", err)
	}
}
