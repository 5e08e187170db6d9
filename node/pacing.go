package node

import (
	"sync"
	"time"

	"raftsman.dev/node/raft"
)

const (
	// pacedBytes is how much of the log a learner that catches up gets at a time.
	pacedBytes = 256 << 10
	// pacedShare is the part of the rate of snapshots at which it gets it: it writes, syncs and applies what it gets,
	// which costs far more than taking in a state.
	pacedShare = 8
	// pacedGain is how many entries a learner gains for each that is committed meanwhile; it is not held up where it
	// gains less, however fast clients write.
	pacedGain = 3
	// tailBytes is how much of the log is kept in memory for members that lag; what is in memory goes out at once.
	tailBytes = 8 << 20
)

// pacing holds learners back that catch up from the leader's disk. As fast as disk and network allow, what was written
// while their snapshot was under way would come in one flood, and where members share a disk or a network clients would
// feel it. Nobody waits for a learner; a voter, which a quorum may wait for, is never held back.
type pacing struct {
	rate float64 // bytes a second
	now  func() time.Time
	mu   struct {
		sync.Mutex
		seen map[raft.MemberID]glimpse
	}
}

// glimpse is how it stood when a learner last got something.
type glimpse struct {
	commit raft.Index
	at     time.Time
	given  time.Time // when it got it, after its wait
	speed  float64   // of the commit index, entries a second, over about the last second
}

func newPacing(snapshotRate int, now func() time.Time) *pacing {
	p := &pacing{rate: float64(snapshotRate) / pacedShare, now: now}
	p.mu.seen = map[raft.MemberID]glimpse{}
	return p
}

// wait is how long the next entries are to be kept from a learner.
func (p *pacing) wait(to raft.MemberID, next raft.Span, commit raft.Index) time.Duration {
	from, last, bytes := next.Prev.Index+1, next.Prev.Index, 0
	for i := range next.Entries {
		last, bytes = next.Entries[i].Index, bytes+len(next.Entries[i].Payload)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	was, now := p.mu.seen[to], p.now()
	g := glimpse{commit: commit, at: now, given: now, speed: was.speed}
	if was.at.IsZero() {
		p.mu.seen[to] = g
		return 0
	}
	since := max(now.Sub(was.at).Seconds(), 1e-6)
	g.speed += (float64(commit-was.commit)/since - was.speed) * min(1, since)
	takes := float64(bytes) / p.rate
	if g.speed > 0 {
		takes = min(takes, float64(last-from+1)/(pacedGain*g.speed))
	}
	wait := max(0, time.Duration(takes*float64(time.Second))-now.Sub(was.given))
	g.given = now.Add(wait)
	p.mu.seen[to] = g
	return wait
}

// forget drops everybody but the members of a membership.
func (p *pacing) forget(m raft.Membership) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for id := range p.mu.seen {
		if _, ok := m.Find(id); !ok {
			delete(p.mu.seen, id)
		}
	}
}
