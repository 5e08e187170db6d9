package node

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"raftsman.dev/node/kv"
	"raftsman.dev/node/kv/lsm"
	"raftsman.dev/node/raft"
	"raftsman.dev/node/replica"
	"raftsman.dev/node/vfs"
	"raftsman.dev/node/wal"
)

// asideStore is a damaged store that was set aside, until another has taken its place. It belongs to the owner, but
// for mark.
type asideStore struct {
	there bool
	until raft.Index // the new store has taken its place once it has applied that much
	mark  sync.Once
}

// openDisk opens the store and then the log, which need not hold what the store holds durably. A store that is damaged
// is set aside, once the log has proven sound, and an empty one opens in its place: what the log no longer has comes
// from a peer.
func (m *Member) openDisk() (raft.Restored, error) {
	harm := m.openStore()
	if harm != nil && !errors.Is(harm, kv.ErrCorrupt) {
		return raft.Restored{}, harm
	}
	covered, err := m.covered()
	if err != nil {
		return raft.Restored{}, err
	}
	log, restored, err := wal.Open(vfs.OS(), m.dir.Log(), wal.Options{Create: m.id.Cluster == 0, Covered: covered, SegmentBytes: diskUnit(m.disk.size.Load())})
	if err != nil {
		return raft.Restored{}, errors.Join(fmt.Errorf("log of data directory %s: %w", m.cfg.DataDir, err), harm)
	}
	m.log = log
	if harm == nil {
		if applied := m.store.Applied(); applied.Index > 0 && applied.Index < uint64(restored.Base.Position.Index) {
			harm = replica.BehindLog(restored.Base, applied)
		}
	}
	if harm != nil {
		if err := m.replaceStore(harm); err != nil {
			return raft.Restored{}, err
		}
	}
	m.aside.there, err = m.dir.StoreAside()
	return restored, err
}

// covered is what the store holds: all of it is durable when it has just been opened.
func (m *Member) covered() (raft.Base, error) {
	if m.store == nil || m.store.Applied().Index == 0 {
		return raft.Base{}, nil
	}
	return replica.BaseOf(m.store.Applied())
}

// openStore opens the store, unless an earlier boot has marked it as damaged.
func (m *Member) openStore() error {
	why, err := m.dir.StoreDamage()
	if err != nil {
		return err
	}
	if why != "" {
		return fmt.Errorf("store of data directory %s: %s: %w", m.cfg.DataDir, why, kv.ErrCorrupt)
	}
	var opening atomic.Bool
	opening.Store(true)
	size := m.disk.size.Load()
	store, err := kv.Open(m.dir.Store(), kv.Options{Logger: pebbleLog{m, &opening}, MemTableBytes: memTable(size), Full: m.patience(size), Changed: m.changed, Clock: lsm.Clock{Now: time.Now, After: time.After}, Damaged: func(err error) {
		if !opening.Load() { // what opening meets, opening returns
			m.storeFailed(err)
		}
	}})
	opening.Store(false)
	if err != nil {
		return err
	}
	m.store = store
	return nil
}

// replaceStore sets the damaged store aside and opens an empty one.
func (m *Member) replaceStore(harm error) error {
	m.cfg.Log.Error(inOneLine(harm), "the store is damaged: it is set aside, and made again from the log or a peer's snapshot")
	if m.store != nil {
		// Nothing of it is needed any more, and closing what is damaged may well fail.
		_ = m.store.Close()
		m.store = nil
	}
	if err := m.dir.SetStoreAside(); err != nil {
		return err
	}
	return m.openStore()
}

// settleStore removes the store that was set aside once the new one has applied what was known to be committed when
// this boot began.
func (m *Member) settleStore() {
	if !m.aside.there || m.facts.rebuilding.Load() || m.replica.Applied() < m.aside.until {
		return
	}
	m.aside.there = false
	m.wg.Go(func() {
		if err := m.dir.DropStoreAside(); err != nil {
			m.cfg.Log.Error(err, "the store is whole again; the damaged one still lies aside, and is removed at the next start")
			return
		}
		m.cfg.Log.Info("the store is whole again, and the damaged one is removed")
	})
}

// storeFailed stops the member. Damage is marked on disk first, so that the next start does not trust the store.
func (m *Member) storeFailed(err error) {
	if errors.Is(err, kv.ErrCorrupt) {
		m.aside.mark.Do(func() {
			err = inOneLine(fmt.Errorf("the store is damaged: the next start sets it aside and makes it again from the log or a peer's snapshot: %w", err))
			err = errors.Join(err, m.dir.MarkStoreDamaged(err.Error()))
		})
	}
	m.fail(err)
}
