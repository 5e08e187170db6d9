package raft

import (
	"fmt"
	"slices"
	"testing"
)

// TestNobodyWaitsForATick: whoever asked through a member is answered there without any time passing, watched or not,
// across changes of leader as well; and where somebody watches, all that is committed is seen. Messages are delayed, and
// as on a connection none is lost or overtaken by another of the same sender. Leaders keep back what nobody waits
// for meanwhile.
func TestNobodyWaitsForATick(t *testing.T) {
	keptBack := 0
	for seed := range uint64(400) {
		w := newWorld(t, seed, 3+int(seed%2)*2)
		first := w.nodes[1]
		first.core.elapsed = first.core.timeout - 1
		first.core.Tick()
		w.drain(first)
		w.quiet()
		for round := range 20 {
			reads := map[uint64]*node{}
			for step := range 30 {
				n := w.nodes[w.ids[w.rng.IntN(len(w.ids))]]
				switch dice := w.rng.IntN(100); {
				case dice < 40:
					w.nextInOrder()
				case dice < 60:
					w.sync(n, 1+w.rng.IntN(3))
				case dice < 75:
					w.propose(n, fmt.Sprintf("%d:%d.%d", n.id, round, step))
				case dice < 90:
					reads[w.read(n)] = n
				case dice < 98:
					w.local(n, Watched{On: w.rng.IntN(2) == 0})
				default:
					w.nextRef++
					w.local(n, Transfer{Ref: w.nextRef})
				}
				if n.core.Brief().KeptBack != 0 {
					keptBack++
				}
			}
			w.quiet()
			w.allSeen(seed, reads)
			w.settle(first.core.cfg.ElectionTicks)
		}
	}
	if keptBack < 1000 {
		t.Errorf("a leader kept something back only %d times: this shows nothing of it", keptBack)
	}
}

// nextInOrder delivers the oldest message from one member to another.
func (w *world) nextInOrder() {
	if len(w.bag) == 0 {
		return
	}
	m := w.bag[w.rng.IntN(len(w.bag))]
	w.deliver(slices.IndexFunc(w.bag, func(x Message) bool { return x.From == m.From && x.To == m.To }))
}

// allSeen demands that everybody who asked has seen the answer, and everybody who watches all that is committed.
func (w *world) allSeen(seed uint64, reads map[uint64]*node) {
	w.t.Helper()
	for i, e := range w.chosen {
		var origin MemberID
		if _, err := fmt.Sscanf(string(e.Payload), "%d:", &origin); e.Kind == EntryCommand && err == nil && w.nodes[origin].applied <= Index(i) {
			w.t.Fatalf("seed %d: %v of member %v is committed, and not applied there", seed, e.Position(), origin)
		}
	}
	for ref, n := range reads {
		if at, ok := w.granted[ref]; ok && n.applied < at {
			w.t.Fatalf("seed %d: member %v may read at %d, and has applied only %d", seed, n.id, at, n.applied)
		}
	}
	leader := w.leader()
	for _, id := range w.ids {
		if n := w.nodes[id]; !n.core.unwatched && n.applied < leader.core.commit {
			w.t.Fatalf("seed %d: somebody watches at member %v, which has applied only %d of %d", seed, id, n.applied, leader.core.commit)
		}
	}
}

// notified makes a leader of three voters whose followers have everything and have said that nobody watches there.
func notified(t *testing.T) *lab {
	l := newLab(t, 1, voters(3))
	l.lead()
	l.ack(2, 3)
	l.step(2, l.hard.Term, HeartbeatReply{Unwatched: true})
	l.step(3, l.hard.Term, HeartbeatReply{Unwatched: true})
	l.look()
	return l
}

func TestUnwatchedPeersAreNotToldAtOnce(t *testing.T) {
	l := notified(t)
	l.propose("a")
	l.ack(2, 3)
	if told := sentTo[Heartbeat](l, 3); len(told) != 0 {
		t.Fatalf("told at once: %+v", told)
	}
	// An older program says nothing of it, which means that somebody may watch.
	l.step(3, l.hard.Term, HeartbeatReply{})
	if told := answer[Heartbeat](l, 3); told != (Heartbeat{Commit: l.commit, Quiet: true}) {
		t.Errorf("told %+v, want the commit index %d and nothing more", told, l.commit)
	}
	if told := sentTo[Heartbeat](l, 2); len(told) != 0 {
		t.Errorf("the other one was told as well: %+v", told)
	}
}

