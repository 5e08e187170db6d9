package replica

import (
	"fmt"
	"slices"
	"testing"

	"raftsman.dev/node/kv"
	"raftsman.dev/node/raft"
)

// late brings a copy of a forwarded command to a member that leads, as a network may that kept it for long. The copy
// must get into the log, or nothing is shown, and must do nothing there.
func (w *world) late(m raft.Message, to *host) {
	w.t.Helper()
	w.equal()
	last, revision := to.replica.Brief().Last, to.store.Revision()
	// The core drops what an earlier boot has sent, and knows no message to itself. The window does not rely on that.
	from := w.hosts[to.id%3+1]
	m.From, m.FromBoot, m.To, m.ToBoot = from.id, from.boot, to.id, to.boot
	to.replica.Receive([]raft.Message{m})
	to.replica.Pump()
	if got := to.replica.Brief().Last; got != last+1 {
		w.t.Fatalf("member %d did not take the copy: its log ends at %d after %d", to.id, got, last)
	}
	w.equal()
	for _, id := range w.ids {
		h := w.hosts[id]
		if value, version := h.value("once"); value != "v" || version != 1 || h.store.Revision() != revision {
			w.t.Fatalf("member %d has %q in version %d at revision %d, which was %d", id, value, version, h.store.Revision(), revision)
		}
	}
}

// lead waits for a settled group that another member leads than the one given.
func (w *world) lead(not raft.MemberID) *host {
	w.t.Helper()
	w.until("another leader", func() bool { l := w.leader(); return l != nil && l.id != not })
	return w.leader()
}

// fill writes so much at a member that short logs are cut.
func (w *world) fill(h *host) {
	w.t.Helper()
	for i := range 60 {
		p, err := h.put(fmt.Sprint("fill", i), "x")
		h.must(err)
		if o := w.outcome(p); o.Err != nil {
			w.t.Fatal(o.Err)
		}
	}
}

// TestForwardedCommandIsAppliedOnce: whatever copies of it arrive, and when: at the leader that has applied it, at the
// next leader, at a leader that knows of it by a snapshot only, and after a restart of everything.
func TestForwardedCommandIsAppliedOnce(t *testing.T) {
	for seed := range uint64(4) {
		w := group(t, seed, 3, Tuning{KeepEntries: 8})
		first := w.leader()
		origin := w.hosts[first.id%3+1]
		p, err := origin.put("once", "v")
		origin.must(err)
		at := slices.IndexFunc(w.bag, func(m raft.Message) bool { _, ok := m.Body.(raft.Forward); return ok && m.From == origin.id })
		if at < 0 {
			t.Fatalf("seed %d: nothing was forwarded", seed)
		}
		copied := w.bag[at]
		if o := w.outcome(p); o.Err != nil || o.Result.Duplicate {
			t.Fatalf("seed %d: %+v", seed, o)
		}
		w.late(copied, first)

		w.apart[first.id] = true // it misses what is cut off the others' logs
		second := w.lead(first.id)
		w.fill(second)
		clear(w.apart)
		w.equal()
		second = w.lead(0)
		if second.id == first.id || first.installed == 0 {
			t.Fatalf("seed %d: member %d leads; %d had %d snapshots", seed, second.id, first.id, first.installed)
		}
		w.late(copied, second)

		done := make(chan ChangeOutcome, 1)
		second.replica.Transfer(first.id, done)
		second.replica.Pump()
		w.until("the one with the snapshot leads", func() bool { l := w.leader(); return l == first && w.settled() })
		w.late(copied, first)

		for _, id := range w.ids {
			w.hosts[id].crash()
		}
		for _, id := range w.ids {
			w.hosts[id].start()
		}
		w.equal()
		w.late(copied, w.lead(0))
	}
}

// TestWindowLimitsProposals: a member that might have more in flight than the store can tell apart does not start.
func TestWindowLimitsProposals(t *testing.T) {
	w := newWorld(t, 1, Tuning{})
	h := w.add(1)
	cfg := Config{Core: h.replica.coreCfg, Log: h.wal, Store: h.store, Env: h, Tuning: Tuning{MaxProposals: kv.MaxInFlight + 1}}
	if _, err := New(cfg); err == nil {
		t.Fatal("it starts")
	}
	cfg.Tuning.MaxProposals--
	if _, err := New(cfg); err != nil {
		t.Fatal(err)
	}
}
