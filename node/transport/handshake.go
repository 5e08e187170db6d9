package transport

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"raftsman.dev/node/raft"
)

const (
	handshakeMagic = "RAFTPEER"
	handshakeFixed = 47
	maxString      = 255

	// The versions of the protocol that this program knows, and the first in which members recognise each other.
	lowestVersion      = 1
	highestVersion     = 2
	recognitionVersion = 2

	kindMessages = 1
	kindSnapshot = 2
	kindWho      = 3
	kindAccepted = 128
	kindRefused  = 129
)

// refusal says why a handshake ended.
type refusal uint8

const (
	refusedNot refusal = iota
	refusedMember
	refusedCluster
	refusedVersion
	refusedBusy
	refusedCopy // in a recollection only: version 1 does not know it
)

// ErrHandshake marks a connection whose other end is not who was meant.
var ErrHandshake = errors.New("handshake failed")

// Identity is who a member is on the wire.
type Identity struct {
	Member  raft.MemberID
	Cluster raft.ClusterID
	Boot    raft.Boot
	Life    uint64 // drawn at the start of the process; 0 of one that speaks version 1, which does not tell it
	Name    string
	// Address is where the member says its peer port can be reached: a hint.
	Address string
	// ClientURLs is what the member tells clients of itself, separated by commas.
	ClientURLs string
}

// versions are those of the protocol that a speaker knows, from the lowest to the highest.
type versions struct{ lowest, highest uint8 }

// every version that this program knows.
func every() versions { return versions{lowestVersion, highestVersion} }

// common is the version that two speakers use, the highest that both know; 0 where there is none.
func (v versions) common(other versions) uint8 {
	if c := min(v.highest, other.highest); c >= max(v.lowest, other.lowest) {
		return c
	}
	return 0
}

// hello is either side's part of the handshake.
type hello struct {
	kind uint8
	versions
	Identity
	meant   raft.MemberID
	refusal refusal
}

func (h *hello) encode() []byte {
	b := append([]byte(handshakeMagic), h.kind, h.lowest, h.highest)
	for _, v := range []uint64{uint64(h.Cluster), uint64(h.Member), uint64(h.meant), uint64(h.Boot)} {
		b = binary.LittleEndian.AppendUint64(b, v)
	}
	strings := []string{clip(h.Name), clip(h.Address), clip(h.ClientURLs)}
	b = append(b, byte(h.refusal))
	for _, s := range strings {
		b = append(b, byte(len(s)))
	}
	for _, s := range strings {
		b = append(b, s...)
	}
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli()))
}

func clip(s string) string { return s[:min(len(s), maxString)] }

func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }

func readHello(r io.Reader) (hello, error) {
	b := make([]byte, handshakeFixed, handshakeFixed+3*maxString+4)
	if _, err := io.ReadFull(r, b); err != nil {
		return hello{}, fmt.Errorf("%w: %w", ErrHandshake, err)
	}
	name := handshakeFixed + int(b[44])
	address := name + int(b[45])
	urls := address + int(b[46])
	if string(b[:8]) != handshakeMagic {
		return hello{}, fmt.Errorf("%w: the other end does not speak Raftsman's peer protocol", ErrHandshake)
	}
	b = b[:urls+4]
	if _, err := io.ReadFull(r, b[handshakeFixed:]); err != nil {
		return hello{}, fmt.Errorf("%w: %w", ErrHandshake, err)
	}
	if binary.LittleEndian.Uint32(b[len(b)-4:]) != crc32.Checksum(b[:len(b)-4], castagnoli()) {
		return hello{}, fmt.Errorf("%w: checksum does not match", ErrHandshake)
	}
	u := func(at int) uint64 { return binary.LittleEndian.Uint64(b[at:]) }
	return hello{
		kind: b[8], versions: versions{b[9], b[10]},
		Identity: Identity{
			Cluster: raft.ClusterID(u(11)), Member: raft.MemberID(u(19)), Boot: raft.Boot(u(35)),
			Name: string(b[handshakeFixed:name]), Address: string(b[name:address]), ClientURLs: string(b[address:urls]),
		},
		meant: raft.MemberID(u(27)), refusal: refusal(b[43]),
	}, nil
}

// judge decides whether an incoming hello is for this member, which speaks those versions. adopt says that the
// member is unjoined and meant by name: it may become one of the dialler's cluster.
func judge(self Identity, speaks versions, in hello) (r refusal, adopt bool) {
	switch {
	case speaks.common(in.versions) == 0:
		return refusedVersion, false
	case in.kind == kindWho:
		return refusedNot, false
	case in.meant != self.Member:
		return refusedMember, false
	case self.Cluster == 0 && in.Cluster != 0:
		return refusedNot, true
	case in.Cluster != self.Cluster || in.Cluster == 0:
		return refusedCluster, false
	}
	return refusedNot, false
}

// check reads the other side's answer to a hello for member meant of this cluster.
func check(answer hello, self Identity, speaks versions, meant raft.MemberID) error {
	switch {
	case answer.kind == kindAccepted && (meant == 0 || answer.Member == meant):
		return nil
	case answer.refusal == refusedCluster:
		return fmt.Errorf("%w: member %v (%s) there is of cluster %v, this one of %v", ErrHandshake, answer.Member, answer.Name, answer.Cluster, self.Cluster)
	case answer.refusal == refusedVersion:
		return fmt.Errorf("%w: member %v (%s) there speaks protocol versions %d to %d, this one %d to %d: upgrade one version at a time", ErrHandshake, answer.Member, answer.Name, answer.lowest, answer.highest, speaks.lowest, speaks.highest)
	case answer.refusal == refusedCopy:
		return fmt.Errorf("%w: member %v (%s) there has met a later boot of this member than this one, %d, or another start in it", ErrHandshake, answer.Member, answer.Name, self.Boot)
	case answer.refusal == refusedBusy:
		return fmt.Errorf("%w: member %v (%s) there is busy", ErrHandshake, answer.Member, answer.Name)
	}
	return fmt.Errorf("%w: member %v (%s) answers there, not %v", ErrHandshake, answer.Member, answer.Name, meant)
}
