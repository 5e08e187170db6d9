package main

import (
	"context"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// put overwrites random keys of the loaded set; values of another size get keys of their own.
func put(k keys, size, clients int) workload {
	name, prefix := "put", ""
	if size != valueBytes {
		name, prefix = "put 1 KiB", "large/"
	}
	return workload{
		name: name + ", " + counted(clients), clients: clients, writes: true, size: size, cpu: atMost(0.6),
		do: func(ctx context.Context, c *clientv3.Client, w *worker) error {
			w.refresh()
			_, err := c.Put(ctx, prefix+k.random(w), string(w.value))
			return err
		},
	}
}

func counted(clients int) string {
	if clients == 1 {
		return "1 client"
	}
	return fmt.Sprintf("%d clients", clients)
}
