package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"raftsman.dev/node/kv"
	"raftsman.dev/node/vfs"
	"raftsman.dev/node/wal"
)

// newInspectCommand is `raftsman inspect`: it reads what a stopped member has on disk.
func newInspectCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "inspect log|store DIR",
		Short: "Show what a stopped member has on disk, as JSON, one object a line",
	}
	cmd.AddCommand(&cobra.Command{
		Use:   "log DIR",
		Short: "Show every record of the log in DIR (a data directory's log): segment, offset, kind, indexes; and what verifies as nothing",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			out := json.NewEncoder(cmd.OutOrStdout())
			return wal.Inspect(vfs.OS(), args[0], func(s wal.Seen) error { return out.Encode(s) })
		},
	}, &cobra.Command{
		Use:   "store DIR",
		Short: "Show how far the store in DIR (a data directory's store) is: it is opened as by the member's start",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			seen, err := inspectStore(args[0])
			if err != nil {
				return err
			}
			return json.NewEncoder(cmd.OutOrStdout()).Encode(seen)
		},
	})
	return cmd
}

// storeSeen is how far a store is. Durable is the applied index that it holds on disk: the log is needed behind it.
type storeSeen struct {
	Durable  uint64 `json:"durable"`
	Revision int64  `json:"revision"`
}

func inspectStore(dir string) (storeSeen, error) {
	if _, err := os.Stat(dir); err != nil { // opening it would make an empty one
		return storeSeen{}, fmt.Errorf("store: %w", err)
	}
	store, err := kv.Open(dir, kv.Options{})
	if err != nil {
		return storeSeen{}, err
	}
	durable, err := store.Durable()
	return storeSeen{Durable: durable, Revision: int64(store.Revision())}, errors.Join(err, store.Close())
}
