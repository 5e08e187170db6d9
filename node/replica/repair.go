package replica

import (
	"fmt"

	"raftsman.dev/node/kv"
	"raftsman.dev/node/raft"
)

// keptLog is where the log is to be cut once the store has switched to a snapshot and the log goes on behind it:
// when everything is durable that the Writer had been given by then. Among that may be entries before the cut, and
// lost ones that are brought back.
type keptLog struct {
	base  raft.Base
	after uint64 // batch
}

// cutAt cuts the log behind a snapshot that the store has switched to. The state there is durable; should power fail
// before the log is cut, the next start finds the store ahead of what the log needs, which is harmless.
func (r *Replica) cutAt(base raft.Base) {
	r.kept = &keptLog{base: base, after: r.given}
	r.cutKept()
}

func (r *Replica) cutKept() {
	if k := r.kept; k != nil && !r.cutting && r.written >= k.after {
		r.kept, r.cutting = nil, true
		r.env.CutLog(k.base)
	}
}

// BehindLog is the damage of a store that ends before its log begins: what lies between is in neither. It matches
// kv.ErrCorrupt.
func BehindLog(base raft.Base, applied kv.Applied) error {
	return fmt.Errorf("the log begins after %v, but the store holds only up to %d@%d: the store is damaged or another's: %w", base.Position, applied.Index, applied.Term, kv.ErrCorrupt)
}
