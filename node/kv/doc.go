// Package kv is the multi-version store: commands in, results out. It knows no Raft: it is told the
// log index and term of what it applies and stores them with the data they cover.
//
// Every member applies the same commands in the same order to equal logical state. Anything local
// (clock, random numbers, map order) stays outside this package.
//
// # Layout (version 1)
//
// The state is a directory of generations, each a Pebble database with its own log switched off: the Raft
// log is the log. The file "current" names the generation in force; a received snapshot is built in a new
// one and becomes current by one rename. Rows, by the first byte of their key:
//
//	m v          format version
//	m a          applied index, term, configuration index, revision, opened, membership: one row, written
//	             with the data that it covers
//	k <key>      the newest version of a key: create and mod revision, version, lease, value
//	w <origin>   the command IDs of one origin that were applied
//	h <revision> reserved for history, one block a batch
//	l <lease>    reserved for leases
//
// Only the newest revision can be read: a range at an older one answers ErrCompacted.
package kv
