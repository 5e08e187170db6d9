package replica

import (
	"fmt"

	"raftsman.dev/node/kv"
	"raftsman.dev/node/raft"
	"raftsman.dev/node/wal"
)

// Config is what a Replica is made of. The log and the store are open; Restored is what the log gave.
type Config struct {
	Core     raft.Config
	Log      *wal.Log
	Store    *kv.Store
	Restored raft.Restored
	Env      Env
	Tuning   Tuning
}

// Tuning are the settings that change speed and patience, never data.
type Tuning struct {
	// RequestTicks is how long a proposal or barrier waits before its client is told.
	RequestTicks uint64
	// RetryTicks is how long a proposal or read round is waited for before it is sent again.
	RetryTicks uint64
	// MaxProposals and MaxProposalBytes bound what waits on this member; more is refused as busy. MaxProposals is at
	// most kv.MaxInFlight.
	MaxProposals     int
	MaxProposalBytes int
	// MaxApplyBacklogBytes bounds committed entries that the store has not applied; past it proposals
	// are refused as busy.
	MaxApplyBacklogBytes int
	// KeepEntries is how many applied entries stay in the log for followers that lag; past twice that
	// many the log is cut.
	KeepEntries uint64
	// KeepSegments bounds the log on disk, in segments, that is kept for the sake of followers that lag or get a
	// snapshot; past it they may need one, or another one. Default 32, which is 2 GiB.
	KeepSegments int
	// SnapshotTicks is how long the log is kept for a peer whose snapshot was cut, or has just reached it.
	// Default 3000.
	SnapshotTicks uint64
}

// Default fills what is zero.
func (t *Tuning) Default() {
	set(&t.RequestTicks, 70)
	set(&t.RetryTicks, 20)
	set(&t.MaxProposals, 8192)
	set(&t.MaxProposalBytes, 64<<20)
	set(&t.MaxApplyBacklogBytes, 64<<20)
	set(&t.KeepEntries, 10_000)
	set(&t.KeepSegments, 32)
	set(&t.SnapshotTicks, 3000)
}

func set[T int | uint64](v *T, to T) {
	if *v == 0 {
		*v = to
	}
}

// Replica is one member's core with everything that surrounds it. Its methods are for one owner, but
// for Register, Writer and Applier, which say so.
type Replica struct {
	core    *raft.Core
	coreCfg raft.Config
	store   *kv.Store
	log     *wal.Log
	env     Env
	tuning  Tuning
	waiters *waiters
	writer  Writer
	applier Applier
	reads   readRounds
	room    room
	low     bool // this member's own disk is low on space

	unwatched bool // nobody here looks at what is committed without asking the leader, as the core knows
	gathered  int  // committed entries that the Applier has not been woken for
	hurry     bool // one of them is awaited here

	now     uint64 // ticks since the start
	applied raft.Index
	leader  raft.MemberID
	term    raft.Term
	config  raft.Index

	changes   map[uint64]chan<- ChangeOutcome // membership changes and transfers, by ref
	nextRef   uint64
	incoming  *incoming // a whole snapshot that waits for the core's word
	held      []heldBatch
	switching bool
	keepLog   bool // the log goes on behind the snapshot that the store switches to
	cutting   bool
	kept      *keptLog
	awaited   map[raft.MemberID]*awaited
	given     uint64     // newest batch that the Writer was given
	written   uint64     // newest batch that it has answered
	filled    uint64     // newest batch that brought lost entries back
	looked    raft.Index // applied index at which a cut was last considered
}

// incoming is a received snapshot, complete and durable, not yet switched to.
type incoming struct {
	image *kv.Import
	base  raft.Base
	done  chan<- error
}

// heldBatch waits for the store to switch before the log may follow.
type heldBatch struct {
	batch raft.Batch
	late  []raft.Message
}

// ChangeOutcome answers a membership change or a transfer: Err is nil once it has begun.
type ChangeOutcome struct {
	At  raft.Position
	Err error
}

// New makes a replica out of what the disk holds. It reconciles log and store first: a store that is
// ahead of its log (the process died between switching to a snapshot and restarting the log) resets the
// log to it; an empty store behind a log that was cut waits for a peer's snapshot, and any other store that ends
// before its log begins is refused as damage.
func New(cfg Config) (*Replica, error) {
	cfg.Tuning.Default()
	if cfg.Tuning.MaxProposals > kv.MaxInFlight {
		return nil, fmt.Errorf("at most %d proposals may wait on a member, not %d: the store could not tell them from answered ones", kv.MaxInFlight, cfg.Tuning.MaxProposals)
	}
	restored, err := reconcile(cfg.Log, cfg.Restored, cfg.Store.Applied())
	if err != nil {
		return nil, err
	}
	core, err := raft.New(cfg.Core, restored)
	if err != nil {
		return nil, fmt.Errorf("start the core: %w", err)
	}
	r := &Replica{
		core: core, coreCfg: cfg.Core, store: cfg.Store, log: cfg.Log, env: cfg.Env, tuning: cfg.Tuning,
		waiters: newWaiters(cfg.Core.ID, cfg.Core.Boot, cfg.Tuning.MaxProposals, cfg.Tuning.MaxProposalBytes),
		reads:   newReadRounds(),
		applied: restored.Applied,
		changes: map[uint64]chan<- ChangeOutcome{},
		awaited: map[raft.MemberID]*awaited{},
		nextRef: firstChangeRef,
	}
	r.writer.log = cfg.Log
	r.applier.store, r.applier.waiters = cfg.Store, r.waiters
	r.step(raft.Applied{Index: restored.Applied, Points: points(cfg.Store)})
	r.observe()
	return r, nil
}

