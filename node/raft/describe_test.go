package raft

import (
	"fmt"
	"strings"
)

// refusals names every Refusal, in its order, for scripts and tables.
var refusals = [...]string{"not refused", "no leader", "busy", "transferring", "stale config", "in flight", "unknown member", "exists", "lagging", "invalid", "no space"}

// kind names a message body as scripts and tables do.
func kind(b Body) string { return strings.TrimPrefix(fmt.Sprintf("%T", b), "raft.") }

// say tells what happens, if somebody listens.
func (w *world) say(format string, args ...any) {
	if w.tell != nil {
		w.tell(format, args...)
	}
}

// told is a message or an entry that is described only if somebody listens.
type told struct{ what any }

// String describes it.
func (t told) String() string {
	if e, ok := t.what.(Entry); ok {
		return describeEntry(e)
	}
	return describe(t.what.(Message))
}

// describe renders a message on one line. Every line names the term the sender is in.
func describe(m Message) string {
	return fmt.Sprintf("%d->%d in %d: %s%s", uint64(m.From), uint64(m.To), m.Term, kind(m.Body), describeBody(m.Body))
}

func describeBody(b Body) string {
	switch b := b.(type) {
	case VoteRequest:
		return fmt.Sprintf(" last=%v%s%s", b.Last, flagged(" pre", b.Pre), flagged(" transfer", b.Transfer))
	case VoteReply:
		return flagged(" pre", b.Pre) + map[bool]string{true: " granted", false: " refused"}[b.Granted]
	case Append:
		return fmt.Sprintf(" prev=%v commit=%d [%s]", b.Prev, b.Commit, describeEntries(b.Entries))
	case AppendReply:
		if b.Rejected {
			return fmt.Sprintf(" rejected prev=%d hint=%v", b.Match, b.Hint)
		}
		return fmt.Sprintf(" match=%d", b.Match)
	case Heartbeat:
		return fmt.Sprintf(" commit=%d%s%s", b.Commit, numbered(" read=", b.Read), describeSpace(b.Space)+describePoint(b.Point)+flagged(" diverged", b.Diverged)+flagged(" quiet", b.Quiet))
	case HeartbeatReply:
		return numbered(" read=", b.Read) + describeSpace(b.Space) + describePoint(b.Point) + flagged(" unwatched", b.Unwatched)
	case Forward:
		refs := ""
		for _, p := range b.Proposals {
			refs += fmt.Sprintf(" %d:%q", p.Ref, p.Payload)
		}
		return refs
	case ForwardRefused:
		return fmt.Sprintf(" %v %s", b.Refs, refusals[b.Reason])
	case ReadRequest:
		return numbered(" ref=", b.Ref)
	case ReadReply:
		if b.Reason != RefusedNot {
			return fmt.Sprintf(" ref=%d %s", b.Ref, refusals[b.Reason])
		}
		return fmt.Sprintf(" ref=%d index=%d", b.Ref, b.Index)
	case Stranger:
		return fmt.Sprintf(" config=%d", b.Config)
	case RepairRequest:
		return fmt.Sprintf(" %d to %d", b.From, b.To)
	case RepairReply:
		return fmt.Sprintf(" first=%d [%s]", b.First, describeEntries(b.Entries))
	case SnapshotRequest:
		return fmt.Sprintf(" min=%d committed=%v", b.Min, b.Committed)
	}
	return ""
}

func describePoint(p Point) string {
	if p.Index == 0 {
		return ""
	}
	return fmt.Sprintf(" point=%d:%x", p.Index, p.Sum)
}

func describeSpace(s Space) string { return flagged(" low", s.Low) + flagged(" out", s.Out) }

func flagged(name string, on bool) string {
	if on {
		return name
	}
	return ""
}

func numbered(name string, n uint64) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprint(name, n)
}

func describeEntries(entries []Entry) string {
	var parts []string
	for _, e := range entries {
		parts = append(parts, describeEntry(e))
	}
	return strings.Join(parts, ", ")
}

func describeEntry(e Entry) string {
	switch e.Kind {
	case EntryLost:
		return fmt.Sprintf("%v lost", e.Position())
	case EntryNoop:
		return fmt.Sprintf("%v no-op", e.Position())
	case EntryMembership:
		m, err := DecodeMembership(e.Payload)
		if err != nil {
			return fmt.Sprintf("%v membership that cannot be read: %v", e.Position(), err)
		}
		return fmt.Sprintf("%v %s", e.Position(), describeMembership(m))
	}
	return fmt.Sprintf("%v %q", e.Position(), e.Payload)
}

// describeMembership lists the voters of both halves and the learners.
func describeMembership(m Membership) string {
	in, out := m.Voters()
	s := fmt.Sprintf("voters=%d", in)
	if m.Joint() {
		s = fmt.Sprintf("joint voters=%d+%d", in, out)
	}
	var learners []uint64
	for _, x := range m.Members {
		if x.Seat == SeatLearner {
			learners = append(learners, uint64(x.ID))
		}
	}
	if learners != nil {
		s += fmt.Sprintf(" learners=%d", learners)
	}
	return s
}

// sayDurable tells what a member's disk has made durable.
func (w *world) sayDurable(n *node, b Batch) {
	if b.Empty() || w.tell == nil {
		return
	}
	var parts []string
	if b.Base != nil {
		parts = append(parts, fmt.Sprintf("log restarts behind %v", b.Base.Position))
	}
	if b.Hard != nil {
		parts = append(parts, fmt.Sprintf("term %d vote %d", b.Hard.Term, uint64(b.Hard.Vote)))
	}
	if len(b.Entries) > 0 {
		parts = append(parts, describeEntries(b.Entries))
	}
	if len(b.Fills) > 0 {
		parts = append(parts, "repaired "+describeEntries(b.Fills))
	}
	w.say("%v: durable: %s", n.id, strings.Join(parts, "; "))
}

// sayOutput tells what a member has become and what its clients hear.
func (w *world) sayOutput(n *node, out Output) {
	if w.tell == nil {
		return
	}
	for _, e := range out.Events {
		if c, ok := e.(ConfigChanged); ok {
			w.say("%v: config %d: %s", n.id, c.Index, describeMembership(c.Membership))
			continue
		}
		w.say("%v: %v", n.id, e)
	}
	for _, a := range out.Accepted {
		w.say("%v: request %d accepted%s", n.id, a.Ref, map[bool]string{true: fmt.Sprintf(" at %v", a.At)}[a.At.Index != 0])
	}
	for _, r := range out.Refused {
		w.say("%v: request %d refused: %s", n.id, r.Ref, refusals[r.Reason])
	}
	for _, g := range out.Reads {
		w.say("%v: read %d granted at %d", n.id, g.Ref, g.Index)
	}
	for _, f := range out.Fetches {
		w.say("%v: fetches entries from %d on for %v%s", n.id, f.From, f.To, flagged(" to repair its log", f.Repair))
	}
	for _, to := range out.Snapshots {
		w.say("%v: starts a snapshot stream to %v", n.id, to)
	}
	if out.Install != nil {
		w.say("%v: installs the snapshot of %v%s", n.id, out.Install.Base.Position, flagged(" and keeps its log", out.Install.KeepLog))
	}
	if out.Removed {
		w.say("%v: knows that it is no longer a member", n.id)
	}
	if now := n.core.Brief().Commit; now != n.commit {
		w.say("%v: commit %d", n.id, now)
		n.commit = now
	}
}
