package main

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"raftsman.dev/node/local"
)

// newLocalCommand is `raftsman local`: a whole group on loopback.
func newLocalCommand() *cobra.Command {
	cfg := local.Config{}
	cmd := &cobra.Command{
		Use:   "local --members N --data-dir DIR [-- FLAGS OF EVERY MEMBER]",
		Short: "Run a whole group of members on this machine, for a first try, tests and measurements",
		Long: `Run a whole group of members as child processes on loopback, until interrupted. The first start forms
the cluster; later ones take it up again. Member i has its client, peer, metrics and admin ports at
base-port + 10*i + 0, 1, 2 and 3. What follows -- is given to every member.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			binary, err := os.Executable()
			if err != nil {
				return fmt.Errorf("find this program's own file, to start members from it: %w", err)
			}
			cfg.Binary, cfg.Args, cfg.Out = binary, args, cmd.OutOrStdout()
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			return local.Run(ctx, cfg)
		},
	}
	f := cmd.Flags()
	f.IntVar(&cfg.Members, "members", 3, "how many members")
	f.StringVar(&cfg.DataDir, "data-dir", "", "directory of the members' data and logs")
	f.IntVar(&cfg.BasePort, "base-port", 2379, "client port of the first member")
	return cmd
}
