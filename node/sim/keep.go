package sim

import (
	"fmt"

	"raftsman.dev/node/kv"
	"raftsman.dev/node/replica"
)

// keepHouse has the store do what clients' reads and writes do not: history is compacted, leases are granted, taken away
// and written down, and keys attached to them. Nobody is told the outcome: that members agree in it, at every index
// and in the end, is what is checked.
func (w *World) keepHouse(h *host) {
	_, _ = h.propose(w.chore(h)) // refused, it is certainly not done, and nobody waits for it
}

// propose has a host's replica propose a command; after an error it is certainly not done.
func (h *host) propose(c kv.Command) (*replica.Proposal, error) {
	p, err := h.replica.Register(c, h.replica.Now())
	if err != nil {
		return nil, err
	}
	h.later(0, func() {
		h.replica.Propose([]*replica.Proposal{p})
		h.pump()
	})
	return p, nil
}

// keptLeases is how many leases there are at most.
const keptLeases = 8

func (w *World) chore(h *host) kv.Command {
	id := int64(1 + w.rng.IntN(keptLeases))
	key := fmt.Appendf(nil, "leased-%d", w.rng.IntN(20))
	switch w.rng.IntN(8) {
	case 0:
		back := kv.Revision(w.rng.IntN(60))
		return kv.Command{Compact: &kv.Compaction{Revision: h.store.Revision() - back}}
	case 1:
		return kv.Command{Grant: &kv.Lease{ID: id, TTL: 1 + w.rng.Int64N(100)}}
	case 2:
		return kv.Command{Revoke: &kv.Revocation{Leases: []int64{id}}}
	case 3:
		at := h.store.Applied()
		return kv.Command{Revoke: &kv.Revocation{Term: at.Term, Seen: at.Index, Leases: []int64{id, id + 1}}}
	case 4:
		at := h.store.Applied()
		return kv.Command{Checkpoint: &kv.Checkpoint{Term: at.Term, Seen: at.Index, Leases: []kv.Lease{{ID: id, Remaining: w.rng.Int64N(50)}}}}
	case 5:
		return kv.Command{Txn: kv.Txn{Success: []kv.Op{{Delete: &kv.DeleteRequest{Key: key, End: []byte("leased-3")}}}}}
	}
	return kv.Command{Txn: kv.Txn{Success: []kv.Op{{Put: &kv.PutRequest{Key: key, Value: key, Lease: id}}}}}
}
