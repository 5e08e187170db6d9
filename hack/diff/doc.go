// Command diff runs the same seeded sequences of client requests on etcd and on a group of three Raftsman members, and
// compares every answer, error, event and the final state, field by field.
//
// etcd, one member with empty data, is the oracle; it also tells the generator what is there, so that a sequence
// depends on its seed alone. Each sequence has stores of its own, because revisions begin with them. What may differ
// is taken out before the comparison: cluster and member IDs, terms, lease IDs that the server chose, the seconds that
// are left of a lease, checksums, how events are grouped into responses, and how a streamed range is cut.
//
// The first difference ends the run. It is shrunk to a short script, which can be run again with --script and belongs
// into testdata, where the module's test runs it for good, on the stores that the scripts before it have left, unless it
// says that it needs fresh ones. A script is one request a line:
//
//	# Fresh stores.
//	# member, request, its fields as protobuf text; /1 names a stream of watchers, +9 pads the first value to 9 bytes
//	m0 Put key:"a" value:"1"
//	m2 Watch/1 create_request:{key:"a" start_revision:1}
//	m1 Put+1572864 key:"a"
//
// Sequences wait for one answer at a time, so that two run abreast. The outcomes are counted: the run prints a matrix of
// requests and outcomes, and fails if one that can be reached was hardly met.
package main
