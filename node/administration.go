package node

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"raftsman.dev/node/admin"
	"raftsman.dev/node/datadir"
	"raftsman.dev/node/etcdapi"
	"raftsman.dev/node/kv"
	"raftsman.dev/node/raft"
	"raftsman.dev/node/replica"
)

// adminNode is the member as its admin endpoint sees it.
type adminNode struct{ m *Member }

// Status implements admin.Node.
func (a adminNode) Status(ctx context.Context, options admin.StatusOptions) (admin.Status, error) {
	m := a.m
	st := admin.Status{MemberID: memberID(m.id.Member), Name: m.cfg.Name, Version: m.cfg.Version, Boot: uint64(m.id.Boot), State: admin.StateCorrupt, Problem: m.problem}
	if m.problem != "" {
		return st, nil
	}
	st.State, st.ClusterID = m.state(), clusterID(m.cluster.Load())
	if st.State == admin.StateRemoved {
		st.Problem = "the cluster has removed this identity: start the process again, and it draws a new one"
	}
	var core raft.Status
	if err := m.ask(ctx, func(r *replica.Replica) { core = r.Status() }); err != nil {
		return admin.Status{}, err
	}
	fillCore(&st, core)
	st.Revision, st.Open = int64(m.store.Revision()), m.store.Opened()
	st.Applied = m.facts.applied.Load()
	st.Forwarded, st.Snapshots = m.facts.forwarded.Load(), m.facts.snapshots.Load()
	st.SnapshotStreams = m.streams.report()
	size := m.disk.size.Load()
	st.Disk = &admin.Disk{FreeBytes: m.disk.free.Load(), SizeBytes: size, LowBytes: m.cfg.lowBound(size), Low: m.disk.low.Load(), Out: m.disk.out.Load()}
	st.NoSpace, st.Diverged = core.Space.Low, divergence(m.facts.diverged.Load())
	st.Attested, st.Suspected = uint64(core.Agreed), uint64(core.Suspected)
	st.Ready = m.unready() == ""
	if options.Hash {
		hash, index, err := m.store.Hash()
		if err != nil {
			return admin.Status{}, err
		}
		st.StateHash, st.HashIndex = fmt.Sprintf("%016x", hash), index
	}
	if options.Quorum && st.State == admin.StateJoined {
		st.Quorate = m.Barrier(ctx) == nil
	}
	return st, nil
}

func (m *Member) state() admin.State {
	switch {
	case m.facts.removed.Load():
		return admin.StateRemoved
	case m.cluster.Load() == 0:
		return admin.StateUnjoined
	}
	return admin.StateJoined
}

// fillCore copies the core's report.
func fillCore(st *admin.Status, s raft.Status) {
	st.Term, st.Leader = uint64(s.Term), memberID(s.Leader)
	st.Commit, st.First, st.Last = uint64(s.Commit), uint64(s.First), uint64(s.Last)
	st.StepDowns, st.LastStepDown = s.StepDowns, s.LastStepDown
	st.Lost, st.Repaired, st.Rebuilding = uint64(s.Lost), s.Repaired, s.Rebuilding
	st.Role = roleOf(s)
	if len(s.Membership.Members) > 0 {
		st.Membership = membershipOf(s)
	}
	for _, p := range s.Progress {
		st.Progress = append(st.Progress, admin.Progress{ID: memberID(p.ID), Match: uint64(p.Match), Active: p.Active, Caught: p.Caught, Mode: p.Mode.String(), Diverged: divergence(&p.Diverged)})
	}
}

func roleOf(s raft.Status) admin.Role {
	switch s.Role {
	case raft.RoleLeader:
		return admin.RoleLeader
	case raft.RoleCandidate, raft.RolePreCandidate:
		return admin.RoleCandidate
	}
	if x, ok := s.Membership.Find(s.ID); ok && x.Seat == raft.SeatLearner {
		return admin.RoleLearner
	}
	return admin.RoleFollower
}

func membershipOf(s raft.Status) *admin.Membership {
	out := &admin.Membership{Index: uint64(s.Config), Committed: s.ConfigCommitted, Joint: s.Membership.Joint()}
	for _, x := range s.Membership.Members {
		out.Members = append(out.Members, admin.Member{ID: memberID(x.ID), Name: x.Name, PeerAddress: x.PeerAddress, ClientURLs: x.ClientURLs, Seat: admin.Seat(x.Seat.String())})
	}
	return out
}

func memberID(id raft.MemberID) string {
	if id == 0 {
		return ""
	}
	return id.String()
}

func clusterID(id uint64) string {
	if id == 0 {
		return ""
	}
	return raft.ClusterID(id).String()
}

func parseID(what, s string) (uint64, error) {
	id, err := strconv.ParseUint(s, 16, 64)
	if err != nil || len(s) != 16 || id == 0 {
		return 0, &admin.Error{Reason: admin.ReasonInvalid, Message: fmt.Sprintf("%s is %q: write it as 16 hex digits", what, s)}
	}
	return id, nil
}

