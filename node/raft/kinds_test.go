package raft

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strings"
	"testing"
)

// cell is one line of the table: what a member does with a message, in each role.
type cell struct {
	kind string
	term string // of a peer's message: lower, same or higher than the member's own; empty for local ones
	does [4]string
}

// TestEveryKindInEveryRole holds the core to the tables below. Every message comes from member 2, whom the
// follower follows; the member is 1 of three voters. "stops" cells are forbidden: they cannot happen while
// the protocol is right, and the member stops rather than go on.
func TestEveryKindInEveryRole(t *testing.T) {
	for _, c := range append(peerTable(), localTable()...) {
		for role, want := range c.does {
			got := observe(t, Role(role), c)
			if got != want {
				t.Errorf("%s of the %s term to a %v: %s; the table says: %s", c.kind, c.term, Role(role), got, want)
			}
		}
	}
}

// TestEveryKindHasARow fails when a message body is added without a row for every term and role.
func TestEveryKindHasARow(t *testing.T) {
	peer, local := map[string]bool{}, map[string]bool{}
	rows := map[string]bool{}
	for _, c := range peerTable() {
		peer[base(c.kind)] = true
		rows[c.kind+"/"+c.term] = true
	}
	for _, c := range localTable() {
		local[base(c.kind)] = true
	}
	for name := range rows {
		kind, _, _ := strings.Cut(name, "/")
		for _, term := range []string{"lower", "same", "higher"} {
			if !rows[kind+"/"+term] {
				t.Errorf("%s has no row for the %s term", kind, term)
			}
		}
	}
	kinds := declaredKinds(t)
	for _, kind := range kinds {
		if peer[kind] == local[kind] {
			t.Errorf("%s must have rows in exactly one of the tables; from peers: %v, local: %v", kind, peer[kind], local[kind])
		}
	}
	for kind := range peer {
		if !slices.Contains(kinds, kind) {
			t.Errorf("%s has rows and is no message body", kind)
		}
	}
	for kind := range local {
		if !slices.Contains(kinds, kind) {
			t.Errorf("%s has rows and is no message body", kind)
		}
	}
}

// TestPeersCannotSpeakForTheDisk: a local kind from a peer, or a peer's kind without a sender, is malformed
// and changes nothing, in every role.
func TestPeersCannotSpeakForTheDisk(t *testing.T) {
	for role := range Role(4) {
		for _, c := range localTable() {
			l := inRole(t, role)
			b := body(l, c.kind)
			before := fingerprint(l)
			err := l.Step(Message{From: 2, To: 1, FromBoot: 1, Term: l.hard.Term, Body: b})
			if l.run(); !errors.Is(err, ErrMalformed) || fingerprint(l) != before {
				t.Errorf("%s from a peer to a %v: error %v, want %v and no change", c.kind, role, err, ErrMalformed)
			}
		}
		for _, c := range peerTable() {
			l := inRole(t, role)
			b := body(l, c.kind)
			before := fingerprint(l)
			err := l.Step(Message{Body: b})
			if l.run(); !errors.Is(err, ErrMalformed) || fingerprint(l) != before {
				t.Errorf("%s without a sender to a %v: error %v, want %v and no change", c.kind, role, err, ErrMalformed)
			}
		}
	}
}

// base is the kind without its variant.
func base(kind string) string {
	name, _, _ := strings.Cut(kind, " ")
	return name
}

// declaredKinds lists the types of message.go that are message bodies.
func declaredKinds(t *testing.T) []string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "message.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var kinds []string
	for _, decl := range file.Decls {
		if f, ok := decl.(*ast.FuncDecl); ok && f.Name.Name == "body" && f.Recv != nil {
			kinds = append(kinds, f.Recv.List[0].Type.(*ast.Ident).Name)
		}
	}
	if len(kinds) < 20 {
		t.Fatalf("message.go declares only %v: this test reads it wrongly", kinds)
	}
	return kinds
}

