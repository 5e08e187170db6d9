package node

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/go-logr/logr"

	"raftsman.dev/node/certs"
	"raftsman.dev/node/etcdapi"
)

// Config is what a member is started with. Name and DataDir are identity: they must be the same at every
// start. The rest may change between starts.
type Config struct {
	// Name is the member's name, unique in its cluster; in Kubernetes the Pod's.
	Name    string
	DataDir string

	// Where the member listens, host:port; an empty host is every address.
	ListenClient, ListenPeer, ListenMetrics, ListenAdmin string
	// AdvertisePeer is the host:port under which peers reach this member; AdvertiseClient are the URLs that
	// clients are told. Defaults: where the member listens.
	AdvertisePeer   string
	AdvertiseClient []string

	// ClientTLS are the files of the client port's certificates; with none of them it speaks plain text. They are
	// followed while the member runs.
	ClientTLS certs.Files

	// Peers are host:port hints of other members. Discover is a host:port whose name resolves to the
	// addresses of all members (a headless service); it is resolved afresh whenever a peer is looked for.
	Peers    []string
	Discover string

	// LookupHost resolves names, of peers and of Discover; nil asks the system.
	LookupHost func(ctx context.Context, host string) ([]string, error)

	// Managed says that an operator decides about birth and membership. Form makes this member, if it is
	// empty, the founder of a cluster of one; not together with Managed.
	Managed bool
	Form    bool

	// ElectionTimeout is how long a follower waits for its leader (each wait is drawn from 1 to 2 times it);
	// HeartbeatInterval is the leader's, and the length of a tick. Defaults 1 s and 100 ms.
	ElectionTimeout, HeartbeatInterval time.Duration
	// KeepEntries is how many applied entries stay in the log for followers that lag. Default 10,000.
	KeepEntries uint64
	// SnapshotBytesPerSecond bounds how fast this member sends its state to others, all of them together: faster
	// is sooner there, slower leaves more to clients. A learner that catches up from the leader's disk gets entries at
	// an eighth of it, or three times as fast as clients write if that is more. Default 16 MiB, at least 1 MiB and at
	// most 4 GiB.
	SnapshotBytesPerSecond int
	// LowSpaceBytes and OutOfSpaceBytes are what must be left on the data directory's volume. Below the first,
	// clients' commands that let the data grow are refused with etcd's NOSPACE where this member leads, or where
	// too many members are so; below the second, this member takes nothing more into its log. Nobody has to disarm
	// anything: a quarter above the bound all is as before. Defaults: an eighth of the volume, at most 1 GiB, and
	// a 32nd of it, at most 128 MiB.
	LowSpaceBytes, OutOfSpaceBytes int64
	// AutoCompaction is what history the leader forgets by itself. Default none, as in etcd: kube-apiserver, for one, asks
	// for it itself.
	AutoCompaction AutoCompaction
	// Limits bound client requests.
	Limits etcdapi.Limits
	// DrainTimeout bounds how long a stop waits for requests and for another leader. Default 5 s.
	DrainTimeout time.Duration
	// Pprof serves Go's profiles under /debug/pprof/ on the metrics port. Off by default: a profile shows what
	// the member works on to whoever reaches that port, and costs it time.
	Pprof bool

	Version string
	Log     logr.Logger
}

// Default fills what is zero.
func (c *Config) Default() {
	orElse(&c.ListenClient, "127.0.0.1:2379")
	orElse(&c.ListenPeer, "127.0.0.1:2380")
	orElse(&c.ListenMetrics, "127.0.0.1:2381")
	orElse(&c.ListenAdmin, "127.0.0.1:2382")
	orElse(&c.ElectionTimeout, time.Second)
	orElse(&c.HeartbeatInterval, 100*time.Millisecond)
	orElse(&c.KeepEntries, 10_000)
	orElse(&c.SnapshotBytesPerSecond, 16<<20)
	orElse(&c.DrainTimeout, 5*time.Second)
	orElse(&c.Version, "dev")
	c.ClientTLS.Flags = "--client"
	if c.LookupHost == nil {
		c.LookupHost = net.DefaultResolver.LookupHost
	}
	c.Limits.Default()
}

func orElse[T comparable](v *T, otherwise T) {
	var zero T
	if *v == zero {
		*v = otherwise
	}
}

