// Bench measures Raftsman beside etcd on one machine, and says how they compare.
//
// Both run as three members on loopback, each member a process of its own, with fresh data directories on the
// same file system and durability on: every acknowledged write was synced on a majority. The load comes from
// this process, through etcd's own Go client, the same for both. Runs alternate (A B, B A, A B ...), so that
// what disturbs the machine disturbs both; each figure is the median of the runs, each ratio the median of the
// ratios of the pairs.
//
// # How to run
//
//	make bench                                  builds everything, five pairs of all rows, about half an hour
//	make bench SMOKE=1                          one short pair with few keys, about a minute: does it work at all
//	make bench BENCH_FLAGS="--rows 'put|txn' --pairs 3 --keys 100000"
//	make bench BENCH_FLAGS='--json figures.json'
//
// or by hand, in this directory, once `make build` has made the binary:
//
//	go build -o /tmp/etcd ./etcd
//	go run . --raftsman ../../bin/raftsman --etcd /tmp/etcd
//
// --list names the rows, --rows takes those that match a regular expression, --only the one of that name. --etcd and
// --raftsman may be commands with arguments ("kube etcd"). --system raftsman runs one side alone, --profiles DIR takes
// CPU profiles of its members, and --before FILE compares with another build of raftsman instead of etcd; --data-dir
// chooses the disk, which must not be a memory file system. Ctrl-C ends the members and removes their data and their
// control group. If a run fails, what was measured before is told all the same.
//
// # What is measured
//
// First a set of keys is loaded, 64 in a transaction, and the members may come to rest (--settle). Then, each after a
// warm-up, the rows of the table in workloads.go; every client waits for its answer before it asks again:
//
//	load, N keys                    keys/s, latency of a transaction, and the memory that so many keys need
//	put, 1, 64, 256, 1000 clients   random keys of the loaded set, 256 bytes
//	get, hot key                    linearizable reads of one key by 256 clients
//	get, random keys                linearizable reads among the loaded keys
//	get serializable, random keys   the same, of what the member at hand knows
//	txn, compare and swap           a put if the key's revision is the one known, as kube-apiserver writes
//	mixed, 4 gets to 1 put          random keys
//	watch, put to event             64 keys with a watcher each; from before the put until the watcher has the event
//	watch, fan-out to 1000          four clients put below a prefix with 1000 watchers on 100 streams, and wait until all
//	                                have the event; the rate is that of events, the latency that of each
//	lease keep-alive                256 clients, each with a lease and a stream of its own
//	put 1 KiB, 1, 64, 1000 clients  keys of their own
//
// 256 is --clients. The clients share --conns clientv3 clients, and use their methods or, for watches and keep-alive,
// the generated gRPC stubs on the same connections; each of those knows all three members and its balancer goes round
// them, so two thirds of the requests arrive at a follower. The load generator runs on the same cores as the members.
//
//	rate             operations a second that succeeded
//	server CPU each  user and system time of the three members (/proc/PID/stat) by the operations
//	log fsyncs       of the three members' logs, a second, as each counts them; what the stores below sync is not in it
//	entries a sync   for Raftsman as it counts both; for etcd, proposals committed by syncs of its log
//	anonymous        memory (RssAnon) of the three members, the largest sum seen; at rest: after they settled
//	resident         the sum of the members' peaks (VmHWM)
//	cgroup peak      the largest memory of a control group in which the members run, and nothing else but the program
//	                 that starts Raftsman's; the page cache of what they write is in it. It needs a control group with
//	                 memory that can be made (as root, or where it is delegated): else it says that it is not measured.
//
// # The table
//
// Figures are medians of the pairs, with the smallest and largest beside them; a ratio is Raftsman's by etcd's in the
// same pair. What is asked stands at the end of the line, with MISSED where it is not met: at least etcd's rate and at
// most its p99 in every row, at most 60 % of its CPU a put, at most its memory with a million keys (with fewer,
// nothing is asked). A missed bar is no error.
//
// # A member that joins
//
//	make join                                        a store of 5 GB; about twenty minutes and 40 GB of disk
//	make join JOIN_FLAGS='--gigabytes 0.3 --quiet 10s --capacity 5s'
//
// fills a store and compacts its history, measures how many puts a second it takes, goes on with 30 % of that, and lets a fourth member join,
// whose snapshot connection is cut once in the middle. It says how long the member took to become a voter, what was
// sent by what was needed, and the p99 of the puts before and during; a put is counted from the moment at which it
// was due, and stands for every ten seconds as well. It fails where less is met than is promised: 10 minutes, nothing sent twice, at most twice the p99.
//
// # Leases that expire together
//
//	make bench-leases                                both systems; about three minutes each
//	make bench-leases LEASES_FLAGS='--leases 2000 --quiet 3s --capacity 2s --etcd='
//
// measures how many puts a second there are, grants 100,000 leases with a key each whose TTLs shrink while they are
// granted, so that all end within the same second (the grants' delays aside, which are told), goes on with 30 % of the
// capacity, and looks every half a second how many keys are left. It says how long after the first lease was due no key
// and no lease was left, and the p99 of the puts before, and from that moment until all were gone; a put is counted
// from the moment at which it was due. It fails if a lease goes early, or where Raftsman does not keep what is
// promised: gone within 10 s, at most twice the p99. etcd's figures stand beside them. --profiles DIR takes CPU profiles
// from when the leases are due.
package main