// inRole makes member 1 of three voters with a log up to 3@4, in term 5 (a leader with its no-op committed).
func inRole(t *testing.T, role Role) *lab {
	l := newLab(t, 1, voters(3), 4, 4)
	switch role {
	case RoleFollower:
		l.obey(2, 5)
		l.local(Read{Ref: 70}) // is on its way to the leader
	case RolePreCandidate:
		l.obey(2, 5)
		l.expire()
	case RoleCandidate:
		l.campaign()
	case RoleLeader:
		l.lead()
		l.ack(2, 3)
		l.propose("not committed")
		l.local(Read{Ref: 70})
	}
	l.wantRole(role, 5)
	l.look()
	l.refused, l.accepted, l.events, l.reads = nil, nil, nil, nil
	return l
}

// body makes a message of a kind that is as welcome as it can be.
func body(l *lab, kind string) Body {
	last := l.log.last
	switch base(kind) {
	case "VoteRequest":
		return VoteRequest{Pre: strings.HasSuffix(kind, " pre"), Transfer: strings.HasSuffix(kind, " transfer"), Campaign: 9, Last: last}
	case "VoteReply":
		return VoteReply{Pre: strings.HasSuffix(kind, " pre"), Granted: !strings.HasSuffix(kind, " refused"), Campaign: l.Core.campaign}
	case "Append":
		return Append{Prev: last, Commit: last.Index, Entries: commands(last.Index, last.Term)}
	case "AppendReply":
		return AppendReply{Match: last.Index, Rejected: strings.HasSuffix(kind, " rejected"), Hint: Position{1, 1}}
	case "Heartbeat":
		return Heartbeat{Quiet: strings.HasSuffix(kind, " quiet")}
	case "Watched":
		on := strings.HasSuffix(kind, " on")
		l.local(Watched{On: !on})
		return Watched{On: on}
	case "Persisted":
		if l.role == RoleLeader {
			l.slow = true
			l.propose("not durable")
		}
		return Persisted{Seq: l.seq}
	case "SnapshotReceived":
		return SnapshotReceived{From: 2, Base: Base{Position: Position{9, 4}, Config: 1, Membership: voters(3)}}
	}
	for _, b := range []Body{
		HeartbeatReply{Read: 1}, TimeoutNow{}, Forward{Proposals: []Proposal{{Ref: 71, Payload: []byte("f")}}}, ForwardRefused{Refs: []uint64{72}, Reason: RefusedBusy},
		ReadRequest{Ref: 73}, ReadReply{Ref: 70, Index: last.Index}, Stranger{Config: last.Index},
		RepairRequest{From: 1, To: 2}, RepairReply{First: 9, Entries: commands(1, 4)}, SnapshotRequest{Min: 1},
		Propose{Proposals: []Proposal{{Ref: 74, Payload: []byte("p")}}}, Read{Ref: 75}, ChangeMembership{Ref: 76, Change: Change{Remove: []MemberID{3}}}, Transfer{Ref: 77, To: 2},
		Applied{Index: l.Core.applied}, Fetched{To: 2}, SnapshotSent{To: 2, OK: true},
		Compacted{Base: Base{Position: Position{1, 1}, Config: 1, Membership: voters(3)}}, Connected{Peer: 2, Boot: 2}, Unreachable{Peer: 2}, Space{Low: true}, Hurry{},
	} {
		if fmt.Sprintf("raft.%s", kind) == fmt.Sprintf("%T", b) {
			return b
		}
	}
	l.t.Fatalf("no sample of %s: add one", kind)
	return nil
}

// fingerprint is all of a member's state that a message may change and that can be seen.
func fingerprint(l *lab) string {
	return fmt.Sprintf("%+v %+v %v %v %v %v %v %v", l.Status(), l.hard, l.log.base.Position, l.remoteReads, l.rounds, l.newReads, l.boots, l.unwatched)
}

