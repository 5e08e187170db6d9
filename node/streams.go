package node

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"

	"raftsman.dev/node/admin"
	"raftsman.dev/node/raft"
)

// progressEvery is how often a snapshot on its way is mentioned in the log.
const progressEvery = 10 * time.Second

// streams are the snapshots on their way to and from this member, those included that were cut and may go on.
type streams struct {
	sent, received, installed atomic.Uint64 // bytes
	resumed                   atomic.Uint64
	mu                        struct {
		sync.Mutex
		list []*stream
	}
}

// stream is one snapshot on its way.
type stream struct {
	all              *streams
	peer             raft.MemberID
	direction        admin.Direction
	index            raft.Index
	log              logr.Logger
	began, mentioned time.Time
	bytes, chunks    atomic.Uint64
	resumed          atomic.Uint64
	cut              atomic.Bool
}

// begin notes a new snapshot.
func (a *streams) begin(direction admin.Direction, peer raft.MemberID, index raft.Index, log logr.Logger) *stream {
	now := time.Now()
	s := &stream{all: a, peer: peer, direction: direction, index: index, log: log, began: now, mentioned: now}
	s.log.Info("snapshot begins")
	a.mu.Lock()
	defer a.mu.Unlock()
	a.mu.list = append(a.mu.list, s)
	return s
}

// resume notes that the snapshot goes on after a cut.
func (s *stream) resume() {
	s.cut.Store(false)
	s.resumed.Add(1)
	s.all.resumed.Add(1)
	s.log.Info("snapshot goes on", "chunks", s.chunks.Load(), "bytes", s.bytes.Load())
}

// chunk counts what was sent or received.
func (s *stream) chunk(bytes int) {
	s.bytes.Add(uint64(bytes))
	s.chunks.Add(1)
	if s.direction == admin.Sending {
		s.all.sent.Add(uint64(bytes))
	} else {
		s.all.received.Add(uint64(bytes))
	}
	if now := time.Now(); now.Sub(s.mentioned) >= progressEvery {
		s.mentioned = now
		s.log.Info("snapshot on its way", s.figures()...)
	}
}

func (s *stream) figures() []any {
	return []any{"chunks", s.chunks.Load(), "bytes", s.bytes.Load(), "seconds", int(time.Since(s.began).Seconds()), "resumed", s.resumed.Load()}
}

// interrupt notes that the snapshot waits to go on.
func (s *stream) interrupt(err error) {
	s.cut.Store(true)
	s.log.Info("snapshot cut", append(s.figures(), "error", err.Error())...)
}

// end forgets the snapshot; err says why it did not reach its end.
func (s *stream) end(err error) {
	s.log.Info("snapshot ends", append(s.figures(), "error", errorText(err))...)
	s.all.mu.Lock()
	defer s.all.mu.Unlock()
	s.all.mu.list = slices.DeleteFunc(s.all.mu.list, func(x *stream) bool { return x == s })
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// report is what the admin endpoint tells of the snapshots on their way.
func (a *streams) report() []admin.SnapshotStream {
	a.mu.Lock()
	defer a.mu.Unlock()
	var all []admin.SnapshotStream
	for _, s := range a.mu.list {
		all = append(all, admin.SnapshotStream{
			Peer: memberID(s.peer), Direction: s.direction, Index: uint64(s.index), Bytes: s.bytes.Load(), Chunks: s.chunks.Load(),
			Resumed: s.resumed.Load(), Cut: s.cut.Load(),
		})
	}
	return all
}
