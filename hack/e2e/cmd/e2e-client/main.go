// Command e2e-client is the client that the end-to-end tests run as a Pod: it waits for orders over HTTP, puts
// load on a cluster as package load does, and hands the history back.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"raftsman.dev/hack/e2e/load"
)

func run(ctx context.Context, address string) error {
	server := &http.Server{Addr: address, Handler: (&load.Server{}).Handler(), ReadHeaderTimeout: 5 * time.Second}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("listen for orders on %s: %w", address, err)
	}
	return nil
}

func main() {
	address := flag.String("listen", ":8080", "`address` on which orders are taken")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *address); err != nil {
		fmt.Fprintln(os.Stderr, "e2e-client:", err)
		os.Exit(1)
	}
}
