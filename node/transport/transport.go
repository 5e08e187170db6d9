package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"raftsman.dev/node/raft"
)

// Handler is who receives. Its methods are called from the transport's goroutines and must not block for
// long, but for Snapshot.
type Handler interface {
	Receive(msgs []raft.Message)
	Connected(peer raft.MemberID, boot raft.Boot)
	Unreachable(peer raft.MemberID)
	// Adopt makes this unjoined member one of that cluster, durably, or refuses.
	Adopt(cluster raft.ClusterID) error
	// Snapshot speaks with a member that sends a snapshot, and takes it in; nil means that this member holds it
	// durably. A member has one such connection at most.
	Snapshot(from raft.MemberID, connection io.ReadWriter) error
	// RolledBack hears, perhaps more than once, that a peer has seen more of this member than its volume knows of,
	// and what. Nothing leaves or reaches this member any more.
	RolledBack(why error)
}

// Config is what a transport is made of.
type Config struct {
	// Self tells this member's identity as it is now.
	Self     func() Identity
	Listener net.Listener
	Handler  Handler
	// Held is what this member's disk held when its boot began.
	Held Held
	// Committed tells an index that is known to be committed, and a term at or after the one in which that became
	// known. nil: nothing is known.
	Committed func() (raft.Index, raft.Term)
	// Dial opens a connection; nil is TCP. Names are resolved by it, at every call.
	Dial func(ctx context.Context, address string) (net.Conn, error)
	// Discover lists further addresses at which some member may answer; nil is none.
	Discover func(ctx context.Context) ([]string, error)
	// ServerTLS and ClientTLS turn on mutual TLS; both or neither.
	ServerTLS, ClientTLS *tls.Config
	// Log hears one line for what a person may want to know.
	Log func(message string, keysAndValues ...any)

	speaks versions // zero for every version that this program knows
}

// The transport's bounds.
const (
	maxQueueBytes    = 64 << 20
	maxQueueMessages = 8192
	maxStrangers     = 64 // senders outside the membership that are answered
	dialTimeout      = 2 * time.Second
	helloTimeout     = 3 * time.Second
	writeTimeout     = 5 * time.Second
	streamTimeout    = 30 * time.Second
	minBackoff       = 50 * time.Millisecond
	maxBackoff       = time.Second
)

// Peer is a member to connect to.
type Peer struct {
	ID        raft.MemberID
	Addresses []string // hints, tried in order
}

// PeerStatus is what the transport knows of a peer.
type PeerStatus struct {
	ID        raft.MemberID
	Connected bool
	Address   string // where it answered last
}

// Stats count what was sent to peers, snapshots aside.
type Stats struct{ Messages, Writes, Bytes uint64 }

// Stats reports the counters.
func (t *Transport) Stats() Stats {
	return Stats{Messages: t.messages.Load(), Writes: t.writes.Load(), Bytes: t.bytes.Load()}
}

// Transport carries messages between this member and its peers.
type Transport struct {
	cfg  Config
	ctx  context.Context
	stop context.CancelFunc
	wg   sync.WaitGroup

	messages, writes, bytes atomic.Uint64
	mu                      struct {
		sync.Mutex
		peers   map[raft.MemberID]*peer
		learned map[raft.MemberID]string // who answered where
		conns   map[net.Conn]bool        // accepted
		streams map[raft.MemberID]*stream
		seen    map[raft.MemberID]*Seen
		closed  bool
	}
}

// New starts to listen.
func New(cfg Config) *Transport {
	if cfg.Dial == nil {
		d := &net.Dialer{KeepAlive: 5 * time.Second}
		cfg.Dial = func(ctx context.Context, address string) (net.Conn, error) { return d.DialContext(ctx, "tcp", address) }
	}
	if cfg.Log == nil {
		cfg.Log = func(string, ...any) {}
	}
	if cfg.speaks == (versions{}) {
		cfg.speaks = every()
	}
	t := &Transport{cfg: cfg}
	t.ctx, t.stop = context.WithCancel(context.Background())
	t.mu.peers, t.mu.learned, t.mu.conns = map[raft.MemberID]*peer{}, map[raft.MemberID]string{}, map[net.Conn]bool{}
	t.mu.streams, t.mu.seen = map[raft.MemberID]*stream{}, map[raft.MemberID]*Seen{}
	t.wg.Go(t.accept)
	return t
}

// SetPeers names the members to be connected to; this member itself is left out.
func (t *Transport) SetPeers(peers []Peer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	self := t.cfg.Self().Member
	for _, p := range t.mu.peers {
		p.member = false
	}
	for _, x := range peers {
		if x.ID == self || t.mu.closed {
			continue
		}
		p := t.ensureLocked(x.ID)
		p.member, p.hints = true, slices.Clone(x.Addresses)
	}
	t.sweepLocked()
}

// ensureLocked finds the peer or starts one.
func (t *Transport) ensureLocked(id raft.MemberID) *peer {
	p := t.mu.peers[id]
	if p == nil {
		p = newPeer(t, id)
		t.mu.peers[id] = p
		t.wg.Go(p.run)
	}
	return p
}

