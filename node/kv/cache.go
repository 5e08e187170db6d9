package kv

import (
	"bytes"
	"math/bits"
)

// prior is what a write needs to know of what a key has; the zero value is "nothing, as far as is remembered". A
// version of 0 with a modification revision is a deletion.
type prior struct {
	create, mod Revision
	version     int64
	lease       int64
	apart       bool // its value stands in a row of its own
}

func (kv *KeyValue) prior() prior {
	return prior{create: kv.CreateRevision, mod: kv.ModRevision, version: kv.Version, lease: kv.Lease, apart: kv.apart}
}

// metaCache remembers the newest version of keys that were written or looked up, so that a put need not
// read the database. An answer is always exact; a miss costs a read and changes nothing else. Used by the applier
// alone. It is made of shards that grow each by itself, up to a bound: a store of few keys has a small one, and nobody
// waits for all of it to grow.
type metaCache struct {
	shards []cacheShard
	shift  int // of a hash, to the number of a shard
}

// cacheShard holds no pointers: slots in one table, keys in one ring of bytes, where the newest overwrite the oldest. A
// slot answers only if its whole key is still in the ring and equal.
type cacheShard struct {
	hashes []uint64 // of the slots, apart from them: a search touches little memory; 0 is empty
	slots  []cacheSlot
	ring   []byte
	at     uint64 // bytes ever written to the ring
	most   int    // slots that it may grow to
}

// cacheSlot is a key's place in the ring and what a prior has, packed: there are many.
type cacheSlot struct {
	at          uint64 // where the key begins, counted in bytes ever written
	len         uint32
	apart       bool
	create, mod Revision
	version     int64
	lease       int64
}

func (s *cacheSlot) prior() prior {
	return prior{create: s.create, mod: s.mod, version: s.version, lease: s.lease, apart: s.apart}
}

func (s *cacheSlot) set(p prior) {
	s.create, s.mod, s.version, s.lease, s.apart = p.create, p.mod, p.version, p.lease, p.apart
}

const (
	// cacheWays is how many neighbouring slots a key may be in.
	cacheWays = 8
	// cacheKeyBytes is the ring's share of a slot: as many keys fit when they are that long on average.
	cacheKeyBytes = 32
	// cacheShards is how many shards there are, where each may have cacheLeast slots, with which it begins.
	cacheShards = 64
	cacheLeast  = 64
)

func newMetaCache(slots int) metaCache {
	n := 1
	if slots >= cacheShards*cacheLeast {
		n = cacheShards
	}
	c := metaCache{shards: make([]cacheShard, n), shift: 65 - bits.Len(uint(n))}
	most := cacheWays
	for most < slots/n {
		most *= 2
	}
	for i := range c.shards {
		c.shards[i] = newCacheShard(min(most, cacheLeast), most)
	}
	return c
}

func newCacheShard(slots, most int) cacheShard {
	return cacheShard{
		hashes: make([]uint64, slots+cacheWays), slots: make([]cacheSlot, slots+cacheWays), ring: make([]byte, cacheKeyBytes*slots), most: most,
	}
}

func (c *metaCache) shard(hash uint64) *cacheShard { return &c.shards[hash>>c.shift] }

func (c *metaCache) get(key []byte, hash uint64) (prior, bool) { return c.shard(hash).get(key, hash) }

func (c *metaCache) put(key []byte, hash uint64, p prior) { c.shard(hash).put(key, hash, p) }

// clear forgets everything.
func (c *metaCache) clear() {
	for i := range c.shards {
		clear(c.shards[i].hashes)
		c.shards[i].at = 0
	}
}

func (c *cacheShard) size() int { return len(c.slots) - cacheWays }

// first is the first of a key's slots.
func (c *cacheShard) first(hash uint64) int { return int(hash >> 1 & uint64(c.size()-1)) }

// find returns the slot that holds the key, -1 if none does. The hash's lowest bit is not told apart.
func (c *cacheShard) find(key []byte, hash uint64) int {
	first := c.first(hash)
	for i, h := range c.hashes[first : first+cacheWays] {
		if h == hash|1 && c.holds(&c.slots[first+i], key) {
			return first + i
		}
	}
	return -1
}

func (c *cacheShard) holds(s *cacheSlot, key []byte) bool {
	return int(s.len) == len(key) && bytes.Equal(c.key(s), key)
}

// key is a slot's key, nil if it has been overwritten.
func (c *cacheShard) key(s *cacheSlot) []byte {
	if c.at-s.at > uint64(len(c.ring)) {
		return nil
	}
	from := s.at % uint64(len(c.ring))
	return c.ring[from : from+uint64(s.len)]
}

func (c *cacheShard) get(key []byte, hash uint64) (prior, bool) {
	if i := c.find(key, hash); i >= 0 {
		return c.slots[i].prior(), true
	}
	return prior{}, false
}

func (c *cacheShard) put(key []byte, hash uint64, p prior) {
	if len(key) == 0 || len(key) > cacheKeyBytes*c.most/4 {
		return
	}
	i := c.find(key, hash)
	for i < 0 && c.size() < c.most {
		if i = c.victim(hash); c.hashes[i] != 0 || c.at+uint64(len(key)) > uint64(len(c.ring)) {
			c.grow()
			i = -1
			continue
		}
		c.enter(i, key, hash)
	}
	if i < 0 {
		i = c.victim(hash)
		c.enter(i, key, hash)
	}
	c.slots[i].set(p)
}

// enter makes a slot a key's.
func (c *cacheShard) enter(i int, key []byte, hash uint64) {
	room := uint64(len(c.ring)) - c.at%uint64(len(c.ring))
	if room < uint64(len(key)) { // keys do not wrap around
		c.at += room
	}
	copy(c.ring[c.at%uint64(len(c.ring)):], key)
	c.hashes[i] = hash | 1
	c.slots[i].at, c.slots[i].len = c.at, uint32(len(key))
	c.at += uint64(len(key))
}

// grow doubles the table and the ring.
func (c *cacheShard) grow() {
	old := *c
	*c = newCacheShard(2*old.size(), old.most)
	for i, hash := range old.hashes {
		if key := old.key(&old.slots[i]); hash != 0 && key != nil {
			at := c.victim(hash)
			c.enter(at, key, hash)
			c.slots[at].set(old.slots[i].prior())
		}
	}
}

// victim is an empty slot, or the one whose key was written longest ago.
func (c *cacheShard) victim(hash uint64) int {
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
