package node

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// metrics serves what the member counts. Every value is read when it is asked for: counting costs the member
// nothing that it does not do anyway.
func (m *Member) metrics() http.Handler {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	counter := func(name, help string, read func() float64) {
		r.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Namespace: "raftsman", Name: name, Help: help}, read))
	}
	gauge := func(name, help string, read func() float64) {
		r.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "raftsman", Name: name, Help: help}, read))
	}
	counter("wal_fsyncs_total", "Synchronisations of the log for appended batches.", func() float64 { return float64(m.log.Stats().Syncs) })
	counter("wal_entries_total", "Entries appended to the log.", func() float64 { return float64(m.log.Stats().Entries) })
	counter("wal_bytes_total", "Bytes written to the log.", func() float64 { return float64(m.log.Stats().Bytes) })
	gauge("wal_segments", "Segments of the log on disk.", func() float64 { return float64(m.log.Stats().Segments) })
	counter("peer_messages_sent_total", "Messages sent to other members.", func() float64 { return float64(m.transport.Stats().Messages) })
	counter("peer_writes_total", "Writes to the connections to other members; several messages share one.", func() float64 { return float64(m.transport.Stats().Writes) })
	counter("peer_sent_bytes_total", "Bytes sent to other members, snapshots aside.", func() float64 { return float64(m.transport.Stats().Bytes) })
	counter("owner_turns_total", "Turns of the member's own loop; what has come since the last is taken at once.", func() float64 { return float64(m.facts.turns.Load()) })
	counter("forwarded_proposals_total", "Proposals that this member sent on to a leader.", func() float64 { return float64(m.facts.forwarded.Load()) })
	counter("snapshots_installed_total", "Snapshots installed from a peer.", func() float64 { return float64(m.facts.snapshots.Load()) })
	counter("repaired_entries_total", "Entries that the log had lost to its disk and that a peer has brought back.", func() float64 { return float64(m.facts.repaired.Load()) })
	gauge("lost_entries", "Entries of the log that are lost to its disk and not yet back.", func() float64 { return float64(m.facts.lost.Load()) })
	gauge("is_rebuilding", "1 while the store waits for a peer's snapshot.", func() float64 { return truth(m.facts.rebuilding.Load()) })
	counter("snapshot_sent_bytes_total", "Bytes of snapshots sent to other members.", func() float64 { return float64(m.streams.sent.Load()) })
	counter("snapshot_received_bytes_total", "Bytes of snapshots received from other members.", func() float64 { return float64(m.streams.received.Load()) })
	counter("snapshot_installed_bytes_total", "Bytes of the snapshots that were installed; what was received beyond it came in vain.", func() float64 { return float64(m.streams.installed.Load()) })
	counter("snapshot_resumed_total", "Snapshots, sent or received, that went on where they had been cut.", func() float64 { return float64(m.streams.resumed.Load()) })
	gauge("is_leader", "1 while this member leads.", func() float64 { return truth(m.facts.leads()) })
	gauge("has_leader", "1 while this member knows a leader.", func() float64 { return truth(m.facts.leader.Load() != 0) })
	gauge("term", "The Raft term that this member is in.", func() float64 { return float64(m.facts.term.Load()) })
	gauge("commit_index", "The highest log index known to be committed.", func() float64 { return float64(m.facts.commit.Load()) })
	gauge("applied_index", "The highest log index that the store holds.", func() float64 { return float64(m.facts.applied.Load()) })
	gauge("configuration_index", "The log index of the membership in force.", func() float64 { return float64(m.facts.config.Load()) })
	gauge("proposals_waiting", "Proposals of this member's clients without an outcome.", func() float64 { return float64(m.replica.Waiting()) })
	gauge("watchers", "Watchers of this member's clients.", func() float64 { return float64(m.hub.Stats().Watchers) })
	gauge("watchers_behind", "Watchers that have not been served up to the newest revision yet.", func() float64 { return float64(m.hub.Stats().Behind) })
	counter("watch_events_total", "Events queued for watchers.", func() float64 { return float64(m.hub.Stats().Events) })
	gauge("watch_queued_bytes", "Bytes of events that wait for clients to take them.", func() float64 { return float64(m.hub.Stats().QueuedBytes) })
	gauge("store_compacted_revision", "The oldest revision that can be read.", func() float64 { return float64(m.store.Compacted()) })
	gauge("store_revision", "The store's revision.", func() float64 { return float64(m.store.Revision()) })
	gauge("store_size_bytes", "The store's size on disk.", func() float64 { return float64(m.store.Size()) })
	gauge("disk_free_bytes", "What the data directory's volume has left for this member.", func() float64 { return float64(m.disk.free.Load()) })
	gauge("disk_size_bytes", "The size of the data directory's volume.", func() float64 { return float64(m.disk.size.Load()) })
	gauge("disk_low", "1 while this member's disk is low on space, 2 while it is out of space.", func() float64 { return truth(m.disk.low.Load()) + truth(m.disk.out.Load()) })
	gauge("no_space", "1 while commands that let the data grow are refused, because the leader's disk or too many disks are low on space.", func() float64 { return truth(m.facts.noSpace.Load()) })
	gauge("diverged", "1 while this member's state differs from the majority's; it serves no clients.", func() float64 { return truth(m.facts.diverged.Load() != nil) })
	gauge("diverged_members", "Members whose state this leader found to differ from the majority's, itself aside.", func() float64 { return float64(m.facts.others.Load()) })
	gauge("attested_index", "The newest log index at which this leader saw a majority agree on one state.", func() float64 { return float64(m.facts.agreed.Load()) })
	gauge("suspected_index", "The newest log index at which this leader saw states differ and no majority agree, 0 for none.", func() float64 { return float64(m.facts.suspected.Load()) })
	return promhttp.HandlerFor(r, promhttp.HandlerOpts{})
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
