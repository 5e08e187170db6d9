package sim

import (
	"errors"
	"fmt"

	"raftsman.dev/node/kv"
	"raftsman.dev/node/raft"
	"raftsman.dev/node/replica"
)

// openDisk opens the store and then the log, as a member does (node/repair.go): a damaged store is set aside once the
// log has proven sound.
func (h *host) openDisk() (raft.Restored, error) {
	harm := h.openStore()
	if harm != nil && !errors.Is(harm, kv.ErrCorrupt) {
		return raft.Restored{}, harm
	}
	base, err := covered(h.store)
	if err != nil {
		return raft.Restored{}, err
	}
	log, restored, err := openLog(h.faulty, h.dir.Identity().Cluster == 0, base)
	if err != nil {
		return raft.Restored{}, errors.Join(fmt.Errorf("open the log: %w", err), harm)
	}
	h.log = log
	if harm == nil && base.Position.Index > 0 && base.Position.Index < restored.Base.Position.Index {
		harm = replica.BehindLog(restored.Base, h.store.Applied())
		h.w.fail("member %d: %w", h.id, harm)
	}
	if harm != nil {
		if err := h.replaceStore(harm); err != nil {
			return raft.Restored{}, err
		}
	}
	h.aside, err = h.dir.StoreAside()
	return restored, err
}

// openStore opens the store, unless an earlier boot has marked it as damaged.
func (h *host) openStore() error {
	why, err := h.dir.StoreDamage()
	if err != nil {
		return err
	}
	if why != "" {
		return fmt.Errorf("the store is marked: %s: %w", why, kv.ErrCorrupt)
	}
	if err := h.place(); err != nil {
		return err
	}
	life, opening := h.life, true
	opts := h.ground().options()
	opts.Damaged = func(err error) {
		if !opening && h.life == life {
			h.storeFailed(err)
		}
	}
	h.ground().sicken(h.ill.store)
	store, err := kv.Open("store", opts)
	opening = false
	if err != nil {
		return fmt.Errorf("open the store: %w", err)
	}
	h.store = store
	return nil
}

// replaceStore sets the damaged store aside and opens an empty one.
func (h *host) replaceStore(harm error) error {
	if !h.rotten && !h.altered.marked {
		h.w.fail("member %d holds a sound store for damaged: %w", h.id, harm)
	}
	if h.store != nil {
		_ = h.store.Close() // nothing of it is needed any more
		h.store = nil
	}
	h.w.story.line(h.w, h.id, "sets its store aside: %v", harm)
	if err := h.dir.SetStoreAside(); err != nil {
		return err
	}
	if h.altered.marked {
		h.w.fault("altered store set aside")
	} else {
		h.w.fault("damaged store set aside")
	}
	h.rotten, h.altered.marked, h.standing = false, false, "" // also where there is no place for another one yet
	h.stood()
	return h.openStore()
}

// settleStore removes the store that was set aside once the new one has applied what was known to be committed when
// this boot began.
func (h *host) settleStore() {
	if !h.aside || h.replica.Brief().Rebuilding || h.store.Applied().Index < uint64(h.asideUntil) {
		return
	}
	h.aside = false
	h.later(0, func() {
		if err := h.dir.DropStoreAside(); !h.died(err) {
			h.w.fault("damaged store removed, another in its place")
		}
	})
}

// storeFailed is what a running member does that meets damage in its store: it marks it and stops.
func (h *host) storeFailed(err error) {
	if h.harmed || !h.up() {
		return
	}
	h.harmed = true
	if !h.rotten {
		h.w.fail("member %d meets damage in a sound store: %w", h.id, err)
	}
	h.w.fault("store found damaged while running")
	h.w.story.line(h.w, h.id, "its store is damaged: %v", err)
	if err := h.dir.MarkStoreDamaged(err.Error()); err != nil && !h.ill.explains(err) && !errors.Is(err, errPower) {
		h.w.fail("member %d: %w", h.id, err)
	}
	h.dying, h.killed = true, true
	life := h.life
	h.w.after(0, func() {
		if h.life == life {
			h.crash()
		}
	})
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
	if store == nil || store.Applied().Index == 0 {
		return raft.Base{}, nil
	}
	return replica.BaseOf(store.Applied())
}

// atRest is what the sound store of a host that is down covers.
func (h *host) atRest() (raft.Base, error) {
	store, err := kv.Open("store", h.ground().crash(h.w).options())
	if err != nil {
		return raft.Base{}, err
	}
	base, err := covered(store)
	return base, errors.Join(err, store.Close())
}

// rotStore lets a disk change what lies of a store on it. Rows are met when somebody reads them. What tells which rows
// are in force is met at the next start: that comes at once, so that what has to be rebuilt is known.
func (h *host) rotStore() {
	w := h.w
	name := w.rng.IntN(2) == 0
	if !h.joined || h.ill.kind != "" || h.unsound() || !w.bearsStore(h, name) {
		return
	}
	if name && h.up() {
		h.killed = w.rng.IntN(2) == 0
		h.crash()
	}
	if !h.logAlone() || !h.ground().rot(w, name) {
		return
	}
	kind := "rows of a store rotten"
	if name {
		kind = "store's generation unnamed"
	}
	h.rotten, h.known = true, name
	w.fault(kind)
	w.story.line(w, h.id, "damaged: %s", kind)
}

// logAlone reports whether the log of a host holds everything without the help of its store: damage there that the
// store made harmless would not be any more.
func (h *host) logAlone() bool {
	log, found, err := openLog(h.disk.Clone(), false, raft.Base{})
	if err != nil {
		return false
	}
	h.w.ok(log.Close())
	return len(lostIn(found)) == 0
}

// scrub reads a store that has rotted.
func (h *host) scrub() {
	if h.up() && h.rotten && !h.harmed {
		if _, _, err := h.store.Hash(); err == nil {
			h.rotten = false // what had rotted was written anew
			h.w.fault("rotten rows written anew")
		}
	}
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
