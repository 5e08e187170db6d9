// Package kv is the multi-version store: commands in, results out. It knows no Raft: it is told the
// log index and term of what it applies and stores them with the data they cover.
//
// Every member applies the same commands in the same order to equal logical state. Anything local
// (clock, random numbers, map order) stays outside this package.
//
// # Layout (version 1)
//
// The rows stand on an engine (package engine): Pebble (package lsm), or memory in a simulation. On Pebble the
// state is a directory of generations, each a Pebble database with its own log switched off: the Raft log is the
// log. A received snapshot is built in a generation of its own and comes into force by one rename:
// of the file that names the generation in force. It is written beside itself, synced and renamed, and the
// directory is synced:
//
//	current  "gen-" number " " sum "\n"   number: 16 lower-case hexadecimal digits; sum: 8 of them, the
//	                                      CRC-32C of what stands before the blank
//
// The rows of a received snapshot come in order and are written straight into tables, in a directory
// "gen-<number>-tables" that is gone once the database has taken them over.
//
// A file current that is anything else, or names what is not there, is damage. Without the file the store is new; data
// without the file is damage. At start everything but the generation in force is removed, but only after that one
// has been opened and read.
//
// Rows, by the first byte of their key. Numbers are uvarints, signed ones zigzag, unless a size in bytes is given;
// the last field takes what is left:
//
//	m v           layout version (1): 1. Another one is refused: a change of any row makes a new version
//	m a           applied index, term, configuration index, revision, flags (1): 1 is opened, effects (4,
//	              little-endian), membership. Written with the data that it covers, once a batch
//	k <key>       the newest version of a key: create revision, mod revision, version, lease (signed), value
//	w <origin>    the command IDs of one origin (8, big-endian) that were applied: boot, floor, then words
//	              (8, little-endian): bit i of word n is sequence (floor/64+n)*64+i; below the floor all were
//	h <revision>  reserved for history, one block a batch
//	l <lease>     reserved for leases
//
// # Command (version 1, frozen)
//
// What travels through the log. Numbers are uvarints, signed ones (s) zigzag; bytes are their length and themselves;
// a list is its count, at most 65536, and its elements. Transactions nest at most 256 deep.
//
//	command    version (1): 1, origin, boot, sequence, floor, open (1): 1 ends the command, 0 goes on with a txn
//	txn        compares, operations if they hold, operations if not: three lists
//	compare    target (1), result (1), key, end, number (s), value
//	operation  kind (1), then
//	1 range    flags (1): 1 keys only, 2 count only; order (1), target (1), key, end, limit (s), revision (s),
//	           lowest and highest modification revision (s, s), lowest and highest creation revision (s, s)
//	2 put      flags (1): 1 previous version wanted, 2 keep the value, 4 keep the lease; key, value, lease (s)
//	3 delete   flags (1): 1 previous versions wanted; key, end
//	4 txn      a transaction
//
// Bytes behind the end, unknown flags, kinds or targets make it malformed. A later version of the program writes a
// higher version only when every member can read it.
//
// # Checksums
//
// Effects is the CRC-32C of what every operation since the first entry left behind, in order: the length of the key,
// the key, and its row as above; all numbers are zero and the value is empty if the key was deleted.
//
// Checksums at rest are Pebble's, over each block of its files. What does not verify is an error that matches ErrCorrupt
// and names the file. A damaged end of Pebble's manifest can pass for a write that a loss of power tore: then the
// store opens at an earlier state, so whoever opens it compares Applied with where the log begins.
//
// A snapshot's chunk is rows, each the length of its key, the key, the length of its value and the value.
//
// Only the newest revision can be read: a range at an older one answers ErrCompacted. In a transaction a range
// at the revision before it sees nothing of what the transaction has written.
package kv
