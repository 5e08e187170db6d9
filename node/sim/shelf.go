package sim

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"

	"raftsman.dev/node/vfs"
)

// shelf is what the stores on one disk stand on, by the name that lies in a store's directory: so directories may be
// renamed and removed, and a loss of power may take that back.
type shelf map[string]ground

const storeDir, groundFile = "data/store", "ground"

// place finds what the store stands on; where there is no store, it is something new.
func (h *host) place() error {
	name, err := vfs.ReadFile(h.faulty, storeDir+"/"+groundFile, 32)
	if errors.Is(err, fs.ErrNotExist) {
		name = fmt.Appendf(nil, "%d", h.life)
		err = errors.Join(h.faulty.MkdirAll(storeDir), h.faulty.SyncDir("data"))
		if err == nil {
			err = vfs.WriteFile(h.faulty, storeDir, groundFile, name)
		}
	}
	if err != nil {
		return fmt.Errorf("the store's place: %w", err)
	}
	h.standing = string(name)
	if h.shelf[h.standing] == nil {
		h.shelf[h.standing] = h.w.newGround()
	}
	return nil
}

// ground is what the store stands on, or stood on last.
func (h *host) ground() ground {
	if h.shelf[h.standing] == nil {
		return h.w.newGround()
	}
	return h.shelf[h.standing]
}

// crash is the shelf as it is found when the power goes now. Only one store is ever open.
func (s shelf) crash(w *World, standing string) shelf {
	found := maps.Clone(s)
	if g := s[standing]; g != nil {
		found[standing] = g.crash(w)
	}
	return found
}
