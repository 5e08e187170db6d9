package node

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"time"

	"raftsman.dev/node/etcdapi"
	"raftsman.dev/node/kv"
	"raftsman.dev/node/raft"
	"raftsman.dev/node/replica"
)

// apiVersion is the version of the etcd API that is implemented; clients and kube-apiserver decide by it.
const apiVersion = "3.7.3"

// Propose implements etcdapi.Backend.
func (m *Member) Propose(ctx context.Context, txn kv.Txn) (kv.Result, error) {
	return m.command(ctx, kv.Command{Txn: txn})
}

func (m *Member) command(ctx context.Context, c kv.Command) (kv.Result, error) {
	p, err := m.replica.Register(c, m.facts.tick.Load())
	if err != nil {
		return kv.Result{}, outcome(err)
	}
	m.inbox.propose(p)
	select {
	case o := <-p.Done():
		return o.Result, outcome(o.Err)
	case <-ctx.Done():
		return kv.Result{}, ctx.Err()
	}
}

// Barrier implements etcdapi.Backend.
func (m *Member) Barrier(ctx context.Context) error {
	b := replica.NewBarrier()
	m.inbox.barrier(b)
	select {
	case err := <-b.Done():
		return outcome(err)
	case <-ctx.Done():
		return ctx.Err()
	case <-m.ending:
		return etcdapi.ErrStopped
	}
}

// outcome translates what the replica says to what the client API's table knows.
func outcome(err error) error {
	if err == nil {
		return nil // before anything below is allocated
	}
	var refused *replica.RefusedError
	switch {
	case errors.Is(err, replica.ErrNoLeader):
		return etcdapi.ErrNoLeader
	case errors.Is(err, replica.ErrBusy):
		return etcdapi.ErrBusy
	case errors.Is(err, replica.ErrNoSpace):
		return etcdapi.ErrNoSpace
	case errors.Is(err, replica.ErrUnknown):
		return etcdapi.ErrTimeout
	case errors.Is(err, replica.ErrStopped):
		return etcdapi.ErrStopped
	case errors.As(err, &refused):
		return refusal(refused.Reason)
	}
	return err
}

func refusal(r raft.Refusal) error {
	switch r {
	case raft.RefusedNoLeader:
		return etcdapi.ErrNotLeader
	case raft.RefusedUnknownMember:
		return etcdapi.ErrMemberNotFound
	case raft.RefusedExists:
		return etcdapi.ErrMemberExists
	case raft.RefusedLagging:
		return etcdapi.ErrLearnerNotReady
	case raft.RefusedInvalid:
		return etcdapi.ErrLastVoter
	case raft.RefusedNoSpace:
		return etcdapi.ErrNoSpace
	}
	return etcdapi.ErrUnhealthy
}

// Read implements etcdapi.Backend.
func (m *Member) Read(ctx context.Context, txn kv.Txn, bill func(bytes int) error) (kv.Result, error) {
	return m.store.ReadBilled(ctx, txn, bill)
}

// View implements etcdapi.Backend.
func (m *Member) View() *kv.View { return m.store.View() }

// HashKeys implements etcdapi.Backend.
func (m *Member) HashKeys(at kv.Revision) (kv.KeysHash, error) { return m.store.HashKeys(at) }

// Compact implements etcdapi.Backend.
func (m *Member) Compact(ctx context.Context, at kv.Revision, physical bool) (kv.Result, error) {
	res, err := m.command(ctx, kv.Command{Compact: &kv.Compaction{Revision: at}})
	if err != nil || res.Err != nil || !physical {
		return res, err
	}
	m.waitWhile(ctx, requestTimeout, func() bool { return !m.store.Tidied() })
	return res, ctx.Err()
}

// NoSpace implements etcdapi.Backend: only the leader knows which disks are low, so a member speaks for itself.
func (m *Member) NoSpace() []uint64 {
	if m.facts.noSpace.Load() {
		return []uint64{uint64(m.id.Member)}
	}
	return nil
}

// Header implements etcdapi.Backend.
func (m *Member) Header() etcdapi.Header {
	return etcdapi.Header{ClusterID: m.cluster.Load(), MemberID: uint64(m.id.Member), Term: m.facts.term.Load(), Revision: m.store.Revision()}
}

