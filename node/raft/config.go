package raft

import (
	"fmt"
	"math/rand/v2"
)

// Config is what a core is made of. ID and Boot are identity; the rest is tuning, which changes speed and
// patience and never data.
type Config struct {
	ID   MemberID
	Boot Boot
	// ElectionTicks is the base election timeout; each wait is drawn from [1, 2) times it. Default 10.
	ElectionTicks int
	// HeartbeatTicks is the time between heartbeats; less than ElectionTicks. Default 1.
	HeartbeatTicks int
	// DiskPatienceTicks is how long the log writer may leave a batch unanswered. A leader past it hands
	// leadership over, and if nobody has taken it an election timeout later it stops leading; any other
	// member past it does not campaign. Default three times ElectionTicks.
	DiskPatienceTicks int
	// MaxAppendBytes bounds the payload of one append; a larger single entry travels alone. Default 1 MiB.
	MaxAppendBytes int
	// MaxInflightMessages and MaxInflightBytes bound what streams to one peer unacknowledged; at the
	// bound the stream waits for acks. Defaults 256 and 16 MiB.
	MaxInflightMessages int
	MaxInflightBytes    int
	// MaxUncommittedBytes bounds the leader's entries that are not committed; past it proposals are
	// refused as busy. Default 64 MiB.
	MaxUncommittedBytes int
	// TailBytes bounds the applied entries kept in memory for followers; older ones are fetched from the
	// log. Default 32 MiB.
	TailBytes int
	// CaughtUpLag is how many entries a learner may lack of the leader's commit to be promoted. Default 64.
	CaughtUpLag Index
	// Rand spreads election timeouts. Required; seeded by the caller, used by the core alone.
	Rand *rand.Rand
}

// Default fills what is zero.
func (c *Config) Default() {
	fill(&c.ElectionTicks, 10)
	fill(&c.HeartbeatTicks, 1)
	fill(&c.DiskPatienceTicks, 3*c.ElectionTicks)
	fill(&c.MaxAppendBytes, 1<<20)
	fill(&c.MaxInflightMessages, 256)
	fill(&c.MaxInflightBytes, 16<<20)
	fill(&c.MaxUncommittedBytes, 64<<20)
	fill(&c.TailBytes, 32<<20)
	if c.CaughtUpLag == 0 {
		c.CaughtUpLag = 64
	}
}

func fill(v *int, to int) {
	if *v == 0 {
		*v = to
	}
}

// Validate refuses a configuration that cannot work.
func (c *Config) Validate() error {
	switch {
	case c.ID == 0:
		return fmt.Errorf("raft: the member ID is zero")
	case c.Boot == 0:
		return fmt.Errorf("raft: the boot is zero; the first start of a data directory is boot 1")
	case c.Rand == nil:
		return fmt.Errorf("raft: a random source is required to spread election timeouts")
	case c.HeartbeatTicks < 1 || c.ElectionTicks <= c.HeartbeatTicks:
		return fmt.Errorf("raft: the election timeout (%d ticks) must be longer than the heartbeat interval (%d ticks)", c.ElectionTicks, c.HeartbeatTicks)
	case c.DiskPatienceTicks < 1:
		return fmt.Errorf("raft: the patience with the disk (%d ticks) must be positive", c.DiskPatienceTicks)
	case c.MaxAppendBytes < 1 || c.MaxInflightMessages < 1 || c.MaxInflightBytes < 1 || c.MaxUncommittedBytes < 1 || c.TailBytes < 1:
		return fmt.Errorf("raft: bounds must be positive")
	}
	return nil
}
