// Package forward passes TCP connections from a listening socket that was made in one network namespace to
// an address of another, the one that the process lives in.
package forward

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

const dialTimeout = 5 * time.Second

// Serve accepts from the listening socket in file and connects each caller to target, until ctx ends.
func Serve(ctx context.Context, file *os.File, target string) error {
	listener, err := net.FileListener(file)
	if err != nil {
		return fmt.Errorf("descriptor %d is not a listening socket: %w", file.Fd(), err)
	}
	stop := context.AfterFunc(ctx, func() { _ = listener.Close() })
	defer stop()
	for {
		conn, err := listener.Accept()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		go func() {
			if err := join(ctx, conn.(*net.TCPConn), target); err != nil {
				fmt.Fprintln(os.Stderr, "forward:", err)
			}
		}()
	}
}

// join copies both ways until both sides have said all. Each side's end is passed on as an end, so that a
// half-closed connection works as it would directly.
func join(ctx context.Context, outer *net.TCPConn, target string) error {
	defer outer.Close()
	dialer := net.Dialer{Timeout: dialTimeout}
	conn, err := dialer.DialContext(ctx, "tcp", target)
	if err != nil {
		return err
	}
	inner := conn.(*net.TCPConn)
	defer inner.Close()
	var both sync.WaitGroup
	var errs [2]error
	both.Go(func() { errs[0] = pass(inner, outer) })
	both.Go(func() { errs[1] = pass(outer, inner) })
	both.Wait()
	return errors.Join(errs[0], errs[1])
}

func pass(to, from *net.TCPConn) error {
	_, err := io.Copy(to, from)
	if err != nil {
		return errors.Join(err, to.Close()) // the other direction must not wait for a broken one
	}
	_ = to.CloseWrite() // it fails only where the peer has closed already
	return nil
}
