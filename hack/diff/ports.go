package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
)

// Stores listen below the ports that the kernel gives to outgoing connections and to those who leave the choice to it:
// among those, a port that was free a moment ago may be anybody's now.
const (
	firstPort = 16384
	lastPort  = 32767
	blockSize = 64
	blocks    = (lastPort + 1 - firstPort) / blockSize
)

// ports hands out blocks of ports where nobody listens, in turn, from a random one on: other runs have others.
type ports struct {
	mu   sync.Mutex
	next int // 1 + the block to look at next; 0 before the first
}

// take returns the base of a block with free ports at these distances from it.
func (p *ports) take(distances []int) (base int, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.next == 0 {
		p.next = 1 + rand.IntN(blocks)
	}
	for range blocks {
		base = firstPort + blockSize*(p.next-1)
		p.next = 1 + p.next%blocks
		if err = free(base, distances); err == nil {
			return base, nil
		}
	}
	return 0, fmt.Errorf("no free ports from %d to %d: %w", firstPort, lastPort, err)
}

// free fails if somebody listens at one of the ports.
func free(base int, distances []int) error {
	for _, d := range distances {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", base+d))
		if err = errors.Join(err, closed(l)); err != nil {
			return err
		}
	}
	return nil
}

func closed(l net.Listener) error {
	if l == nil {
		return nil
	}
	return l.Close()
}
