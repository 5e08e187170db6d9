package kube

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"
)

const (
	firstKill = 5 * time.Second // after the beginning
	deadFor   = 5 * time.Second // before a killed member is started again
	findTries = 50
)

// StoreKiller kills the leader of the API server's own store again and again, and starts it again: where that store is
// Raftsman.
type StoreKiller struct {
	dev  Dev
	stop func() error
	mu   struct {
		sync.Mutex
		killed []time.Time
	}
}

// KillStoreLeaders begins, with a kill every so often; it ends with Stop.
func KillStoreLeaders(dev Dev, every time.Duration) *StoreKiller {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	k := &StoreKiller{dev: dev, stop: sync.OnceValue(func() error { cancel(); return <-done })}
	go func() { done <- k.run(ctx, every) }()
	return k
}

// Stop ends it, and returns when all members have been started again. The error is why it could not go on.
func (k *StoreKiller) Stop() error { return k.stop() }

// Killed are the moments so far.
func (k *StoreKiller) Killed() []time.Time {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.mu.killed
}

func (k *StoreKiller) run(ctx context.Context, every time.Duration) error {
	next := time.NewTimer(firstKill)
	defer next.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-next.C:
		}
		next.Reset(every)
		if err := k.once(ctx); err != nil {
			return fmt.Errorf("kill the leader of the store and start it again: %w", err)
		}
	}
}

// once kills the leader with SIGKILL to its own process, and starts it again after a while. It does both or nothing.
func (k *StoreKiller) once(ctx context.Context) error {
	leader, err := k.leader(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	whole := context.WithoutCancel(ctx)
	if _, err := k.dev.Run(whole, "stop-member", leader); err != nil {
		return err
	}
	k.mu.Lock()
	k.mu.killed = append(k.mu.killed, time.Now())
	k.mu.Unlock()
	dead := time.NewTimer(deadFor)
	defer dead.Stop()
	select {
	case <-dead.C:
	case <-ctx.Done():
	}
	_, err = k.dev.Run(whole, "start-member", leader)
	return err
}

// leader finds the number of the member that leads.
func (k *StoreKiller) leader(ctx context.Context) (string, error) {
	retry := time.NewTicker(100 * time.Millisecond)
	defer retry.Stop()
	var text string
	for range findTries {
		var err error
		if text, err = k.dev.Run(ctx, "members"); err != nil {
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
