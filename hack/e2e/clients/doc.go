// Package clients holds what real clients do to etcd and to Raftsman side by side: a script of etcdctl commands whose
// outputs must be equal, and sessions of the official Go client and of a client for Node, through restarts of members
// and changes of the leader. It has no code of its own; `make clients` runs it, and needs neither root nor Kubernetes.
// The session for Node is left out, loudly, where node or npm is not installed; its client comes from npm, by the lock
// file in testdata/node.
//
// # The script
//
// testdata/etcdctl.txt is data: one command a line, which must succeed on both, or fail on both where the line begins
// with "!". Lines that follow a command say more of it:
//
//	< text          goes to its standard input; without any, that is empty
//	? text          wait until its output holds this, behind what was waited for before; in the end it is interrupted
//	+ command       another command, run meanwhile, which must succeed
//	= NAME regexp   the first group of this in its output is $NAME from now on
//	~ sorted        the order of its output's lines is chance
//	~ differs NAME  the outputs differ, as the section NAME of node/etcdapi/differences.md allows
//	| text          a line that Raftsman writes where they differ
//
// Commands go to the leader unless they name endpoints. $ALL, $EP0, $EP1 and $EP2 are the client addresses and $ID0,
// $ID1 and $ID2 the IDs of the members, in the order of their IDs; member 0 leads when the script begins. What cannot be
// equal is replaced by what it stands for before outputs are compared: see normalise_test.go.
package clients
