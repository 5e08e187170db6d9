package transport

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"raftsman.dev/node/raft"
)

// accept takes connections until the listener is closed.
func (t *Transport) accept() {
	for {
		c, err := t.cfg.Listener.Accept()
		if err != nil {
			if t.ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return
			}
			t.cfg.Log("accept failed", "error", err.Error())
			if !(&peer{ctx: t.ctx}).pause(minBackoff) {
				return
			}
			continue
		}
		if t.cfg.ServerTLS != nil {
			c = tls.Server(c, t.cfg.ServerTLS)
		}
		if !t.track(c, true) {
			c.Close()
			return
		}
		t.wg.Go(func() {
			defer t.track(c, false)
			defer c.Close()
			if err := t.serve(c); err != nil && t.ctx.Err() == nil && !errors.Is(err, io.EOF) {
				t.cfg.Log("connection ended", "from", c.RemoteAddr().String(), "error", err.Error())
			}
		})
	}
}

func (t *Transport) track(c net.Conn, open bool) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.mu.closed {
		return false
	}
	if open {
		t.mu.conns[c] = true
	} else {
		delete(t.mu.conns, c)
	}
	return true
}

// serve answers one connection's handshake and reads it to its end.
func (t *Transport) serve(c net.Conn) error {
	if err := c.SetDeadline(time.Now().Add(helloTimeout)); err != nil {
		return err
	}
	in, err := readHello(c)
	if err != nil {
		return err
	}
	if err := t.admit(c, &in); err != nil {
		return err
	}
	if err := c.SetDeadline(time.Time{}); err != nil {
		return err
	}
	switch in.kind {
	case kindMessages:
		return t.read(c, in)
	case kindSnapshot:
		return t.takeSnapshot(c, in)
	}
	return nil
}

// admit answers a hello, and completes it by the dialler's life where that is told. An error says that the dialler is
// not to be heard.
func (t *Transport) admit(c net.Conn, in *hello) error {
	r, adopt := judge(t.cfg.Self(), t.cfg.speaks, *in)
	recognises := r == refusedNot && t.recognises(in.kind, in.versions)
	if adopt && !recognises {
		r = t.join(in)
	}
	answer := hello{kind: kindAccepted, versions: t.cfg.speaks, Identity: t.cfg.Self(), meant: in.Member, refusal: r}
	if r != refusedNot {
		answer.kind = kindRefused
	}
	if _, err := c.Write(answer.encode()); err != nil {
		return err
	}
	if recognises {
		var err error
		if r, err = t.recognise(c, in, adopt); err != nil {
			return err
		}
	}
	if r != refusedNot {
		return fmt.Errorf("refused member %v (%s) of cluster %v, who meant member %v: reason %d: %w", in.Member, in.Name, in.Cluster, in.meant, r, ErrHandshake)
	}
	return nil
}

// join makes this unjoined member one of the dialler's cluster.
func (t *Transport) join(in *hello) refusal {
	if err := t.cfg.Handler.Adopt(in.Cluster); err != nil {
		return refusedCluster
	}
	return refusedNot
}

// read hands a peer's messages on, as many at once as have arrived.
func (t *Transport) read(c net.Conn, in hello) error {
	if !t.met(in, 1) {
		return fmt.Errorf("member %v is no member and too many such are connected: %w", in.Member, ErrHandshake)
	}
	defer t.met(in, -1)
	self := t.cfg.Self().Member
	br := bufio.NewReaderSize(c, 64<<10)
	dec := newDecoder()
	for {
		var batch []raft.Message
		for len(batch) == 0 || br.Buffered() >= frameHeader && len(batch) < 256 {
			kind, body, err := readFrame(br)
			if err != nil {
				return err
			}
			m, known, err := dec.message(kind, body)
			if err != nil {
				return err
			}
			if known {
				m.From, m.To = in.Member, self
				batch = append(batch, m)
			}
		}
		if t.ctx.Err() != nil {
			return t.ctx.Err()
		}
		t.hear(in.Identity, batch)
		t.cfg.Handler.Receive(batch)
	}
}

// met keeps a sending side towards whoever sends to this member, so that it can be answered even where the
// membership does not name it (yet).
func (t *Transport) met(in hello, n int) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if n > 0 && (t.mu.closed || t.mu.peers[in.Member] == nil && len(t.mu.peers) >= maxStrangers) {
		return false
	}
	p := t.mu.peers[in.Member]
	if p == nil && n > 0 {
		p = t.ensureLocked(in.Member)
	}
	if p != nil {
		p.inbound += n
		p.told = in.Address
		t.sweepLocked()
	}
	return true
}

// patient is a stream that fails when nothing moves for streamTimeout.
type patient struct{ net.Conn }

func (p patient) Read(b []byte) (int, error) {
	if err := p.SetReadDeadline(time.Now().Add(streamTimeout)); err != nil {
		return 0, err
	}
	return p.Conn.Read(b)
}

func (p patient) Write(b []byte) (int, error) {
	if err := p.SetWriteDeadline(time.Now().Add(streamTimeout)); err != nil {
		return 0, err
	}
	return p.Conn.Write(b)
}
