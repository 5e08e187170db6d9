package kv

import (
	"encoding/binary"
	"fmt"
	"hash"
	"hash/crc64"
	"io"
)

// Hash is a checksum of the logical state at the returned applied index: equal on equal members, whatever the batches
// were in which they applied, and however far each has tidied its history.
func (s *Store) Hash() (sum, applied uint64, err error) {
	v := s.View()
	defer v.Close()
	h := crc64.New(crc64.MakeTable(crc64.ECMA))
	m := v.meta
	m.tidied = never
	_, _ = h.Write(m.append(nil))
	err = v.rows(nil, func(key, value []byte) error {
		switch key[0] {
		case prefixKey: // members may differ in which values stand apart
			kv, err := decodeStored(key[1:], value)
			if err == nil {
				err = kv.fetch(v.snap, nil)
			}
			if err != nil {
				return err
			}
			writeRow(h, key, appendVersion(nil, &kv))
		case prefixWindow, prefixLease, prefixAttached:
			writeRow(h, key, value)
		}
		return nil
	})
	if err == nil {
		err = v.hashVersions(h, m.revision)
	}
	if err != nil {
		return 0, 0, fmt.Errorf("hash the store: %w", err)
	}
	return h.Sum64(), v.meta.Index, nil
}

// KeysHash is a checksum of all versions that a read at any revision up to the given one could see.
type KeysHash struct {
	Sum uint32
	// At is the revision up to which versions count, Revision the store's, Compacted the oldest one that can be read.
	At, Revision, Compacted Revision
}

// HashKeys is etcd's HashKV: it is equal on members with the same compacted revision that have what came up to
// revision at. 0 is the newest. Errors: ErrCompacted, ErrFutureRevision.
func (s *Store) HashKeys(at Revision) (KeysHash, error) {
	v := s.View()
	defer v.Close()
	if at == 0 {
		at = v.meta.revision
	}
	if err := checkRevision(v.meta.revision, v.meta.compacted, &RangeRequest{Revision: at}); err != nil {
		return KeysHash{}, err
	}
	h := crc64.New(crc64.MakeTable(crc64.ECMA))
	if err := v.hashVersions(h, at); err != nil {
		return KeysHash{}, fmt.Errorf("hash the store: %w", err)
	}
	sum := h.Sum64()
	return KeysHash{Sum: uint32(sum) ^ uint32(sum>>32), At: at, Revision: v.meta.revision, Compacted: v.meta.compacted}, nil
}

// hashVersions goes through the state at the compacted revision, and through all events after it up to revision at.
func (v *View) hashVersions(h hash.Hash, at Revision) error {
	if v.err != nil {
		return v.err
	}
	base := v.meta.compacted
	if base > 0 {
		err := past{r: v.snap, at: base}.scan(nil, nil, true, func(kv KeyValue) bool {
			writeRow(h, kv.Key, appendVersion(nil, &kv))
			return true
		})
		if err != nil {
			return err
		}
	}
	return v.Events(base, func(e Event) bool {
		if e.KV.ModRevision > at {
			return false
		}
		if e.KV.ModRevision > base {
			writeRow(h, binary.BigEndian.AppendUint64(nil, uint64(e.KV.ModRevision)), nil)
			writeRow(h, e.KV.Key, appendVersion(nil, &e.KV))
		}
		return true
	})
}

// writeRow adds a row to a hash, which never fails.
func writeRow(h io.Writer, key, value []byte) {
	_, _ = h.Write(appendBytes(appendBytes(nil, key), value))
}
