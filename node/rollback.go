package node

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"raftsman.dev/node/datadir"
	"raftsman.dev/node/raft"
	"raftsman.dev/node/transport"
)

// forgetful is what a member knows of its own volume being an older copy of itself.
type forgetful struct {
	life uint64      // drawn at the start of the process
	is   atomic.Bool // a peer knows better: this member does not act any more
	once sync.Once
}

// drawLife is never 0, which stands for a life that is not known.
func drawLife() uint64 {
	for range 100 {
		if life := draw(); life != 0 {
			return life
		}
	}
	panic("the system's random source yields zeroes only")
}

// committed tells the transport a commit index with a term in which, or after which, it became known: the owner
// stores the term first.
func (m *Member) committed() (raft.Index, raft.Term) {
	commit := raft.Index(m.facts.commit.Load())
	return commit, raft.Term(m.facts.term.Load())
}

// RolledBack implements transport.Handler: the member stops acting at once, since it may have promised what it no
// longer knows. The mark on disk keeps the next start from it too.
func (m *Member) RolledBack(why error) {
	m.forgetful.once.Do(func() {
		m.forgetful.is.Store(true)
		m.quit()
		err := fmt.Errorf("member %s: the volume of data directory %s was put back to an older state, and the member may have promised what is not on it: %w; if the right volume is still there, give it back; else remove this member from the cluster and let a new one replace it: %w", m.cfg.Name, m.cfg.DataDir, why, datadir.ErrCorrupt)
		m.cfg.Log.Error(err, "this member does not act any more")
		err = errors.Join(err, m.dir.MarkRolledBack(err.Error()))
		m.failOnce.Do(func() { m.failure <- err })
	})
}

// quit ends the loops.
func (m *Member) quit() {
	m.quitOnce.Do(func() {
		close(m.ending)
		m.end()
	})
}

// Run starts a member and keeps it up until ctx ends or it fails. Under an operator one that finds its volume to be an
// older copy comes up again at once on its admin port only, so that the operator learns why it is to be replaced.
func Run(ctx context.Context, cfg Config) error {
	err := run(ctx, cfg)
	if cfg.Managed && errors.Is(err, transport.ErrRolledBack) && ctx.Err() == nil {
		return run(ctx, cfg)
	}
	return err
}

func run(ctx context.Context, cfg Config) error {
	m, err := Start(cfg)
	if err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return m.Stop(context.Background())
	case err := <-m.Failed():
		return inOneLine(errors.Join(err, m.Stop(context.Background())))
	}
}
