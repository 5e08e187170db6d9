package transport

import (
	"context"
	"io"
	"net"
	"sync"
	"time"

	"raftsman.dev/node/raft"
)

// peer is the sending side towards one member: a bounded queue and the goroutine that empties it.
type peer struct {
	t      *Transport
	id     raft.MemberID
	ctx    context.Context
	cancel context.CancelFunc
	wake   chan struct{}

	// Guarded by the transport's lock.
	member  bool     // in the membership
	inbound int      // connections that it has made to this member
	hints   []string // from the membership
	told    string   // the address it told of itself

	mu struct {
		sync.Mutex
		up    bool
		queue []raft.Message
		bytes int
		told  bool // the handler knows that messages were lost since the last connection
	}
}

func newPeer(t *Transport, id raft.MemberID) *peer {
	p := &peer{t: t, id: id, wake: make(chan struct{}, 1)}
	p.ctx, p.cancel = context.WithCancel(t.ctx)
	return p
}

func (p *peer) isUp() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mu.up
}

// send queues messages, or drops them all and says so.
func (p *peer) send(msgs []raft.Message) {
	bytes := 0
	for i := range msgs {
		bytes += weight(&msgs[i])
	}
	p.mu.Lock()
	fits := p.mu.up && len(p.mu.queue)+len(msgs) <= maxQueueMessages && p.mu.bytes+bytes <= maxQueueBytes
	tell := !fits && !p.mu.told
	if fits {
		p.mu.queue = append(p.mu.queue, msgs...)
		p.mu.bytes += bytes
	} else {
		p.mu.told = !p.mu.up // a full queue is told every time: the stream has a gap now
	}
	p.mu.Unlock()
	if tell {
		p.t.cfg.Handler.Unreachable(p.id)
	}
	if fits {
		select {
		case p.wake <- struct{}{}:
		default:
		}
	}
}

func weight(m *raft.Message) int {
	n := 64
	switch b := m.Body.(type) {
	case raft.Append:
		n += entrySizes(b.Entries)
	case raft.RepairReply:
		n += entrySizes(b.Entries)
	case raft.Forward:
		for i := range b.Proposals {
			n += len(b.Proposals[i].Payload) + 16
		}
	}
	return n
}

func entrySizes(entries []raft.Entry) (n int) {
	for i := range entries {
		n += entries[i].Size()
	}
	return n
}

// run keeps one connection to the peer until it is cancelled.
func (p *peer) run() {
	backoff := minBackoff
	for p.ctx.Err() == nil {
		c, answer, err := p.t.find(p.ctx, kindMessages, p.id)
		if err != nil {
			p.t.cfg.Log("peer not reached", "peer", p.id.String(), "error", err.Error(), "again", backoff.String())
			if !p.pause(backoff) {
				return
			}
			backoff = min(2*backoff, maxBackoff)
			continue
		}
		backoff = minBackoff
		p.setUp(true)
		p.t.cfg.Handler.Connected(p.id, answer.Boot)
		err = p.write(c)
		p.setUp(false)
		p.t.cfg.Handler.Unreachable(p.id)
		if p.ctx.Err() == nil {
			p.t.cfg.Log("peer lost", "peer", p.id.String(), "error", err.Error())
			p.pause(minBackoff)
		}
	}
}

// pause waits; false when the peer is cancelled.
func (p *peer) pause(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-p.ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

func (p *peer) setUp(up bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.up, p.mu.told = up, !up
	p.mu.queue, p.mu.bytes = nil, 0
}

// write sends what is queued, all of it in one write, until the connection breaks or the peer is cancelled.
func (p *peer) write(c net.Conn) error {
	broken := make(chan error, 1)
	p.t.wg.Go(func() { // nothing is ever read here: the other end closing is what ends it
		_, err := io.Copy(io.Discard, c)
		if err == nil {
			err = io.EOF
		}
		broken <- err
	})
	defer c.Close()
	enc := newEncoder()
	var spare []raft.Message
	for {
		select {
		case <-p.ctx.Done():
			return p.ctx.Err()
		case err := <-broken:
			return err
		case <-p.wake:
		}
		if p.ctx.Err() != nil {
			return p.ctx.Err()
		}
		p.mu.Lock()
		msgs := p.mu.queue
		p.mu.queue, p.mu.bytes = spare[:0], 0
		p.mu.Unlock()
		if err := p.flush(c, enc, msgs); err != nil {
			return err
		}
		clear(msgs)
		spare = msgs
	}
}

func (p *peer) flush(c net.Conn, enc *encoder, msgs []raft.Message) error {
	enc.buf.Reset()
	for i := range msgs {
		if err := enc.add(msgs[i]); err != nil {
			p.t.cfg.Log("message not sent", "peer", p.id.String(), "error", err.Error())
		}
	}
	if enc.buf.Len() == 0 {
		return nil
	}
	if err := c.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return err
	}
	p.t.messages.Add(uint64(len(msgs)))
	p.t.writes.Add(1)
	p.t.bytes.Add(uint64(enc.buf.Len()))
	_, err := c.Write(enc.buf.Bytes())
	return err
}