// Form implements admin.Node.
func (a adminNode) Form(ctx context.Context, request admin.FormRequest) error {
	m := a.m
	if m.problem != "" {
		return &admin.Error{Reason: admin.ReasonInvalid, Message: m.problem}
	}
	cluster, err := parseID("clusterID", request.ClusterID)
	if err != nil {
		return err
	}
	founder, err := parseID("founder", request.Founder)
	if err != nil {
		return err
	}
	switch now := m.cluster.Load(); {
	case raft.MemberID(founder) != m.id.Member:
		return &admin.Error{Reason: admin.ReasonOtherFounder, Message: fmt.Sprintf("the founder is to be member %016x, and this is %v", founder, m.id.Member)}
	case now != 0 && now != cluster:
		return a.otherCluster(request.ClusterID)
	}
	err = m.form(ctx, raft.ClusterID(cluster))
	if errors.Is(err, datadir.ErrForeign) {
		return a.otherCluster(request.ClusterID)
	}
	return err
}

func (a adminNode) otherCluster(asked string) error {
	return &admin.Error{Reason: admin.ReasonOtherCluster, Message: fmt.Sprintf("this member belongs to cluster %s, not to %s", clusterID(a.m.cluster.Load()), asked)}
}

// joined refuses what only a member of that cluster can do.
func (a adminNode) joined(cluster string) error {
	m := a.m
	id, err := parseID("clusterID", cluster)
	switch {
	case m.problem != "":
		return &admin.Error{Reason: admin.ReasonNotJoined, Message: m.problem}
	case err != nil:
		return err
	case m.state() != admin.StateJoined:
		return &admin.Error{Reason: admin.ReasonNotJoined, Message: "this member is " + string(m.state())}
	case m.cluster.Load() != id:
		return a.otherCluster(cluster)
	}
	return nil
}

// Change implements admin.Node: it returns once the change has begun.
func (a adminNode) Change(ctx context.Context, request admin.ChangeRequest) error {
	if err := a.joined(request.ClusterID); err != nil {
		return err
	}
	c := raft.Change{Planned: raft.Index(request.Index)}
	if request.Index == 0 {
		return &admin.Error{Reason: admin.ReasonInvalid, Message: "index is missing: name the configuration index that the change was planned on"}
	}
	for _, x := range request.AddLearners {
		id, err := parseID("a learner's id", x.ID)
		if err != nil {
			return err
		}
		c.AddLearners = append(c.AddLearners, raft.Member{ID: raft.MemberID(id), Name: x.Name, PeerAddress: x.PeerAddress, ClientURLs: x.ClientURLs})
	}
	for _, list := range []struct {
		ids  []string
		into *[]raft.MemberID
	}{{request.Promote, &c.Promote}, {request.Remove, &c.Remove}} {
		for _, s := range list.ids {
			id, err := parseID("a member's id", s)
			if err != nil {
				return err
			}
			*list.into = append(*list.into, raft.MemberID(id))
		}
	}
	_, err := a.m.change(ctx, c)
	return a.refused(err)
}

// Transfer implements admin.Node: it returns once leadership has moved.
func (a adminNode) Transfer(ctx context.Context, request admin.TransferRequest) error {
	if err := a.joined(request.ClusterID); err != nil {
		return err
	}
	to := uint64(0)
	if request.To != "" {
		var err error
		if to, err = parseID("to", request.To); err != nil {
			return err
		}
	}
	if !a.m.facts.leads() {
		return a.notLeader()
	}
	return a.refused(a.m.transfer(ctx, raft.MemberID(to)))
}

// Open implements admin.Node: the command goes through the log, and opens the cluster on every member.
func (a adminNode) Open(ctx context.Context, request admin.OpenRequest) error {
	if err := a.joined(request.ClusterID); err != nil {
		return err
	}
	if a.m.store.Opened() {
		return nil
	}
	_, err := a.m.command(ctx, kv.Command{Open: true})
	if errors.Is(err, etcdapi.ErrNoLeader) {
		return a.notLeader()
	}
	return err
}

func (a adminNode) notLeader() error {
	return &admin.Error{Reason: admin.ReasonNotLeader, Message: "this member does not lead", Leader: memberID(raft.MemberID(a.m.facts.leader.Load()))}
}

// refused gives the operator the reason of a refusal.
func (a adminNode) refused(err error) error {
	var refused *replica.RefusedError
	if !errors.As(err, &refused) {
		return err
	}
	if refused.Reason == raft.RefusedNoLeader {
		return a.notLeader()
	}
	reason := admin.ReasonUnavailable
	switch refused.Reason {
	case raft.RefusedTransferring, raft.RefusedInFlight, raft.RefusedBusy:
		reason = admin.ReasonInFlight
	case raft.RefusedStaleConfig:
		reason = admin.ReasonStaleIndex
	case raft.RefusedUnknownMember:
		reason = admin.ReasonUnknownMember
	case raft.RefusedExists:
		reason = admin.ReasonExists
	case raft.RefusedLagging:
		reason = admin.ReasonLagging
	case raft.RefusedInvalid:
		reason = admin.ReasonInvalid
	}
	return &admin.Error{Reason: reason, Message: refused.Error()}
}
