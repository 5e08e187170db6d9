package raft

import (
	"errors"
	"math/rand/v2"
	"testing"
)

// TestDefaults pins the defaults that the comments of Config promise.
func TestDefaults(t *testing.T) {
	var got Config
	got.Default()
	want := Config{
		ElectionTicks: 10, HeartbeatTicks: 1, DiskPatienceTicks: 30, MaxAppendBytes: 1 << 20, MaxInflightMessages: 256,
		MaxInflightBytes: 16 << 20, MaxUncommittedBytes: 64 << 20, TailBytes: 32 << 20, CaughtUpLag: 64,
	}
	if got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	given := Config{ElectionTicks: 7, HeartbeatTicks: 2, DiskPatienceTicks: 3, MaxAppendBytes: 4, MaxInflightMessages: 5, MaxInflightBytes: 6, MaxUncommittedBytes: 8, TailBytes: 9, CaughtUpLag: 11}
	kept := given
	kept.Default()
	if kept != given {
		t.Errorf("%+v became %+v: what is given stays", given, kept)
	}
}

// TestValidateRefusesWhatCannotWork moves each field to the edge and past it.
func TestValidateRefusesWhatCannotWork(t *testing.T) {
	for name, c := range map[string]struct {
		change func(c *Config)
		bad    bool
	}{
		"as it is":                         {func(*Config) {}, false},
		"no ID":                            {func(c *Config) { c.ID = 0 }, true},
		"no boot":                          {func(c *Config) { c.Boot = 0 }, true},
		"no random source":                 {func(c *Config) { c.Rand = nil }, true},
		"heartbeat of 1":                   {func(c *Config) { c.HeartbeatTicks = 1 }, false},
		"heartbeat below 1":                {func(c *Config) { c.HeartbeatTicks = -1 }, true},
		"election one above the heartbeat": {func(c *Config) { c.ElectionTicks, c.HeartbeatTicks = 5, 4 }, false},
		"election as the heartbeat":        {func(c *Config) { c.ElectionTicks, c.HeartbeatTicks = 5, 5 }, true},
		"election below the heartbeat":     {func(c *Config) { c.ElectionTicks, c.HeartbeatTicks = 5, 6 }, true},
		"patience of 1":                    {func(c *Config) { c.DiskPatienceTicks = 1 }, false},
		"patience below 1":                 {func(c *Config) { c.DiskPatienceTicks = -1 }, true},
		"append of 1":                      {func(c *Config) { c.MaxAppendBytes = 1 }, false},
		"append below 1":                   {func(c *Config) { c.MaxAppendBytes = -1 }, true},
		"messages of 1":                    {func(c *Config) { c.MaxInflightMessages = 1 }, false},
		"messages below 1":                 {func(c *Config) { c.MaxInflightMessages = -1 }, true},
		"bytes of 1":                       {func(c *Config) { c.MaxInflightBytes = 1 }, false},
		"bytes below 1":                    {func(c *Config) { c.MaxInflightBytes = -1 }, true},
		"uncommitted of 1":                 {func(c *Config) { c.MaxUncommittedBytes = 1 }, false},
		"uncommitted below 1":              {func(c *Config) { c.MaxUncommittedBytes = -1 }, true},
		"tail of 1":                        {func(c *Config) { c.TailBytes = 1 }, false},
		"tail below 1":                     {func(c *Config) { c.TailBytes = -1 }, true},
	} {
		cfg := Config{ID: 1, Boot: 1, Rand: rand.New(rand.NewPCG(1, 1))}
		cfg.Default()
		c.change(&cfg)
		_, err := New(cfg, Restored{})
		if (err != nil) != c.bad || (cfg.Validate() != nil) != c.bad {
			t.Errorf("%s: error %v, want one: %v", name, err, c.bad)
		}
	}
	for name, zero := range map[string]Config{
		"patience": {ID: 1, Boot: 1, ElectionTicks: 10, HeartbeatTicks: 1, MaxAppendBytes: 1, MaxInflightMessages: 1, MaxInflightBytes: 1, MaxUncommittedBytes: 1, TailBytes: 1},
		"append":   {ID: 1, Boot: 1, ElectionTicks: 10, HeartbeatTicks: 1, DiskPatienceTicks: 1, MaxInflightMessages: 1, MaxInflightBytes: 1, MaxUncommittedBytes: 1, TailBytes: 1},
		"messages": {ID: 1, Boot: 1, ElectionTicks: 10, HeartbeatTicks: 1, DiskPatienceTicks: 1, MaxAppendBytes: 1, MaxInflightBytes: 1, MaxUncommittedBytes: 1, TailBytes: 1},
		"bytes":    {ID: 1, Boot: 1, ElectionTicks: 10, HeartbeatTicks: 1, DiskPatienceTicks: 1, MaxAppendBytes: 1, MaxInflightMessages: 1, MaxUncommittedBytes: 1, TailBytes: 1},
		"pending":  {ID: 1, Boot: 1, ElectionTicks: 10, HeartbeatTicks: 1, DiskPatienceTicks: 1, MaxAppendBytes: 1, MaxInflightMessages: 1, MaxInflightBytes: 1, TailBytes: 1},
		"tail":     {ID: 1, Boot: 1, ElectionTicks: 10, HeartbeatTicks: 1, DiskPatienceTicks: 1, MaxAppendBytes: 1, MaxInflightMessages: 1, MaxInflightBytes: 1, MaxUncommittedBytes: 1},
	} {
		zero.Rand = rand.New(rand.NewPCG(1, 1))
		if zero.Validate() == nil {
			t.Errorf("%s of 0 is accepted", name)
		}
	}
}