func TestRefusedForwardsAreNotWaitedFor(t *testing.T) {
	l := notified(t)
	before := l.peer(2).awaits
	tooLong := Proposal{Ref: 8, Payload: make([]byte, MaxPayload+1)}
	l.step(2, l.hard.Term, Forward{Proposals: []Proposal{tooLong}})
	if p := l.peer(2); p.awaits != before {
		t.Errorf("waits for %d after all was refused, before for %d", p.awaits, before)
	}
	l.step(2, l.hard.Term, Forward{Proposals: []Proposal{{Ref: 9, Payload: []byte("a")}, tooLong}})
	if p := l.peer(2); p.awaits != l.log.last.Index {
		t.Errorf("waits for %d after one was accepted at %d", p.awaits, l.log.last.Index)
	}
}

func TestNewBootCountsAsWatched(t *testing.T) {
	l := notified(t)
	l.step(3, l.hard.Term, Forward{Proposals: []Proposal{{Ref: 9, Payload: []byte("a")}}})
	l.local(Connected{Peer: 3, Boot: 2})
	if p := l.peer(3); p.unwatched || p.awaits != 0 {
		t.Errorf("after a new boot: unwatched %v, awaits %d", p.unwatched, p.awaits)
	}
}

// TestDivergenceOutlivesNotices: neither what a peer says unasked, nor an older program's answer to what wants none, may
// pass for the answer of one that has another state.
func TestDivergenceOutlivesNotices(t *testing.T) {
	l := notified(t)
	p := l.peer(2)
	p.unwatched, p.divergence, p.divergedBoot = false, Divergence{Index: 1, Own: 2, Majority: 3}, l.boots[2]
	l.propose("a")
	l.ack(2, 3)
	told := answer[Heartbeat](l, 2)
	if want := (Heartbeat{Commit: l.commit, Point: Point{1, 3}, Diverged: true}); told != want {
		t.Errorf("one that differs is told %+v, want %+v", told, want)
	}

	f := newLab(t, 2, voters(3))
	f.obey(1, 2)
	f.local(Applied{Index: 1, Points: []Point{{1, 2}}})
	f.step(1, 2, Heartbeat{Point: Point{1, 2}})
	f.step(1, 2, Heartbeat{Quiet: true})
	f.local(Watched{On: false})
	f.look()
	f.local(Watched{On: true})
	if said := answer[HeartbeatReply](f, 1); said != (HeartbeatReply{Point: Point{1, 2}}) {
		t.Errorf("says %+v unasked", said)
	}
}

// TestWatchedSpeaksOnlyOfNews: the leader is told unasked of somebody who begins to watch, and of nothing else.
func TestWatchedSpeaksOnlyOfNews(t *testing.T) {
	l := newLab(t, 2, voters(3))
	l.obey(1, 2)
	l.local(Space{Low: true})
	l.local(Watched{On: true})
	l.local(Watched{On: false})
	l.local(Watched{On: false})
	if said := sentTo[HeartbeatReply](l, 1); len(said) != 0 {
		t.Fatalf("says %+v, which is no news or can wait", said)
	}
	l.local(Watched{On: true})
	if said := answer[HeartbeatReply](l, 1); said != (HeartbeatReply{Space: Space{Low: true}}) {
		t.Errorf("says %+v", said)
	}
}

// TestEarlierReignsAreWaitedFor: what a peer forwarded to an earlier leader is in this one's log, and it is told of that
// at once although it has said, before the no-op was committed, that nobody watches.
func TestEarlierReignsAreWaitedFor(t *testing.T) {
	l := newLab(t, 1, voters(3), 1)
	l.lead()
	l.tick(1)
	l.step(3, l.hard.Term, HeartbeatReply{Unwatched: true})
	l.look()
	l.ack(2, 3)
	if told := answer[Heartbeat](l, 3); told != (Heartbeat{Commit: l.noop, Quiet: true}) {
		t.Errorf("told %+v, want the commit index %d", told, l.noop)
	}
}
