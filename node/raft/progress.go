package raft

// Mode is how a leader replicates to one peer.
type Mode uint8

const (
	// ModeProbe sends one append at a time until the logs are known to agree.
	ModeProbe Mode = iota
	// ModeStream sends ahead of the acks, within the bounds in flight.
	ModeStream
	// ModeSnapshot waits for a snapshot to reach the peer.
	ModeSnapshot
)

// String names the mode as status shows it.
func (m Mode) String() string { return [...]string{"probe", "stream", "snapshot"}[m] }

// progress is what the leader knows of one other member.
type progress struct {
	id          MemberID
	match, next Index
	mode        Mode
	active      bool  // heard from since the last CheckQuorum
	recent      bool  // heard from in the period before it
	waiting     bool  // probe: one append is out
	fetching    bool  // entries for it are being read from the log
	declined    bool  // it was told to take over and did not
	sentCommit  Index // highest commit index told
	awaits      Index // what its clients may wait to see committed: the last index it forwarded or may read at
	unwatched   bool  // as it said last
	readAck     uint64
	waits       bool   // for entries that it could have, see mayWait
	lastRead    uint64 // tick at which a read of its clients was asked for last
	decided     uint64 // number of its last ack that moved the commit index
	space       Space  // as it said last
	told        bool   // it has said so in this reign

	divergence   Divergence // where its state was found to differ,
	divergedBoot Boot       // in which of its lives
	lastTick     Index      // match at the last heartbeat tick
	inflight     []flight   // in order of index; stream only
	flightBytes  int
}

// flight is one append on its way: its last index and its payload in bytes.
type flight struct {
	last  Index
	bytes int
}

// alive reports whether the peer has answered in this or the last period of CheckQuorum.
func (p *progress) alive() bool { return p.active || p.recent }

func (p *progress) probe(next Index) {
	p.mode, p.next = ModeProbe, max(next, p.match+1)
	p.waiting, p.fetching = false, false
	p.inflight, p.flightBytes = p.inflight[:0], 0
}

// startOver forgets what the peer has acknowledged and said, and what its clients waited for: it runs another boot. It
// is asked where the stream had come to.
func (p *progress) startOver() {
	p.match, p.lastTick, p.sentCommit, p.declined = 0, 0, 0, false
	p.awaits, p.unwatched = 0, false
	if p.mode != ModeSnapshot {
		p.probe(p.next)
	}
}

func (p *progress) stream() {
	p.mode, p.next = ModeStream, p.match+1
	p.waiting = false
	p.inflight, p.flightBytes = p.inflight[:0], 0
}

// sent notes an append on its way.
func (p *progress) sent(entries []Entry) {
	if p.mode == ModeProbe {
		p.waiting = true
		return
	}
	if n := len(entries); n > 0 {
		bytes := 0
		for i := range entries {
			bytes += len(entries[i].Payload)
		}
		p.next = entries[n-1].Index + 1
		p.inflight = append(p.inflight, flight{p.next - 1, bytes})
		p.flightBytes += bytes
	}
}

// acked notes that the peer holds everything up to match; it reports whether that is news.
func (p *progress) acked(match Index) bool {
	n := 0
	for n < len(p.inflight) && p.inflight[n].last <= match {
		p.flightBytes -= p.inflight[n].bytes
		n++
	}
	p.inflight = append(p.inflight[:0], p.inflight[n:]...)
	p.next = max(p.next, match+1)
	if match <= p.match {
		return false
	}
	p.match = match
	return true
}

// full reports whether nothing more may be sent before an ack.
func (p *progress) full(cfg *Config) bool {
	switch p.mode {
	case ModeProbe:
		return p.waiting
	case ModeStream:
		return len(p.inflight) >= cfg.MaxInflightMessages || p.flightBytes >= cfg.MaxInflightBytes
	}
	return true
}