// TestRestoredMustFitTogether: what a disk gives back is checked before anything is built on it.
func TestRestoredMustFitTogether(t *testing.T) {
	base := Base{Position: Position{10, 3}, Config: 1, Membership: voters(3)}
	entries := commands(10, 3, 4)
	for name, c := range map[string]struct {
		r   Restored
		bad bool
	}{
		"applied at the base":           {Restored{Base: base, Hard: HardState{Term: 4}, Entries: entries, Applied: 10}, false},
		"applied at the end":            {Restored{Base: base, Hard: HardState{Term: 4}, Entries: entries, Applied: 12}, false},
		"applied past the end":          {Restored{Base: base, Hard: HardState{Term: 4}, Entries: entries, Applied: 13}, true},
		"hard state of an earlier term": {Restored{Base: base, Hard: HardState{Term: 3}, Entries: entries, Applied: 10}, true},
		"hard state behind the base":    {Restored{Base: base, Hard: HardState{Term: 2}, Applied: 10}, true},
		"a gap behind the base":         {Restored{Base: base, Hard: HardState{Term: 4}, Entries: entries[1:], Applied: 10}, true},
		"an entry twice":                {Restored{Base: base, Hard: HardState{Term: 4}, Entries: append(commands(10, 3), commands(10, 3)...), Applied: 10}, true},
		"a term that goes back":         {Restored{Base: base, Hard: HardState{Term: 4}, Entries: commands(10, 4, 3), Applied: 10}, true},
		"a term before the base's":      {Restored{Base: base, Hard: HardState{Term: 4}, Entries: commands(10, 2), Applied: 10}, true},
		"a membership that is none":     {Restored{Base: base, Hard: HardState{Term: 4}, Entries: []Entry{sealed(11, 3, EntryMembership, []byte("x"))}, Applied: 10}, true},
	} {
		core, err := New(Config{ID: 1, Boot: 1, Rand: rand.New(rand.NewPCG(1, 1))}, c.r)
		if (err != nil) != c.bad || err != nil && (!errors.Is(err, ErrMalformed) || core != nil) {
			t.Errorf("%s: error %v, want one: %v", name, err, c.bad)
		}
	}
}

// TestRestoredCommit: a member starts with what its hard state calls committed as far as its log has it, and never
// with less than it has applied.
func TestRestoredCommit(t *testing.T) {
	for _, c := range []struct{ commit, applied, want Index }{{0, 0, 0}, {2, 1, 2}, {9, 1, 3}, {1, 3, 3}, {3, 3, 3}} {
		entries := append([]Entry{sealed(1, 1, EntryMembership, voters(3).AppendTo(nil))}, commands(1, 1, 1)...)
		l := labOf(t, Config{ID: 1}, Restored{Hard: HardState{Term: 1, Commit: c.commit}, Entries: entries, Applied: c.applied})
		if l.commit != c.want || l.Brief().Commit != c.want {
			t.Errorf("hard state's commit %d, applied %d: commit %d, want %d", c.commit, c.applied, l.commit, c.want)
		}
		if n := Index(len(l.applied)); n != c.want-c.applied {
			t.Errorf("hard state's commit %d, applied %d: %d entries are applied at once, want %d", c.commit, c.applied, n, c.want-c.applied)
		}
	}
}