// Status implements etcdapi.Backend.
func (m *Member) Status() etcdapi.Status {
	size := m.store.Size()
	room := m.disk.free.Load() - m.cfg.lowBound(m.disk.size.Load())
	return etcdapi.Status{
		Version: apiVersion, StorageVersion: "3.7.0", DBSize: size, DBSizeInUse: size, DBSizeQuota: size + max(room, 0),
		Leader: m.facts.leader.Load(), Index: m.facts.commit.Load(), Applied: m.facts.applied.Load(),
		Learner: m.facts.seat(m.id.Member) == raft.SeatLearner, Errors: m.alarms(),
	}
}

// alarms are what etcd's own tools look for in a status.
func (m *Member) alarms() []string {
	if m.facts.noSpace.Load() {
		return []string{"alarm:NOSPACE"}
	}
	return nil
}

// Members implements etcdapi.Backend.
func (m *Member) Members() []etcdapi.Member {
	now := m.facts.membership.Load()
	if now == nil {
		return nil
	}
	var all []etcdapi.Member
	for _, x := range now.Members {
		all = append(all, clientView(x))
	}
	return all
}

func clientView(x raft.Member) etcdapi.Member {
	return etcdapi.Member{
		ID: uint64(x.ID), Name: x.Name, PeerURLs: []string{peerURL(x.PeerAddress)}, ClientURLs: x.ClientURLs,
		Learner: x.Seat == raft.SeatLearner || x.Seat == raft.SeatIncoming,
	}
}

// LeaderURLs implements etcdapi.Backend.
func (m *Member) LeaderURLs() []string {
	if now := m.facts.membership.Load(); now != nil {
		if x, ok := now.Find(raft.MemberID(m.facts.leader.Load())); ok {
			return x.ClientURLs
		}
	}
	return nil
}

// AddLearner implements etcdapi.Backend: the unjoined member that answers at one of the URLs says who it is.
func (m *Member) AddLearner(ctx context.Context, peerURLs []string) (etcdapi.Member, []etcdapi.Member, error) {
	if err := m.mayChange("edit spec.replicas of the RaftCluster"); err != nil {
		return etcdapi.Member{}, nil, err
	}
	x, err := m.meet(ctx, peerURLs)
	if err != nil {
		return etcdapi.Member{}, nil, err
	}
	if err := m.free(x.PeerAddress, x.ID); err != nil {
		return etcdapi.Member{}, nil, err
	}
	all, err := m.changeAndWait(ctx, raft.Change{AddLearners: []raft.Member{x}})
	return clientView(x), all, err
}

// free refuses to give one member a peer address that another has.
func (m *Member) free(address string, to raft.MemberID) error {
	for _, other := range m.Members() {
		if other.PeerURLs[0] == peerURL(address) && other.ID != uint64(to) {
			return fmt.Errorf("member %s has the address %s: %w", other.Name, address, etcdapi.ErrPeerURLExists)
		}
	}
	return nil
}

// Move implements etcdapi.Backend. Nobody has to answer at the new address yet: a member may be told of before it goes.
func (m *Member) Move(ctx context.Context, id uint64, peerURLs []string) ([]etcdapi.Member, error) {
	if err := m.mayChange("a member is found at its Pod's name, wherever the Pod runs"); err != nil {
		return nil, err
	}
	if m.facts.seat(raft.MemberID(id)) == 0 {
		return nil, etcdapi.ErrMemberNotFound
	}
	if len(peerURLs) != 1 {
		return nil, fmt.Errorf("%d peer URLs are given, and a member has one: %w", len(peerURLs), etcdapi.ErrBadPeerURL)
	}
	address, err := peerAddress(peerURLs[0])
	if err != nil {
		return nil, errors.Join(etcdapi.ErrBadPeerURL, err)
	}
	if err := m.free(address, raft.MemberID(id)); err != nil {
		return nil, err
	}
	return m.changeAndWait(ctx, raft.Change{Move: []raft.Move{{ID: raft.MemberID(id), PeerAddress: address}}})
}

func peerURL(address string) string { return "http://" + address }

// peerAddress is the host and port of a peer URL.
func peerAddress(raw string) (string, error) {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" || u.Port() == "" {
		return "", fmt.Errorf("peer URL %q: write it as http://host:port", raw)
	}
	return u.Host, nil
}

// mayChange refuses membership requests that are not this member's to decide.
func (m *Member) mayChange(instead string) error {
	switch {
	case m.cfg.Managed:
		return &etcdapi.ManagedError{Instead: instead}
	case !m.facts.leads():
		return etcdapi.ErrNotLeader
	}
	return nil
}

