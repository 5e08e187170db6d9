// Package sim runs whole groups of members, the production replica with its core, log, store and data directory, in
// a world that a seed decides: time, network, disks, clients, an operator. Everything happens on one goroutine, one
// event after the other.
//
// A run has two phases. In the first, chaos: the weather (see Weather) says which faults the run has and how
// often; safety is checked at every step. In the second everything heals, and the group must converge: one
// leader, everything applied everywhere, equal states, within a bound of virtual time, and then nothing may be left
// hanging. What the clients saw is then checked for linearizability.
//
// # Faults
//
// A fault is counted when it took effect. A copy of the data is destroyed only while no half of the membership in
// force has lost more than a minority with it; an operator replaces it by a new identity with an empty disk. Damage to
// a log is tried out on a copy of the disk first. It must be refused at the start, or change nothing that matters, or
// lie where nothing proves what was there: the last write before a crash, until a later one names it as durable. In
// the last case it is not done, since nothing is promised then.
//
// An entry may be lost on any number of members while another voter holds it whole, or the state behind it, or while a
// quorum knows nothing of it (see copies.go); what is lost must be back, replaced or cut by the end of the healing.
// Stores are damaged on a minority at any time, and on more where it is found at once and a sound one reaches as far
// as their logs begin.
//
// What is a model here and not the production's code: the network below the handshake's decision, the operator, what
// peers tell a member of its own past (see rollback.go), and the order in which a member opens its disk, sets a damaged
// store aside, measures its space, sends and takes in snapshots and heeds attestation (see store.go, space.go, stream.go
// and attest.go, after node/repair.go, space.go, sending.go, receiving.go and attest.go of package node). A host
// that speaks the previous version of the peer protocol neither tells nor hears what has been seen of members, or that
// nobody watches at one.
//
// A store is altered behind its back, one at a time, and the plan keeps it one: who has such a state, and was not found
// yet, sends no snapshot of it. Found it must be by the end of the healing, and nobody else may be named. What an
// altered store tells a client until then counts for nothing.
//
// # Checks
//
// An observer reads back every write of every log (see mirror.go) and looks at every member after every step of it
// (see truth.go): one leader a term and one vote, logs that match, leaders that drop nothing and lack nothing that was
// committed, commits that a majority of each half holds durably, one membership change in flight, nothing acknowledged
// or applied before it is durable, equal states at equal index, and after a restart everything that was promised.
//
// A failure names its seed, and the seed replays the run exactly: the stores stand on the engine in memory. In a second
// mode (Weather.Pebble) they stand on a real Pebble over a crashable file system in memory, whose own goroutines
// decide when it flushes: such a run with loss of power replays nearly.
//
// Nothing imports this package but its tests.
package sim
