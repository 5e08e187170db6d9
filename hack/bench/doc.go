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
//	make bench                                  builds everything, five pairs, about six minutes
//	make bench BENCH_FLAGS='--quick'            one short pair: does it work at all
//	make bench BENCH_FLAGS='--pairs 9 --keys 1000000 --json figures.json'
//
// or by hand, in this directory, once `make build` has made the binary:
//
//	go build -o /tmp/etcd ./etcd
//	go run . --raftsman ../../bin/raftsman --etcd /tmp/etcd
//
// --etcd and --raftsman may be commands with arguments ("kube etcd"). --system raftsman runs one side alone,
// --profiles DIR takes CPU profiles of its members, and --before FILE compares with another build of raftsman
// instead of etcd; --data-dir chooses the disk, which must not be a memory file system. Ctrl-C ends the members
// and removes their data.
//
// # What is measured
//
// First a set of keys is loaded (not timed). Then, each after a warm-up:
//
//	put, 1 client       puts/s and the latency of one client that waits for each answer
//	put, 256 clients    puts/s, latency, CPU a put, entries a sync of the log
//	get, hot key        linearizable reads of one key by 256 clients, CPU a read
//	get, random keys    linearizable reads among the loaded keys by 256 clients, CPU a read
//
// Values have 256 bytes. The clients share --conns clientv3 clients; each of those knows all three members and
// its balancer goes round them, so two thirds of the requests arrive at a follower. CPU is user and system
// time of the three members (/proc/PID/stat); the load generator's is not counted, but it runs on the same
// cores. Memory is the sum over the members: the peak resident set (VmHWM), and the largest anonymous memory
// (RssAnon) seen.
//
// Entries a sync: Raftsman counts both itself. For etcd it is proposals committed by syncs of its log.
//
// # A member that joins
//
//	make join                                        a store of 5 GB; about ten minutes and 30 GB of disk
//	make join JOIN_FLAGS='--gigabytes 0.3 --quiet 10s --capacity 5s'
//
// fills a store, measures how many puts a second it takes, goes on with 30 % of that, and lets a fourth member join,
// whose snapshot connection is cut once in the middle. It says how long the member took to become a voter, what was
// sent by what was needed, and the p99 of the puts before and during; a put is counted from the moment at which it
// was due. It fails where less is met than is promised: 10 minutes, nothing sent twice, at most twice the p99.
package main
