// Package kv is the multi-version store: commands in, results out. It knows no Raft: it is told the
// log index and term of what it applies and stores them with the data they cover.
//
// Every member applies the same commands in the same order to equal logical state. Anything local
// (clock, random numbers, map order) stays outside this package.
//
// # Layout (version 3)
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
//	m v           layout version (1): 3. A state of version 2, in which nothing stands apart, is read, too, and is of
//	              version 3 from its next batch on. Any other is refused: a change of any row makes a new version
//	m a           applied index, term, configuration index, revision, compacted and tidied revision plus 1, flags (1):
//	              1 is opened, effects (4, little-endian), membership. Written with the data that it covers, once a
//	              batch
//	k <key>       the newest version of a key: create revision, mod revision, version, lease (signed), value; or, if the
//	              value stands apart, a zero (1) and all but the value
//	v <revision><key>
//	              a value that stands apart: of the version that was written at that revision (8, big-endian)
//	w <origin>    the command IDs of one origin (8, big-endian) that were applied: boot, floor, then words
//	              (8, little-endian): bit i of word n is sequence (floor/64+n)*64+i; below the floor all were
//	h <revision><sub>
//	              a block of history: events of one batch, up to about 32 KiB; named by where its last event stands:
//	              revision (8, big-endian), number in it from 0 (4, big-endian)
//	d <key>       the grave of a key: at which revision it was deleted
//	b <key>       the version of a key that was in force when history was tidied, if it is not the newest: as in k
//	l <lease>     a lease (8, big-endian): TTL in seconds, what a checkpoint left of it in seconds or 0 (signed), index of
//	              the entry that granted it
//	a <lease><key>
//	              a key that is attached to a lease; empty
//
// An event in a block: its revision less that of the event before it, in the first one the revision itself; key
// (length-prefixed); modification revision of what was before, 0 if nothing is known of it; the key's row as above
// (length-prefixed), empty if the key was deleted. A block that begins with a zero (1) is bare: in its events what is said
// of the revision of before is doubled, and one more if the value of then stands apart. In any other block, and in what
// Options.Changed is told, all values stand in their events.
//
// # Values apart
//
// A value of Options.ApartBytes or more stands in a row of its own, which its key's row and its event refer to. It is written
// once, in the order of revisions: where compactions of the database sort keys, they move what is small, and the values lie
// where they hardly ever need to be written again. A read pays with a second look-up. The row goes when Tidy removes the
// event that has replaced the version: until then a row of k, of b or an event refers to it, and a reference to a row that
// is not there is damage. Members may differ in which values stand apart, checksums do not.
//
// # History
//
// A put writes no row about the past but its event, and reads none. The state at an earlier revision is found from the
// newest one: a key's row, or its grave, names the newest event of the key, and every event the one before. A
// compaction is one number in the applied row. What became unreadable by it is removed by Tidy in small steps: of each
// block whose events are all older than the compacted revision, what a key had by its last event there is kept in b if
// it is not the newest version; then the block goes. An event at the compacted revision itself stays. A write of a key
// whose newest version is older than what was tidied puts that version into b first: that is the only read of the old
// row that history costs.
//
// Where blocks begin and end, what of them is tidied, and what an event says of the one before differ between members;
// what can be read does not.
//
// # In memory
//
// Beside what the engine keeps there, the newest state has in memory the windows, the leases and the keys attached to
// them, all read when it is opened; a cache of keys' newest versions without their values (Options.CacheSlots); and what
// is known of counts.
//
// # Counts
//
// A range says how many keys it has, also those that its limit cuts off. The newest state knows that of stretches of the
// key space (package tally): a count adds them up, and walks over what lies between, over parts of stretches where the
// range begins and ends, and over nothing else. From its walk the store learns, a stretch for each Options.Stretch keys.
// Nothing of this is stored, and no answer depends on it: an opened or received state knows nothing and learns again.
//
// What is known is published together with the state that it belongs to. A commit brings it up to the keys that came and
// went with the batch, and tells those who walk meanwhile over a state before; what they have learnt is brought up to
// the newest state by that when it is published. A walk that began while its view was not the published state, was not told
// of everything, or failed teaches nothing. At an earlier revision there were as many keys as now, less those that came and
// more those that went by the events since; only where these are more than the keys, the keys are scanned.
//
// # Command (versions 1 and 2, frozen)
//
// What travels through the log. Numbers are uvarints, signed ones (s) zigzag; bytes are their length and themselves;
// a list is its count, at most 65536, and its elements. Transactions nest at most 256 deep.
//
//	command    version (1), origin, boot, sequence, floor, kind (1), then
//	0 txn      version 1: a transaction
//	1 open     version 1: nothing
//	2 compact  version 2: revision (s)
//	3 grant    version 2: lease (s), TTL (s)
//	4 revoke   version 2: term, index that was applied, leases: a list of (s)
//	5 left     version 2: term, index that was applied, a list of a lease (s) and what is left of it in seconds (s)
//
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
// the key, and its row as above; all numbers are zero and the value is empty if the key was deleted. Of what a command
// does to a lease, it is the row's key and the row, both with their length, the row empty if the lease is gone; of a
// compaction "h" and the key of the block that would end at its revision.
//
// Checksums at rest are Pebble's, over each block of its files. What does not verify is an error that matches ErrCorrupt
// and names the file. A damaged end of Pebble's manifest can pass for a write that a loss of power tore: then the
// store opens at an earlier state, so whoever opens it compares Applied with where the log begins.
//
// A snapshot's chunk is rows, each the length of its key, the key, the length of its value and the value.
//
// In a transaction a range that names a revision sees nothing of what the transaction has written.
package kv
