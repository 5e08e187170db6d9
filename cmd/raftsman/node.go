package main

import (
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/go-logr/logr"
	"github.com/spf13/cobra"

	"raftsman.dev/node"
	"raftsman.dev/node/procs"
)

// newNodeCommand is `raftsman node`: one member.
func newNodeCommand() *cobra.Command {
	cfg := node.Config{Version: version}
	var peers, advertise, level, mode, retention string
	cmd := &cobra.Command{
		Use:   "node --name NAME --data-dir DIR",
		Short: "Run one member",
		Long: `Run one member of a Raftsman cluster.

The first member of a cluster is started once with --form; every other one is started without, and added:
  etcdctl member add NAME --learner --peer-urls http://HOST:2380
  etcdctl member promote ID
Under the operator (--managed) all that is the operator's work.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg.Peers, cfg.AdvertiseClient = node.SplitList(peers), node.SplitList(advertise)
			log, err := newLog(level)
			if err != nil {
				return err
			}
			if cfg.AutoCompaction, err = node.ParseAutoCompaction(mode, retention); err != nil {
				return err
			}
			cfg.Log = log.WithValues("name", cfg.Name)
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			go procs.Govern(ctx)
			return node.Run(ctx, cfg)
		},
	}
	f := cmd.Flags()
	f.StringVar(&cfg.Name, "name", "", "the member's name, unique in its cluster; the same at every start")
	f.StringVar(&cfg.DataDir, "data-dir", "", "directory of the member's log and store")
	f.StringVar(&cfg.ListenClient, "listen-client", "127.0.0.1:2379", "address for clients (etcd v3 gRPC)")
	f.StringVar(&cfg.ListenPeer, "listen-peer", "127.0.0.1:2380", "address for the other members")
	f.StringVar(&cfg.ListenMetrics, "listen-metrics", "127.0.0.1:2381", "address of /metrics, /livez and /readyz")
	f.StringVar(&cfg.ListenAdmin, "listen-admin", "127.0.0.1:2382", "address of the admin endpoint: anyone who reaches it may change the membership")
	f.StringVar(&cfg.AdvertisePeer, "advertise-peer", "", "address under which other members reach this one (default: --listen-peer)")
	f.StringVar(&advertise, "advertise-client", "", "URLs that clients are told, separated by commas (default: http:// or, with TLS, https:// and --listen-client)")
	f.StringVar(&cfg.ClientTLS.Cert, "client-cert-file", "", "PEM certificate of the client port, which then speaks TLS; read again when it changes")
	f.StringVar(&cfg.ClientTLS.Key, "client-key-file", "", "PEM private key of --client-cert-file")
	f.StringVar(&cfg.ClientTLS.CA, "client-ca-file", "", "PEM authorities: clients must present a certificate of one of them, and so must this member to others")
	f.StringVar(&peers, "peers", "", "addresses at which other members may answer, separated by commas: hints, not a membership")
	f.StringVar(&cfg.Discover, "discover", "", "name:port that resolves to the addresses of all members, such as a headless service")
	f.BoolVar(&cfg.Managed, "managed", false, "an operator decides about birth and membership")
	f.BoolVar(&cfg.Form, "form", false, "make this member, if it is empty, the founder of a new cluster; for exactly one member")
	f.DurationVar(&cfg.ElectionTimeout, "election-timeout", 0, "how long a follower waits for its leader (default 1s)")
	f.DurationVar(&cfg.HeartbeatInterval, "heartbeat-interval", 0, "how often a leader reassures its followers (default 100ms)")
	f.Uint64Var(&cfg.KeepEntries, "log-keep-entries", 0, "applied entries that stay in the log for members that lag (default 10000)")
	f.IntVar(&cfg.SnapshotBytesPerSecond, "snapshot-bytes-per-second", 0, "how fast this member sends its state to others, all together (default 16777216)")
	f.Int64Var(&cfg.LowSpaceBytes, "low-space-bytes", 0, "space on the volume below which data may not grow (default an eighth of it, at most 1 GiB)")
	f.Int64Var(&cfg.OutOfSpaceBytes, "out-of-space-bytes", 0, "space on the volume below which this member takes nothing more into its log (default a 32nd of it, at most 128 MiB)")
	f.StringVar(&mode, "auto-compaction-mode", "periodic", "what --auto-compaction-retention counts: periodic or revision, as in etcd")
	f.StringVar(&retention, "auto-compaction-retention", "0", "history that is kept when the leader compacts by itself: 5m, 1 (hour), or a number of revisions; 0: it does not")
	f.IntVar(&cfg.Limits.RequestBytes, "max-request-bytes", 0, "size of the largest write (default 1572864, as etcd)")
	f.IntVar(&cfg.Limits.TxnOps, "max-txn-ops", 0, "operations of the largest transaction (default 128, as etcd)")
	f.BoolVar(&cfg.Pprof, "pprof", false, "serve profiles under /debug/pprof/ on the metrics port")
	f.StringVar(&level, "log-level", "info", "least severe level that is logged: debug, info or error")
	return cmd
}

// newLog writes one JSON object a line to standard error.
func newLog(level string) (logr.Logger, error) {
	levels := map[string]slog.Level{"debug": slog.Level(-1), "info": slog.LevelInfo, "error": slog.LevelError}
	at, ok := levels[level]
	if !ok {
		return logr.Logger{}, fmt.Errorf("--log-level is %q: it must be debug, info or error", level)
	}
	return logr.FromSlogHandler(slog.NewJSONHandler(os.Stderr, &slog.HandlerOptions{Level: at})), nil
}
