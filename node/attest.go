package node

import (
	"errors"
	"fmt"

	"raftsman.dev/node/admin"
	"raftsman.dev/node/raft"
)

// heedDivergence acts on what the attestation has found. A member whose own state differs answers no client from now
// on; it goes on with the log, on which its state has no influence. Its store is marked like a damaged one: the next
// start sets it aside and makes it again. Under an operator that start comes at once.
func (m *Member) heedDivergence(e raft.Diverged) {
	d := e.Divergence
	where := []any{"index", uint64(d.Index), "sum", d.Own, "majority", d.Majority}
	if e.Who != m.id.Member {
		m.cfg.Log.Info("a member's state differs from the majority's", append(where, "member", m.nameOf(e.Who))...)
		return
	}
	m.facts.diverged.Store(&d)
	m.cfg.Log.Info("this member's state differs from the majority's: it serves no clients", append(where, "next", "start the process again: it makes its store again from a peer's")...)
	m.wg.Go(func() {
		why := fmt.Errorf("the state at index %d has the sum %08x, the majority's has %08x", d.Index, d.Own, d.Majority)
		err := m.dir.MarkStoreDamaged(why.Error())
		if err != nil || m.cfg.Managed {
			m.fail(errors.Join(why, err))
		}
	})
}

// divergence is what a status says of one; nil is none.
func divergence(d *raft.Divergence) *admin.Divergence {
	if d == nil || *d == (raft.Divergence{}) {
		return nil
	}
	return &admin.Divergence{Index: uint64(d.Index), Sum: fmt.Sprintf("%08x", d.Own), Majority: fmt.Sprintf("%08x", d.Majority)}
}
