package replica

import (
	"testing"

	"raftsman.dev/node/raft"
)

func TestAcksOfOneSyncAreOne(t *testing.T) {
	ack := func(to raft.MemberID, term raft.Term, match raft.Index) raft.Message {
		return raft.Message{To: to, Term: term, Body: raft.AppendReply{Match: match}}
	}
	rejected := raft.Message{To: 1, Term: 3, Body: raft.AppendReply{Match: 9, Rejected: true}}
	vote := raft.Message{To: 1, Term: 3, Body: raft.VoteReply{Granted: true}}
	for name, c := range map[string]struct {
		late, want []raft.Message
	}{
		"the newest says it all":       {[]raft.Message{ack(1, 3, 5), ack(1, 3, 6), ack(1, 3, 8)}, []raft.Message{ack(1, 3, 8)}},
		"an older one does not":        {[]raft.Message{ack(1, 3, 8), ack(1, 3, 6)}, []raft.Message{ack(1, 3, 8), ack(1, 3, 6)}},
		"nor does another receiver's":  {[]raft.Message{ack(1, 3, 5), ack(2, 3, 6)}, []raft.Message{ack(1, 3, 5), ack(2, 3, 6)}},
		"nor one of another term":      {[]raft.Message{ack(1, 3, 5), ack(1, 4, 6)}, []raft.Message{ack(1, 3, 5), ack(1, 4, 6)}},
		"a rejection is not an ack":    {[]raft.Message{ack(1, 3, 5), rejected, ack(1, 3, 6)}, []raft.Message{ack(1, 3, 5), rejected, ack(1, 3, 6)}},
		"a vote in between stays":      {[]raft.Message{ack(1, 3, 5), vote, ack(1, 3, 6)}, []raft.Message{ack(1, 3, 5), vote, ack(1, 3, 6)}},
		"one that came first survives": {[]raft.Message{vote, ack(1, 3, 5)}, []raft.Message{vote, ack(1, 3, 5)}},
	} {
		t.Run(name, func(t *testing.T) {
			var w Writer
			w.queue(raft.Batch{}, c.late[:1])
			w.queue(raft.Batch{}, c.late[1:])
			got, err := w.Run()
			if err != nil || len(got.Late) != len(c.want) {
				t.Fatalf("got %+v, %v; want %+v", got.Late, err, c.want)
			}
			for i := range c.want {
				if got.Late[i] != c.want[i] {
					t.Errorf("message %d is %+v, want %+v", i, got.Late[i], c.want[i])
				}
			}
		})
	}
}
