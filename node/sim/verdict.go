package sim

import "fmt"

// end checks the healed world: what was acknowledged is there on every member, and all are equal.
func (t *truth) end(members []*host) error {
	var hash uint64
	for i, h := range members {
		for key, want := range t.acked {
			got, _, err := h.value(key)
			if err != nil || got != want {
				return fmt.Errorf("member %d has %q at %s (%v), %q was acknowledged", h.id, got, key, err, want)
			}
		}
		sum, at, err := h.store.Hash()
		if err != nil {
			return err
		}
		if i == 0 {
			hash = sum
		} else if sum != hash {
			return fmt.Errorf("at index %d member %d has state %x, member %d has %x", at, h.id, sum, members[0].id, hash)
		}
	}
	return nil
}

// sound reports whether nothing of what a member had lost is lost still: it was brought back, replaced or cut, or is
// behind a snapshot.
func (t *truth) sound(h *host) bool {
	b, log := h.replica.Brief(), &t.of(h).log
	return !h.rotten && !h.aside && b.Lost == 0 && !b.Rebuilding && log.hole(log.covered) == 0
}
