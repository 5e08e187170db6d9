package sim

import (
	"errors"
	"fmt"
	"math/rand/v2"

	"raftsman.dev/node/datadir"
	"raftsman.dev/node/kv"
	"raftsman.dev/node/raft"
	"raftsman.dev/node/replica"
	"raftsman.dev/node/transport"
	"raftsman.dev/node/vfs"
	"raftsman.dev/node/wal"
)

// host is the machine of one member: what survives a loss of power, and the process that does not.
type host struct {
	w       *World
	id      raft.MemberID
	name    string
	boot    raft.Boot
	disk    *vfs.Mem
	shelf   shelf
	altered alteration
	scarred bool    // its log bears damage that was harmless: more may take what that one has left as the only proof
	ill     illness // what is wrong with its disk, beyond the process
	older   *volume // a copy of its disk, from before
	// ever is what it has seen of the others in all lives of its process.
	ever map[raft.MemberID]transport.Seen
	// standing names what the store stands on, or stood on last. rotten: that is damaged, known: and met at the next
	// start. rebuilding: another one has taken its place, and waits for a peer's state.
	standing                  string
	rotten, known, rebuilding bool
	// joined: it is certain that its identity is one of the cluster's.
	joined bool

	// The process; nil and zero while it is down.
	life    int // one higher at every start: what belonged to an earlier life is dropped
	faulty  *vfs.Faulty
	dir     *datadir.Dir
	log     *wal.Log
	store   *kv.Store
	replica *replica.Replica
	process
}

// process is what a host forgets with its process.
type process struct {
	resumes    int64    // paused until then
	answers    []func() // of the writer and the applier, on their way to the replica
	held       []func()
	diskDelay  int64
	lag        int64 // of everything it does
	clock      clock
	dying      bool // it has ended in the middle of its work; what it still does has no effect
	killed     bool // it ends alone: what it has written stays with the operating system
	writing    bool
	writes     int // turns of the log writer
	applying   bool
	hurrying   bool
	receiving  bool
	flights    map[raft.MemberID]*stream // snapshots that leave it
	cutIn      *receiving
	cutOut     []*sending // the oldest first
	waits      bool       // its store, for space
	unflushed  int        // turns of the applier since then
	full       bool       // its log found no space for a segment
	space      raft.Space
	unwatched  bool // nobody watches there
	diverged   bool // it was told that its state is not the majority's
	harmed     bool // it has met damage in its store
	aside      bool // a damaged store lies aside until asideUntil is applied
	asideUntil raft.Index
	met        map[raft.MemberID]sighting
	protocol   protocol
	served     map[string]int64 // the newest revision of each key that it has shown
	clients    []*client
}

// errPower is what a write hears when the power goes in the middle of it.
var errPower = errors.New("power is lost here")

func (w *World) add(id raft.MemberID) *host { return w.addNamed(id, fmt.Sprint("m", uint64(id))) }

// addNamed starts a host with an empty disk.
func (w *World) addNamed(id raft.MemberID, name string) *host {
	h := &host{w: w, id: id, name: name, disk: vfs.NewMem(), shelf: shelf{}, ever: map[raft.MemberID]transport.Seen{}}
	w.hosts[id] = h
	w.ids = append(w.ids, id)
	h.start()
	return h
}

func (h *host) up() bool { return h.replica != nil }

// start boots the process from what its disks hold.
func (h *host) start() {
	if !h.identify() {
		return
	}
	restored, err := h.openDisk()
	if err == nil {
		err = h.dir.CountBoot()
	}
	if err == nil {
		err = h.run(restored)
	}
	if err != nil {
		h.refused(errors.Join(err, h.shut()))
		return
	}
	if h.ill.damaged {
		h.w.fail("member %d starts, and is damaged: %s", h.id, h.ill.kind)
	}
	h.rebuilding = h.replica.Brief().Rebuilding
	h.asideUntil = h.replica.Brief().Commit
	h.w.truth.started(h, restored)
	h.w.story.line(h.w, h.id, "up, boot %d, %+v", h.boot, h.replica.Brief())
	h.later(h.w.between(0, tick), h.tick)
	h.measure()
	if h.up() && h.w.weather.Watch > 0 {
		h.comeOrGo()
	}
}

// run makes the replica.
func (h *host) run(restored raft.Restored) error {
	r, err := replica.New(replica.Config{
		Core: raft.Config{
			ID: h.id, Boot: h.boot, ElectionTicks: 10, HeartbeatTicks: 1, CaughtUpLag: 8, TailBytes: h.w.weather.TailBytes,
			Rand: rand.New(rand.NewPCG(h.w.seed, uint64(h.id)<<16|uint64(h.boot))),
		},
		Log: h.log, Store: h.store, Restored: restored, Env: h,
		Tuning: replica.Tuning{RequestTicks: 100, RetryTicks: 20, KeepEntries: h.w.weather.KeepEntries},
	})
	if err != nil {
		return fmt.Errorf("start: %w", err)
	}
	h.replica = r
	if err := h.compare(restored); err != nil {
		h.replica = nil
		return err
	}
	return nil
}

