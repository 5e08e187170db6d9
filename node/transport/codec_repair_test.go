package transport

import (
	"bytes"
	"encoding/hex"
	"errors"
	"testing"

	"raftsman.dev/node/raft"
)

// TestGoldenRepair pins one frame of each kind that repair has.
func TestGoldenRepair(t *testing.T) {
	e := raft.Entry{Index: 8, Term: 3, Kind: raft.EntryCommand, Payload: []byte("put")}
	e.Seal()
	for _, c := range []struct {
		body raft.Body
		want string
	}{
		{raft.RepairRequest{From: 8, To: 9}, "0b0000000d000000f5f803279a03010208090000c0c0c0"},
		{raft.RepairReply{First: 3, Entries: []raft.Entry{e}}, "280000000e000000022b09c99a03010203000000c41c030000008f2a33ed0800000000000000030000000000000002707574c0c0"},
		{raft.SnapshotRequest{Min: 8, Committed: raft.Position{Index: 7, Term: 3}}, "0b0000000f000000a83d52a99a03010208070300c0c0c0"},
	} {
		enc := newEncoder()
		if err := enc.add(raft.Message{Term: 3, FromBoot: 1, ToBoot: 2, Body: c.body}); err != nil {
			t.Fatal(err)
		}
		if got := hex.EncodeToString(enc.buf.Bytes()); got != c.want {
			t.Errorf("the frame of %T has changed (version 1 is frozen): %s", c.body, got)
		}
	}
}

// TestDamagedRepairIsRefused: an entry that does not verify does not come in by a repair either, nor one whose
// content is lost.
func TestDamagedRepairIsRefused(t *testing.T) {
	good := raft.Entry{Index: 8, Term: 3, Kind: raft.EntryCommand, Payload: []byte("put")}
	good.Seal()
	other := good
	other.Payload = []byte("pat")
	for _, e := range []raft.Entry{other, {Index: 8, Term: 3, Sum: good.Sum}} {
		enc := newEncoder()
		if err := enc.add(raft.Message{Body: raft.RepairReply{First: 1, Entries: []raft.Entry{e}}}); err != nil {
			t.Fatal(err)
		}
		kind, body, err := readFrame(bytes.NewReader(enc.buf.Bytes()))
		if err != nil {
			t.Fatal(err)
		}
		if m, _, err := newDecoder().message(kind, body); !errors.Is(err, ErrFrame) {
			t.Errorf("%+v came in as %+v (%v)", e, m, err)
		}
	}
}
