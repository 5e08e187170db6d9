// Package wal is the log on disk: what a member has promised, in the order it promised it.
//
// # Format (version 2, frozen; integers little-endian)
//
// A log is a directory of segments named by their number, 16 hex digits and ".log", without a gap. A
// segment begins with a header and goes on with writes, one behind the other, each starting at a multiple
// of 8. The rest of a segment is zeros.
//
//	segment header (40 bytes)
//	offset size
//	0      8    magic "RAFTWAL\x02": the last byte is the version
//	8      8    segment number
//	16     8    write number of the segment's first write
//	24     8    the file's size
//	32     4    CRC-32C of bytes 0 to 32
//	36     4    zero
//
//	record (a write is a head record and the records it announces)
//	0      4    n, the body's length
//	4      4    CRC-32C over the segment's number, this offset in it, and bytes 0 to 4 and 8 to 16+n:
//	            a record moved elsewhere, or left over in a recycled place, does not verify
//	8      1    kind: 1 head, 2 hard state, 3 entries, 4 restart, 5 cut, 6 fill, 7 next
//	9      7    zero
//	16     n    body, then zeros up to a multiple of 8
//
//	head (56 bytes and the second copy)
//	0      8    write number; the first is 1
//	8      8    bytes of the whole write
//	16     8    the newest write known to be durable when this one was made, 0 for none
//	24     24   the hard state that the writes before this one have made
//	48     8    the index at which they have made the log end
//	56     20m  the second copy of what became durable since the head before, in order; each item:
//	            index (8), term (8), checksum (4). The two highest bits of the index say what it is of:
//	            0 an entry, 1 a restart (the base's position, checksum 0), 2 a fill
//
//	hard state term (8), vote (8), commit (8)
//	entries    a gap-free run in the byte form of package raft; it replaces everything from its first on
//	restart    a base: the log begins anew there, with nothing behind it
//	cut        a base: what stands at or before it is no longer needed
//	fill       entries in the byte form of package raft, of ascending index. Each is the content of an entry
//	           that was lost at its place, with the same index, term and checksum, and changes no place
//	next       the next segment's number (8). It stands alone behind the last write of a segment, written
//	           once the next segment is durable, and needs no sync of its own
//	base       index (8), term (8), configuration index (8), the membership's byte form
//
// Indexes are below 2^62. A new segment is durable with its name, its size and its header before its first write is
// made, and with everything in the segments before it; the first write begins with the base (as a cut) and the hard
// state in force, so that every segment before it may be dropped.
//
// # What a reader may conclude
//
// A write is made with one write and one fdatasync, and the next one begins only after that; so a head
// that names write w as durable proves that everything up to w had reached the disk. So does the header of a segment
// for the writes before its first, and a next record for its segment. After the last write of a burst, Seal writes a
// head alone, without a sync of its own: it proves that burst. When something does not verify, it lies in some write u.
// If nothing further on proves u durable, it is the torn end of a write that was never acknowledged or never proven:
// the log is cut there, and what is left of it is zeroed and synced before anything new is written, so that
// nothing left over can come back.
//
// If u is proven, it is damage, and the reader goes on at the next head that verifies, that of write v. This head tells
// the hard state and the end of the log before v, so that neither term nor vote is ever older than was proven, and all
// that v-1 made durable. Is v = u+1, all of u is told: its entries are lost, with index, term and checksum known. They
// stay lost until a later write replaces them, as it would replace whole ones (then they are gone, and nothing is
// missing), a later fill gives their content, or a cut or restart leaves them behind. Is v > u+1, it is not known what u
// held: nothing is known of the log before v but its end, until entries replace it from some index on, or it begins
// anew. What is not known is not needed if it lies at or before the newest base that is known or at or before what the
// store holds durably (Options.Covered): there the log is cut, durably, when it is opened. Segments that are missing or
// cannot be read are writes that do not verify.
//
// Damaged bytes stay where they are, as long as the entries behind them are needed; the head that tells of them stays with
// them. If that is the head of a torn write at the end, the log goes on in a new segment, which begins with the same
// write number and tells the same, before the torn write is cleared.
//
//	found damaged                                          then
//	a write that nothing proves, and what stands behind    cut
//	its entries, if the next head verifies                 lost: given back as placeholders, Read ends before them
//	its hard state, if any later head verifies             whole
//	a fill                                                 the entry is lost again
//	a cut, if all entries behind the older base are there  the older base
//	a head of which the next one verifies                  as its write: entries lost, the rest whole
//	a segment header of which the first head verifies      whole
//	entries at or before what the store covers,            cut at what the store covers
//	a restart there, segments with nothing else
//	entries of which no copy is left, behind that          damage
//	a restart behind that, unless a base follows           damage
//	a segment header without its first head, not being     damage
//	made when the power went
//	the last segment, missing or cut short                 damage
//	a stretch at the end that cannot be read               damage: what stood there may have been acknowledged
//	the first write, alone                                 damage, unless the log is just being made
//	a head that says otherwise than the writes before it,  damage: the log is rolled back, or another's in part
//	a write number that is too low
//
// Damage is reported with file and offset, and nothing is changed on disk. Where what the store covers is not in the log
// any more (the log ends before it, or has another term there: the process died between switching to a snapshot and
// following with the log) the log begins anew at it. Where it cannot be told whether what remains behind it belongs to
// it (the entry there is not known, the next one has a higher term and the commit lies before it), that is damage too.
//
// What this does not find: the loss of a burst's last writes together with the head that proves them, which
// leaves no trace, and the loss of a new last segment together with the next record that names it.
//
// # Versions
//
// A reader refuses a segment of another version, if its header verifies as such. A new version is a new magic byte, and
// keeps the checksum of the header where it is. Version 1 had neither hard state nor end in a head, and no fills.
package wal
