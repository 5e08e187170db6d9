package transport

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"raftsman.dev/node/raft"
)

// ErrRefused: the receiver has heard the whole stream and does not take it.
var ErrRefused = errors.New("snapshot refused")

// stream is a snapshot connection that another member has made.
type stream struct {
	conn net.Conn
	done chan struct{} // closed once the handler is through with it
}

// takeSnapshot lets the handler speak with the sender, and returns its verdict: a zero byte, or a length and a reason.
func (t *Transport) takeSnapshot(c net.Conn, in hello) error {
	s := &stream{conn: c, done: make(chan struct{})}
	defer t.leave(in.Member, s)
	if err := t.replace(in.Member, s); err != nil {
		return err
	}
	err := t.cfg.Handler.Snapshot(in.Member, patient{c})
	verdict := []byte{0}
	if err != nil {
		reason := clip(err.Error())
		verdict = append([]byte{byte(max(1, len(reason)))}, reason...)
	}
	if err := c.SetWriteDeadline(time.Now().Add(helloTimeout)); err != nil {
		return err
	}
	_, werr := c.Write(verdict)
	return errors.Join(err, werr)
}

// drainTimeout is how long a stream that its sender has given up may go on with what has already arrived.
const drainTimeout = 2 * time.Second

// replace ends the member's stream before this one: its sender has given it up, and it may not know.
func (t *Transport) replace(from raft.MemberID, s *stream) error {
	t.mu.Lock()
	old := t.mu.streams[from]
	t.mu.streams[from] = s
	t.mu.Unlock()
	if old == nil {
		return nil
	}
	drain := time.AfterFunc(drainTimeout, func() { old.conn.Close() })
	defer drain.Stop()
	select {
	case <-old.done:
		return nil
	case <-t.ctx.Done():
		return t.ctx.Err()
	}
}

func (t *Transport) leave(from raft.MemberID, s *stream) {
	close(s.done)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.mu.streams[from] == s {
		delete(t.mu.streams, from)
	}
}

// SendSnapshot opens a connection of its own to the peer, lets speak use it, and waits for the receiver's verdict;
// a refusal matches ErrRefused. What speak writes is buffered.
func (t *Transport) SendSnapshot(ctx context.Context, to raft.MemberID, speak func(io.ReadWriter) error) error {
	c, _, err := t.find(ctx, kindSnapshot, to)
	if err != nil {
		return err
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { c.Close() })()
	bw := bufio.NewWriterSize(patient{c}, 256<<10)
	if err := speak(connection{patient{c}, bw}); err != nil {
		return err
	}
	if err := bw.Flush(); err != nil {
		return err
	}
	return verdict(c, to)
}

// connection reads from the network as it is asked to, not ahead: the verdict is for somebody else.
type connection struct {
	io.Reader
	io.Writer
}

// verdict waits for the receiver's.
func verdict(c net.Conn, to raft.MemberID) error {
	var n [1]byte
	if err := c.SetReadDeadline(time.Now().Add(2 * streamTimeout)); err != nil {
		return err
	}
	if _, err := io.ReadFull(c, n[:]); err != nil {
		return fmt.Errorf("wait for the verdict of member %v on its snapshot: %w", to, err)
	}
	if n[0] == 0 {
		return nil
	}
	reason := make([]byte, n[0])
	if _, err := io.ReadFull(c, reason); err != nil {
		return err
	}
	return fmt.Errorf("member %v: %s: %w", to, reason, ErrRefused)
}