// sweepLocked stops peers that are neither members nor talk to this one.
func (t *Transport) sweepLocked() {
	for id, p := range t.mu.peers {
		if !p.member && p.inbound == 0 {
			p.cancel()
			delete(t.mu.peers, id)
		}
	}
}

// Send queues messages for their receivers and never blocks. What cannot be queued is dropped, and the handler
// is told that the receiver is unreachable.
func (t *Transport) Send(msgs []raft.Message) {
	for i := 0; i < len(msgs); {
		j := i + 1
		for j < len(msgs) && msgs[j].To == msgs[i].To {
			j++
		}
		t.mu.Lock()
		p := t.mu.peers[msgs[i].To]
		t.mu.Unlock()
		if p != nil {
			p.send(msgs[i:j])
		}
		i = j
	}
}

// Peers reports what is known of every peer, in order of ID.
func (t *Transport) Peers() []PeerStatus {
	t.mu.Lock()
	defer t.mu.Unlock()
	var all []PeerStatus
	for id, p := range t.mu.peers {
		all = append(all, PeerStatus{ID: id, Connected: p.isUp(), Address: t.mu.learned[id]})
	}
	slices.SortFunc(all, func(a, b PeerStatus) int {
		if a.ID < b.ID {
			return -1
		}
		return 1
	})
	return all
}

// Close ends every connection and waits for every goroutine.
func (t *Transport) Close() error {
	t.hangUp()
	err := t.cfg.Listener.Close()
	t.wg.Wait()
	return err
}

// hangUp ends every connection, and lets none begin.
func (t *Transport) hangUp() {
	t.mu.Lock()
	t.mu.closed = true
	for c := range t.mu.conns {
		c.Close()
	}
	t.mu.Unlock()
	t.stop()
}

// connect dials one address and makes sure that member meant answers there (0: whoever).
func (t *Transport) connect(ctx context.Context, kind uint8, address string, meant raft.MemberID) (net.Conn, hello, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	c, err := t.cfg.Dial(ctx, address)
	if err != nil {
		return nil, hello{}, err
	}
	if t.cfg.ClientTLS != nil {
		c = tls.Client(c, t.cfg.ClientTLS)
	}
	answer, err := t.greet(c, kind, meant)
	if err != nil {
		return nil, answer, errors.Join(fmt.Errorf("peer at %s: %w", address, err), c.Close())
	}
	return c, answer, nil
}

func (t *Transport) greet(c net.Conn, kind uint8, meant raft.MemberID) (hello, error) {
	if err := c.SetDeadline(time.Now().Add(helloTimeout)); err != nil {
		return hello{}, err
	}
	self := t.cfg.Self()
	mine := hello{kind: kind, versions: t.cfg.speaks, Identity: self, meant: meant}
	if _, err := c.Write(mine.encode()); err != nil {
		return hello{}, err
	}
	answer, err := readHello(c)
	if err != nil {
		return answer, err
	}
	if err := check(answer, self, t.cfg.speaks, meant); err != nil {
		return answer, err
	}
	if t.recognises(kind, answer.versions) {
		if err := t.recall(c, &answer); err != nil {
			return answer, err
		}
	}
	if kind != kindWho {
		t.meet(answer.Identity)
	}
	return answer, c.SetDeadline(time.Time{})
}

// learn records who answered at an address.
func (t *Transport) learn(id raft.MemberID, address string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if id != 0 {
		t.mu.learned[id] = address
	}
}

// Who asks which member answers at an address.
func (t *Transport) Who(ctx context.Context, address string) (Identity, error) {
	c, answer, err := t.connect(ctx, kindWho, address, 0)
	if err != nil {
		return Identity{}, err
	}
	return answer.Identity, c.Close()
}

// find tries every address that may be the peer's until it answers: the one that worked last, its hints, then
// all that discovery knows. What other members are met on the way is remembered.
func (t *Transport) find(ctx context.Context, kind uint8, id raft.MemberID) (net.Conn, hello, error) {
	tried := map[string]bool{}
	errs := []error{fmt.Errorf("member %v is not to be found", id)}
	try := func(addresses []string) (net.Conn, hello, bool) {
		for _, address := range addresses {
			if address == "" || tried[address] || ctx.Err() != nil {
				continue
			}
			tried[address] = true
			c, answer, err := t.connect(ctx, kind, address, id)
			t.learn(answer.Member, address)
			if err == nil {
				return c, answer, true
			}
			errs = append(errs, err)
		}
		return nil, hello{}, false
	}
	if c, answer, ok := try(t.addresses(id)); ok {
		return c, answer, nil
	}
	if t.cfg.Discover != nil {
		more, err := t.cfg.Discover(ctx)
		if err != nil {
			errs = append(errs, fmt.Errorf("discover peers: %w", err))
		}
		if c, answer, ok := try(more); ok {
			return c, answer, nil
		}
	}
	return nil, hello{}, errors.Join(errs...)
}

func (t *Transport) addresses(id raft.MemberID) []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	known := []string{t.mu.learned[id]}
	if p := t.mu.peers[id]; p != nil {
		known = append(append(known, p.hints...), p.told)
	}
	return known
}
