// Package node assembles one member: it opens its data directory, log and store, starts its core, and
// connects it to its peers, its clients and whoever looks after it.
//
// # Goroutines
//
//	owner      owns the replica: takes everything that has arrived since its last turn, then pumps
//	writer     makes batches durable, sends what may leave after that, cuts and seals the log
//	applier    brings committed entries into the store and wakes their clients
//	transport  one reader for each accepted connection, one sender for each peer
//	gRPC       one for each request: it waits for its proposal, or for a read point, then reads the store itself
//
// They meet in the inbox: whoever has something for the owner leaves it there and wakes it. The owner never
// waits for a disk or a peer.
//
// # What followers know
//
// The owner says in each turn whether anybody looks at this member's state without asking the leader: watchers are there,
// or a client has read so within the last second. Such a follower is told at once what is committed. One where nobody
// looks is told what its own clients wait for, and otherwise hears of it with the next entries or heartbeat (see
// node/raft/notice.go). Whoever begins to look there, by a serializable read or a watcher that begins at the newest
// revision, waits until the leader has said how far it is, for one heartbeat interval at most (100 ms by default): a member
// that is cut off answers with what it has.
//
// # Start and stop
//
// Start refuses before it touches the disk: flags, then ports, then names of peers, then the data directory.
// The store opens first, then the log, which need not hold what the store holds durably. A damaged store is set
// aside and made again, from the log or a peer's snapshot, while the member votes and keeps the log; it is not ready
// before that has ended. Any other damage ends a member's life: under an operator it stays up on its admin port, says
// what is damaged, and is replaced.
// Stop goes the other way: not ready, leadership handed over, clients drained, loops, connections, disk.
package node
