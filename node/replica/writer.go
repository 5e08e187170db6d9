package replica

import (
	"errors"
	"fmt"
	"sync"

	"raftsman.dev/node/raft"
	"raftsman.dev/node/wal"
)

// Writer makes batches durable: everything that has queued since its last turn with one write and one
// fdatasync. The owner queues, the writer's own goroutine runs; only the queue is shared.
type Writer struct {
	log *wal.Log
	mu  struct {
		sync.Mutex
		batches []raft.Batch
		late    []raft.Message
	}
	// spare slices of the turn before, so that a steady state allocates nothing.
	batches []raft.Batch
	late    []raft.Message
}

// Written says what a turn of the Writer made durable: every batch up to Seq, and the messages that may
// leave now.
type Written struct {
	Seq  uint64
	Late []raft.Message
}

func (w *Writer) queue(b raft.Batch, late []raft.Message) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !b.Empty() {
		w.mu.batches = append(w.mu.batches, b)
	}
	for i := range late {
		if n := len(w.mu.late); n > 0 && supersedes(&late[i], &w.mu.late[n-1]) {
			w.mu.late[n-1] = late[i]
			continue
		}
		w.mu.late = append(w.mu.late, late[i])
	}
}

// supersedes reports whether an ack says all that the one before it says: both leave after the same sync, and
// an ack counts for everything up to its match.
func supersedes(m, before *raft.Message) bool {
	if m.To != before.To || m.Term != before.Term || m.ToBoot != before.ToBoot {
		return false
	}
	a, ok := m.Body.(raft.AppendReply)
	b, was := before.Body.(raft.AppendReply)
	return ok && was && !a.Rejected && !b.Rejected && a.Match >= b.Match
}

// Run takes one turn. The zero Written means that there was nothing to do. After wal.ErrNoSpace the turn has not
// happened: the writer has kept everything, and the next turn tries it again. After any other error the log is
// dead and the process must stop: what was promised to nobody is lost, nothing else. The messages of a
// turn are valid until the next one.
func (w *Writer) Run() (Written, error) {
	clear(w.batches[:cap(w.batches)]) // while they are the writer's own: once exchanged, the owner fills them again
	w.mu.Lock()
	batches, late := w.mu.batches, w.mu.late
	w.mu.batches, w.mu.late = w.batches[:0], w.late[:0]
	w.mu.Unlock()
	w.batches, w.late = batches, late
	if len(batches) == 0 {
		return Written{Late: late}, nil
	}
	if err := w.log.Append(batches); err != nil {
		if errors.Is(err, wal.ErrNoSpace) {
			w.putBack()
		}
		return Written{}, fmt.Errorf("append %d batches to the log: %w", len(batches), err)
	}
	return Written{Seq: batches[len(batches)-1].Seq, Late: late}, nil
}

// putBack lets a turn that was not taken be the beginning of the next one.
func (w *Writer) putBack() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.mu.batches, w.mu.late = append(w.batches, w.mu.batches...), append(w.late, w.mu.late...)
	w.batches, w.late = nil, nil
}
