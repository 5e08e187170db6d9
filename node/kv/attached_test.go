package kv

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"raftsman.dev/node/kv/seeds"
)

// TestAttachments: few keys or many, they are those that a plain set of sets has, and a lease without keys takes no room.
func TestAttachments(t *testing.T) {
	type attached struct {
		lease int64
		key   string
	}
	for _, seed := range seeds.Of(t, 3) {
		rng := rand.New(rand.NewPCG(seed, 12))
		a, twin := attachments{}, map[attached]bool{}
		for step := range 4000 {
			x := attached{int64(rng.IntN(3)), fmt.Sprint(rng.IntN(3 * fewKeys))}
			there := rng.IntN(8) < 3+2*(step/1000%2) // fewer keys, then more of them
			if a.set(x.lease, x.key, there); there {
				twin[x] = true
			} else {
				delete(twin, x)
			}
			n, leases := 0, map[int64]bool{}
			for x := range twin {
				leases[x.lease] = true
			}
			for lease := range leases {
				a.of(lease, func(key string) {
					if n++; !twin[attached{lease, key}] {
						t.Fatalf("seed %d: after %d steps lease %d has key %s", seed, step, lease, key)
					}
				})
			}
			if n != len(twin) || len(a) != len(leases) {
				t.Fatalf("seed %d: after %d steps %d keys on %d leases, want %d on %d", seed, step, n, len(a), len(twin), len(leases))
			}
		}
	}
}
