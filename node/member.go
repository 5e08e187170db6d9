package node

import (
	"context"
	crand "crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"

	"raftsman.dev/node/certs"
	"raftsman.dev/node/datadir"
	"raftsman.dev/node/etcdapi"
	"raftsman.dev/node/kv"
	"raftsman.dev/node/raft"
	"raftsman.dev/node/replica"
	"raftsman.dev/node/transport"
	"raftsman.dev/node/vfs"
	"raftsman.dev/node/wal"
	"raftsman.dev/node/watch"
)

// Member is one running member.
type Member struct {
	cfg     Config
	ports   ports
	dir     *datadir.Dir
	id      datadir.Identity // as it was at the start; the cluster is in cluster
	cluster atomic.Uint64
	// problem says what is damaged; then nothing below it runs but the admin endpoint.
	problem string

	log       *wal.Log
	store     *kv.Store
	replica   *replica.Replica
	transport *transport.Transport
	inbox     *inbox
	facts     facts
	leases    *leases
	hub       *watch.Hub // nil until the store is open
	guard     *etcdapi.LeaderGuard
	aside     asideStore
	disk      diskFacts
	ready     readiness
	forgetful forgetful

	joining  sync.Mutex // over changes of the identity on disk
	streams  streams
	outgoing *outgoing
	pacing   *pacing
	incoming incoming

	writerReady, applierReady chan struct{}
	lookAtDisk                chan struct{}
	logJobs                   chan func()

	certs       *certs.Keeper // of the client port; nil: it speaks plain text
	grpc        *grpc.Server
	health      *health.Server
	closeLeader func() // the connection for requests that are sent on to the leader; nil before serve
	https       []*http.Server

	wg            sync.WaitGroup
	inStore       sync.WaitGroup // over those that the store may hold back for ever
	storeLeft     bool           // somebody is held back in the store, which therefore stays open; of Stop alone
	ending        chan struct{}  // closed when the loops are to stop
	parting       chan struct{}  // closed when clients' streams are to end
	endingContext context.Context
	end           context.CancelFunc
	failure       chan error
	failed        chan struct{} // closed once failure holds the reason
	failOnce      sync.Once
	stopOnce      sync.Once
	quitOnce      sync.Once
	partOnce      sync.Once
}

// Start brings a member up. A refusal leaves everything as it was; it names the thing and the remedy.
func Start(cfg Config) (*Member, error) {
	cfg.Default()
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	m := &Member{
		cfg: cfg, inbox: newInbox(), ending: make(chan struct{}), parting: make(chan struct{}), failure: make(chan error, 1), failed: make(chan struct{}),
		writerReady: make(chan struct{}, 1), applierReady: make(chan struct{}, 1), lookAtDisk: make(chan struct{}, 1), logJobs: make(chan func()),
	}
	if err := m.loadCerts(); err != nil {
		return nil, inOneLine(err)
	}
	m.health = health.NewServer()
	m.leases = newLeases(cfg.ElectionTimeout)
	m.guard = etcdapi.NewLeaderGuard(func() bool { return m.facts.leader.Load() != 0 })
	m.forgetful.life = drawLife()
	m.outgoing, m.pacing = newOutgoing(cfg.SnapshotBytesPerSecond), newPacing(cfg.SnapshotBytesPerSecond, time.Now)
	m.endingContext, m.end = context.WithCancel(context.Background())
	if err := m.listen(); err != nil {
		return nil, err
	}
	m.advertise()
	if err := m.resolvePeers(); err != nil {
		return nil, inOneLine(errors.Join(err, m.ports.Close()))
	}
	err := m.open()
	switch {
	case err != nil && damaged(err) && cfg.Managed:
		err = inOneLine(errors.Join(err, m.closeDisk()))
		m.problem = err.Error()
		m.store, m.log, m.dir = nil, nil, nil
		cfg.Log.Error(err, "the member's data is damaged: only the admin port is served, until the operator replaces this member")
		m.serveProblem()
		return m, nil
	case err != nil:
		return nil, inOneLine(errors.Join(err, m.closeDisk(), m.ports.Close()))
	}
	m.run()
	if cfg.Form && m.cluster.Load() == 0 {
		if err := m.found(); err != nil {
			return nil, inOneLine(errors.Join(err, m.Stop(context.Background())))
		}
	}
	return m, nil
}

// advertise fills in what was not given with where the member listens, as the system has chosen it for port 0.
func (m *Member) advertise() {
	orElse(&m.cfg.AdvertisePeer, m.ports.peer.Addr().String())
	if len(m.cfg.AdvertiseClient) == 0 {
		m.cfg.AdvertiseClient = []string{m.cfg.clientScheme() + "://" + m.ports.client.Addr().String()}
	}
}

