package kv

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"raftsman.dev/node/kv/engine"
)

// blockBytes is about how large a history block gets before the next begins: whoever wants one event of it reads the
// whole block.
const blockBytes = 32 << 10

// place is where an event stands in history: its revision, and its number in it from 0.
type place struct {
	revision Revision
	sub      uint32
}

// rowHistory is the key of the block whose last event stands at p. So the block that holds an event is the first at
// or after the event's own place.
func rowHistory(p place) []byte {
	return p.append(make([]byte, 0, 13))
}

func (p place) append(b []byte) []byte {
	b = binary.BigEndian.AppendUint64(append(b, prefixHistory), uint64(p.revision))
	return binary.BigEndian.AppendUint32(b, p.sub)
}

func decodeHistoryKey(key []byte) (place, error) {
	if len(key) != 13 || key[0] != prefixHistory {
		return place{}, fmt.Errorf("history row %x: %w", key, ErrCorrupt)
	}
	return place{Revision(binary.BigEndian.Uint64(key[1:])), binary.BigEndian.Uint32(key[9:])}, nil
}

// A block has one of two forms. In a plain one every event has its value. A bare one, which begins with a zero, says of
// every event, and of what was before it, whether the value stands apart.

// appendEvent adds an event to a plain block: the revision's distance from the one before (in an empty block: from 0), the
// key, what was before, and the key's row, which is empty for a deletion.
func appendEvent(b []byte, last Revision, revision Revision, key []byte, before Revision, row []byte) []byte {
	b = binary.AppendUvarint(b, uint64(revision-last))
	b = appendBytes(b, key)
	b = binary.AppendUvarint(b, uint64(before))
	return appendBytes(b, row)
}

// appendBare adds an event to a bare block: as appendEvent does, but that the row is as it is stored, and the number of
// what was before is doubled, and one more if its value stands apart.
func appendBare(b []byte, last Revision, revision Revision, key []byte, was prior, row []byte) []byte {
	if len(b) == 0 {
		b = append(b, 0)
	}
	b = appendBytes(binary.AppendUvarint(b, uint64(revision-last)), key)
	return appendBytes(binary.AppendUvarint(b, uint64(was.mod)<<1|uint64(flags(was.apart))), row)
}

// event takes the next event off a block; its key and value alias the block.
func (d *decoder) event(last Revision, bare bool) (Event, error) {
	revision := last + Revision(d.uvarint())
	key, number, row := d.bytes(), d.uvarint(), d.bytes()
	e := Event{KV: KeyValue{Key: key, ModRevision: revision}}
	read := decodeVersion
	if bare {
		e.apartBefore, number, read = number&1 != 0, number>>1, decodeStored
	}
	e.Before = Revision(number)
	if d.bad || revision < 1 || revision < last || e.Before < 0 || e.Before >= revision || e.apartBefore && e.Before == 0 {
		return Event{}, fmt.Errorf("history block: event after revision %d: %w", last, ErrCorrupt)
	}
	if len(row) == 0 {
		return e, nil
	}
	kv, err := read(key, row)
	if err == nil && kv.ModRevision != revision {
		err = fmt.Errorf("history block: key %q of revision %d among those of %d: %w", key, kv.ModRevision, revision, ErrCorrupt)
	}
	e.KV = kv
	return e, err
}

// EachEvent calls f for the events of a block, in order, until it returns false. Keys and values alias the block. A block
// that Changes give has all values. Errors match ErrCorrupt.
func EachEvent(block []byte, f func(Event) bool) error {
	last := Revision(0)
	d := decoder{b: block}
	bare := len(block) > 1 && block[0] == 0 // no event is of revision 0
	if bare {
		d.b = block[1:]
	}
	for len(d.b) > 0 {
		e, err := d.event(last, bare)
		if err != nil {
			return err
		}
		last = e.KV.ModRevision
		if !f(e) {
			return nil
		}
	}
	return nil
}

// AppendEvent adds an event to a block under construction, for whoever plays the store; last is the revision of the
// block's newest event, 0 in an empty one.
func AppendEvent(block []byte, last Revision, e *Event) []byte {
	var row []byte
	if !e.Deletion() {
		row = appendVersion(nil, &e.KV)
	}
	return appendEvent(block, last, e.KV.ModRevision, e.KV.Key, e.Before, row)
}

// checkBlock checks a history row that came from outside.
func checkBlock(key, value []byte) error {
	last, err := decodeHistoryKey(key)
	if err != nil {
		return err
	}
	newest := Revision(0)
	if err := EachEvent(value, func(e Event) bool { newest = e.KV.ModRevision; return true }); err != nil {
		return err
	}
	if newest != last.revision {
		return fmt.Errorf("history row %x ends at revision %d: %w", key, newest, ErrCorrupt)
	}
	return nil
}

// eachBlock calls f for every block that may hold an event of revision from or a later one, in order, until it returns
// false. What f gets is reused.
func eachBlock(r engine.Reader, from Revision, f func(last place, block []byte) (bool, error)) error {
	it, err := r.NewIter(rowHistory(place{revision: max(from, 0)}), []byte{prefixHistory + 1})
	if err != nil {
		return damage("history", err)
	}
	defer it.Close()
	for ok := it.First(); ok; ok = it.Next() {
		last, err := decodeHistoryKey(it.Key())
		if err != nil {
			return err
		}
		if more, err := f(last, it.Value()); err != nil || !more {
			return err
		}
	}
	return damage("history", it.Error())
}

// findEvent reads what happened to a key at a revision, without its value if that stands apart; what it returns is the
// caller's. ok is false if that is not in
// history: there was nothing, or it has been tidied away.
func findEvent(r engine.Reader, at Revision, key []byte) (found Event, ok bool, err error) {
	err = eachBlock(r, at, func(_ place, block []byte) (more bool, err error) {
		more = true
		bad := EachEvent(block, func(e Event) bool {
			if e.KV.ModRevision == at && bytes.Equal(e.KV.Key, key) {
				e.KV.Key, e.KV.Value = bytes.Clone(e.KV.Key), bytes.Clone(e.KV.Value)
				found, ok = e, true
			}
			more = !ok && e.KV.ModRevision <= at
			return more
		})
		return more, bad
	})
	return found, ok, err
}
