package transport

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"net"

	"raftsman.dev/node/raft"
)

// recollection is what a side tells once both are known to each other: of its own life, and of those of the other.
type recollection struct {
	life    uint64
	seen    Seen
	refusal refusal // in the answer only
}

const recollectionSize = 53

func (r *recollection) encode() []byte {
	b := make([]byte, 0, recollectionSize)
	claim := r.seen.Claim
	for _, v := range []uint64{
		r.life, uint64(r.seen.Boot), r.seen.Life, uint64(claim.Boot), uint64(claim.Term), uint64(claim.Kept),
	} {
		b = binary.LittleEndian.AppendUint64(b, v)
	}
	b = append(b, byte(r.refusal))
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli()))
}

func readRecollection(r io.Reader) (recollection, error) {
	var b [recollectionSize]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return recollection{}, fmt.Errorf("%w: %w", ErrHandshake, err)
	}
	const end = recollectionSize - 4
	if binary.LittleEndian.Uint32(b[end:]) != crc32.Checksum(b[:end], castagnoli()) {
		return recollection{}, fmt.Errorf("%w: checksum of what the other end recalls does not match", ErrHandshake)
	}
	u := func(at int) uint64 { return binary.LittleEndian.Uint64(b[at:]) }
	return recollection{
		life: u(0), refusal: refusal(b[48]),
		seen: Seen{Boot: raft.Boot(u(8)), Life: u(16), Claim: Claim{Boot: raft.Boot(u(24)), Term: raft.Term(u(32)), Kept: raft.Index(u(40))}},
	}, nil
}

// recognises reports whether a connection of that kind with a speaker of those versions begins with recollections.
func (t *Transport) recognises(kind uint8, other versions) bool {
	return kind != kindWho && t.cfg.speaks.common(other) >= recognitionVersion
}

// recall compares, with whoever has accepted this member's hello, what the two know of each other, and completes the
// answer by the life of the other. Nothing is to be said there any more after an error.
func (t *Transport) recall(c net.Conn, answer *hello) error {
	self, known := t.cfg.Self(), t.seenOf(answer.Member)
	mine := recollection{life: self.Life, seen: known}
	if _, err := c.Write(mine.encode()); err != nil {
		return err
	}
	theirs, err := readRecollection(c)
	if err != nil {
		return err
	}
	answer.Life = theirs.life
	if err := theirs.seen.Refutes(self, t.cfg.Held); err != nil {
		return t.refuted(answer.Identity, err)
	}
	if theirs.refusal != refusedNot {
		answer.kind, answer.refusal = kindRefused, theirs.refusal
		return check(*answer, self, t.cfg.speaks, answer.Member)
	}
	if known.Outlived(answer.Identity) {
		return fmt.Errorf("%w: member %v (%s) there runs boot %d from an older copy of its volume: boot %d of it has been seen", ErrHandshake, answer.Member, answer.Name, answer.Boot, known.Boot)
	}
	return nil
}

// recognise does the same with a dialler whose hello this member has accepted: who answers last knows of both, and so
// it is here that a dialler is refused, and that an unjoined member lets itself be adopted. An error says that nothing
// is to be said or heard there any more.
func (t *Transport) recognise(c net.Conn, in *hello, adopt bool) (refusal, error) {
	theirs, err := readRecollection(c)
	if err != nil {
		return refusedNot, err
	}
	in.Life = theirs.life
	self := t.cfg.Self()
	if err := theirs.seen.Refutes(self, t.cfg.Held); err != nil {
		return refusedNot, t.refuted(in.Identity, err)
	}
	mine := recollection{life: self.Life, seen: t.seenOf(in.Member)}
	switch {
	case mine.seen.Outlived(in.Identity):
		mine.refusal = refusedCopy
	case adopt:
		mine.refusal = t.join(in)
	}
	_, err = c.Write(mine.encode())
	return mine.refusal, err
}

// refuted ends all that this member says and hears: whatever it would do, it may have promised otherwise.
func (t *Transport) refuted(by Identity, err error) error {
	t.hangUp()
	err = fmt.Errorf("member %v (%s) knows better: %w", by.Member, by.Name, err)
	t.cfg.Handler.RolledBack(err)
	return err
}
