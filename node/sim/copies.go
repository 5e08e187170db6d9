package sim

import "raftsman.dev/node/raft"

// electorate are the voters of the membership in force, by half, where that is certain: committed by the leader of the
// newest term.
func (w *World) electorate() (halves [][]raft.MemberID, certain bool) {
	l := w.leader()
	if l == nil {
		return nil, false
	}
	s := l.replica.Status()
	for _, x := range w.truth.seen {
		if x.term > s.Term {
			return nil, false
		}
	}
	incoming, outgoing := s.Membership.Voters()
	return [][]raft.MemberID{incoming, outgoing}, s.ConfigCommitted && s.Commit >= w.truth.commit
}

func (w *World) certain() bool {
	_, certain := w.electorate()
	return certain
}

// spare reports whether the copy of a host may be destroyed: in no half of the membership in force are more than a
// minority, and nothing is lost elsewhere that only this copy holds.
func (w *World) spare(h *host) bool {
	halves, certain := w.electorate()
	if !certain || h == w.leader() && w.rng.IntN(4) > 0 {
		return false
	}
	for _, half := range halves {
		gone := 0
		for _, id := range half {
			if x := w.hosts[id]; x == h || x.doomed() {
				gone++
			}
		}
		if len(half) > 0 && gone > (len(half)-1)/2 {
			return false
		}
	}
	return w.mendable(halves, h, nil) && w.rebuildable(halves, h)
}

// bears reports whether a host may lose the content of entries: that of each is still whole somewhere.
func (w *World) bears(h *host, lost []raft.Position) bool {
	halves, certain := w.electorate()
	if !certain {
		return false
	}
	was := w.truth.of(h).log
	log := was
	log.entries = append([]written(nil), was.entries...)
	log.lose(lost)
	w.truth.of(h).log = log
	defer func() { w.truth.of(h).log = was }()
	return w.mendable(halves, nil, h) && w.rebuildable(halves, nil)
}

// mendable reports whether each entry that any voter has lost is whole at another one, where without is taken for
// destroyed and struck for a host that has lost something just now.
func (w *World) mendable(halves [][]raft.MemberID, without, struck *host) bool {
	for _, half := range halves {
		for _, id := range half {
			if x := w.hosts[id]; x != without && (x == struck || !x.doomed()) && !w.mendableAt(halves, x, without) {
				return false
			}
		}
	}
	return struck == nil || w.mendableAt(halves, struck, without)
}

func (w *World) mendableAt(halves [][]raft.MemberID, h, without *host) bool {
	log := &w.truth.of(h).log
	for i := log.hole(0); i != 0; i = log.hole(i) {
		if is, _ := log.at(i); !w.whole(halves, h, without, i, is) && !w.dispensable(halves, without, i, is) {
			return false
		}
	}
	return true
}

// whole reports whether another voter holds an entry, or the state behind it.
func (w *World) whole(halves [][]raft.MemberID, h, without *host, i raft.Index, is written) bool {
	for _, half := range halves {
		for _, id := range half {
			x := w.hosts[id]
			log := &w.truth.of(x).log
			if x == h || x == without || x.doomed() || !x.joined {
				continue
			}
			if has, ok := log.at(i); i <= log.base && !x.unsound() || ok && has.term == is.term && !has.lost {
				return true
			}
		}
	}
	return false
}

// dispensable reports whether a quorum knows nothing of an entry: it is not committed, and they need not ask those who
// have it to elect a leader.
func (w *World) dispensable(halves [][]raft.MemberID, without *host, i raft.Index, is written) bool {
	for _, half := range halves {
		free := 0
		for _, id := range half {
			x := w.hosts[id]
			if log := &w.truth.of(x).log; x != without && !x.doomed() && !log.restarting && !log.holds(i, is) {
				free++
			}
		}
		if len(half) > 0 && free <= len(half)/2 {
			return false
		}
	}
	return true
}

// unsound reports whether a host's store is damaged, or waits for a peer's.
func (h *host) unsound() bool { return h.rotten || h.rebuilding || h.altered.pending() }

// bearsStore reports whether a host's store may be damaged. Where it is not met at once, the log may go on to lose
// what a new store would need, and it counts like a copy that is gone.
func (w *World) bearsStore(h *host, atOnce bool) bool {
	halves, certain := w.electorate()
	if !certain || !atOnce && !w.few(halves, h) {
		return false
	}
	was, known := h.rotten, h.known
	h.rotten, h.known = true, atOnce
	defer func() { h.rotten, h.known = was, known }()
	return w.rebuildable(halves, nil)
}

// few reports whether the copies of a minority of each half are gone or have an unsound store, that host's included.
func (w *World) few(halves [][]raft.MemberID, h *host) bool {
	for _, half := range halves {
		gone := 0
		for _, id := range half {
			if x := w.hosts[id]; x == h || x.doomed() || x.unsound() {
				gone++
			}
		}
		if len(half) > 0 && gone > (len(half)-1)/2 {
			return false
		}
	}
	return true
}

// rebuildable reports whether each voter whose store is unsound finds a state to go on from, where without is taken
// for destroyed.
func (w *World) rebuildable(halves [][]raft.MemberID, without *host) bool {
	for _, half := range halves {
		for _, id := range half {
			x := w.hosts[id]
			switch {
			case x == without || x.doomed() || !x.unsound():
			case x.rotten && !x.known, x.altered.pending():
				if !w.few(halves, without) {
					return false
				}
			case !w.stateFor(halves, x, without):
				return false
			}
		}
	}
	return true
}

// stateFor reports whether another voter's sound store is, or can go, as far as a host's log begins.
func (w *World) stateFor(halves [][]raft.MemberID, h, without *host) bool {
	base := w.truth.of(h).log.base
	if base == 0 {
		return true
	}
	for _, half := range halves {
		for _, id := range half {
			x := w.hosts[id]
			if x == h || x == without || x.doomed() || x.unsound() || !x.joined {
				continue
			}
			log := &w.truth.of(x).log
			hole := log.hole(0)
			if is := w.truth.chosen(base); log.base >= base || is.term != 0 && !log.restarting && log.holds(base, is) && (hole == 0 || hole > base) {
				return true
			}
		}
	}
	return false
}

// chosen is what has been committed at an index, as far as it was seen.
func (t *truth) chosen(i raft.Index) written {
	if i == 0 || int(i) > len(t.choices) {
		return written{}
	}
	c := t.choices[i-1]
	return written{term: c.term, sum: c.sum}
}
