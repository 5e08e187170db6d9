package node

import (
	"context"
	"errors"
	"fmt"
	"time"

	"raftsman.dev/node/kv"
	"raftsman.dev/node/raft"
	"raftsman.dev/node/replica"
)

// form makes this member the founder of that cluster. Asking again for the same one is harmless.
func (m *Member) form(ctx context.Context, cluster raft.ClusterID) error {
	m.joining.Lock()
	defer m.joining.Unlock()
	if err := m.dir.Join(cluster); err != nil {
		return err
	}
	m.cluster.Store(uint64(cluster))
	self := raft.Member{ID: m.id.Member, Name: m.id.Name, PeerAddress: m.cfg.AdvertisePeer, ClientURLs: m.cfg.AdvertiseClient}
	var err error
	asked := m.ask(ctx, func(r *replica.Replica) {
		if s := r.Status(); s.Last > 0 && s.Membership.Members != nil {
			return // formed before: the answer to that request was lost
		}
		// The owner waits here, and the writer with it: nothing else is going on in an empty member.
		err = m.onLog(func() error { return r.Form(self) })
	})
	if err := errors.Join(asked, err); err != nil {
		return err
	}
	m.cfg.Log.Info("formed a cluster", "cluster", cluster.String(), "founder", m.id.Member.String())
	return nil
}

// found is --form: a cluster of one that nobody else decides about, open to clients at once. Every peer that
// is hinted at must answer first and be without a cluster: a founder whose disk was lost must not found a
// second cluster beside its own.
func (m *Member) found() error {
	if err := m.peersAreNew(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(m.endingContext, requestTimeout)
	defer cancel()
	cluster := raft.ClusterID(0)
	for cluster == 0 {
		cluster = raft.ClusterID(draw())
	}
	if err := m.form(ctx, cluster); err != nil {
		return fmt.Errorf("form a cluster in %s: %w", m.cfg.DataDir, err)
	}
	return m.openToClients(ctx)
}

// openToClients opens the cluster to clients, once this member leads it.
func (m *Member) openToClients(ctx context.Context) error {
	m.waitWhile(ctx, 4*m.cfg.ElectionTimeout, func() bool { return !m.facts.leads() })
	if _, err := m.command(ctx, kv.Command{Open: true}); err != nil {
		return fmt.Errorf("open the cluster to clients: %w", err)
	}
	return nil
}

// peersAreNew asks every hinted peer who it is, until all have answered that they have no cluster.
func (m *Member) peersAreNew() error {
	for _, address := range m.cfg.Peers {
		if address == m.cfg.AdvertisePeer {
			continue
		}
		if err := m.peerIsNew(address); err != nil {
			return err
		}
	}
	return nil
}

// founderPatience is how long --form waits for a hinted peer to come up.
const founderPatience = 5 * time.Minute

func (m *Member) peerIsNew(address string) error {
	ctx, cancel := context.WithTimeout(m.endingContext, founderPatience)
	defer cancel()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		who, err := m.transport.Who(ctx, address)
		switch {
		case err == nil && who.Member == m.id.Member:
			return nil
		case err == nil && who.Cluster != 0:
			return fmt.Errorf("peer %s (%s, member %v) belongs to cluster %v already: start this member without --form, and add it there with member add --learner", address, who.Name, who.Member, who.Cluster)
		case err == nil:
			return nil
		}
		m.cfg.Log.Info("waiting for a peer before forming a cluster: it might have one", "peer", address, "error", err.Error())
		select {
		case <-ctx.Done():
			return fmt.Errorf("peer %s does not answer, so it might have a cluster: start it, or leave it out of --peers: %w", address, err)
		case <-tick.C:
		}
	}
}
