// Package watch is the watch hub of one member: it is told what every applied batch has changed, and gives each
// watcher the events of its range, in order, each exactly once.
//
// # Who waits for whom
//
// The applier tells (Hub.Tell) and never waits: a batch is hung into a ring, as encoded by the store, and that is all.
// One goroutine, the pump, owns every watcher and every index and does the rest, in bounded turns. A stream (one
// client connection) holds a queue of answers; whoever sends them takes them out with Next. The pump never waits for a
// stream either: a watcher whose answers do not fit keeps nothing but the next revision that it needs.
//
//	Tell --> ring (bytes bounded) --\
//	                                 +--> pump: cohorts of watchers --> queue of a stream (bytes bounded) --> Next
//	         History (the store) ---/
//
// # Cohorts
//
// Watchers that read at the same place form a cohort: a revision up to which all of them have been served, and an index
// by key and by range, so that an event is decoded once and found once for all of them. The main cohort follows the
// ring. A watcher that is behind (an old start revision, or a stream that was full) joins a pass: a cohort that reads
// from the ring if that reaches back far enough, else from history, until it meets the main one and is merged into it. If
// the ring has lost what the main cohort needs next, or the store has switched to another state, the main cohort reads
// from history like any pass. There is one place where a cohort moves on (Hub.advance), and it moves over whole revisions.
//
// A watcher in a cohort has been given everything below its own next revision and the cohort's, whichever is higher: what
// is below is skipped, so where a watcher enters a cohort ahead of the cohort's place, nothing repeats.
//
// # Bounds
//
// The ring has Options.RingBytes, all queues together Options.QueueBytes, each queue Options.StreamBytes. One answer per
// stream is always let through, however large, so that nothing stands still; an answer holds at least a whole
// revision. Answers to requests (created, canceled) are counted, not weighed: Watch, Cancel and Refuse wait while
// too many are queued. Events are copied out of blocks once, when the first watcher wants them, so a queue pins no block.
package watch
