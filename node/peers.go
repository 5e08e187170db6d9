package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"raftsman.dev/node/raft"
	"raftsman.dev/node/replica"
	"raftsman.dev/node/snapshot"
	"raftsman.dev/node/transport"
)

// identity is what this member says of itself in a handshake.
func (m *Member) identity() transport.Identity {
	id := m.id
	return transport.Identity{
		Member: id.Member, Cluster: raft.ClusterID(m.cluster.Load()), Boot: id.Boot, Name: id.Name,
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

// errImporting: one snapshot at a time.
var errImporting = errors.New("another snapshot is being received")

// Snapshot implements transport.Handler: it takes in a peer's state, and returns once store and log have
// switched to it.
func (m *Member) Snapshot(from raft.MemberID, stream io.Reader) error {
	if !m.importing.TryLock() {
		return errImporting
	}
	defer m.importing.Unlock()
	in, err := snapshot.NewReader(stream)
	if err != nil {
		return err
	}
	meta := in.Meta()
	if meta.Cluster != m.identity().Cluster {
		return fmt.Errorf("the snapshot is of cluster %v", meta.Cluster)
	}
	m.cfg.Log.Info("receiving a snapshot", "peer", m.nameOf(from), "index", uint64(meta.Base.Position.Index))
	image, err := m.store.BeginImport()
	if err != nil {
		return fmt.Errorf("begin to receive a snapshot: %w", err)
	}
	for {
		chunk, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			err = image.Add(chunk)
		}
		if err != nil {
			return errors.Join(err, image.Discard())
		}
	}
	applied, err := image.Finish()
	if err == nil && (applied.Index != uint64(meta.Base.Position.Index) || applied.Term != uint64(meta.Base.Position.Term)) {
		err = fmt.Errorf("the snapshot is of %v, but its state of %d@%d: %w", meta.Base.Position, applied.Index, applied.Term, snapshot.ErrMalformed)
	}
	if err != nil {
		return errors.Join(err, image.Discard())
	}
	done := make(chan error, 1)
	m.inbox.call(func(r *replica.Replica) { r.Snapshot(from, meta.Base, image, done) })
	select {
	case err := <-done:
		m.cfg.Log.Info("received a snapshot", "peer", m.nameOf(from), "index", uint64(meta.Base.Position.Index), "error", errorText(err))
		return err
	case <-m.ending:
		return replica.ErrStopped
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// SendSnapshot implements replica.Env: the newest state goes out on a connection of its own.
func (m *Member) SendSnapshot(to raft.MemberID) {
	term := raft.Term(m.facts.term.Load())
	m.wg.Go(func() {
		at, err := m.sendSnapshot(to, term)
		if err != nil {
			m.cfg.Log.Info("snapshot not sent", "peer", m.nameOf(to), "error", err.Error())
		} else {
			m.cfg.Log.Info("snapshot sent", "peer", m.nameOf(to), "index", uint64(at.Index))
		}
		m.inbox.call(func(r *replica.Replica) { r.SnapshotSent(to, at, err == nil) })
	})
}

func (m *Member) sendSnapshot(to raft.MemberID, term raft.Term) (raft.Position, error) {
	view := m.store.View()
	defer view.Close()
	base, err := replica.BaseOf(view.Applied())
	if err != nil {
		return raft.Position{}, err
	}
	meta := snapshot.Meta{Cluster: m.identity().Cluster, Term: term, Base: base}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	stop := context.AfterFunc(m.endingContext, cancel)
	defer stop()
	return base.Position, m.transport.SendSnapshot(ctx, to, func(w io.Writer) error {
		out, err := snapshot.NewWriter(w, meta)
		if err != nil {
			return err
		}
		if err := view.Export(out.Chunk); err != nil {
			return err
		}
		return out.Close()
	})
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
