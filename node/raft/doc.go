// Package raft is the consensus core of one member: a deterministic value machine.
//
// It is driven by three verbs. Tick moves its time, Step hands it one message (from a peer, from a
// client of this member, or from this member's own disk and applier), and Take drains what is to be
// done now. It starts no goroutine, performs no IO, reads no clock and no random source but the one it
// was given: the same inputs in the same order give the same outputs.
//
// The package also owns the vocabulary that the log and the transport carry: indexes, terms, member
// identities, memberships, entries with their byte form, and messages. Departures from the Raft thesis
// (Ongaro, "Consensus: Bridging Theory and Practice", 2014) are listed in divergence.md.
package raft
