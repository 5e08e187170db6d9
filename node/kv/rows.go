package kv

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

const (
	layoutVersion = 1

	prefixMeta   = 'm'
	prefixKey    = 'k'
	prefixWindow = 'w'
)

func rowVersion() []byte { return []byte("mv") }
func rowApplied() []byte { return []byte("ma") }

func rowKey(dst, key []byte) []byte { return append(append(dst, prefixKey), key...) }

func rowWindow(origin uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{prefixWindow}, origin)
}

func decodeWindowRow(key, value []byte) (uint64, window, error) {
	if len(key) != 9 || key[0] != prefixWindow {
		return 0, window{}, fmt.Errorf("window row %x: %w", key, ErrCorrupt)
	}
	w, err := decodeWindow(value)
	return binary.BigEndian.Uint64(key[1:]), w, err
}

// checkRow decodes a row that came from outside, to refuse what this store would not have written.
func checkRow(key, value []byte) error {
	var err error
	switch {
	case string(key) == string(rowVersion()):
		err = checkLayout(value)
	case string(key) == string(rowApplied()):
		_, err = decodeMeta(value)
	case key[0] == prefixKey:
		_, err = decodeVersion(key[1:], value)
	case key[0] == prefixWindow:
		_, _, err = decodeWindowRow(key, value)
	default:
		err = fmt.Errorf("row %x is not of this layout: %w", key, ErrMalformed)
	}
	return err
}

// meta is the row that says how far the store is.
type meta struct {
	Applied
	revision Revision
	opened   bool
}

// effect adds what one operation left of a key to the checksum of effects: the key, and its row, which is all
// zeros if the key was deleted. room is for scratch.
func (m *meta) effect(room *[]byte, kv *KeyValue, row []byte) {
	table := crc32.MakeTable(crc32.Castagnoli)
	*room = appendBytes((*room)[:0], kv.Key)
	if kv.Version == 0 {
		*room = appendVersion(*room, &KeyValue{})
	}
	m.Effects = crc32.Update(crc32.Update(m.Effects, table, *room), table, row)
}

func (m *meta) append(b []byte) []byte {
	for _, v := range []uint64{m.Index, m.Term, m.Config, uint64(m.revision)} {
		b = binary.AppendUvarint(b, v)
	}
	b = binary.LittleEndian.AppendUint32(append(b, flags(m.opened)), m.Effects)
	return append(b, m.Membership...)
}

func decodeMeta(b []byte) (meta, error) {
	d := decoder{b: b}
	m := meta{Applied: Applied{Index: d.uvarint(), Term: d.uvarint(), Config: d.uvarint()}, revision: Revision(d.uvarint())}
	m.opened = d.flags(1) != 0
	if d.bad || m.revision < 1 || len(d.b) < 4 {
		return meta{}, fmt.Errorf("applied row of %d bytes: %w", len(b), ErrCorrupt)
	}
	m.Effects = binary.LittleEndian.Uint32(d.b)
	m.Membership = bytes.Clone(d.b[4:])
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
	if d.bad || kv.Version < 1 || kv.CreateRevision < 1 || kv.ModRevision < kv.CreateRevision {
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
