package transport

import (
	"fmt"

	"raftsman.dev/node/raft"
)

// fillRepair fills in what members ask of each other to repair damage; 0 for any other body.
func (e *encoder) fillRepair(body raft.Body) (kind uint8) {
	v := &e.env
	switch b := body.(type) {
	case raft.RepairRequest:
		v.A, v.B = uint64(b.From), uint64(b.To)
		return frameRepairRequest
	case raft.RepairReply:
		v.A, v.Raw = uint64(b.First), e.entries(b.Entries)
		return frameRepairReply
	case raft.SnapshotRequest:
		v.A, v.B, v.C = uint64(b.Min), uint64(b.Committed.Index), uint64(b.Committed.Term)
		return frameSnapshotRequest
	}
	return 0
}

func (d *decoder) repair(kind uint8) (raft.Body, error) {
	v := &d.env
	switch kind {
	case frameRepairRequest:
		return raft.RepairRequest{From: raft.Index(v.A), To: raft.Index(v.B)}, nil
	case frameRepairReply:
		entries, err := d.entries()
		if err != nil {
			return nil, fmt.Errorf("repair reply: %w: %w", ErrFrame, err)
		}
		return raft.RepairReply{First: raft.Index(v.A), Entries: entries}, nil
	}
	return raft.SnapshotRequest{Min: raft.Index(v.A), Committed: raft.Position{Index: raft.Index(v.B), Term: raft.Term(v.C)}}, nil
}
