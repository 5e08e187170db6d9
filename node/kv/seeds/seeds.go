// Package seeds says with which seeds the store's randomized tests run.
package seeds

import (
	"os"
	"strconv"
	"testing"
)

// Of are the seeds of a randomized test: the first n, or the one in RAFTSMAN_SEED.
func Of(t *testing.T, n int) []uint64 {
	t.Helper()
	if s := os.Getenv("RAFTSMAN_SEED"); s != "" {
		seed, err := strconv.ParseUint(s, 0, 64)
		if err != nil {
			t.Fatalf("RAFTSMAN_SEED=%s: %v", s, err)
		}
		return []uint64{seed}
	}
	var list []uint64
	for i := range n {
		list = append(list, uint64(i)+1)
	}
	return list
}