// Validate refuses what cannot work, and says which flag to mend.
func (c *Config) Validate() error {
	switch {
	case c.Name == "":
		return fmt.Errorf("--name is missing: give the member a name that is unique in its cluster")
	case c.DataDir == "":
		return fmt.Errorf("--data-dir is missing: name a directory for the member's log and store")
	case c.Managed && c.Form:
		return fmt.Errorf("--form and --managed contradict each other: under an operator only the operator decides who founds the cluster")
	case c.HeartbeatInterval < 5*time.Millisecond:
		return fmt.Errorf("--heartbeat-interval is %v: it must be at least 5ms", c.HeartbeatInterval)
	case c.LowSpaceBytes < 0 || c.OutOfSpaceBytes < 0 || c.LowSpaceBytes > 0 && c.LowSpaceBytes < c.OutOfSpaceBytes:
		return fmt.Errorf("--low-space-bytes is %d and --out-of-space-bytes is %d: they must be positive, and the second no larger than the first", c.LowSpaceBytes, c.OutOfSpaceBytes)
	case c.ElectionTimeout < 3*c.HeartbeatInterval || c.ElectionTimeout > time.Minute:
		return fmt.Errorf("--election-timeout is %v: it must be at least three heartbeat intervals (%v) and at most 1m", c.ElectionTimeout, 3*c.HeartbeatInterval)
	case c.SnapshotBytesPerSecond < 1<<20 || c.SnapshotBytesPerSecond > 4<<30:
		return fmt.Errorf("--snapshot-bytes-per-second is %d: it must be %d to %d", c.SnapshotBytesPerSecond, 1<<20, 4<<30)
	}
	return c.validateAddresses()
}

func (c *Config) validateAddresses() error {
	flags := []struct{ flag, address string }{
		{"--listen-client", c.ListenClient}, {"--listen-peer", c.ListenPeer}, {"--listen-metrics", c.ListenMetrics},
		{"--listen-admin", c.ListenAdmin},
	}
	if c.AdvertisePeer != "" {
		flags = append(flags, struct{ flag, address string }{"--advertise-peer", c.AdvertisePeer})
	}
	if c.Discover != "" {
		flags = append(flags, struct{ flag, address string }{"--discover", c.Discover})
	}
	for _, p := range c.Peers {
		flags = append(flags, struct{ flag, address string }{"--peers", p})
	}
	for _, f := range flags {
		if _, _, err := net.SplitHostPort(f.address); err != nil {
			return fmt.Errorf("%s is %q: write it as host:port", f.flag, f.address)
		}
	}
	if err := c.validateClientURLs(); err != nil {
		return err
	}
	reach := c.AdvertisePeer
	orElse(&reach, c.ListenPeer)
	if host, _, _ := net.SplitHostPort(reach); host == "" || host == "0.0.0.0" || host == "::" {
		return fmt.Errorf("--advertise-peer is %q: name the host under which other members reach this one", c.AdvertisePeer)
	}
	return nil
}

func (c *Config) validateClientURLs() error {
	if err := c.ClientTLS.Validate(); err != nil {
		return err
	}
	for _, u := range c.AdvertiseClient {
		parsed, err := url.Parse(u)
		switch {
		case err != nil || parsed.Scheme != "http" && parsed.Scheme != "https" || parsed.Host == "":
			return fmt.Errorf("--advertise-client is %q: write it as http://host:port, or https://host:port with TLS", u)
		case parsed.Scheme != c.clientScheme():
			return fmt.Errorf("--advertise-client is %q, but clients are served over %s: write it as %s://host:port, or mend --client-cert-file", u, c.clientScheme(), c.clientScheme())
		}
	}
	if n := len(strings.Join(c.AdvertiseClient, ",")); n > maxClientURLs {
		return fmt.Errorf("--advertise-client has %d bytes, the bound is %d: name fewer or shorter URLs", n, maxClientURLs)
	}
	return nil
}

// clientScheme is how the URLs of the client port begin.
func (c *Config) clientScheme() string {
	if c.ClientTLS.Given() {
		return "https"
	}
	return "http"
}

// maxClientURLs bounds all client URLs together, in bytes: the peers' handshake carries them.
const maxClientURLs = 255

// ticks counts how many ticks a duration lasts, at least one.
func (c *Config) ticks(d time.Duration) int {
	return int(max(1, (d+c.HeartbeatInterval-1)/c.HeartbeatInterval))
}

// SplitList reads a flag that holds a list separated by commas.
func SplitList(s string) []string {
	var all []string
	for _, part := range strings.Split(s, ",") {
		if part = strings.TrimSpace(part); part != "" {
			all = append(all, part)
		}
	}
	return all
}