// meet asks the member at one of the URLs who it is. Only one without a cluster, or of this one, can be added.
func (m *Member) meet(ctx context.Context, peerURLs []string) (raft.Member, error) {
	errs := []error{fmt.Errorf("start the new member first, without --form: %w", etcdapi.ErrBadPeerURL)}
	for _, raw := range peerURLs {
		address, err := peerAddress(raw)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		who, err := m.transport.Who(ctx, address)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if who.Cluster != 0 && uint64(who.Cluster) != m.cluster.Load() {
			errs = append(errs, fmt.Errorf("member %s at %s belongs to cluster %v", who.Name, address, who.Cluster))
			continue
		}
		return raft.Member{ID: who.Member, Name: who.Name, PeerAddress: address, ClientURLs: SplitList(who.ClientURLs)}, nil
	}
	return raft.Member{}, errors.Join(errs...)
}

// Promote implements etcdapi.Backend.
func (m *Member) Promote(ctx context.Context, id uint64) ([]etcdapi.Member, error) {
	if err := m.mayChange("the operator promotes a member by itself once it has caught up"); err != nil {
		return nil, err
	}
	switch m.facts.seat(raft.MemberID(id)) {
	case 0:
		return nil, etcdapi.ErrMemberNotFound
	case raft.SeatLearner:
		return m.changeAndWait(ctx, raft.Change{Promote: []raft.MemberID{raft.MemberID(id)}})
	}
	return nil, etcdapi.ErrNotLearner
}

// Remove implements etcdapi.Backend.
func (m *Member) Remove(ctx context.Context, id uint64) ([]etcdapi.Member, error) {
	if err := m.mayChange("edit spec.replicas of the RaftCluster, or delete the Pod's volume to have the member replaced"); err != nil {
		return nil, err
	}
	return m.changeAndWait(ctx, raft.Change{Remove: []raft.MemberID{raft.MemberID(id)}})
}

// changeAndWait returns once the change is committed and, if it was joint, over.
func (m *Member) changeAndWait(ctx context.Context, c raft.Change) ([]etcdapi.Member, error) {
	at, err := m.change(ctx, c)
	if err != nil {
		return nil, outcome(err)
	}
	for {
		over := false
		if err := m.ask(ctx, func(r *replica.Replica) {
			s := r.Status()
			over = s.Config >= at.Index && s.ConfigCommitted && !s.Membership.Joint()
		}); err != nil {
			return nil, outcome(err)
		}
		if over {
			return m.Members(), nil
		}
		m.waitWhile(ctx, 20*time.Millisecond, func() bool { return true })
	}
}

// change asks the core; the answer says where the change begins, or why not.
func (m *Member) change(ctx context.Context, c raft.Change) (raft.Position, error) {
	return m.decide(ctx, func(r *replica.Replica, done chan<- replica.ChangeOutcome) { r.Change(c, done) })
}

func (m *Member) decide(ctx context.Context, do func(*replica.Replica, chan<- replica.ChangeOutcome)) (raft.Position, error) {
	done := make(chan replica.ChangeOutcome, 1)
	if err := m.ask(ctx, func(r *replica.Replica) { do(r, done) }); err != nil {
		return raft.Position{}, err
	}
	select {
	case o := <-done:
		return o.At, o.Err
	case <-ctx.Done():
		return raft.Position{}, ctx.Err()
	case <-m.ending:
		return raft.Position{}, replica.ErrStopped
	}
}

// MoveLeader implements etcdapi.Backend.
func (m *Member) MoveLeader(ctx context.Context, to uint64) error {
	if !m.facts.leads() {
		return etcdapi.ErrNotLeader
	}
	if to == uint64(m.id.Member) {
		return nil
	}
	err := m.transfer(ctx, raft.MemberID(to))
	var refused *replica.RefusedError
	if errors.As(err, &refused) && refused.Reason == raft.RefusedUnknownMember {
		return etcdapi.ErrBadTransferee
	}
	return outcome(err)
}

// transfer hands leadership over and waits until it has moved, at most two election timeouts.
func (m *Member) transfer(ctx context.Context, to raft.MemberID) error {
	if _, err := m.decide(ctx, func(r *replica.Replica, done chan<- replica.ChangeOutcome) { r.Transfer(to, done) }); err != nil {
		return err
	}
	moved := func() bool {
		leader := raft.MemberID(m.facts.leader.Load())
		return leader != 0 && leader != m.id.Member && (to == 0 || leader == to)
	}
	m.waitWhile(ctx, 2*m.cfg.ElectionTimeout, func() bool { return !moved() })
	if !moved() {
		return etcdapi.ErrTransferFailed
	}
	return nil
}
