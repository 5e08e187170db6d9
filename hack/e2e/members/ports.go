package members

import (
	"fmt"
	"math/rand/v2"
	"net"
)

// Where groups' ports are: below those that the system gives to clients. Members' ports are portsEach apart, as
// `raftsman local` has them, and groups share none, not even in part.
const (
	firstPort = 20_000
	groups    = 300
	portsEach = 10
)

// Ports are a group's alone until they are released: among tests that use this package, also in other processes.
type Ports struct {
	base  int
	guard net.Listener // on the last of them, which no member uses
}

// Reserve finds ports for a group. It fails when many places that it tries are taken.
func Reserve() (*Ports, error) {
	const tries = 50
	var last error
	for range tries {
		p, err := reserve(firstPort + rand.IntN(groups)*Size*portsEach)
		if err == nil {
			return p, nil
		}
		last = err
	}
	return nil, fmt.Errorf("no free ports: %w", last)
}

// reserve takes the ports from base on, if all of them are free.
func reserve(base int) (*Ports, error) {
	p := &Ports{base: base}
	guard, err := net.Listen("tcp", p.at(Size-1, portsEach-1))
	if err != nil {
		return nil, err
	}
	p.guard = guard
	for i := range Size*portsEach - 1 {
		l, err := net.Listen("tcp", p.at(0, i))
		if err == nil {
			err = l.Close()
		}
		if err != nil {
			_ = guard.Close()
			return nil, err
		}
	}
	return p, nil
}

// Release gives the ports back, once no member uses them any more.
func (p *Ports) Release() error { return p.guard.Close() }

func (p *Ports) at(member, offset int) string {
	return fmt.Sprintf("127.0.0.1:%d", p.base+portsEach*member+offset)
}