// observe hands one message to a member in a role and says what it does.
func observe(t *testing.T, role Role, c cell) (does string) {
	l := inRole(t, role)
	l.slow = true // what reaches the disk is not answered: the message's own effects only
	term := l.hard.Term
	switch c.term {
	case "lower":
		term--
	case "higher":
		term++
	}
	m := Message{From: 2, To: 1, FromBoot: 1, Term: term, Body: body(l, c.kind)}
	l.look()
	if c.term == "" {
		m = Message{Body: m.Body}
	}
	before, role0, leader, hard, last, commit := fingerprint(l), l.role, l.leader, l.hard, l.log.last, l.commit
	defer func() {
		if stop := recover(); stop != nil {
			does = "stops"
		}
	}()
	if err := l.Step(m); err != nil {
		return "malformed"
	}
	l.run()
	l.flush()
	var did []string
	say := func(when bool, what string) {
		if when {
			did = append(did, what)
		}
	}
	say(l.hard.Term != hard.Term, "enters the term")
	say(l.role != role0, fmt.Sprintf("becomes %v", l.role))
	say(l.leader == 2 && leader != 2, "follows")
	say(l.leader == 0 && leader == 2 && l.role == role0, "forgets the leader")
	say(l.hard.Vote == 2, "votes for it")
	say(l.log.last.Index > last.Index, "log grows")
	say(l.commit > commit, "commits")
	did = append(did, sends(l)...)
	say(len(l.reads) > 0, "grants reads")
	say(len(l.accepted) > 0, "accepts")
	say(len(l.refused) > 0, "refuses to clients")
	say(l.removed, "knows that it is removed")
	say(len(l.streams) > 0, "streams a snapshot")
	if len(did) == 0 {
		say(fingerprint(l) == before, "ignored")
		say(fingerprint(l) != before, "takes note")
	}
	return strings.Join(did, ", ")
}

// sends lists what left: answers to member 2 by their content, everything else by kind.
func sends(l *lab) []string {
	var kinds []string
	for _, m := range l.sent {
		what := "sends " + kind(m.Body)
		switch b := m.Body.(type) {
		case VoteReply:
			what = "answers no"
			if b.Granted {
				what = "answers yes"
			}
		case AppendReply:
			what = "acks"
			if b.Rejected {
				what = "rejects"
			}
		case HeartbeatReply, ReadReply, ForwardRefused:
			what = "answers"
		}
		if !slices.Contains(kinds, what) {
			kinds = append(kinds, what)
		}
	}
	return kinds
}

// all is a row whose cells are alike.
func all(what string) [4]string { return [4]string{what, what, what, what} }