// segmentBytes is short, so that a run sees many segments.
const segmentBytes = 8 << 10

// identify opens the data directory: who this member is, and in which boot.
func (h *host) identify() bool {
	h.life++
	h.process = process{clients: h.clients, served: map[string]int64{}, met: map[raft.MemberID]sighting{}, flights: map[raft.MemberID]*stream{}}
	h.drawProtocol()
	h.faulty = vfs.NewFaulty(h.disk, h.ill.rules()...)
	dir, err := datadir.Open(h.faulty, "data", h.name, func() uint64 { return uint64(h.id) })
	if err != nil {
		h.refused(err)
		return false
	}
	h.dir, h.boot = dir, dir.Identity().Boot
	if dir.Identity().Member != h.id {
		h.w.fail("the host of member %d holds the data of member %d and has not noticed", h.id, dir.Identity().Member)
	}
	return true
}

// identity is who the member says it is when it connects.
func (h *host) identity() transport.Identity {
	id := h.dir.Identity()
	told := transport.Identity{Member: id.Member, Cluster: id.Cluster, Boot: id.Boot, Life: uint64(h.life), Name: id.Name}
	if h.protocol.previous {
		told.Life = 0
	}
	return told
}

// join makes the host one of the cluster.
func (h *host) join(cluster raft.ClusterID) error {
	err := h.dir.Join(cluster)
	h.joined = err == nil
	return err
}

// later does something in this life of the process, and after any pause.
func (h *host) later(delay int64, do func()) {
	life := h.life
	h.w.after(delay+h.lag, func() {
		if h.life == life && h.up() && !h.paused(do) {
			do()
		}
	})
}

// strikeLater lets a fault strike this life of the process, and after any pause, unless the world is calm by then.
func (h *host) strikeLater(delay int64, strike func()) { h.later(delay, h.w.inChaos(strike)) }

// paused reports whether the process stands still; then do happens when it goes on.
func (h *host) paused(do func()) bool {
	if h.w.now >= h.resumes {
		return false
	}
	h.held = append(h.held, do)
	return true
}

// pump lets the replica work, and ends the process where that was to happen on the way.
func (h *host) pump() {
	h.replica.Pump()
	h.hurrySoon()
	h.w.truth.look(h)
	if h.dying {
		h.crash()
	}
}

// hurrySoon lets a leader send what it keeps back, as a member's owner does it, after some time or other.
func (h *host) hurrySoon() {
	if h.hurrying || h.replica.Brief().KeptBack == 0 {
		return
	}
	h.hurrying = true
	h.w.fault("entries kept back by the leader")
	h.later(h.w.between(0, 20*millisecond), func() {
		h.hurrying = false
		h.replica.Hurry()
		h.pump()
	})
}

// crash takes the power away: what was not synced is kept or lost by coin.
func (h *host) crash() {
	if !h.up() {
		return
	}
	h.story()
	h.replica.Stop()
	h.replica = nil
	h.life++
	for _, c := range h.clients {
		c.orphan()
	}
	h.powerOff()
	stores := h.shelf.crash(h.w, h.standing)
	h.forgetCut()
	h.ground().sicken(nil)
	if err := h.store.Close(); err != nil && !h.harmed {
		h.w.fail("member %d: close the store: %w", h.id, err)
	}
	h.store, h.shelf = nil, stores
	h.keepCopy()
	if h.w.calm || h.w.rng.IntN(3) == 0 { // a process that is back before anybody has noticed is the harder case
		h.w.after(h.w.between(millisecond, 100*millisecond), h.restart)
	}
}

// restart starts the process, if it is down and its disk is there.
func (h *host) restart() {
	if !h.up() && !h.ill.lost {
		h.start()
	}
}

func (h *host) story() {
	if h.killed {
		h.w.fault("process killed")
		h.w.story.line(h.w, h.id, "killed")
		return
	}
	h.w.fault("crash")
	h.w.story.line(h.w, h.id, "power lost")
}

// powerOff leaves of the log and the identity what a loss of power leaves, or what a process that was killed does.
func (h *host) powerOff() {
	if err := h.dir.Close(); err != nil {
		h.w.fail("member %d: give back the lock: %w", h.id, err)
	}
	if h.killed {
		return
	}
	h.disk = h.disk.Crash(h.w.rng)
	names, sectors := h.disk.Lost()
	h.w.count("directory entry lost", names)
	h.w.count("unsynced sector lost", sectors)
}
