package main

import (
	"context"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// keysOfOne is how many keys each client of compareAndSwap changes.
const keysOfOne = 8

// compareAndSwap changes a key if nobody else did, as kube-apiserver does: every client has keys of its own and
// knows their revisions, so that every transaction but the first of a key must succeed.
func compareAndSwap(clients int) workload {
	return workload{
		name: "txn, compare and swap", clients: clients, writes: true,
		do: func(ctx context.Context, c *clientv3.Client, w *worker) error {
			key := fmt.Sprintf("swap/%06d/%d", w.i, w.rng.IntN(keysOfOne))
			known, seen := w.owned[key]
			w.refresh()
			r, err := c.Txn(ctx).If(clientv3.Compare(clientv3.ModRevision(key), "=", known)).
				Then(clientv3.OpPut(key, string(w.value))).Else(clientv3.OpGet(key)).Commit()
			switch {
			case err != nil:
				// The outcome is unknown: what the key is at is asked again.
				delete(w.owned, key)
				return err
			case r.Succeeded:
				w.owned[key] = r.Header.Revision
			case seen:
				return fmt.Errorf("key %s has changed since revision %d, and nobody else writes it", key, known)
			default:
				w.owned[key] = r.Responses[0].GetResponseRange().Kvs[0].ModRevision
			}
			return nil
		},
	}
}
