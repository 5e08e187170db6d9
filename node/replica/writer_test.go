package replica

import (
	"testing"

	"raftsman.dev/node/raft"
	"raftsman.dev/node/vfs"
	"raftsman.dev/node/wal"
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

// TestWriterKeepsWhatIsQueuedMeanwhile queues batches while the writer takes its turns, and reads the log back:
// everything that a turn has reported must be there.
func TestWriterKeepsWhatIsQueuedMeanwhile(t *testing.T) {
	entries := 20_000
	if testing.Short() {
		entries = 1000
	}
	disk := vfs.NewMem()
	log, _, err := wal.Open(disk, "log", wal.Options{Create: true, SegmentBytes: 256 << 10})
	if err != nil {
		t.Fatal(err)
	}
	w := Writer{log: log}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range raft.Index(entries) {
			e := raft.Entry{Index: i + 1, Term: 1, Kind: raft.EntryCommand, Payload: []byte("x")}
			e.Seal()
			w.queue(raft.Batch{Seq: uint64(i + 1), Entries: []raft.Entry{e}}, nil)
		}
	}()
	for seq := uint64(0); seq < uint64(entries); {
		turn, err := w.Run()
		if err != nil {
			t.Fatal(err)
		}
		seq = max(seq, turn.Seq)
	}
	<-done
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	_, restored, err := wal.Open(disk, "log", wal.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if len(restored.Entries) != entries {
		t.Errorf("%d entries were reported durable, %d are in the log", entries, len(restored.Entries))
	}
}
