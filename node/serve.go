package node

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"

	"raftsman.dev/node/admin"
	"raftsman.dev/node/etcdapi"
	"raftsman.dev/node/raft"
)

// ports are the four listeners. They are taken before anything else is touched.
type ports struct{ client, peer, metrics, admin net.Listener }

func (m *Member) listen() error {
	for _, l := range []struct {
		flag, address string
		into          *net.Listener
	}{
		{"--listen-client", m.cfg.ListenClient, &m.ports.client}, {"--listen-peer", m.cfg.ListenPeer, &m.ports.peer},
		{"--listen-metrics", m.cfg.ListenMetrics, &m.ports.metrics}, {"--listen-admin", m.cfg.ListenAdmin, &m.ports.admin},
	} {
		listener, err := net.Listen("tcp", l.address)
		if err != nil {
			return errors.Join(fmt.Errorf("%s %s: %w: stop what listens there, or give another address", l.flag, l.address, err), m.ports.Close())
		}
		*l.into = listener
	}
	return nil
}

// Close closes what is open; closing twice is harmless.
func (p *ports) Close() error {
	var errs []error
	for _, l := range []net.Listener{p.client, p.peer, p.metrics, p.admin} {
		if l != nil {
			errs = append(errs, ignoreClosed(l.Close()))
		}
	}
	return errors.Join(errs...)
}

// What the gRPC server is tuned to. Workers keep the stacks that requests have grown; a request that finds none
// free gets a goroutine of its own. Fixed windows spare the probing of the connection's bandwidth, which costs a
// ping for every few requests; they are wide enough for any request.
const (
	streamWorkers = 128
	streamWindow  = 1 << 20
	connWindow    = 4 << 20
)

// serve starts the client API, the admin endpoint, and metrics with probes.
func (m *Member) serve() {
	options := []grpc.ServerOption{
		grpc.UnaryInterceptor(m.guard.Unary),
		grpc.StreamInterceptor(m.guard.Stream),
		grpc.MaxRecvMsgSize(m.cfg.Limits.MaxMessageBytes()),
		grpc.MaxConcurrentStreams(1 << 20),
		grpc.NumStreamWorkers(streamWorkers),
		grpc.InitialWindowSize(streamWindow),
		grpc.InitialConnWindowSize(connWindow),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second}),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: 2 * time.Hour, Timeout: 20 * time.Second}),
	}
	m.grpc = grpc.NewServer(append(options, m.secured()...)...)
	m.closeLeader = etcdapi.Register(m.grpc, m, m.cfg.Limits)
	m.tellHealth()
	healthpb.RegisterHealthServer(m.grpc, m.health)
	m.wg.Go(func() {
		if err := m.grpc.Serve(m.ports.client); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			m.fail(fmt.Errorf("serve clients: %w", err))
		}
	})
	m.serveHTTP(m.ports.admin, admin.NewHandler(adminNode{m}))
	m.serveHTTP(m.ports.metrics, m.probes())
}

// serveProblem is all that a damaged member serves.
func (m *Member) serveProblem() {
	m.serveHTTP(m.ports.admin, admin.NewHandler(adminNode{m}))
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok: waiting to be replaced") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, m.problem, http.StatusServiceUnavailable)
	})
	m.serveHTTP(m.ports.metrics, mux)
}

func (m *Member) serveHTTP(l net.Listener, h http.Handler) {
	s := &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 30 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10}
	m.https = append(m.https, s)
	m.wg.Go(func() {
		if err := s.Serve(l); err != nil && !errors.Is(err, http.ErrServerClosed) {
			m.fail(fmt.Errorf("serve %s: %w", l.Addr(), err))
		}
	})
}

// stuckAfter is how long the owner's loop may be silent before the member counts as stuck.
const stuckAfter = 15 * time.Second

