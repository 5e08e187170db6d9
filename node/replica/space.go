package replica

import (
	"errors"
	"sync/atomic"

	"raftsman.dev/node/kv"
	"raftsman.dev/node/raft"
)

// ErrNoSpace: the disks of this member's leader, or of too many voters, have too little space left for it. Nothing
// was done, unless the error matches ErrUnknown as well: then a leader refused the only copy that was sent to it, and
// only a network that makes copies of its own could have brought it another.
var ErrNoSpace = errors.New("too little disk space")

// noSpaceThere is what another member's refusal becomes.
func noSpaceThere() error { return errors.Join(ErrNoSpace, ErrUnknown) }

// room is what the leader takes of commands, for the goroutines of clients.
type room struct{ now atomic.Pointer[raft.Space] }

// refuses reports whether a command would only be refused by the leader.
func (r *room) refuses(cmd *kv.Command) bool {
	s := r.now.Load()
	return s != nil && (s.Out || s.Low && cmd.Grows())
}

// Space tells the core how much space this member's disk has. While it is low the log keeps no more than it must.
func (r *Replica) Space(s raft.Space) {
	r.low = s.Low || s.Out
	r.step(s)
	if r.low {
		r.looked = 0 // a cut that the store was not ready for is asked for again
		r.maybeCut()
	}
}

// keepWhenLow is how many applied entries stay in the log while the disk is low on space.
const keepWhenLow = 64

// keep is how many applied entries are to stay in the log.
func (r *Replica) keep() raft.Index {
	keep := raft.Index(r.tuning.KeepEntries)
	if r.low {
		keep = min(keep, keepWhenLow)
	}
	return keep
}
