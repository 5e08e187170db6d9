package sim

import "math/rand/v2"

// Weather says how often each kind of fault strikes in one run: messages per million, the rest in mean virtual
// milliseconds between two of them, 0 for never. Each run has its own: a fault that is always there hides what
// happens without it.
type Weather struct {
	Loss, Duplication, Delay int
	// Ambush is how often, per million, an election or a joint membership is struck as it begins.
	Ambush int
	// CrashInWrite and Stutter are per million writes.
	CrashInWrite, Stutter int
	Partition, Heal       int64
	Crash, Restart        int64
	AllCrash              int64
	Pause                 int64
	SlowDisk, TornWrite   int64
	Membership, Transfer  int64
	// Members is the size to begin with, KeepEntries how short the logs are kept, Clients how many ask at once.
	Members     int
	KeepEntries uint64
	Clients     int
	// Pebble says that the stores stand on Pebble, not on the engine in memory: then the run does not replay exactly.
	Pebble bool
}

// Draw makes the weather of a run.
func Draw(rng *rand.Rand) Weather {
	some := func(chance int, lo, hi int64) int64 {
		if rng.IntN(100) >= chance {
			return 0
		}
		return lo + rng.Int64N(hi-lo+1)
	}
	return Weather{
		Loss: int(some(60, 1000, 150_000)), Duplication: int(some(50, 1000, 100_000)), Delay: int(some(50, 1000, 60_000)),
		CrashInWrite: int(some(60, 100, 5000)), Stutter: int(some(50, 1000, 100_000)),
		Ambush:    int(some(60, 20_000, 300_000)),
		Partition: some(60, 2000, 20_000), Heal: 500 + rng.Int64N(8000),
		Crash: some(60, 1500, 20_000), Restart: 300 + rng.Int64N(5000), AllCrash: some(20, 15_000, 60_000),
		Pause: some(30, 3000, 20_000), SlowDisk: some(30, 2000, 20_000), TornWrite: some(40, 3000, 20_000),
		Membership: some(50, 2000, 15_000), Transfer: some(40, 1000, 15_000),
		Members:     []int{1, 3, 3, 3, 5}[rng.IntN(5)],
		KeepEntries: []uint64{8, 30, 10_000}[rng.IntN(3)],
		Clients:     1 + rng.IntN(6),
	}
}

// begin puts the faults of the weather on the agenda.
func (w *World) begin() {
	w.recur(w.weather.Partition, func() { w.story.line(w, 0, "partition: %s", w.net.partition()) })
	w.recur(w.weather.Heal, func() {
		if len(w.net.cut) > 0 {
			w.net.heal()
			w.story.line(w, 0, "network heals")
		}
	})
	w.recur(w.weather.Crash, func() { w.strike((*host).crash) })
	w.recur(w.weather.Restart, w.restartOne)
	w.recur(w.weather.AllCrash, w.crashAll)
	w.recur(w.weather.Pause, func() { w.strike((*host).pause) })
	w.recur(w.weather.SlowDisk, func() { w.strike((*host).slowDown) })
	w.recur(w.weather.TornWrite, func() { w.strike((*host).tear) })
	w.recur(w.weather.Membership, w.reshape)
	w.recur(w.weather.Transfer, w.transfer)
}

// recur does something again and again, at intervals around a mean, until the world is calm.
func (w *World) recur(mean int64, do func()) {
	if mean == 0 {
		return
	}
	w.after(w.between(mean*millisecond/10, 2*mean*millisecond), func() {
		if !w.calm {
			do()
			w.recur(mean, do)
		}
	})
}

func (w *World) strike(f func(*host)) {
	if up := w.living(); len(up) > 0 {
		f(pick(w, up))
	}
}

func (w *World) restartOne() {
	var down []*host
	for _, id := range w.ids {
		if h := w.hosts[id]; !h.up() {
			down = append(down, h)
		}
	}
	if len(down) > 0 {
		pick(w, down).start()
	}
}

func (w *World) crashAll() {
	w.fault("power lost everywhere")
	for _, h := range w.living() {
		h.crash()
	}
}
