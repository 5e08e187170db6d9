package main

import (
	"io"
	"net"
	"sync"
	"time"
)

// snapshotKind is the kind of a peer connection that carries a snapshot: byte 8 of what its dialler says first.
const snapshotKind = 2

// cutter stands before a member's peer port and passes everything on; it cuts the first snapshot connection once that
// many bytes have passed.
type cutter struct {
	listener net.Listener
	target   string
	after    int64
	wg       sync.WaitGroup
	mu       struct {
		sync.Mutex
		cut   time.Time // zero before
		conns []net.Conn
	}
}

func newCutter(listen, target string, after int64) (*cutter, error) {
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return nil, err
	}
	c := &cutter{listener: l, target: target, after: after}
	c.wg.Go(c.accept)
	return c, nil
}

// cutAt is when the connection was cut, zero if it was not.
func (c *cutter) cutAt() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mu.cut
}

func (c *cutter) close() {
	c.listener.Close()
	c.mu.Lock()
	for _, conn := range c.mu.conns {
		conn.Close()
	}
	c.mu.Unlock()
	c.wg.Wait()
}

func (c *cutter) accept() {
	for {
		from, err := c.listener.Accept()
		if err != nil {
			return
		}
		c.track(from)
		c.wg.Go(func() {
			defer from.Close()
			c.pass(from)
		})
	}
}

func (c *cutter) track(conn net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.conns = append(c.mu.conns, conn)
}

func (c *cutter) pass(from net.Conn) {
	head := make([]byte, 9)
	if _, err := io.ReadFull(from, head); err != nil {
		return
	}
	to, err := net.Dial("tcp", c.target)
	if err != nil {
		return
	}
	defer to.Close()
	c.track(to)
	c.wg.Go(func() {
		_, _ = io.Copy(from, to) // either end may go at any time
		from.Close()
	})
	if _, err := to.Write(head); err != nil {
		return
	}
	if head[8] == snapshotKind && c.cutAt().IsZero() {
		if _, err := io.CopyN(to, from, c.after); err == nil {
			c.mu.Lock()
			c.mu.cut = time.Now()
			c.mu.Unlock()
			return
		}
	}
	_, _ = io.Copy(to, from)
}
