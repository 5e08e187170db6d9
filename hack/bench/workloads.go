package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"regexp"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// operation is what a client does over and over. Its latency is the time that it took, unless it leaves others in
// the worker.
type operation func(ctx context.Context, c *clientv3.Client, w *worker) error

// workload is one row of the comparison: something that clients do over and over.
type workload struct {
	name    string
	clients int
	writes  bool
	// size is that of a value in bytes, 0 for valueBytes.
	size int
	// cpu is what is asked of the CPU time an operation; the other figures' bars are the same for every row.
	cpu bar
	do  operation
	// prepare, where it is not nil, sets up what the clients need and makes the operation; release ends it. What is
	// begun lasts until ctx ends at the latest.
	prepare func(ctx context.Context, clients []*clientv3.Client) (do operation, release func(), err error)
}

// workloads is the table of all rows but the first, loadName. Those that make values of another size come last, as
// reads expect what was loaded.
func workloads(k keys, many int) []workload {
	return []workload{
		put(k, valueBytes, 1),
		put(k, valueBytes, 64),
		put(k, valueBytes, many),
		put(k, valueBytes, 1000),
		hotRange(k, many),
		randomRange(k, many),
		serializableRange(k, many),
		compareAndSwap(many),
		mixed(k, many),
		watchLatency(),
		watchFanOut(),
		leaseKeepAlive(many),
		put(k, kibibyte, 1),
		put(k, kibibyte, 64),
		put(k, kibibyte, 1000),
	}
}

// The sizes of values, in bytes.
const (
	valueBytes = 256
	kibibyte   = 1024
)

// loadName names the row of loading the set.
func loadName(k keys) string { return fmt.Sprintf("load, %d keys", k) }

// names are those of all rows, in order, each once.
func names(k keys, many int) []string {
	all := []string{loadName(k)}
	for _, wl := range distinct(workloads(k, many)) {
		all = append(all, wl.name)
	}
	return all
}

// distinct leaves out a row that is there before: --clients may name a number that is measured anyway.
func distinct(all []workload) []workload {
	seen := map[string]bool{}
	var kept []workload
	for _, wl := range all {
		if !seen[wl.name] {
			seen[wl.name] = true
			kept = append(kept, wl)
		}
	}
	return kept
}

// filter chooses rows by their names.
type filter struct {
	only string         // the one row, or "" for all
	rows *regexp.Regexp // what the name must match, or nil
}

func (f filter) takes(name string) bool {
	return (f.only == "" || f.only == name) && (f.rows == nil || f.rows.MatchString(name))
}

// worker is one client, the i-th; its random numbers are its own.
type worker struct {
	i     int
	rng   *rand.Rand
	value []byte
	// owned is what a row keeps for its client.
	owned map[string]int64
	// several are the latencies that the operation had, where they are not the one of the whole.
	several []time.Duration
}

// refresh makes the next value differ from the one before.
func (w *worker) refresh() {
	for i := 0; i < 8; i++ {
		w.value[w.rng.IntN(len(w.value))] = byte(w.rng.Uint32())
	}
}

func newWorker(seed uint64, i, size int) *worker {
	w := &worker{i: i, rng: rand.New(rand.NewPCG(seed, uint64(i))), value: make([]byte, size), owned: map[string]int64{}}
	for i := range w.value {
		w.value[i] = byte(w.rng.Uint32())
	}
	return w
}

// keys is how large the loaded set is; key names one of it.
type keys int

func (k keys) key(i int) string { return fmt.Sprintf("bench/%08d", i) }

func (k keys) random(w *worker) string { return k.key(w.rng.IntN(int(k))) }