// peerTable has the columns follower, pre-candidate, candidate, leader.
func peerTable() []cell {
	return []cell{
		{"VoteRequest", "lower", all("answers no")},
		{"VoteRequest", "same", [4]string{"answers no", "votes for it, answers yes", "answers no", "answers no"}},
		{"VoteRequest", "higher", [4]string{
			"ignored",
			"enters the term, becomes follower, votes for it, answers yes",
			"enters the term, becomes follower, votes for it, answers yes",
			"ignored",
		}},
		{"VoteRequest pre", "lower", all("answers no")},
		{"VoteRequest pre", "same", all("answers no")},
		{"VoteRequest pre", "higher", [4]string{"ignored", "answers yes", "answers yes", "ignored"}},
		{"VoteRequest transfer", "lower", all("answers no")},
		{"VoteRequest transfer", "same", [4]string{"answers no", "votes for it, answers yes", "answers no", "answers no"}},
		{"VoteRequest transfer", "higher", [4]string{
			"enters the term, forgets the leader, votes for it, answers yes, refuses to clients",
			"enters the term, becomes follower, votes for it, answers yes",
			"enters the term, becomes follower, votes for it, answers yes",
			"enters the term, becomes follower, votes for it, answers yes, refuses to clients",
		}},
		{"VoteReply", "lower", all("ignored")},
		{"VoteReply", "same", [4]string{"ignored", "ignored", "becomes leader, log grows, sends Append", "ignored"}},
		{"VoteReply", "higher", [4]string{
			"enters the term, forgets the leader, refuses to clients",
			"enters the term, becomes follower",
			"enters the term, becomes follower",
			"enters the term, becomes follower, refuses to clients",
		}},
		{"VoteReply refused", "lower", all("ignored")},
		{"VoteReply refused", "same", all("ignored")},
		{"VoteReply refused", "higher", [4]string{
			"enters the term, forgets the leader, refuses to clients",
			"enters the term, becomes follower",
			"enters the term, becomes follower",
			"enters the term, becomes follower, refuses to clients",
		}},
		{"VoteReply pre", "lower", all("ignored")},
		{"VoteReply pre", "same", all("ignored")},
		{"VoteReply pre", "higher", [4]string{"ignored", "enters the term, becomes candidate, sends VoteRequest", "ignored", "ignored"}},
		{"Append", "lower", all("rejects")},
		{"Append", "same", [4]string{
			"log grows, commits, acks",
			"becomes follower, follows, log grows, commits, acks",
			"becomes follower, follows, log grows, commits, acks",
			"stops",
		}},
		{"Append", "higher", [4]string{
			"enters the term, log grows, commits, acks",
			"enters the term, becomes follower, follows, log grows, commits, acks",
			"enters the term, becomes follower, follows, log grows, commits, acks",
			"enters the term, becomes follower, follows, log grows, commits, acks, refuses to clients",
		}},
		{"AppendReply", "lower", all("ignored")},
		{"AppendReply", "same", [4]string{"ignored", "ignored", "ignored", "commits, sends Heartbeat"}},
		{"AppendReply", "higher", [4]string{
			"enters the term, forgets the leader, refuses to clients",
			"enters the term, becomes follower",
			"enters the term, becomes follower",
			"enters the term, becomes follower, refuses to clients",
		}},
		{"AppendReply rejected", "lower", all("ignored")},
		{"AppendReply rejected", "same", [4]string{"ignored", "ignored", "ignored", "sends Append"}},
		{"AppendReply rejected", "higher", [4]string{
			"enters the term, forgets the leader, refuses to clients",
			"enters the term, becomes follower",
			"enters the term, becomes follower",
			"enters the term, becomes follower, refuses to clients",
		}},
		{"Heartbeat", "lower", all("answers")},
		{"Heartbeat", "same", [4]string{"answers", "becomes follower, follows, answers", "becomes follower, follows, answers", "stops"}},
		{"Heartbeat", "higher", [4]string{
			"enters the term, answers",
			"enters the term, becomes follower, follows, answers",
			"enters the term, becomes follower, follows, answers",
			"enters the term, becomes follower, follows, answers, refuses to clients",
		}},
		{"Heartbeat quiet", "lower", all("answers")},
		{"Heartbeat quiet", "same", [4]string{"ignored", "becomes follower, follows", "becomes follower, follows", "stops"}},
		{"Heartbeat quiet", "higher", [4]string{
			"enters the term",
			"enters the term, becomes follower, follows",
			"enters the term, becomes follower, follows",
			"enters the term, becomes follower, follows, refuses to clients",
		}},
		{"HeartbeatReply", "lower", all("ignored")},
		{"HeartbeatReply", "same", [4]string{"ignored", "ignored", "ignored", "grants reads"}},
		{"HeartbeatReply", "higher", [4]string{
			"enters the term, forgets the leader, refuses to clients",
			"enters the term, becomes follower",
			"enters the term, becomes follower",
			"enters the term, becomes follower, refuses to clients",
		}},
		{"TimeoutNow", "lower", all("ignored")},
		{"TimeoutNow", "same", [4]string{
			"enters the term, becomes candidate, sends VoteRequest, refuses to clients",
			"enters the term, becomes candidate, sends VoteRequest",
			"ignored",
			"ignored",
		}},
		{"TimeoutNow", "higher", [4]string{
			"enters the term, becomes candidate, sends VoteRequest, refuses to clients",
			"enters the term, becomes candidate, sends VoteRequest",
			"enters the term, sends VoteRequest",
			"enters the term, becomes candidate, sends VoteRequest, refuses to clients",
		}},
		{"Forward", "lower", [4]string{"answers", "answers", "answers", "log grows, sends Append"}},
		{"Forward", "same", [4]string{"answers", "answers", "answers", "log grows, sends Append"}},
		{"Forward", "higher", all("answers")},
		{"ForwardRefused", "lower", all("refuses to clients")},
		{"ForwardRefused", "same", all("refuses to clients")},
		{"ForwardRefused", "higher", all("refuses to clients")},
		{"ReadRequest", "lower", [4]string{"answers", "answers", "answers", "sends Heartbeat"}},
		{"ReadRequest", "same", [4]string{"answers", "answers", "answers", "sends Heartbeat"}},
		{"ReadRequest", "higher", all("answers")},
		{"ReadReply", "lower", [4]string{"grants reads", "ignored", "ignored", "ignored"}},
		{"ReadReply", "same", [4]string{"grants reads", "ignored", "ignored", "ignored"}},
		{"ReadReply", "higher", [4]string{"grants reads", "ignored", "ignored", "ignored"}},
		{"RepairRequest", "lower", all("sends RepairReply")},
		{"RepairRequest", "same", all("sends RepairReply")},
		{"RepairRequest", "higher", all("sends RepairReply")},
		{"RepairReply", "lower", all("ignored")},
		{"RepairReply", "same", all("ignored")},
		{"RepairReply", "higher", all("ignored")},
		{"SnapshotRequest", "lower", all("streams a snapshot")},
		{"SnapshotRequest", "same", all("streams a snapshot")},
		{"SnapshotRequest", "higher", all("streams a snapshot")},
		{"Stranger", "lower", [4]string{"knows that it is removed", "knows that it is removed", "knows that it is removed", "ignored"}},
		{"Stranger", "same", [4]string{"knows that it is removed", "knows that it is removed", "knows that it is removed", "ignored"}},
		{"Stranger", "higher", [4]string{"knows that it is removed", "knows that it is removed", "knows that it is removed", "ignored"}},
	}
}

