package kv

import (
	"encoding/binary"
	"testing"
)

// FuzzDecodersAllocate: whatever the bytes, no decoder of a command or a row allocates more than a fixed multiple of
// them: an operation of a few bytes is a structure of its own, and lists grow by doubling.
func FuzzDecodersAllocate(f *testing.F) {
	c := sample()
	whole := c.AppendTo(nil)
	f.Add(whole)
	for at := range len(whole) {
		f.Add(binary.AppendUvarint(whole[:at:at], 1<<62))
		f.Add(binary.AppendUvarint(whole[:at:at], 1<<20))
	}
	w := window{boot: 3, floor: 65, bits: []uint64{2, 1 << 63}}
	f.Add(w.appendTo(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		least := uint64(1 << 62)
		for range 3 { // others may allocate meanwhile
			least = min(least, allocated(func() { decodeAll(b) }))
		}
		if least > uint64(400*len(b)+64<<10) {
			t.Fatalf("decoding %d bytes allocated %d", len(b), least)
		}
	})
}
