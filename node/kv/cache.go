package kv

import "bytes"

// prior is what a put needs to know of a key's newest version; the zero value is "there is none".
type prior struct {
	create, mod Revision
	version     int64
	lease       int64
}

// metaCache remembers the newest version of keys that were written or looked up, so that a put need not
// read the database. It holds no pointers: slots in one table, keys in one ring of bytes, where the newest
// overwrite the oldest. A slot answers only if its whole key is still in the ring and equal, so an answer
// is always exact; a miss costs a read and changes nothing else. Used by the applier alone.
type metaCache struct {
	slots []cacheSlot
	ring  []byte
	at    uint64 // bytes ever written to the ring
}

type cacheSlot struct {
	hash uint64
	at   uint64 // where the key begins, counted in bytes ever written; the slot is empty if length is 0
	len  uint32
	prior
}

// cacheWays is how many neighbouring slots a key may be in.
const cacheWays = 4

func newMetaCache(slots int) *metaCache {
	n := 1
	for n < slots {
		n *= 2
	}
	return &metaCache{slots: make([]cacheSlot, n+cacheWays), ring: make([]byte, 32*n)}
}

func (c *metaCache) hash(key []byte) uint64 {
	h := uint64(14695981039346656037) // FNV-1a
	for _, b := range key {
		h = (h ^ uint64(b)) * 1099511628211
	}
	return h ^ h>>29
}

func (c *metaCache) find(key []byte, hash uint64) *cacheSlot {
	first := hash & uint64(len(c.slots)-cacheWays-1)
	for i := range cacheWays {
		s := &c.slots[first+uint64(i)]
		if s.len != 0 && s.hash == hash && c.holds(s, key) {
			return s
		}
	}
	return nil
}

func (c *metaCache) holds(s *cacheSlot, key []byte) bool {
	if int(s.len) != len(key) || c.at-s.at > uint64(len(c.ring)) {
		return false
	}
	from := s.at % uint64(len(c.ring))
	return bytes.Equal(c.ring[from:from+uint64(s.len)], key)
}

func (c *metaCache) get(key []byte) (prior, bool) {
	if s := c.find(key, c.hash(key)); s != nil {
		return s.prior, true
	}
	return prior{}, false
}

func (c *metaCache) put(key []byte, p prior) {
	if len(key) == 0 || len(key) > len(c.ring)/4 {
		return
	}
	hash := c.hash(key)
	s := c.find(key, hash)
	if s == nil {
		s = c.victim(hash)
		room := uint64(len(c.ring)) - c.at%uint64(len(c.ring))
		if room < uint64(len(key)) { // keys do not wrap around
			c.at += room
		}
		copy(c.ring[c.at%uint64(len(c.ring)):], key)
		s.hash, s.at, s.len = hash, c.at, uint32(len(key))
		c.at += uint64(len(key))
	}
	s.prior = p
}

// victim is the slot whose key was written longest ago.
func (c *metaCache) victim(hash uint64) *cacheSlot {
	first := hash & uint64(len(c.slots)-cacheWays-1)
	best := &c.slots[first]
	for i := range cacheWays {
		s := &c.slots[first+uint64(i)]
		if s.len == 0 {
			return s
		}
		if s.at < best.at {
			best = s
		}
	}
	return best
}

// clear forgets everything.
func (c *metaCache) clear() { clear(c.slots) }
