package snapshot

import (
	"encoding/binary"
	"runtime"
	"testing"
)

// FuzzReaderAllocates: a stream of whatever bytes makes its reader allocate no more than a fixed multiple of what has
// come, and the room for one piece.
func FuzzReaderAllocates(f *testing.F) {
	whole := sample(f)
	f.Add(whole)
	for _, at := range []int{8, 12, 16, len(whole) / 2} {
		f.Add(binary.LittleEndian.AppendUint32(whole[:at:at], 1<<32-1))
		f.Add(binary.LittleEndian.AppendUint64(whole[:at:at], MaxChunk))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, _, _ = readAll(b)
		runtime.ReadMemStats(&after)
		if n := after.TotalAlloc - before.TotalAlloc; n > uint64(16*len(b)+8<<20) {
			t.Fatalf("%d bytes allocated for a stream of %d", n, len(b))
		}
	})
}
