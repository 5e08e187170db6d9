// Package transport connects members: it finds them, makes sure who answers, and carries messages and
// snapshots. It is the only package that knows msgpack.
//
// # Connections
//
// Each side dials the other, and sends on the connection that it dialled; what arrives on one that it
// accepted is only read. Names are resolved afresh at every dial. A peer is tried at the address that worked
// last, at its hints, then at every address that discovery knows, and the handshake tells who answers: the map
// from member to address is learned, not configured. Snapshots go on connections of their own, on which both sides
// speak (package snapshot says what); at the end of the stream the receiver answers with one zero byte, or with the
// length (1) of a reason and the reason. A member's new snapshot connection ends the one before it, which may hang.
//
// # Handshake (versions 1 and 2; integers little-endian)
//
// The dialler speaks first; the other answers in the same form, which is that of every version. Everything after a
// refusal is silence.
//
//	0   8   magic "RAFTPEER"
//	8   1   kind: 1 messages, 2 snapshot, 3 who are you, 128 accepted, 129 refused
//	9   1   lowest, and
//	10  1   highest version of the protocol that the speaker knows; they use the highest that both know
//	11  8   cluster ID, 0 while unjoined
//	19  8   member ID of the speaker
//	27  8   member ID that the speaker means, 0 for whoever answers; in an answer that of the dialler
//	35  8   boot of the speaker
//	43  1   refusal: 0 none, 1 another member, 2 another cluster, 3 no common version, 4 busy
//	44  1   n, the length of the speaker's name
//	45  1   a, the length of the address at which the speaker says it can be reached
//	46  1   u, the length of the client URLs, separated by commas
//	47  n   name
//	    a   address
//	    u   client URLs
//	    4   CRC-32C of everything before
//
// # Recognition (version 2; integers little-endian)
//
// Where both sides speak version 2, a hello of kind 1 or 2 that was accepted is followed by one recollection of the
// dialler, and that by one of the other; only then anything else is said. With a side that speaks version 1 there are
// none: nothing is known there, and nothing refused.
//
//	0   8   life of the speaker: drawn at the start of its process
//	8   8   newest boot of the other side that the speaker has seen, 0 for none, and
//	16  8   its life, 0 where it spoke version 1
//	24  8   newest boot of the other side in which it claimed, to the speaker, something of its disk, 0 for none;
//	32  8   the highest term that it so promised, and
//	40  8   the highest committed index that it acknowledged as durable
//	48  1   refusal, 0 from a dialler: 0 none, 2 this unjoined member does not join the cluster, 5 a later boot of the
//	        dialler has been seen, or another life in this one
//	49  4   CRC-32C of everything before
//
// By them a member finds that its volume is an older copy of itself: a later boot has been seen, or another life in the
// same boot, or a claim of an earlier boot that what its disk held at the start does not bear out. It then ends all
// connections, without an answer, for good. See Seen for what is compared, and why a sound volume is never refused.
//
// A life counts as seen once it has sent messages or accepted some. One that is refuted at its first contact leaves no
// trace, and the right volume may come back under whatever boot is next on it. But an older copy that one peer, who
// knew nothing, has accepted before another refuted it has acted under the member's identity in its boot, and may have
// promised there what the right volume does not hold. If that comes up under the same boot, it is refused, too, for
// "another start with this very boot": two starts with one boot cannot both be heard. The member is then replaced.
//
// The memory is lost with the process: this is help on best effort, not a promise.
//
// # Frames (versions 1 and 2)
//
//	0   4   n, the length of the body, at most 64 MiB
//	4   1   kind
//	5   3   zero
//	8   4   CRC-32C of bytes 0 to 8 and the body
//	12  n   body, msgpack: an array [term, from boot, to boot, fields of the kind ...]
//
// Entries travel as one raw block in the byte form that the log stores. A frame of a kind that a reader does
// not know is skipped: a newer version may send more. Kinds 13 to 15 repair damage: they carry a range of lost
// entries, those of them that a peer holds, and the request for a snapshot.
package transport
