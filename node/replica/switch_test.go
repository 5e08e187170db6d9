package replica

import (
	"slices"
	"testing"

	"raftsman.dev/node/raft"
)

// TestWhatWaitsForASwitch: while the store switches to a snapshot, the log is given nothing and no answer that rests on
// it leaves; afterwards both go on, all of them and in their order.
func TestWhatWaitsForASwitch(t *testing.T) {
	w, h := alone(t, 22, Tuning{})
	r := h.replica
	w.until("the log has nothing to do", func() bool { return r.given == r.written })
	done := make(chan error, 1)
	r.incoming, r.switching = &incoming{base: raft.Base{Position: raft.Position{Index: 100, Term: 5}}, done: done}, true
	for i, to := range []raft.MemberID{2, 3, 4} {
		seq := r.given + uint64(i) + 1
		r.write(raft.Batch{Seq: seq, Hard: &raft.HardState{Term: raft.Term(seq)}}, []raft.Message{{To: to, Body: raft.VoteReply{Granted: true}}})
	}
	if n := len(r.writer.mu.batches) + len(r.writer.mu.late); n != 0 {
		t.Errorf("%d batches and answers do not wait for the switch", n)
	}
	first := r.given + 1
	r.installed()
	var seqs []uint64
	for _, b := range r.writer.mu.batches {
		seqs = append(seqs, b.Seq)
	}
	if want := []uint64{first, first + 1, first + 2}; !slices.Equal(seqs, want) {
		t.Errorf("the log is given batches %v, want %v", seqs, want)
	}
	var to []raft.MemberID
	for _, m := range r.writer.mu.late {
		to = append(to, m.To)
	}
	if want := []raft.MemberID{2, 3, 4}; !slices.Equal(to, want) {
		t.Errorf("answers to %v wait for the log, want %v", to, want)
	}
	if err := <-done; err != nil || r.switching {
		t.Errorf("the switch is not over: %v", err)
	}
}
