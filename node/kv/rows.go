package kv

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

const (
	// layoutVersion is what is written, and every store from oldestLayout on can be read: version 3 added what stands apart.
	layoutVersion = 3
	oldestLayout  = 2

	prefixMeta     = 'm'
	prefixKey      = 'k'
	prefixWindow   = 'w'
	prefixHistory  = 'h'
	prefixGrave    = 'd'
	prefixBefore   = 'b'
	prefixLease    = 'l'
	prefixAttached = 'a'
	prefixValue    = 'v'
)

func rowVersion() []byte { return []byte("mv") }
func rowApplied() []byte { return []byte("ma") }

func rowKey(dst, key []byte) []byte { return append(append(dst, prefixKey), key...) }

func rowGrave(dst, key []byte) []byte { return append(append(dst, prefixGrave), key...) }

func rowBefore(dst, key []byte) []byte { return append(append(dst, prefixBefore), key...) }

func rowLease(id int64) []byte {
	return binary.BigEndian.AppendUint64([]byte{prefixLease}, uint64(id))
}

func rowAttached(dst []byte, id int64, key []byte) []byte {
	return append(binary.BigEndian.AppendUint64(append(dst, prefixAttached), uint64(id)), key...)
}

func decodeAttached(key []byte) (lease int64, attached []byte, err error) {
	if len(key) <= 9 {
		return 0, nil, fmt.Errorf("row %x of a key attached to a lease: %w", key, ErrCorrupt)
	}
	return int64(binary.BigEndian.Uint64(key[1:])), key[9:], nil
}

// decodeGrave reads a grave: the revision at which the key was deleted.
func decodeGrave(key, b []byte) (Revision, error) {
	d := decoder{b: b}
	r := Revision(d.uvarint())
	if d.bad || len(d.b) != 0 || r < 1 {
		return 0, fmt.Errorf("grave of key %q: %w", key, ErrCorrupt)
	}
	return r, nil
}

func (l *Lease) append(b []byte) []byte {
	return binary.AppendUvarint(binary.AppendVarint(binary.AppendVarint(b, l.TTL), l.Remaining), l.Granted)
}

func decodeLease(key, b []byte) (Lease, error) {
	d := decoder{b: b}
	l := Lease{TTL: d.varint(), Remaining: d.varint(), Granted: d.uvarint()}
	if len(key) != 9 || d.bad || len(d.b) != 0 {
		return Lease{}, fmt.Errorf("lease row %x: %w", key, ErrCorrupt)
	}
	l.ID = int64(binary.BigEndian.Uint64(key[1:]))
	return l, nil
}

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
		_, err = checkLayout(value)
	case string(key) == string(rowApplied()):
		_, err = decodeMeta(value)
	case key[0] == prefixKey:
		_, err = decodeStored(key[1:], value)
	case key[0] == prefixValue && len(key) > 9:
	case key[0] == prefixWindow:
		_, _, err = decodeWindowRow(key, value)
	case key[0] == prefixHistory:
		err = checkBlock(key, value)
	case key[0] == prefixGrave:
		_, err = decodeGrave(key[1:], value)
	case key[0] == prefixBefore:
		_, err = decodeStored(key[1:], value)
	case key[0] == prefixLease:
		_, err = decodeLease(key, value)
	case key[0] == prefixAttached && len(key) > 9 && len(value) == 0:
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
	// compacted is the oldest revision that can be read, never before the first compaction. What history no longer needs
	// goes by and by: blocks whose events are all older than tidied are gone. Each member has its own tidied.
	compacted, tidied Revision
}

// never is what an uncompacted store is compacted at: as in etcd, revision 0 can still be.
const never Revision = -1

func newMeta() meta { return meta{revision: 1, compacted: never, tidied: never} }

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

// effectOn adds what a command left of a row that is not a key's: the row's key and its value, nil if it is gone.
func (m *meta) effectOn(key, value []byte) {
	m.Effects = crc32.Update(m.Effects, crc32.MakeTable(crc32.Castagnoli), appendBytes(appendBytes(nil, key), value))
}

func (m *meta) append(b []byte) []byte {
	for _, v := range []uint64{m.Index, m.Term, m.Config, uint64(m.revision), uint64(m.compacted + 1), uint64(m.tidied + 1)} {
		b = binary.AppendUvarint(b, v)
	}
	b = binary.LittleEndian.AppendUint32(append(b, flags(m.opened)), m.Effects)
	return append(b, m.Membership...)
}

func decodeMeta(b []byte) (meta, error) {
	d := decoder{b: b}
	m := meta{Applied: Applied{Index: d.uvarint(), Term: d.uvarint(), Config: d.uvarint()}, revision: Revision(d.uvarint())}
	m.compacted, m.tidied = Revision(d.uvarint())-1, Revision(d.uvarint())-1
	m.opened = d.flags(1) != 0
	if d.bad || m.revision < 1 || m.compacted > m.revision || m.tidied > m.compacted || min(m.compacted, m.tidied) < never || len(d.b) < 4 {
		return meta{}, fmt.Errorf("applied row of %d bytes: %w", len(b), ErrCorrupt)
	}
	m.Effects = binary.LittleEndian.Uint32(d.b)
	m.Membership = bytes.Clone(d.b[4:])
	return m, nil
}

// appendVersion is a whole version: its metadata, then its value.
func appendVersion(b []byte, kv *KeyValue) []byte {
	b = binary.AppendUvarint(b, uint64(kv.CreateRevision))
	b = binary.AppendUvarint(b, uint64(kv.ModRevision))
	b = binary.AppendUvarint(b, uint64(kv.Version))
	b = binary.AppendVarint(b, kv.Lease)
	return append(b, kv.Value...)
}

// decodeVersion reads what appendVersion has made; the value aliases b.
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
