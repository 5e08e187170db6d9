package space

import (
	"context"
	"net"
	"runtime"

	"golang.org/x/sys/unix"
)

// Dial connects to a TCP address, which must be a number and a port, as it is seen in the network namespace of
// a process.
func Dial(ctx context.Context, pid int, address string) (net.Conn, error) {
	type result struct {
		conn net.Conn
		err  error
	}
	done := make(chan result, 1)
	go func() {
		// The thread is never unlocked, so that it ends with this goroutine: no other may get it in that namespace.
		runtime.LockOSThread()
		if err := join(pid, "net", unix.CLONE_NEWNET); err != nil {
			done <- result{err: err}
			return
		}
		// To one numeric address the socket is made by the goroutine that asks for it.
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
		done <- result{conn, err}
	}()
	r := <-done
	return r.conn, r.err
}