// reconcile brings log and store together at start (design: a store found ahead of its log resets it; an empty one
// behind a log that was cut is rebuilt from a peer's snapshot).
func reconcile(log *wal.Log, found raft.Restored, applied kv.Applied) (raft.Restored, error) {
	at := raft.Position{Index: raft.Index(applied.Index), Term: raft.Term(applied.Term)}
	last := found.Base.Position.Index + raft.Index(len(found.Entries))
	found.Applied = at.Index
	switch {
	case at.Index == 0 && found.Base.Position.Index > 0:
		// Nothing to go on from: the core asks a peer for a snapshot.
	case at.Index < found.Base.Position.Index:
		return found, BehindLog(found.Base, applied)
	case at.Index > last || at.Index > found.Base.Position.Index && found.Entries[at.Index-found.Base.Position.Index-1].Term != at.Term:
		base, err := BaseOf(applied)
		if err != nil {
			return found, err
		}
		if found.Hard.Term < at.Term {
			// The store switched to a snapshot of a later term, and the process died before that term was
			// durable in the log. This member has not voted in it: a vote is durable before it leaves.
			found.Hard = raft.HardState{Term: at.Term}
		}
		if err := log.Append([]raft.Batch{{Seq: 1, Base: &base, Hard: &found.Hard}}); err != nil {
			return found, fmt.Errorf("restart the log at the store's position %v: %w", at, err)
		}
		found.Base, found.Entries = base, nil
	}
	return found, nil
}

// BaseOf describes a log that begins where a store ends: what a snapshot of that store is of.
func BaseOf(applied kv.Applied) (raft.Base, error) {
	at := raft.Position{Index: raft.Index(applied.Index), Term: raft.Term(applied.Term)}
	membership, err := raft.DecodeMembership(applied.Membership)
	if err != nil {
		return raft.Base{}, fmt.Errorf("membership at the store's applied position %v: %w", at, err)
	}
	return raft.Base{Position: at, Config: raft.Index(applied.Config), Membership: membership}, nil
}

// Writer and Applier are for the goroutines that run them.
func (r *Replica) Writer() *Writer   { return &r.writer }
func (r *Replica) Applier() *Applier { return &r.applier }

// Register gives a command its ID and its place among the waiting; the owner then hands it to Propose.
// Safe for concurrent use. Errors: ErrBusy, ErrNoSpace, ErrStopped, or one that matches kv.ErrMalformed; nothing was done.
func (r *Replica) Register(cmd kv.Command, now uint64) (*Proposal, error) {
	if r.room.refuses(&cmd) {
		return nil, ErrNoSpace
	}
	return r.waiters.register(cmd, now+r.tuning.RequestTicks)
}

// Propose brings registered proposals to the core. What has run out of time since it was registered is left out.
func (r *Replica) Propose(ps []*Proposal) {
	if len(ps) == 0 {
		return
	}
	if r.applier.backlog() > r.tuning.MaxApplyBacklogBytes {
		for _, p := range ps {
			r.waiters.tried([]*Proposal{p}, r.now+r.tuning.RetryTicks)
			r.waiters.refused(p.seq, raft.RefusedBusy, r.now)
		}
		return
	}
	if ps = r.waiters.tried(ps, r.now+r.tuning.RetryTicks); len(ps) == 0 {
		return
	}
	proposals := make([]raft.Proposal, len(ps))
	for i, p := range ps {
		proposals[i] = raft.Proposal{Ref: p.seq, Grows: p.grows, Payload: p.payload}
	}
	r.step(raft.Propose{Proposals: proposals})
}

// Barrier asks for a linearizable read point; barriers that arrive together share one round.
func (r *Replica) Barrier(bs []*Barrier) {
	for _, b := range bs {
		b.deadline = r.now + r.tuning.RequestTicks
	}
	r.reads.fresh = append(r.reads.fresh, bs...)
}

// Tick moves time by one tick: the core's, and the patience with what waits.
func (r *Replica) Tick() {
	r.now++
	r.applyNow()
	r.core.Tick()
	r.reads.tick(r.now, r.tuning.RetryTicks)
	r.Propose(r.waiters.due(r.now, false))
}

