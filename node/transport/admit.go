package transport

import "raftsman.dev/node/raft"

// Admits is the handshake's decision without a connection, for a world that simulates the network: whether self
// takes what a dialler sends who means that member; adopt says that self thereby becomes one of the dialler's
// cluster.
func Admits(self, dialler Identity, meant raft.MemberID) (admitted, adopt bool) {
	r, adopt := judge(self, every(), hello{kind: kindMessages, versions: every(), Identity: dialler, meant: meant})
	return r == refusedNot, adopt
}
