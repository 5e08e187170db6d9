package kv

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"raftsman.dev/node/kv/lsm"
	"raftsman.dev/node/kv/memory"
)

// ground is what the stores of a test stand on. What the engine's interface promises is tested on each.
type ground interface {
	// options are those of the store in dir; what was there before is there again. Little data already rotates
	// memory tables and overflows the cache.
	options(dir string) Options
	// generations is how many the store in dir has, in force or not.
	generations(dir string) int
}

// onEach runs a test on every engine.
func onEach(t *testing.T, f func(t *testing.T, g ground)) {
	t.Helper()
	t.Run("pebble", func(t *testing.T) { f(t, onPebble{vfs.NewMem()}) })
	t.Run("memory", func(t *testing.T) { f(t, inMemory{}) })
}

type onPebble struct{ fs vfs.FS }

func (p onPebble) options(string) Options {
	o := small(p.fs)
	o.Clock = lsm.Clock{Now: time.Now, After: time.After}
	return o
}

func (p onPebble) generations(dir string) int {
	names, err := p.fs.List(dir)
	if err != nil {
		return 0
	}
	n := 0
	for _, name := range names {
		if strings.HasPrefix(name, "gen-") {
			n++
		}
	}
	return n
}

type inMemory map[string]*memory.Disk

func (m inMemory) disk(dir string) *memory.Disk {
	if m[dir] == nil {
		m[dir] = memory.New()
	}
	return m[dir]
}

func (m inMemory) options(dir string) Options {
	o := small(nil)
	o.Engine = m.disk(dir)
	return o
}

func (m inMemory) generations(dir string) int { return len(m.disk(dir).Generations()) }

// TestOpenOnce: a store is open once at a time, and that is no damage.
func TestOpenOnce(t *testing.T) {
	onEach(t, func(t *testing.T, g ground) {
		s := mustOpen(t, "s", g.options("s"))
		mustApply(t, s, puts(1, 3, letter, "v"))
		if err := s.Flush(); err != nil {
			t.Fatal(err)
		}
		if again, err := Open("s", g.options("s")); err == nil || isDamage(err) {
			t.Fatalf("opened twice: %v %v", again, err)
		}
		mustClose(t, s)
		s = mustOpen(t, "s", g.options("s"))
		if s.Applied().Index != 3 {
			t.Fatalf("opened again at entry %d", s.Applied().Index)
		}
		mustClose(t, s)
	})
}

func isDamage(err error) bool { return errors.Is(err, ErrCorrupt) }
