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

// appendEvent adds an event to a block: the revision's distance from the one before (in an empty block: from 0), the
// key, what was before, and the key's row, which is empty for a deletion.
func appendEvent(b []byte, last Revision, revision Revision, key []byte, before Revision, row []byte) []byte {
	b = binary.AppendUvarint(b, uint64(revision-last))
	b = appendBytes(b, key)
	b = binary.AppendUvarint(b, uint64(before))
	return appendBytes(b, row)
}

// event takes the next event off a block; its key and value alias the block.
func (d *decoder) event(last Revision) (Event, error) {
	revision := last + Revision(d.uvarint())
	key, before, row := d.bytes(), Revision(d.uvarint()), d.bytes()
	if d.bad || revision < 1 || revision < last || before < 0 || before >= revision {
		return Event{}, fmt.Errorf("history block: event after revision %d: %w", last, ErrCorrupt)
	}
	if len(row) == 0 {
		return Event{KV: KeyValue{Key: key, ModRevision: revision}, Before: before}, nil
	}
	kv, err := decodeVersion(key, row)
	if err == nil && kv.ModRevision != revision {
		err = fmt.Errorf("history block: key %q of revision %d among those of %d: %w", key, kv.ModRevision, revision, ErrCorrupt)
	}
	return Event{KV: kv, Before: before}, err
}

// EachEvent calls f for the events of a block, in order, until it returns false. Keys and values alias the block. Errors
// match ErrCorrupt.
func EachEvent(block []byte, f func(Event) bool) error {
	last := Revision(0)
	for d := (decoder{b: block}); len(d.b) > 0; {
		e, err := d.event(last)
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

// findEvent reads what happened to a key at a revision; what it returns is the caller's. ok is false if that is not in
// history: there was nothing, or it has been tidied away.
func findEvent(r engine.Reader, at Revision, key []byte) (found Event, ok bool, err error) {
	err = eachBlock(r, at, func(_ place, block []byte) (more bool, err error) {
		more = true
		bad := EachEvent(block, func(e Event) bool {
			if e.KV.ModRevision == at && bytes.Equal(e.KV.Key, key) {
				found, ok = Event{KV: e.KV.copy(false), Before: e.Before}, true
			}
			more = !ok && e.KV.ModRevision <= at
			return more
		})
		return more, bad
	})
	return found, ok, err
}
