// Package replica owns one member's core, log and store, and the order of their effects.
//
// A Replica is driven by one owner: every input is handed to a method, then Pump drains what the core
// wants done. Nothing in Pump waits for a disk or a peer. The log writer and the applier stand beside it:
// a Writer makes everything that has queued since its last turn durable at once, an Applier applies
// everything that has been committed since its last turn in one store batch, and both answer with inputs
// of the Replica. Who calls them, and when, is the surroundings' choice: goroutines in package node, a
// seed in the simulator. The package reads no clock and draws nothing at random.
//
// The order of effects:
//
//	early messages leave            nothing in them claims durability
//	the batch goes to the Writer    with the late messages, which leave once it is durable
//	a received snapshot             the Applier switches the store first, then the log restarts there, or goes on
//	                                behind it and is cut there
//	committed entries               to the Applier, in order, each once; at a follower where nobody waits for them or
//	                                looks, some at a time and within a tick
//	reads                           answered once the store has applied their index
package replica
