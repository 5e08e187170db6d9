package node

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"raftsman.dev/node/admin"
	"raftsman.dev/node/kv"
	"raftsman.dev/node/raft"
	"raftsman.dev/node/replica"
	"raftsman.dev/node/snapshot"
)

// incoming is the snapshot that this member takes in: one at a time, and one that was cut at most.
type incoming struct {
	sync.Mutex
	cut *receiving
}

// receiving is one snapshot on the receiver's side, over all its streams.
type receiving struct {
	*stream
	image  *kv.Import
	base   raft.Base
	held   snapshot.Held
	forget *time.Timer // while it is kept
}

// close gives the snapshot up.
func (r *receiving) close(why error) error {
	r.stream.end(why)
	return r.image.Discard()
}

// Snapshot implements transport.Handler: it takes in a peer's state, and returns once store and log have switched to
// it. If the connection is lost, what has come is kept to be gone on from.
func (m *Member) Snapshot(from raft.MemberID, c io.ReadWriter) error {
	if !m.incoming.TryLock() {
		return errors.Join(snapshot.ErrBusy, snapshot.WriteHeld(c, snapshot.Held{}, true))
	}
	defer m.incoming.Unlock()
	r := m.incoming.resume()
	in, err := m.greet(c, r)
	if err != nil {
		m.incoming.keep(r)
		return err
	}
	if r, err = m.receive(from, in, r); err != nil {
		return err
	}
	if err := r.take(in); err != nil {
		if !errors.Is(err, snapshot.ErrCut) {
			return errors.Join(err, r.close(err))
		}
		r.interrupt(err)
		m.incoming.keep(r)
		return err
	}
	return m.install(from, in.Meta(), r)
}

// greet tells the sender what is held, and hears what it sends.
func (m *Member) greet(c io.ReadWriter, r *receiving) (*snapshot.Reader, error) {
	var held snapshot.Held
	if r != nil {
		held = r.held
	}
	if err := snapshot.WriteHeld(c, held, false); err != nil {
		return nil, err
	}
	in, err := snapshot.NewReader(c, held)
	if err == nil && in.Meta().Cluster != m.identity().Cluster {
		err = fmt.Errorf("the snapshot is of cluster %v: %w", in.Meta().Cluster, snapshot.ErrMalformed)
	}
	return in, err
}

// receive goes on with what is held, or begins anew.
func (m *Member) receive(from raft.MemberID, in *snapshot.Reader, r *receiving) (*receiving, error) {
	at := in.Meta().Base.Position
	var held raft.Position
	if r != nil {
		held = r.base.Position
	}
	on, err := in.GoesOn(held)
	switch {
	case err != nil:
		return nil, errors.Join(err, r.close(err))
	case on:
		r.resume()
		return r, nil
	}
	if r != nil {
		if err := r.close(errForgotten); err != nil {
			return nil, err
		}
	}
	image, err := m.store.BeginImport()
	if err != nil {
		return nil, fmt.Errorf("begin to receive a snapshot: %w", err)
	}
	log := m.cfg.Log.WithValues("snapshot", in.Meta().ID.String(), "direction", string(admin.Receiving), "peer", m.nameOf(from), "index", uint64(at.Index))
	return &receiving{image: image, base: in.Meta().Base, held: in.Held(), stream: m.streams.begin(admin.Receiving, from, at.Index, log)}, nil
}

// take reads the stream to its end.
func (r *receiving) take(in *snapshot.Reader) error {
	for {
		chunk, err := in.Next()
		if errors.Is(err, io.EOF) && !errors.Is(err, snapshot.ErrMalformed) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := r.image.Add(chunk); err != nil {
			return err
		}
		r.held = in.Held()
		r.chunk(len(chunk))
	}
}

// install makes the received state durable and offers it to the core.
func (m *Member) install(from raft.MemberID, meta snapshot.Meta, r *receiving) error {
	applied, err := r.image.Finish()
	if err == nil && (applied.Index != uint64(meta.Base.Position.Index) || applied.Term != uint64(meta.Base.Position.Term)) {
		err = fmt.Errorf("the snapshot is of %v, but its state of %d@%d: %w", meta.Base.Position, applied.Index, applied.Term, snapshot.ErrMalformed)
	}
	if err != nil {
		return errors.Join(err, r.close(err))
	}
	done := make(chan error, 1)
	m.inbox.call(func(x *replica.Replica) { x.Snapshot(from, meta.Base, r.image, done) })
	select {
	case err = <-done:
	case <-m.ending:
		err = replica.ErrStopped
	}
	if err == nil {
		m.streams.installed.Add(r.bytes.Load())
	}
	r.stream.end(err)
	return err
}

// resume takes what is held of a snapshot that was cut, nil if there is nothing.
func (i *incoming) resume() *receiving {
	r := i.cut
	i.cut = nil
	if r != nil {
		r.forget.Stop()
	}
	return r
}

// keep keeps what has come of a snapshot, for a while.
func (i *incoming) keep(r *receiving) {
	if r == nil {
		return
	}
	i.cut = r
	r.forget = time.AfterFunc(cutPatience, func() { _ = i.drop(r) })
}

// drop gives up what has come of a snapshot, unless it goes on; nil stands for whatever there is.
func (i *incoming) drop(r *receiving) error {
	i.Lock()
	defer i.Unlock()
	if i.cut == nil || r != nil && i.cut != r {
		return nil
	}
	return i.resume().close(errForgotten)
}
