package node

import (
	"context"
	"fmt"
	"net"
	"strings"
	"time"

	"raftsman.dev/node/raft"
	"raftsman.dev/node/transport"
)

// identity is what this member says of itself in a handshake.
func (m *Member) identity() transport.Identity {
	id := m.id
	return transport.Identity{
		Member: id.Member, Cluster: raft.ClusterID(m.cluster.Load()), Boot: id.Boot, Life: m.forgetful.life, Name: id.Name,
		Address: m.cfg.AdvertisePeer, ClientURLs: strings.Join(m.cfg.AdvertiseClient, ","),
	}
}

// connect names the members of the membership to the transport. An unjoined member has no peers: the leader
// comes to it.
func (m *Member) connect(now raft.Membership) {
	var peers []transport.Peer
	for _, x := range now.Members {
		peers = append(peers, transport.Peer{ID: x.ID, Addresses: []string{x.PeerAddress}})
	}
	m.transport.SetPeers(peers)
}

// discover lists addresses at which some member may answer: the hints, and every address that the name to
// discover has at this moment.
func (m *Member) discover(ctx context.Context) ([]string, error) {
	all := append([]string(nil), m.cfg.Peers...)
	if m.cfg.Discover == "" {
		return all, nil
	}
	host, port, err := net.SplitHostPort(m.cfg.Discover)
	if err != nil {
		return all, err
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	found, err := m.cfg.LookupHost(ctx, host)
	if err != nil {
		return all, fmt.Errorf("resolve %s: %w", host, err)
	}
	for _, ip := range found {
		all = append(all, net.JoinHostPort(ip, port))
	}
	return all, nil
}

// Receive implements transport.Handler.
func (m *Member) Receive(msgs []raft.Message) {
	m.inbox.put(func(a *arrivals) { a.messages = append(a.messages, msgs...) })
}

// Connected implements transport.Handler.
func (m *Member) Connected(peer raft.MemberID, boot raft.Boot) {
	m.body(raft.Connected{Peer: peer, Boot: boot})
}

// Unreachable implements transport.Handler.
func (m *Member) Unreachable(peer raft.MemberID) { m.body(raft.Unreachable{Peer: peer}) }

// Adopt implements transport.Handler: a leader has come for this unjoined member.
func (m *Member) Adopt(cluster raft.ClusterID) error {
	m.joining.Lock()
	defer m.joining.Unlock()
	if err := m.dir.Join(cluster); err != nil {
		return err
	}
	if m.cluster.Swap(uint64(cluster)) == 0 {
		m.cfg.Log.Info("joined a cluster", "cluster", cluster.String())
	}
	return nil
}

// nameOf is the member's name, where the membership knows it, for people who read logs.
func (m *Member) nameOf(id raft.MemberID) string {
	if id == 0 {
		return ""
	}
	if now := m.facts.membership.Load(); now != nil {
		if x, ok := now.Find(id); ok {
			return x.Name
		}
	}
	return id.String()
}