// probes serves /livez, /readyz and /metrics, and profiles where they are asked for.
func (m *Member) probes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) {
		if silent := time.Since(time.Unix(0, m.facts.beat.Load())); silent > stuckAfter {
			http.Error(w, fmt.Sprintf("the member's own loop has been silent for %v", silent), http.StatusInternalServerError)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if why := m.unready(); why != "" {
			http.Error(w, why, http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	mux.Handle("GET /metrics", m.metrics())
	if m.cfg.Pprof {
		mux.HandleFunc("GET /debug/pprof/", pprof.Index)
		mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	}
	return mux
}

// readiness has hysteresis: what was ready stays so for a few election timeouts after its leader was lost, so
// that an election does not empty the Service.
type readiness struct {
	sync.Mutex
	goodUntil time.Time
}

// readyElections is how many election timeouts the hysteresis lasts; readyLag how many entries a ready
// member's store may lack.
const (
	readyElections = 5
	readyLag       = 10_000
)

// unready says why the member does not serve, or nothing.
func (m *Member) unready() string {
	if m.facts.draining.Load() {
		return "stopping"
	}
	if m.facts.rebuilding.Load() {
		return "the store is being rebuilt from a peer's snapshot"
	}
	if err := m.Serving(); err != nil {
		return err.Error()
	}
	why := ""
	switch lag := int64(m.facts.commit.Load()) - int64(m.facts.applied.Load()); {
	case m.facts.leader.Load() == 0:
		why = "no leader is known"
	case m.facts.diskHangs.Load():
		why = "the disk does not answer"
	case lag > 0 && m.facts.lost.Load() > 0:
		why = fmt.Sprintf("the store waits for %d lost entries of the log", m.facts.lost.Load())
	case lag > readyLag:
		why = fmt.Sprintf("the store lacks %d entries", lag)
	}
	m.ready.Lock()
	defer m.ready.Unlock()
	now := time.Now()
	if why == "" {
		m.ready.goodUntil = now.Add(readyElections * m.cfg.ElectionTimeout)
	} else if now.Before(m.ready.goodUntil) {
		return ""
	}
	return why
}

// Serving implements etcdapi.Backend: nil for a voter of a cluster that was opened to clients.
func (m *Member) Serving() error {
	switch m.facts.seat(m.id.Member) {
	case raft.SeatVoter, raft.SeatOutgoing:
	case raft.SeatLearner, raft.SeatIncoming:
		return etcdapi.ErrLearner
	default:
		return etcdapi.ErrNotOpen
	}
	if m.facts.removed.Load() || m.forgetful.is.Load() || !m.store.Opened() {
		return etcdapi.ErrNotOpen
	}
	if m.facts.diverged.Load() != nil {
		return etcdapi.ErrDiverged
	}
	return nil
}

// pebbleLog hears what the store's database has to say. An error of its own doing, a flush or compaction that
// failed, is final: the database would try again for ever, while the log grows and nothing becomes durable. But while the
// database is opened it says nothing that counts: what opening meets, opening returns, and what is well enough to be opened
// is tried again.
type pebbleLog struct {
	m       *Member
	opening *atomic.Bool
}

// Infof is for developers.
func (l pebbleLog) Infof(format string, args ...any) {
	l.m.cfg.Log.V(2).Info("store: " + fmt.Sprintf(format, args...))
}

// Errorf stops the member, unless the disk is full, when the store waits for space, or the store is being opened.
func (l pebbleLog) Errorf(format string, args ...any) {
	if fullDisk(args) || l.opening.Load() {
		l.m.cfg.Log.V(1).Info("store: " + fmt.Sprintf(format, args...))
		return
	}
	l.m.fail(fmt.Errorf("the store's database: "+format, args...))
}

// Fatalf ends the process at once: the database cannot go on, and a restart replays the log.
func (l pebbleLog) Fatalf(format string, args ...any) {
	l.m.cfg.Log.Error(fmt.Errorf(format, args...), "the store's database cannot go on")
	panic(fmt.Sprintf("store: "+format, args...))
}
