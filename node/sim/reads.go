package sim

import (
	"context"
	"fmt"
	"strings"

	"raftsman.dev/node/kv"
)

// value reads the host's own store as it is.
func (h *host) value(key string) (value string, revision int64, err error) {
	res, err := h.store.Read(context.Background(), kv.Txn{Success: []kv.Op{{Range: &kv.RangeRequest{Key: []byte(key)}}}})
	if err != nil {
		return "", 0, err
	}
	if kvs := res.Responses[0].Range.KVs; len(kvs) > 0 {
		if v := kvs[0].Version; v > 1 && strings.HasPrefix(key, "own-") && !h.w.truth.repeated[key] {
			return "", 0, fmt.Errorf("%s was written once, and is at version %d", key, v)
		}
		return string(kvs[0].Value), int64(kvs[0].ModRevision), nil
	}
	return "", 0, nil
}

// serve answers a read from the host's own store. What it has shown once in this life it never takes back. (That it
// shows nothing uncommitted is seen where the store is looked at: it never applies any.)
func (h *host) serve(key string) (value string, ok bool) {
	value, revision, err := h.value(key)
	if h.died(err) {
		return "", false
	}
	if revision < h.served[key] {
		h.w.fail("member %d shows %s of revision %d, and has shown revision %d", h.id, key, revision, h.served[key])
	}
	h.served[key] = revision
	return value, true
}

// glance reads, serializable, from the member that was asked: a key that others write too, or what that member has
// acknowledged to this client.
func (c *client) glance(key string) {
	h := c.at
	if !h.up() || h.altered.tainted || h.diverged || c.w.now < h.resumes || c.w.rng.IntN(3) > 0 {
		return
	}
	if _, ok := h.serve(key); !ok {
		return
	}
	if k := c.kept; k.at == h && k.life == h.life {
		if got, ok := h.serve(k.key); ok && got != k.value {
			c.w.fail("member %d shows %q at %s, and has acknowledged %q", h.id, got, k.key, k.value)
		}
		c.w.count("serializable read", 1)
	}
}