// Now is the tick count, for Register.
func (r *Replica) Now() uint64 { return r.now }

// Receive hands messages of peers to the core.
func (r *Replica) Receive(msgs []raft.Message) {
	for _, m := range msgs {
		// An error here is about the sender's message, not about this member: it is dropped, as loss is.
		_ = r.core.Step(m)
	}
}

// Step hands one local input to the core.
func (r *Replica) Step(b raft.Body) { r.step(b) }

func (r *Replica) step(b raft.Body) { _ = r.core.Step(raft.Message{Body: b}) }

// Watched tells the core whether somebody at this member looks at what is committed without asking the leader. To say
// again what it knows costs nothing. Before it is said, somebody does.
func (r *Replica) Watched(on bool) {
	if on == r.unwatched {
		r.unwatched = !on
		r.step(raft.Watched{On: on})
	}
}

// Hurry lets the core keep nothing back any longer; see raft.Brief's KeptBack.
func (r *Replica) Hurry() { r.step(raft.Hurry{}) }

// Change asks for a membership change; the outcome says whether it has begun.
func (r *Replica) Change(c raft.Change, done chan<- ChangeOutcome) {
	ref := r.await(done)
	r.step(raft.ChangeMembership{Ref: ref, Change: c})
}

// Transfer asks for leadership to move; the outcome says whether it has begun.
func (r *Replica) Transfer(to raft.MemberID, done chan<- ChangeOutcome) {
	ref := r.await(done)
	r.step(raft.Transfer{Ref: ref, To: to})
}

func (r *Replica) await(done chan<- ChangeOutcome) uint64 {
	ref := r.nextRef
	r.nextRef++
	r.changes[ref] = done
	return ref
}

// Snapshot offers a received snapshot to the core. done hears nil once the store and the log have
// switched to it, or why it was not wanted.
func (r *Replica) Snapshot(from raft.MemberID, base raft.Base, image *kv.Import, done chan<- error) {
	if r.incoming != nil {
		image.Discard()
		done <- fmt.Errorf("another snapshot is being installed: %w", ErrBusy)
		return
	}
	r.incoming = &incoming{image: image, base: base, done: done}
	r.step(raft.SnapshotReceived{From: from, Base: base})
}

// Wrote answers a turn of the Writer.
func (r *Replica) Wrote(w Written) {
	if w.Seq != 0 {
		r.written = w.Seq
		r.step(raft.Persisted{Seq: w.Seq})
		r.cutKept()
	}
}

// Busy reports whether this member leads and so many proposals had better wait, to go together with those that follow:
// while the Writer is at work on a batch, for nothing can be durable here before that batch is, and while more entries
// are on their way to be committed than wait.
func (r *Replica) Busy(waiting int) bool {
	b := r.core.Brief()
	return b.Role == raft.RoleLeader && (r.written < r.given || uint64(b.Last-b.Commit) > uint64(waiting))
}

// AppliedTo answers a turn of the Applier.
func (r *Replica) AppliedTo(t AppliedTurn) {
	r.applied = max(r.applied, t.Index)
	if t.Installed {
		r.installed()
	}
	r.step(raft.Applied{Index: t.Index, Points: t.Points, Installed: t.Installed})
	r.reads.serve(r.applied)
	r.maybeCut()
}

// Form turns an unjoined member into the founder of a cluster of one. It writes the birth to the log
// before it returns: the one place where the owner waits for the disk, when there is nothing else to do.
func (r *Replica) Form(self raft.Member) error {
	if s := r.core.Status(); s.Last != 0 || s.Term != 0 {
		return fmt.Errorf("form a cluster: the log holds entries up to %d of term %d already: %w", s.Last, s.Term, ErrNotEmpty)
	}
	birth := raft.Birth(self)
	if err := r.log.Append([]raft.Batch{birth}); err != nil {
		return fmt.Errorf("write the birth of the cluster to the log: %w", err)
	}
	core, err := raft.New(r.coreCfg, raft.Restored{Hard: *birth.Hard, Entries: birth.Entries})
	if err != nil {
		return fmt.Errorf("start the core as founder: %w", err)
	}
	r.core = core
	r.step(raft.Watched{On: !r.unwatched})
	r.observe()
	return nil
}

// Brief is the part of Status that costs nothing to ask for.
func (r *Replica) Brief() raft.Brief { return r.core.Brief() }

// Applied is how far the store is, as far as the owner has heard.
func (r *Replica) Applied() raft.Index { return r.applied }

// Status is the core's report of itself.
func (r *Replica) Status() raft.Status { return r.core.Status() }

// Waiting is the number of proposals without an outcome.
func (r *Replica) Waiting() int { return r.waiters.count() }

// Stop answers everything that still waits.
func (r *Replica) Stop() {
	r.waiters.stop()
	r.reads.stop()
	for ref, done := range r.changes {
		done <- ChangeOutcome{Err: ErrStopped}
		delete(r.changes, ref)
	}
}
