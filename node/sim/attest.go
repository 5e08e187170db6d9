package sim

import (
	"bytes"
	"context"
	"math"
	"slices"

	"raftsman.dev/node/kv"
	"raftsman.dev/node/raft"
)

// pointEvery is how many entries lie between two points of attestation: so few that a run passes many.
const pointEvery = 16

// alteration is what nobody but the world knows of a host's store: its state is not the others', from when a row was
// altered until another store has taken its place. It outlives the process.
type alteration struct {
	tainted bool
	marked  bool   // it was found, and the store marked: the next start makes it again
	ever    bool   // it once was
	key     string // the row's
	value   []byte
}

// pending reports whether the store, altered or marked because it was, is to be made again.
func (a *alteration) pending() bool { return a.tainted || a.marked }

// alter changes a row of a voter's store behind its back, one store at a time, and has somebody look at it later: what
// nobody asks for leaves no trace in what commands do. Two of five could be the only ones that the others can get a
// state from.
func (h *host) alter() {
	w := h.w
	halves, _ := w.electorate()
	for _, x := range w.hosts {
		if x.altered.pending() {
			return
		}
	}
	if !h.joined || h.ill.kind != "" || h.unsound() || h.diverged || !votes(halves, h.id) || !w.bearsStore(h, false) || !w.reach(halves) {
		return
	}
	key, ok := h.ground().alter(w)
	if !ok {
		return
	}
	h.altered = alteration{tainted: true, ever: true, marked: h.altered.marked, key: string(key)}
	value, _, err := h.value(h.altered.key)
	if h.died(err) {
		return
	}
	h.altered.value = []byte(value)
	w.fault("state altered")
	w.story.line(w, h.id, "its store is altered at %s", key)
	for range 1 + w.rng.IntN(4) {
		w.after(w.between(0, 5*second), func() { w.probe(h) })
	}
}

func votes(halves [][]raft.MemberID, id raft.MemberID) bool {
	return slices.ContainsFunc(halves, func(half []raft.MemberID) bool { return slices.Contains(half, id) })
}

// probe lets a command depend on the row that was altered: it writes something else on that member.
func (w *World) probe(h *host) {
	l := w.leader()
	if l == nil || w.now < l.resumes || !h.altered.tainted {
		return
	}
	is := kv.Compare{Key: []byte(h.altered.key), Target: kv.CompareValue, Value: h.altered.value}
	put := func(v string) []kv.Op { return []kv.Op{{Put: &kv.PutRequest{Key: []byte("probe"), Value: []byte(v)}}} }
	_, _ = l.propose(kv.Command{Txn: kv.Txn{Compares: []kv.Compare{is}, Success: put("altered"), Failure: put("sound")}}) // one of several
}

// probeOn lets what was altered be found in the healed world, with as many commands as lead to the next point. Nobody can
// ask for what is overwritten: that is gone from the disk, too, once the store has flushed.
func (w *World) probeOn() {
	for _, h := range w.members() {
		for range pointEvery / 4 {
			w.probe(h)
		}
		if h.up() && h.altered.tainted {
			h.later(0, h.flush)
			w.forget()
		}
	}
}

// forget has history compacted as far as it goes.
func (w *World) forget() {
	l := w.leader()
	if l == nil || w.now < l.resumes {
		return
	}
	_, _ = l.propose(kv.Command{Compact: &kv.Compaction{Revision: l.store.Revision()}}) // it is asked for again
}

func (h *host) flush() {
	err := h.store.Flush()
	if h.storeWaits(err) || h.died(err) {
		return
	}
	h.flushed()
}

// heedAttest is what a member does about what attestation has found (node/attest.go): it serves no client from now on,
// marks its store, and under an operator starts again at once. Only a member whose state was altered is ever named.
func (h *host) heedAttest(e raft.Event) {
	w := h.w
	switch e := e.(type) {
	case raft.Suspected:
		for _, x := range w.hosts {
			if x.altered.ever {
				return
			}
		}
		w.fail("member %d suspects the members' states at index %d, and none was altered", h.id, e.Index)
	case raft.Diverged:
		if x := w.hosts[e.Who]; x == nil || !x.altered.ever {
			w.fail("member %d says that the state of member %d differs, which was not altered: %v", h.id, e.Who, e)
		}
		if e.Who == h.id {
			h.foundAltered(e)
		}
	}
}

func (h *host) foundAltered(e raft.Diverged) {
	w := h.w
	if !h.altered.tainted {
		w.fail("member %d takes its state for another than the majority's, and it is not: %v", h.id, e)
	}
	w.fault("state altered: found")
	h.diverged, h.altered.marked = true, true
	h.later(0, func() {
		if err := h.dir.MarkStoreDamaged(e.String()); h.died(err) {
			return
		}
		if w.calm || w.rng.IntN(2) == 0 {
			h.kill()
			return
		}
		h.later(w.between(second, 20*second), h.kill)
	})
}

// reach reports whether every voter's log is whole and ends where every other's has not been cut yet: then nobody needs
// a snapshot of anybody.
func (w *World) reach(halves [][]raft.MemberID) bool {
	first, last := raft.Index(0), raft.Index(math.MaxInt64)
	for _, half := range halves {
		for _, id := range half {
			x := w.hosts[id]
			log := &w.truth.of(x).log
			if !x.joined || x.doomed() || x.unsound() || log.hole(0) != 0 || log.restarting {
				return false
			}
			first, last = max(first, log.base), min(last, log.end())
		}
	}
	return first <= last
}

// hoards reports whether all logs are to be kept as they are: while a voter's store is altered, what a log loses could be
// had from that store's snapshot alone, which does not go out.
func (w *World) hoards() bool {
	halves, _ := w.electorate()
	for _, half := range halves {
		if slices.ContainsFunc(half, func(id raft.MemberID) bool { return w.hosts[id].altered.pending() }) {
			return true
		}
	}
	return false
}

// stood is called when another state has taken the place of the altered one.
func (h *host) stood() { h.altered.tainted = false }

// lookAtTainted looks at an altered store that has applied something: once what was altered is overwritten everywhere,
// and no command has had another effect than elsewhere, it is like the others.
func (t *truth) lookAtTainted(h *host, applied kv.Applied) {
	first, known := t.effects[applied.Index]
	if known && first.sum == applied.Effects && !h.ground().altered() && !h.remembersAltered() {
		h.w.fault("state altered: overwritten before anybody asked")
		h.stood()
	}
}

// remembersAltered reports whether history still holds what was altered: the version that was in force when it was
// compacted is taken from the row.
func (h *host) remembersAltered() bool {
	at := h.store.Compacted()
	if at <= 0 {
		return false
	}
	r := &kv.RangeRequest{Key: []byte(h.altered.key), Revision: at}
	res, err := h.store.Read(context.Background(), kv.Txn{Success: []kv.Op{{Range: r}}})
	if h.died(err) || err != nil || len(res.Responses[0].Range.KVs) == 0 {
		return false
	}
	return bytes.Equal(res.Responses[0].Range.KVs[0].Value, h.altered.value)
}

// standBack keeps an altered state that was not found yet from going out as a snapshot: it would be on a majority before
// anybody could tell. The leader stands still until another one leads.
func (h *host) standBack() {
	if h.diverged {
		return
	}
	h.resumes = max(h.resumes, h.w.now+3*second)
	life := h.life
	h.w.after(3*second, func() {
		if h.life == life {
			h.wake()
		}
	})
}
