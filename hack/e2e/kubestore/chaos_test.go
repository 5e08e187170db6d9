package kubestore

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	firstKill = 5 * time.Second // after the beginning
	deadFor   = 5 * time.Second // before a killed member is started again
	findTries = 50
)

// chaos kills the store's leader again and again, and starts it again.
type chaos struct {
	s    *stage
	stop func() error // ends it; returns when all members have been started again
	mu   struct {
		sync.Mutex
		killed []time.Time
	}
}

// killLeaders begins; it ends with stop, or with the test.
func (s *stage) killLeaders(t *testing.T, every time.Duration) *chaos {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	c := &chaos{s: s, stop: sync.OnceValue(func() error { cancel(); return <-done })}
	go func() { done <- c.run(ctx, every) }()
	t.Cleanup(func() { _ = c.stop() }) // a test that has come to its end has looked at the error
	return c
}

// killed are the moments so far.
func (c *chaos) killed() []time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mu.killed
}

func (c *chaos) run(ctx context.Context, every time.Duration) error {
	next := time.NewTimer(firstKill)
	defer next.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-next.C:
		}
		next.Reset(every)
		if err := c.once(ctx); err != nil {
			return fmt.Errorf("kill the leader and start it again: %w", err)
		}
	}
}

// once kills the leader with SIGKILL to its own process, and starts it again after a while. It does both or nothing.
func (c *chaos) once(ctx context.Context) error {
	leader, err := c.leader(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	whole := context.WithoutCancel(ctx)
	if _, err := c.s.dev.Run(whole, "stop-member", leader); err != nil {
		return err
	}
	c.mu.Lock()
	c.mu.killed = append(c.mu.killed, time.Now())
	c.mu.Unlock()
	dead := time.NewTimer(deadFor)
	defer dead.Stop()
	select {
	case <-dead.C:
	case <-ctx.Done():
	}
	_, err = c.s.dev.Run(whole, "start-member", leader)
	return err
}

// leader finds the number of the member that leads.
func (c *chaos) leader(ctx context.Context) (string, error) {
	retry := time.NewTicker(100 * time.Millisecond)
	defer retry.Stop()
	var text string
	for range findTries {
		var err error
		if text, err = c.s.dev.Run(ctx, "members"); err != nil {
			return "", err
		}
		if n, ok := leaderOf(text); ok {
			return n, nil
		}
		select {
		case <-retry.C:
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
	return "", errors.New("no member leads:\n" + text)
}

// leaderOf reads what the dev cluster says of its members.
func leaderOf(members string) (number string, ok bool) {
	for _, line := range strings.Split(members, "\n") {
		fields := strings.Fields(line)
		if len(fields) > 1 && strings.TrimSuffix(fields[1], ",") == "leader" {
			return strings.TrimPrefix(fields[0], "raftsman-"), true
		}
	}
	return "", false
}

func TestLeaderOf(t *testing.T) {
	for text, want := range map[string]string{
		"raftsman-0  follower, process 1, http://a, log b\nraftsman-1  leader, process 2, http://a, log b": "1",
		"raftsman-0  leader, not ready, process 1, http://a, log b":                                        "0",
		"raftsman-0  follower, process 1, http://a, log leader\nraftsman-1  stopped":                       "",
		"": "",
	} {
		if got, _ := leaderOf(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}
