package kv

import (
	"encoding/binary"
	"fmt"

	"raftsman.dev/node/kv/engine"
)

// A large value stands in a row of its own, named by the revision and the key that wrote it; the key's row and the event
// in history say so and have the rest. So a value is written once and not twice, in the order of revisions, where it need
// hardly ever be written again, and what the database sorts by keys is small.

// rowValue is the key of the row of a value that stands apart.
func rowValue(dst []byte, at Revision, key []byte) []byte {
	return append(binary.BigEndian.AppendUint64(append(dst, prefixValue), uint64(at)), key...)
}

// appendStored is the row of a version as it is stored: as appendVersion makes it, or, if the value stands apart, a zero
// and that without the value.
func appendStored(b []byte, kv *KeyValue) []byte {
	if !kv.apart {
		return appendVersion(b, kv)
	}
	bare := *kv
	bare.Value = nil
	return appendVersion(append(b, 0), &bare)
}

// decodeStored reads a row as it is stored; the value aliases b, and is not there if it stands apart.
func decodeStored(key, b []byte) (KeyValue, error) {
	apart := len(b) > 0 && b[0] == 0 // no create revision is
	if apart {
		b = b[1:]
	}
	kv, err := decodeVersion(key, b)
	if err == nil && apart && len(kv.Value) > 0 {
		return KeyValue{}, fmt.Errorf("row of key %q has a value of its own and one apart: %w", key, ErrCorrupt)
	}
	kv.apart = apart
	return kv, err
}

// fetch brings in a value that stands apart; it is put behind what is in room.
func (kv *KeyValue) fetch(r engine.Reader, room []byte) error {
	if !kv.apart {
		return nil
	}
	var name [128]byte
	v, closer, err := r.Get(rowValue(name[:0], kv.ModRevision, kv.Key))
	switch {
	case err != nil:
		return damage(fmt.Sprintf("the value of key %q of revision %d", kv.Key, kv.ModRevision), err)
	case closer == nil:
		return fmt.Errorf("the value of key %q of revision %d is not in the store: %w", kv.Key, kv.ModRevision, ErrCorrupt)
	}
	kv.Value = append(room, v...)
	return closer.Close()
}
