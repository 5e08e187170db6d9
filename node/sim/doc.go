// Package sim runs whole groups of members, the production replica with its core, log and store, in a world that
// a seed decides: time, network, disks, clients. Everything happens on one goroutine, one event after the other.
//
// A run has two phases. In the first, chaos: the weather (see Weather) says which faults the run has and how
// often; safety is checked at every step. In the second everything heals, and the group must converge: one
// leader, everything applied everywhere, equal states, within a bound of virtual time. What the clients saw is
// then checked for linearizability.
//
// A failure names its seed, and the seed replays the run exactly: the stores stand on the engine in memory. In a second
// mode (Weather.Pebble) they stand on a real Pebble over a crashable file system in memory, whose own goroutines
// decide when it flushes: such a run with loss of power replays nearly.
//
// Nothing imports this package but its tests.
package sim
