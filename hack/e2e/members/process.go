package members

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
)

// Process is a member that runs, or has run.
type Process struct {
	process *os.Process
	ended   chan struct{}
	state   string // how it ended, once ended is closed
}

// Start starts the member of a place; what it writes goes to the end of its log.
func (p Place) Start(binary string, args ...string) (*Process, error) {
	log, err := os.OpenFile(p.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.Command(binary, args...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", p.Name, err)
	}
	started := &Process{process: cmd.Process, ended: make(chan struct{})}
	go func() {
		err := cmd.Wait()
		started.state = fmt.Sprint(cmd.ProcessState, err)
		close(started.ended)
	}()
	return started, nil
}

// Signal sends a signal. That the process has ended already is no error.
func (p *Process) Signal(s syscall.Signal) error {
	if err := p.process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("signal %v: %w", s, err)
	}
	return nil
}

// Ended is closed when the process has ended.
func (p *Process) Ended() <-chan struct{} { return p.ended }

// State says how the process ended; done is false while it runs.
func (p *Process) State() (state string, done bool) {
	select {
	case <-p.ended:
		return p.state, true
	default:
		return "", false
	}
}
