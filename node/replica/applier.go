package replica

import (
	"fmt"
	"sync"

	"raftsman.dev/node/kv"
	"raftsman.dev/node/raft"
)

// Applier brings committed entries into the store: everything that has queued since its last turn in one
// store batch, bounded in bytes. The owner queues, the applier's own goroutine runs.
type Applier struct {
	store   *kv.Store
	waiters *waiters
	mu      struct {
		sync.Mutex
		work  []applyWork
		bytes int
	}
	entries []kv.Entry // of the turn before, reused
}

// applyWork is a run of committed entries, or the switch to a received snapshot.
type applyWork struct {
	entries []raft.Entry
	install *kv.Import
}

// AppliedTurn says how far the store is after a turn, and whether the turn switched to a snapshot.
type AppliedTurn struct {
	Index     raft.Index
	Installed bool
	Points    []raft.Point // of attestation, passed in it
}

// maxApplyBytes bounds the payload of one store batch.
const maxApplyBytes = 4 << 20

func (a *Applier) queue(work applyWork) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.mu.work = append(a.mu.work, work)
	a.mu.bytes += payloadBytes(work.entries)
}

// backlog is the payload that waits to be applied, in bytes.
func (a *Applier) backlog() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.mu.bytes
}

// Run takes one turn. A zero Index means that there was nothing to do.
func (a *Applier) Run() (AppliedTurn, error) {
	install, entries, config, membership := a.take()
	if install != nil {
		if err := a.store.Switch(install); err != nil {
			return AppliedTurn{}, fmt.Errorf("switch the store to a received snapshot: %w", err)
		}
		return AppliedTurn{Index: raft.Index(a.store.Applied().Index), Installed: true, Points: points(a.store)}, nil
	}
	if len(entries) == 0 {
		return AppliedTurn{}, nil
	}
	results, err := a.store.Apply(entries, config, membership)
	if err != nil {
		return AppliedTurn{}, fmt.Errorf("apply entries %d to %d to the store: %w", entries[0].Index, entries[len(entries)-1].Index, err)
	}
	for i := range entries {
		if entries[i].Command != nil {
			a.waiters.applied(results[i].ID, results[i])
		}
	}
	if _, err := a.store.Tidy(tidyFactor * a.store.Grown()); err != nil {
		return AppliedTurn{}, fmt.Errorf("tidy the store after entry %d: %w", entries[len(entries)-1].Index, err)
	}
	return AppliedTurn{Index: raft.Index(entries[len(entries)-1].Index), Points: points(a.store)}, nil
}

// tidyFactor is how many events of compacted history a turn removes for each one that it adds: more than one, so that
// history cannot grow faster than it goes; tidyIdle is how many a turn does that has nothing to apply.
const (
	tidyFactor = 2
	tidyIdle   = 256
)

// Tidy removes some of what compactions have made unreadable, for a goroutine that has nothing to apply; more says that
// something is left.
func (a *Applier) Tidy() (more bool, err error) {
	if more, err = a.store.Tidy(tidyIdle); err != nil {
		err = fmt.Errorf("tidy the store: %w", err)
	}
	return more, err
}

// points takes the points of attestation that the store has passed.
func points(store *kv.Store) []raft.Point {
	var all []raft.Point
	for _, p := range store.TakePoints() {
		all = append(all, raft.Point{Index: raft.Index(p.Index), Sum: p.Effects})
	}
	return all
}

// take removes the next turn's work: one snapshot switch, or as many entries as fit.
func (a *Applier) take() (install *kv.Import, entries []kv.Entry, config uint64, membership []byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	entries = a.entries[:0]
	bytes, used := 0, 0
	for _, work := range a.mu.work {
		if work.install != nil {
			if used == 0 {
				install, used = work.install, 1
			}
			break
		}
		if used > 0 && bytes > maxApplyBytes {
			break
		}
		for _, e := range work.entries {
			ke := kv.Entry{Index: uint64(e.Index), Term: uint64(e.Term)}
			switch e.Kind {
			case raft.EntryCommand:
				ke.Command = e.Payload
			case raft.EntryMembership:
				config, membership = uint64(e.Index), e.Payload
			}
			entries = append(entries, ke)
		}
		bytes += payloadBytes(work.entries)
		used++
	}
	rest := copy(a.mu.work, a.mu.work[used:])
	clear(a.mu.work[rest:])
	a.mu.work = a.mu.work[:rest]
	a.mu.bytes -= bytes
	a.entries = entries
	return install, entries, config, membership
}

func payloadBytes(entries []raft.Entry) int {
	n := 0
	for i := range entries {
		n += len(entries[i].Payload)
	}
	return n
}
