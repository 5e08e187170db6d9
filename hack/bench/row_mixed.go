package main

import (
	"context"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// mixed is four linearizable reads to one put, all of random keys.
func mixed(k keys, clients int) workload {
	read, write := get(k.random), put(k, valueBytes, clients).do
	return workload{
		name: "mixed, 4 gets to 1 put", clients: clients, writes: true,
		do: func(ctx context.Context, c *clientv3.Client, w *worker) error {
			if w.rng.IntN(5) == 0 {
				return write(ctx, c, w)
			}
			return read(ctx, c, w)
		},
	}
}