// localTable has the same columns.
func localTable() []cell {
	return []cell{
		{"Propose", "", [4]string{"sends Forward", "refuses to clients", "refuses to clients", "log grows, sends Append"}},
		{"Read", "", [4]string{"sends ReadRequest", "refuses to clients", "refuses to clients", "sends Heartbeat"}},
		{"ChangeMembership", "", [4]string{"refuses to clients", "refuses to clients", "refuses to clients", "log grows, sends Append, accepts"}},
		{"Transfer", "", [4]string{"refuses to clients", "refuses to clients", "refuses to clients", "accepts"}},
		{"Persisted", "", [4]string{"ignored", "ignored", "ignored", "takes note"}},
		{"Applied", "", all("ignored")},
		{"Fetched", "", all("ignored")},
		{"SnapshotReceived", "", [4]string{
			"log grows, commits, acks",
			"becomes follower, log grows, commits",
			"becomes follower, log grows, commits",
			"ignored",
		}},
		{"SnapshotSent", "", all("ignored")},
		{"Compacted", "", all("takes note")},
		{"Connected", "", [4]string{"takes note", "takes note", "takes note", "sends Append"}},
		{"Unreachable", "", [4]string{"refuses to clients", "ignored", "ignored", "takes note"}},
		{"Space", "", all("takes note")},
		{"Hurry", "", all("ignored")},
		{"Watched off", "", all("takes note")},
		{"Watched on", "", [4]string{"answers", "takes note", "takes note", "takes note"}},
	}
}
