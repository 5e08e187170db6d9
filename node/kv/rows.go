package kv

import (
	"encoding/binary"
	"fmt"
)

const (
	layoutVersion = 1

	prefixKey    = 'k'
	prefixWindow = 'w'
)

func rowVersion() []byte { return []byte("mv") }
func rowApplied() []byte { return []byte("ma") }

func rowKey(dst, key []byte) []byte { return append(append(dst, prefixKey), key...) }

func rowWindow(origin uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{prefixWindow}, origin)
}

// meta is the row that says how far the store is.
type meta struct {
	Applied
	revision Revision
	opened   bool
}

func (m *meta) append(b []byte) []byte {
	for _, v := range []uint64{m.Index, m.Term, m.Config, uint64(m.revision)} {
		b = binary.AppendUvarint(b, v)
	}
	return append(append(b, flags(m.opened)), m.Membership...)
}

func decodeMeta(b []byte) (meta, error) {
	d := decoder{b: b}
	m := meta{Applied: Applied{Index: d.uvarint(), Term: d.uvarint(), Config: d.uvarint()}, revision: Revision(d.uvarint())}
	m.opened = d.byte()&1 != 0
	m.Membership = append([]byte(nil), d.b...)
	if d.bad {
		return meta{}, fmt.Errorf("applied row of %d bytes: %w", len(b), ErrCorrupt)
	}
	return m, nil
}

// appendVersion is a key's row: its metadata, then its value.
func appendVersion(b []byte, kv *KeyValue) []byte {
	b = binary.AppendUvarint(b, uint64(kv.CreateRevision))
	b = binary.AppendUvarint(b, uint64(kv.ModRevision))
	b = binary.AppendUvarint(b, uint64(kv.Version))
	b = binary.AppendVarint(b, kv.Lease)
	return append(b, kv.Value...)
}

// decodeVersion reads a key's row; the value aliases b.
func decodeVersion(key, b []byte) (KeyValue, error) {
	d := decoder{b: b}
	kv := KeyValue{Key: key, CreateRevision: Revision(d.uvarint()), ModRevision: Revision(d.uvarint()), Version: int64(d.uvarint()), Lease: d.varint()}
	kv.Value = d.b
	if d.bad {
		return KeyValue{}, fmt.Errorf("row of key %q: %w", key, ErrCorrupt)
	}
	return kv, nil
}

// bounds turns etcd's key and range_end into the keys [lo, hi); hi nil is no end. one says that it is lo
// alone.
func bounds(key, end []byte) (lo, hi []byte, one bool) {
	switch {
	case len(end) == 0:
		return key, nil, true
	case len(end) == 1 && end[0] == 0:
		return key, nil, false
	}
	return key, end, false
}
