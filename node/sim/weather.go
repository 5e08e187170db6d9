package sim

import "math/rand/v2"

// Weather says how often each kind of fault strikes in one run: messages, effects and writes per million, the rest
// in mean virtual milliseconds between two of them, 0 for never. Each run has its own: a fault that is always there
// hides what happens without it.
type Weather struct {
	Loss, Duplication, Delay int
	// Ambush is how often, per million, an election, a joint membership or a transfer is struck as it begins.
	Ambush int
	// CrashInWrite, PauseInWrite and Stutter are per million writes, PauseInRead per million messages, CrashAnywhere
	// per million effects.
	CrashInWrite, PauseInWrite, Stutter, PauseInRead, CrashAnywhere int
	// Previous is how often, per million, a host comes back with the previous version of the peer protocol.
	Previous int
	// Spoil is how often a chunk of a snapshot changes on its way, per million chunks.
	Spoil int

	Partition, Heal, Clog, Throttle, Misdirect, Disconnect, Foreign            int64
	Crash, Kill, Restart, AllCrash, Pause, Lag, Clock                          int64
	SlowDisk, TornWrite, Sick, Rot, RotStore, TearStore, Empty, Swap, RollBack int64
	Chores, Alter                                                              int64
	Membership, Transfer, Mend                                                 int64
	// Watch is how often watchers come to one member, or go; 0: some are everywhere.
	Watch int64
	// Members is the size to begin with, KeepEntries how short the logs are kept, Clients how many ask at once.
	Members     int
	KeepEntries uint64
	// TailBytes is how much of the log the members keep in memory: the rest is read back.
	TailBytes int
	Clients   int
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
	w := Weather{
		Loss: int(some(60, 1000, 150_000)), Duplication: int(some(50, 1000, 100_000)), Delay: int(some(50, 1000, 60_000)),
		CrashInWrite: int(some(60, 100, 5000)), Stutter: int(some(50, 1000, 100_000)),
		PauseInWrite: int(some(30, 100, 3000)), PauseInRead: int(some(30, 100, 5000)), CrashAnywhere: int(some(40, 20, 1000)),
		Ambush:    int(some(60, 20_000, 300_000)),
		Partition: some(60, 2000, 20_000), Heal: 500 + rng.Int64N(8000),
		Clog: some(40, 500, 10_000), Throttle: some(30, 1000, 15_000), Misdirect: some(30, 500, 10_000),
		Disconnect: some(40, 300, 8000), Foreign: some(30, 200, 5000),
		Crash: some(50, 1500, 20_000), Kill: some(40, 1500, 20_000), Restart: 300 + rng.Int64N(5000), AllCrash: some(20, 15_000, 60_000),
		Pause: some(30, 3000, 20_000), Lag: some(30, 2000, 20_000), Clock: some(30, 1000, 15_000),
		SlowDisk: some(30, 2000, 20_000), TornWrite: some(40, 3000, 20_000),
		Sick: some(50, 1000, 12_000), Rot: some(50, 500, 8_000), Empty: some(20, 10_000, 60_000), Swap: some(20, 10_000, 60_000),
		RotStore: some(40, 1500, 15_000), TearStore: some(40, 1000, 10_000), Spoil: int(some(40, 5000, 100_000)),
		RollBack:   some(30, 4000, 30_000),
		Membership: some(50, 2000, 15_000), Transfer: some(40, 1000, 15_000), Mend: 300 + rng.Int64N(3000),
		Members:     []int{1, 3, 3, 3, 5}[rng.IntN(5)],
		KeepEntries: []uint64{8, 30, 10_000}[rng.IntN(3)],
		TailBytes:   []int{256, 4 << 10, 32 << 20}[rng.IntN(3)],
		Clients:     1 + rng.IntN(6),
	}
	// While a store is altered, logs are kept and its leader stands back, which spares other faults their hardest cases:
	// most worlds are without it.
	w.Alter = some(8, 1500, 15_000)
	if rng.IntN(20) == 0 {
		w.Transfer = 50 + rng.Int64N(300) // a storm
	}
	w.Previous = int(some(40, 50_000, 600_000))
	w.Chores = some(70, 200, 2000)
	w.Watch = some(80, 100, 5000)
	return w
}

// begin puts the faults of the weather on the agenda.
func (w *World) begin() {
	w.recur(w.weather.Partition, func() { w.story.line(w, 0, "partition: %s", w.net.partition()) })
	w.recur(w.weather.Heal, func() {
		if w.net.join() {
			w.story.line(w, 0, "network heals")
		}
	})
	w.recur(w.weather.Clog, w.net.clog)
	w.recur(w.weather.Throttle, w.net.throttle)
	w.recur(w.weather.Misdirect, w.net.misdirect)
	w.recur(w.weather.Disconnect, w.net.disconnect)
	w.recur(w.weather.Foreign, w.foreign)
	w.recur(w.weather.Crash, func() { w.strike((*host).crash) })
	w.recur(w.weather.Kill, func() { w.strike((*host).kill) })
	w.recur(w.weather.Restart, w.restartOne)
	w.recur(w.weather.AllCrash, w.crashAll)
	w.recur(w.weather.Pause, func() { w.strike((*host).pause) })
	w.recur(w.weather.Lag, func() { w.strike((*host).lagBehind) })
	w.recur(w.weather.Clock, func() { w.strike((*host).disturbClock) })
	w.recur(w.weather.SlowDisk, func() { w.strike((*host).slowDown) })
	w.recur(w.weather.TornWrite, func() { w.strike((*host).tear) })
	w.recur(w.weather.Sick, func() { w.strike((*host).sicken) })
	w.recur(w.weather.Rot, func() { w.hosts[pick(w, w.ids)].rot() })
	w.recur(w.weather.RotStore, func() { w.hosts[pick(w, w.ids)].rotStore() })
	w.recur(w.weather.TearStore, func() { w.strike((*host).tearStore) })
	w.recur(w.weather.Empty, func() { w.emptyVolume(w.hosts[pick(w, w.ids)]) })
	w.recur(w.weather.Swap, w.swapVolumes)
	w.recur(w.weather.RollBack, func() { w.rollBack(w.hosts[pick(w, w.ids)]) })
	w.recur(w.weather.Alter, func() { w.strike((*host).alter) })
	w.recur(w.weather.Membership, w.reshape)
	w.recur(w.weather.Transfer, w.transfer)
	w.recur(w.weather.Mend, w.mend)
	w.recur(w.weather.Watch, func() { w.strike(func(h *host) { h.later(0, h.comeOrGo) }) })
	w.recur(w.weather.Chores, func() { w.strike(w.keepHouse) })
}

// recur does something again and again, at intervals around a mean, until the world is calm.
func (w *World) recur(mean int64, do func()) {
	if mean == 0 {
		return
	}
	w.strikeAfter(w.between(mean*millisecond/10, 2*mean*millisecond), func() {
		do()
		w.recur(mean, do)
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
		if h := w.hosts[id]; !h.up() && !h.ill.lost {
			down = append(down, h)
		}
	}
	if len(down) > 0 {
		pick(w, down).restart()
	}
}

func (w *World) crashAll() {
	w.fault("power lost everywhere")
	for _, h := range w.living() {
		h.crash()
	}
}
