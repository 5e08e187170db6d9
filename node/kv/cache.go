package kv

import "bytes"

// prior is what a write needs to know of what a key has; the zero value is "nothing, as far as is remembered". A
// version of 0 with a modification revision is a deletion.
type prior struct {
	create, mod Revision
	version     int64
	lease       int64
}

func (kv *KeyValue) prior() prior {
	return prior{create: kv.CreateRevision, mod: kv.ModRevision, version: kv.Version, lease: kv.Lease}
}

// metaCache remembers the newest version of keys that were written or looked up, so that a put need not
// read the database. It holds no pointers: slots in one table, keys in one ring of bytes, where the newest
// overwrite the oldest. A slot answers only if its whole key is still in the ring and equal, so an answer
// is always exact; a miss costs a read and changes nothing else. Used by the applier alone.
type metaCache struct {
	hashes []uint64 // of the slots, apart from them: a search touches little memory; 0 is empty
	slots  []cacheSlot
	ring   []byte
	at     uint64 // bytes ever written to the ring
}

type cacheSlot struct {
	at  uint64 // where the key begins, counted in bytes ever written
	len uint32
	prior
}

const (
	// cacheWays is how many neighbouring slots a key may be in.
	cacheWays = 8
	// cacheKeyBytes is the ring's share of a slot: as many keys fit when they are that long on average.
	cacheKeyBytes = 32
)

func newMetaCache(slots int) *metaCache {
	n := cacheWays
	for n < slots {
		n *= 2
	}
	return &metaCache{hashes: make([]uint64, n+cacheWays), slots: make([]cacheSlot, n+cacheWays), ring: make([]byte, cacheKeyBytes*n)}
}

// first is the first of a key's slots.
func (c *metaCache) first(hash uint64) int { return int(hash & uint64(len(c.slots)-cacheWays-1)) }

// find returns the slot that holds the key, -1 if none does. The hash's lowest bit is not told apart.
func (c *metaCache) find(key []byte, hash uint64) int {
	first := c.first(hash)
	for i, h := range c.hashes[first : first+cacheWays] {
		if h == hash|1 && c.holds(&c.slots[first+i], key) {
			return first + i
		}
	}
	return -1
}

func (c *metaCache) holds(s *cacheSlot, key []byte) bool {
	if int(s.len) != len(key) || c.at-s.at > uint64(len(c.ring)) {
		return false
	}
	from := s.at % uint64(len(c.ring))
	return bytes.Equal(c.ring[from:from+uint64(s.len)], key)
}

func (c *metaCache) get(key []byte, hash uint64) (prior, bool) {
	if i := c.find(key, hash); i >= 0 {
		return c.slots[i].prior, true
	}
	return prior{}, false
}

func (c *metaCache) put(key []byte, hash uint64, p prior) {
	if len(key) == 0 || len(key) > len(c.ring)/4 {
		return
	}
	i := c.find(key, hash)
	if i < 0 {
		i = c.victim(hash)
		room := uint64(len(c.ring)) - c.at%uint64(len(c.ring))
		if room < uint64(len(key)) { // keys do not wrap around
			c.at += room
		}
		copy(c.ring[c.at%uint64(len(c.ring)):], key)
		c.hashes[i] = hash | 1
		c.slots[i].at, c.slots[i].len = c.at, uint32(len(key))
		c.at += uint64(len(key))
	}
	c.slots[i].prior = p
}

// victim is an empty slot, or the one whose key was written longest ago.
func (c *metaCache) victim(hash uint64) int {
	first := c.first(hash)
	best := first
	for i := first; i < first+cacheWays; i++ {
		if c.hashes[i] == 0 {
			return i
		}
		if c.slots[i].at < c.slots[best].at {
			best = i
		}
	}
	return best
}

// clear forgets everything.
func (c *metaCache) clear() { clear(c.hashes) }
