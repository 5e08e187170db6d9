package snapshot

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

const (
	heldMagic = "\x00RAFTSR\x02"
	heldSize  = 36
)

// ErrBusy: the receiver is taking in another snapshot.
var ErrBusy = errors.New("another snapshot is being received")

// Held is what a receiver holds of a snapshot: its first chunks, and the checksum of their checksums. The zero value
// is nothing.
type Held struct {
	ID     ID
	Chunks uint64
	Sum    uint32
}

func (h Held) tally() tally { return tally{count: h.Chunks, sum: h.Sum} }

// WriteHeld is how a receiver begins; busy says that it takes in another snapshot and that nothing may follow.
func WriteHeld(w io.Writer, h Held, busy bool) error {
	b := []byte(heldMagic)
	b = binary.LittleEndian.AppendUint64(b, uint64(h.ID))
	b = binary.LittleEndian.AppendUint64(b, h.Chunks)
	b = binary.LittleEndian.AppendUint32(b, h.Sum)
	flag := uint32(0)
	if busy {
		flag = 1
	}
	b = binary.LittleEndian.AppendUint32(b, flag)
	if _, err := w.Write(binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli()))); err != nil {
		return fmt.Errorf("tell what is held of a snapshot: %w", err)
	}
	return nil
}

// ReadHeld is what the sender hears first. Errors match ErrBusy or ErrMalformed.
func ReadHeld(r io.Reader) (Held, error) {
	var b [heldSize]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return Held{}, fmt.Errorf("what the receiver holds of a snapshot: %w", errors.Join(err, ErrCut, ErrMalformed))
	}
	sum, flag := binary.LittleEndian.Uint32(b[heldSize-4:]), binary.LittleEndian.Uint32(b[28:])
	if string(b[:8]) != heldMagic || crc32.Checksum(b[:heldSize-4], castagnoli()) != sum || flag > 1 {
		return Held{}, fmt.Errorf("what the receiver holds of a snapshot does not verify: %x: %w", b, ErrMalformed)
	}
	if flag == 1 {
		return Held{}, ErrBusy
	}
	h := Held{ID: ID(binary.LittleEndian.Uint64(b[8:])), Chunks: binary.LittleEndian.Uint64(b[16:]), Sum: binary.LittleEndian.Uint32(b[24:])}
	if h.ID == 0 && h != (Held{}) {
		return Held{}, fmt.Errorf("%d chunks held of no snapshot: %w", h.Chunks, ErrMalformed)
	}
	return h, nil
}
