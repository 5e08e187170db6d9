package kv

import (
	"encoding/binary"
	"fmt"
)

// MaxInFlight bounds how many commands an origin may have without an answer: a sequence so far past its floor
// would be refused as one that was applied.
const MaxInFlight = 1 << 16

const maxWindow = MaxInFlight

// window remembers, of one origin, which commands were applied: all below floor, and exactly those at or
// above it whose bit is set. It takes 8 KiB at most. There is one for each member that ever proposed: a copy of what
// one that is gone has sent may still be on its way.
type window struct {
	boot, floor uint64
	bits        []uint64 // bit i of word w stands for sequence (floor/64+w)*64+i
}

// admit reports whether the command is to be applied, and notes it if so. Everything of an older boot than
// the newest seen is refused: its origin has forgotten it.
func (w *window) admit(id CommandID, floor uint64) bool {
	switch {
	case id.Boot < w.boot:
		return false
	case id.Boot > w.boot:
		*w = window{boot: id.Boot}
	}
	w.raise(min(floor, id.Seq))
	if id.Seq < w.floor || id.Seq-w.floor >= maxWindow {
		return false
	}
	word, bit := id.Seq/64-w.floor/64, uint64(1)<<(id.Seq%64)
	for uint64(len(w.bits)) <= word {
		w.bits = append(w.bits, 0)
	}
	if w.bits[word]&bit != 0 {
		return false
	}
	w.bits[word] |= bit
	return true
}

// raise moves the floor up and forgets what is below it.
func (w *window) raise(floor uint64) {
	if floor <= w.floor {
		return
	}
	drop := floor/64 - w.floor/64
	w.floor = floor
	n := copy(w.bits, w.bits[min(drop, uint64(len(w.bits))):])
	w.bits = w.bits[:n]
	if n > 0 { // what is below the floor is not part of the state
		w.bits[0] &= ^uint64(0) << (floor % 64)
	}
}

func (w *window) appendTo(b []byte) []byte {
	b = binary.AppendUvarint(b, w.boot)
	b = binary.AppendUvarint(b, w.floor)
	for _, word := range w.bits {
		b = binary.LittleEndian.AppendUint64(b, word)
	}
	return b
}

func decodeWindow(b []byte) (window, error) {
	d := decoder{b: b}
	w := window{boot: d.uvarint(), floor: d.uvarint()}
	if d.bad || len(d.b)%8 != 0 || len(d.b) > maxWindow/8+8 {
		return window{}, fmt.Errorf("window of %d bytes: %w", len(b), ErrCorrupt)
	}
	for rest := d.b; len(rest) > 0; rest = rest[8:] {
		w.bits = append(w.bits, binary.LittleEndian.Uint64(rest))
	}
	return w, nil
}
