package main

import (
	"context"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// hotRange reads one key, linearizably.
func hotRange(k keys, clients int) workload {
	return workload{name: "get, hot key", clients: clients, do: get(func(*worker) string { return k.key(0) })}
}

// randomRange reads any key of the loaded set, linearizably.
func randomRange(k keys, clients int) workload {
	return workload{name: "get, random keys", clients: clients, do: get(k.random)}
}

// serializableRange reads any key of the loaded set as the member at hand knows it.
func serializableRange(k keys, clients int) workload {
	return workload{name: "get serializable, random keys", clients: clients, do: get(k.random, clientv3.WithSerializable())}
}

// get reads the chosen key, and insists on what was loaded.
func get(choose func(*worker) string, options ...clientv3.OpOption) operation {
	return func(ctx context.Context, c *clientv3.Client, w *worker) error {
		key := choose(w)
		r, err := c.Get(ctx, key, options...)
		if err == nil && (len(r.Kvs) != 1 || len(r.Kvs[0].Value) != valueBytes) {
			err = fmt.Errorf("key %s was not read back: %d values", key, len(r.Kvs))
		}
		return err
	}
}
