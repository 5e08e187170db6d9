//go:build linux

package torture

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// repairedMetric counts the entries that a member has repaired from its peers since it started.
const repairedMetric = "raftsman_repaired_entries_total"

// serveWithin bounds the time without an acknowledgement while one member at a time is down: its own election
// timeout, and twice that.
const serveWithin = 5 * time.Second

// logDamaged flips a byte in the log of a stopped member, between what its store holds durably and its end: of one,
// then of two, one after the other, while the group serves; then of two at once, at different places. Each repairs
// what it lost from its peers, and in the end all are equal.
func logDamaged(t *testing.T) {
	rng := seeded(t)
	g := newGroup(t)
	g.start(g.members...)
	g.ready(g.members...)
	all := g.shuffled(rng)
	r := g.load()
	repaired := 0.0
	for _, m := range all {
		r.more(150)
		g.kill(m)
		m.flipInLog(rng)
		g.start(m)
		g.ready(m)
		repaired += m.repaired()
	}
	one := r.stop()
	r.steady(one, serveWithin)
	g.equal()

	r = g.load()
	r.more(150)
	two := all[:2]
	g.kill(two...)
	first := two[0].flipInLog(rng)
	two[1].flipInLog(rng, first)
	g.start(two...)
	r.more(50)
	for _, m := range two {
		g.ready(m)
		repaired += m.repaired()
	}
	both := r.stop()
	g.equal()
	say("torture: log damaged on each in turn and on two at once: %.0f entries repaired; %d acks, largest gap %v in turn and %v at once",
		repaired, one.Writes+both.Writes, one.Gap, both.Gap)
}

func (g *group) shuffled(rng *rand.Rand) []*member {
	all := append([]*member(nil), g.members...)
	rng.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all
}

// repaired waits until a member has repaired something.
func (m *member) repaired() float64 {
	m.g.t.Helper()
	n := 0.0
	m.g.until(m.Name+" has repaired entries", func(ctx context.Context) (err error) {
		if n, err = m.metric(ctx, repairedMetric); err == nil && n < 1 {
			err = errors.New("none yet")
		}
		return err
	})
	return n
}

// record is what `raftsman inspect log` says of one record, as far as it is needed here.
type record struct {
	Segment        string
	Offset, Bytes  int64
	Kind           string
	Write, Durable uint64
	First, Last    uint64
}

// inspect runs `raftsman inspect` on a part of a stopped member's data and reads line after line.
func (m *member) inspect(part string, line func(*json.Decoder) error) {
	m.g.t.Helper()
	cmd := exec.CommandContext(m.g.t.Context(), os.Getenv(envBinary), "inspect", part, filepath.Join(m.Dir, part))
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil {
		m.g.t.Fatalf("inspect the %s of %s: %v: %s", part, m.Name, err, complaint.String())
	}
	for in := json.NewDecoder(bytes.NewReader(out)); in.More(); {
		if err := line(in); err != nil {
			m.g.t.Fatalf("inspect the %s of %s: %v", part, m.Name, err)
		}
	}
}

// flipInLog inverts a bit of a record of entries that was proven durable, and that lies behind what the store of this
// stopped member holds durably. Its entries are none of those to be avoided.
func (m *member) flipInLog(rng *rand.Rand, avoid ...record) record {
	m.g.t.Helper()
	store := struct{ Durable uint64 }{}
	m.inspect("store", func(in *json.Decoder) error { return in.Decode(&store) })
	var found []record
	proven := uint64(0)
	m.inspect("log", func(in *json.Decoder) error {
		var r record
		err := in.Decode(&r)
		if proven = max(proven, r.Durable); r.Kind == "entries" && r.First > store.Durable {
			found = append(found, r)
		}
		return err
	})
	var open []record
	for _, r := range found {
		clear := r.Write <= proven
		for _, a := range avoid {
			clear = clear && (r.First > a.Last || r.Last < a.First)
		}
		if clear {
			open = append(open, r)
		}
	}
	if len(open) == 0 {
		m.g.t.Fatalf("%s has no record of entries behind %d that is proven durable, among %d", m.Name, store.Durable, len(found))
	}
	r := open[rng.IntN(len(open))]
	at := r.Offset + rng.Int64N(r.Bytes-8) // its padding, at most 7 bytes, is covered by nothing
	if err := flip(filepath.Join(m.Dir, "log", r.Segment), at, byte(1)<<rng.IntN(8)); err != nil {
		m.g.t.Fatal(err)
	}
	say("torture:   %s: a bit flipped at %d of segment %s, in entries %d to %d; its store holds %d durably", m.Name, at, r.Segment, r.First, r.Last, store.Durable)
	return r
}

// flip inverts bits of one byte of a file.
func flip(name string, at int64, bits byte) error {
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	b := make([]byte, 1)
	_, err = f.ReadAt(b, at)
	if err == nil {
		b[0] ^= bits
		_, err = f.WriteAt(b, at)
	}
	return errors.Join(err, f.Close())
}

// storeDamages are what is done to a store.
var storeDamages = []struct {
	name string
	do   func(store string, rng *rand.Rand) error
}{
	{"tables flipped", func(store string, rng *rand.Rand) error { return flipIn(store, "gen-*/*.sst", rng) }},
	{"manifest flipped", func(store string, rng *rand.Rand) error { return flipIn(store, "gen-*/MANIFEST-*", rng) }},
	{"current flipped", func(store string, rng *rand.Rand) error { return flipIn(store, "current", rng) }},
	{"a table removed", func(store string, rng *rand.Rand) error {
		files, err := matches(store, "gen-*/*.sst")
		if err != nil {
			return err
		}
		return os.Remove(files[rng.IntN(len(files))])
	}},
	{"directory emptied", func(store string, _ *rand.Rand) error {
		return errors.Join(os.RemoveAll(store), os.Mkdir(store, 0o700))
	}},
}

// flipIn inverts a bit in each of some files, in their first half: of a table that is where its data are.
func flipIn(store, pattern string, rng *rand.Rand) error {
	files, err := matches(store, pattern)
	for _, name := range files {
		info, serr := os.Stat(name)
		if serr != nil {
			return serr
		}
		err = errors.Join(err, flip(name, rng.Int64N((info.Size()+1)/2), byte(1)<<rng.IntN(8)))
	}
	return err
}

func matches(store, pattern string) ([]string, error) {
	files, err := filepath.Glob(filepath.Join(store, pattern))
	if err == nil && len(files) == 0 {
		err = fmt.Errorf("there is no %s in %s to damage", pattern, store)
	}
	return files, err
}
