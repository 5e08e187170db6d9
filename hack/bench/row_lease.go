package main

import (
	"context"
	"errors"
	"fmt"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// leaseSeconds outlasts every run.
const leaseSeconds = 3600

// leaseKeepAlive renews leases, each client its own on a stream of its own, and waits for each answer.
func leaseKeepAlive(clients int) workload {
	return workload{
		name: "lease keep-alive", clients: clients,
		prepare: func(ctx context.Context, conns []*clientv3.Client) (operation, func(), error) {
			ctx, cancel := context.WithCancel(ctx)
			renewers := make([]renewer, clients)
			for i := range renewers {
				var err error
				if renewers[i], err = newRenewer(ctx, conns[i%len(conns)]); err != nil {
					cancel()
					return nil, nil, err
				}
			}
			return func(_ context.Context, _ *clientv3.Client, w *worker) error { return renewers[w.i].renew() }, cancel, nil
		},
	}
}

// renewer is a lease and the stream on which it is renewed.
type renewer struct {
	id     int64
	stream pb.Lease_LeaseKeepAliveClient
}

func newRenewer(ctx context.Context, c *clientv3.Client) (renewer, error) {
	granted, err := c.Grant(ctx, leaseSeconds)
	if err != nil {
		return renewer{}, fmt.Errorf("grant a lease: %w", err)
	}
	stream, err := pb.NewLeaseClient(c.ActiveConnection()).LeaseKeepAlive(ctx)
	if err != nil {
		return renewer{}, fmt.Errorf("open a keep-alive stream: %w", err)
	}
	return renewer{id: int64(granted.ID), stream: stream}, nil
}

func (r renewer) renew() error {
	if err := r.stream.Send(&pb.LeaseKeepAliveRequest{ID: r.id}); err != nil {
		// What went wrong is said where the answer is expected.
		_, why := r.stream.Recv()
		return errors.Join(err, why)
	}
	answer, err := r.stream.Recv()
	if err == nil && (answer.ID != r.id || answer.TTL != leaseSeconds) {
		err = fmt.Errorf("lease %x was not renewed: answer for %x, %d s", r.id, answer.ID, answer.TTL)
	}
	return err
}
