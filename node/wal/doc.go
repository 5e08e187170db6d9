// Package wal is the log on disk: what a member has promised, in the order it promised it.
//
// # Format (version 1, frozen; integers little-endian)
//
// A log is a directory of segments named by their number, 16 hex digits and ".log", without a gap. A
// segment begins with a header and goes on with writes, one behind the other, each starting at a multiple
// of 8. The rest of a segment is zeros.
//
//	segment header (32 bytes)
//	offset size
//	0      8    magic "RAFTWAL\x01": the last byte is the version
//	8      8    segment number
//	16     8    write number of the segment's first write
//	24     4    CRC-32C of bytes 0 to 24
//	28     4    zero
//
//	record (a write is a head record and the records it announces)
//	0      4    n, the body's length
//	4      4    CRC-32C over the segment's number, this offset in it, and bytes 0 to 4 and 8 to 16+n:
//	            a record moved elsewhere, or left over in a recycled place, does not verify
//	8      1    kind: 1 head, 2 hard state, 3 entries, 4 restart, 5 cut
//	9      7    zero
//	16     n    body, then zeros up to a multiple of 8
//
//	head       write number (8), bytes of the whole write (8), the newest write known to be durable when
//	           this one was made (8), then the second copy of what became durable since the head before:
//	           for each entry its index (8), term (8) and checksum (4)
//	hard state term (8), vote (8), commit (8)
//	entries    a gap-free run in the byte form of package raft
//	restart    a base: the log begins anew there, with nothing behind it
//	cut        a base: what stands at or before it is no longer needed
//	base       index (8), term (8), configuration index (8), the membership's byte form
//
// The first write of a segment begins with the base and the hard state in force, so that every segment
// before it may be dropped.
//
// # What a reader may conclude
//
// A write is made with one write and one fdatasync, and the next one begins only after that; so a head
// that names write w as durable proves that everything up to w had reached the disk. When something does
// not verify, it lies in some write u. If any head further on, or in a later segment, proves u durable, it
// is damage. Otherwise it is the torn end of a write that was never acknowledged or never proven: the log is
// cut there, and the rest of the segment is zeroed and synced before anything new is written, so that
// nothing left over can come back. After the last write of a burst, Seal writes a head alone, without a sync
// of its own: it proves that burst.
//
// # Versions
//
// A reader refuses a segment of another version. A new version is a new magic byte.
package wal