// damaged tells data that cannot be trusted from everything else that may go wrong at the start.
func damaged(err error) bool {
	return errors.Is(err, datadir.ErrCorrupt) || errors.Is(err, wal.ErrCorrupt) || errors.Is(err, wal.ErrMissing) ||
		errors.Is(err, kv.ErrCorrupt) || errors.Is(err, raft.ErrMalformed)
}

// resolvePeers refuses hints that name nothing. Under an operator names may come later than Pods.
func (m *Member) resolvePeers() error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	for _, p := range m.cfg.Peers {
		host, _, _ := net.SplitHostPort(p)
		if _, err := m.cfg.LookupHost(ctx, host); err != nil {
			return fmt.Errorf("peer %s: its name does not resolve: mend --peers, or the name service: %w", p, err)
		}
	}
	return nil
}

// open opens the disk and makes the replica, without starting anything.
func (m *Member) open() error {
	dir, err := datadir.Open(vfs.OS(), m.cfg.DataDir, m.cfg.Name, draw)
	if err != nil {
		return err
	}
	m.dir, m.id = dir, dir.Identity()
	m.cluster.Store(uint64(m.id.Cluster))
	if err := m.measureDisk(); err != nil {
		return err
	}
	restored, err := m.openDisk()
	if err != nil {
		return err
	}
	if err := dir.CountBoot(); err != nil {
		return err
	}
	return m.assemble(restored)
}

// draw takes 64 bits from the system's random source.
func draw() uint64 {
	var b [8]byte
	// Read never fails (crypto/rand): it ends the process instead.
	_, _ = crand.Read(b[:])
	return binary.LittleEndian.Uint64(b[:])
}

func (m *Member) assemble(restored raft.Restored) error {
	m.transport = transport.New(transport.Config{
		Self: m.identity, Listener: m.ports.peer, Handler: m, Discover: m.discover,
		Held: transport.HeldBy(restored), Committed: m.committed,
		Log: func(message string, kv ...any) { m.cfg.Log.V(1).Info(message, kv...) },
	})
	election := m.cfg.ticks(m.cfg.ElectionTimeout)
	r, err := replica.New(replica.Config{
		Core: raft.Config{
			ID: m.id.Member, Boot: m.id.Boot, ElectionTicks: election, HeartbeatTicks: 1, DiskPatienceTicks: diskPatience * election,
			TailBytes: tailBytes, Rand: rand.New(rand.NewPCG(draw(), draw())),
		},
		Log: m.log, Store: m.store, Restored: restored, Env: m,
		Tuning: replica.Tuning{
			RequestTicks: uint64(m.cfg.ticks(requestTimeout) + 2*election), RetryTicks: uint64(2 * election),
			KeepEntries: m.cfg.KeepEntries, SnapshotTicks: uint64(m.cfg.ticks(cutPatience)),
		},
	})
	if err != nil {
		err = errors.Join(err, ignoreClosed(m.transport.Close()))
		m.transport = nil
		return fmt.Errorf("data directory %s: %w", m.cfg.DataDir, err)
	}
	m.replica = r
	if err := m.follow(); err != nil {
		return fmt.Errorf("data directory %s: %w", m.cfg.DataDir, err)
	}
	r.Space(m.disk.space())
	m.facts.observe(r)
	m.aside.until = r.Brief().Commit
	return nil
}

// diskPatience is how many election timeouts a leader waits for its disk: with the usual second, and a moment for
// the handover, another member leads within three.
const diskPatience = 2

// requestTimeout is how long a request waits for its outcome, besides two elections: etcd's 5 s.
const requestTimeout = 5 * time.Second

// run starts the goroutines and serves.
func (m *Member) run() {
	m.facts.beat.Store(time.Now().UnixNano())
	m.wg.Go(m.own)
	m.wg.Go(m.write)
	m.inStore.Go(m.apply)
	m.wg.Go(m.watchDisk)
	m.wg.Go(m.compact)
	m.wg.Go(m.tendLeases)
	m.wg.Go(m.lookAround)
	m.serve()
	m.cfg.Log.Info("member is up", "member", m.id.Member.String(), "cluster", raft.ClusterID(m.cluster.Load()).String(), "boot", uint64(m.id.Boot),
		"client", m.ports.client.Addr().String(), "peer", m.ports.peer.Addr().String(), "metrics", m.ports.metrics.Addr().String(), "admin", m.ports.admin.Addr().String())
}

// Failed delivers the reason when the member cannot go on.
func (m *Member) Failed() <-chan error { return m.failure }

// ClientAddress and AdminAddress are where the member listens.
func (m *Member) ClientAddress() string { return m.ports.client.Addr().String() }
func (m *Member) AdminAddress() string  { return m.ports.admin.Addr().String() }

