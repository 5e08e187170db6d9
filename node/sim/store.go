package sim

import (
	"errors"
	"fmt"

	"raftsman.dev/node/kv"
	"raftsman.dev/node/raft"
	"raftsman.dev/node/replica"
)

// openDisk opens the store and then the log, as a member does (node/repair.go).
func (h *host) openDisk() (raft.Restored, error) {
	store, err := kv.Open("store", h.state.options())
	if err != nil {
		return raft.Restored{}, fmt.Errorf("open the store: %w", err)
	}
	h.store = store
	base, err := covered(store)
	if err != nil {
		return raft.Restored{}, err
	}
	log, restored, err := openLog(h.faulty, h.dir.Identity().Cluster == 0, base)
	if err != nil {
		return raft.Restored{}, fmt.Errorf("open the log: %w", err)
	}
	h.log = log
	return restored, nil
}

// shut lets go of what a start that failed has opened.
func (h *host) shut() error {
	var err error
	if h.store != nil {
		err = h.store.Close()
	}
	h.store, h.log = nil, nil
	return err
}

// covered is what a store holds that has just been opened: all of it is durable.
func covered(store *kv.Store) (raft.Base, error) {
	if store.Applied().Index == 0 {
		return raft.Base{}, nil
	}
	return replica.BaseOf(store.Applied())
}

// atRest is what the store of a host that is down covers.
func (h *host) atRest() (raft.Base, error) {
	store, err := kv.Open("store", h.state.crash(h.w).options())
	if err != nil {
		return raft.Base{}, err
	}
	base, err := covered(store)
	return base, errors.Join(err, store.Close())
}

// lostIn are the entries of a log whose content is gone.
func lostIn(found raft.Restored) []raft.Position {
	var lost []raft.Position
	for _, e := range found.Entries {
		if e.Lost() {
			lost = append(lost, e.Position())
		}
	}
	return lost
}