// Stop takes the member down politely: it hands leadership over, finishes what it accepted, and closes its
// streams; ctx and DrainTimeout bound how long. Nothing acknowledged depends on it.
func (m *Member) Stop(ctx context.Context) error {
	var err error
	m.stopOnce.Do(func() {
		ctx, cancel := context.WithTimeout(ctx, m.cfg.DrainTimeout)
		defer cancel()
		m.facts.draining.Store(true)
		m.cfg.Log.Info("stopping", "leads", m.facts.leads())
		if m.problem == "" && !m.forgetful.is.Load() {
			m.resign(ctx)
			m.drain(ctx)
		}
		err = m.halt(ctx)
	})
	return err
}

// resign hands leadership over and waits until it has moved, or for as long as ctx allows.
func (m *Member) resign(ctx context.Context) {
	for m.facts.leads() && m.hasPeers() && ctx.Err() == nil {
		done := make(chan replica.ChangeOutcome, 1)
		if err := m.ask(ctx, func(r *replica.Replica) { r.Transfer(0, done) }); err != nil {
			return
		}
		m.waitWhile(ctx, m.cfg.ElectionTimeout, m.facts.leads)
	}
}

func (m *Member) hasPeers() bool {
	now := m.facts.membership.Load()
	if now == nil {
		return false
	}
	incoming, _ := now.Voters()
	return len(incoming) > 1
}

// waitWhile waits while the condition holds, at most that long.
func (m *Member) waitWhile(ctx context.Context, most time.Duration, holds func() bool) {
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for holds() {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// lameDuck is how long a stopping member under an operator still takes requests: so long does it take until
// the Service's rules on every node have forgotten it.
const lameDuck = time.Second

// drain lets running requests end and turns new ones away.
func (m *Member) drain(ctx context.Context) {
	if m.cfg.Managed {
		m.waitWhile(ctx, lameDuck, func() bool { return true })
	}
	m.part()
	done := make(chan struct{})
	go func() {
		m.grpc.GracefulStop()
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
		m.grpc.Stop()
		<-done
	}
}

// part ends clients' streams, which would go on for ever, so that they go on elsewhere.
func (m *Member) part() {
	m.partOnce.Do(func() {
		close(m.parting)
		m.health.Shutdown()
		if m.hub != nil {
			m.hub.Close()
		}
	})
}

// halt stops the loops, closes connections and disk.
func (m *Member) halt(ctx context.Context) error {
	var errs []error
	for _, s := range m.https {
		if err := s.Shutdown(ctx); err != nil {
			errs = append(errs, s.Close())
		}
	}
	m.quit()
	m.part()
	if m.grpc != nil {
		m.grpc.Stop()
		m.closeLeader()
	}
	if m.transport != nil {
		errs = append(errs, ignoreClosed(m.transport.Close()))
	}
	m.wg.Wait()
	m.storeLeft = !m.leaveStore()
	errs = append(errs, m.outgoing.close(), m.incoming.drop(nil))
	errs = append(errs, m.closeDisk(), m.ports.Close())
	return inOneLine(errors.Join(errs...))
}

func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// closeDisk closes what is open of store, log and directory. The store is flushed, so that the next start has
// little to replay.
func (m *Member) closeDisk() error {
	var errs []error
	m.part()
	if m.store != nil && !m.storeLeft {
		errs = append(errs, m.closeStore())
	}
	if m.log != nil {
		errs = append(errs, m.log.Close())
	}
	if m.dir != nil {
		errs = append(errs, m.dir.Close())
	}
	return errors.Join(errs...)
}

// leaveStore waits until nobody works in the store any more, at most DrainTimeout. A database without space may hold a
// write back for ever, and cannot be closed while it does: then it is left to the end of the process. What it lacks is
// in the log, and is applied after the next start.
func (m *Member) leaveStore() bool {
	left := make(chan struct{})
	go func() {
		m.inStore.Wait()
		close(left)
	}()
	patience := time.NewTimer(m.cfg.DrainTimeout)
	defer patience.Stop()
	select {
	case <-left:
		return true
	case <-patience.C:
		m.cfg.Log.Info("the store does not come to rest and is left as it is: what it lacks is applied from the log after the next start", "after", m.cfg.DrainTimeout.String(), "space", m.disk.space().String())
		return false
	}
}

// closeRounds is how many times DrainTimeout a store on a disk with space may take to close: with the usual 5 s, as
// long as an orchestrator waits before it kills.
const closeRounds = 6

// closeStore flushes and closes the store, unless its database has failed, finds no space or takes too long: what it
// lacks is in the log.
func (m *Member) closeStore() error {
	closed := make(chan error, 1)
	go func() {
		var err error
		if !m.disk.out.Load() {
			err = m.store.Flush()
		}
		closed <- errors.Join(err, m.store.Close())
	}()
	patience := time.NewTimer(m.cfg.DrainTimeout)
	defer patience.Stop()
	for range closeRounds {
		select {
		case err := <-closed:
			return err
		case <-m.failed:
			return nil
		case <-patience.C:
			if err := m.measureDisk(); err == nil && m.disk.low.Load() {
				return nil
			}
			patience.Reset(m.cfg.DrainTimeout)
		}
	}
	return nil
}
