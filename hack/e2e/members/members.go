// Package members runs three members of a store as processes of this machine, for tests that kill them and bring them
// back: it finds ports that are theirs alone, forms a cluster of Raftsman, starts processes that write into logs, tells
// how they ended, and asks until something has come about. What members of which system there are, and what is done to
// them, is up to the tests.
package members

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// Size is how many members a group has.
const Size = 3

// pollEvery is how long Poll pauses between two questions.
const pollEvery = 20 * time.Millisecond

// Place is where one member lives and what it is called there. The addresses are host:port.
type Place struct {
	Name, Dir, Log               string
	Client, Peer, Metrics, Admin string
}

// Places are those of a group, with directories and logs below dir, as `raftsman local` lays them out.
func (p *Ports) Places(dir string) [Size]Place {
	var all [Size]Place
	for i := range all {
		name := fmt.Sprintf("m%d", i)
		all[i] = Place{
			Name: name, Dir: filepath.Join(dir, name), Log: filepath.Join(dir, name+".log"),
			Client: p.at(i, 0), Peer: p.at(i, 1), Metrics: p.at(i, 2), Admin: p.at(i, 3),
		}
	}
	return all
}

// NodeArgs are what `raftsman` is started with to be the member of a place, its flags left out. The peers' addresses are
// those of all members.
func (p Place) NodeArgs(peers []string) []string {
	return []string{
		"node", "--name=" + p.Name, "--data-dir=" + p.Dir, "--listen-client=" + p.Client, "--listen-peer=" + p.Peer,
		"--listen-metrics=" + p.Metrics, "--listen-admin=" + p.Admin, "--peers=" + strings.Join(peers, ","),
	}
}

// LastWords is the end of the member's log, at most so many bytes, or the reason why it cannot be read.
func (p Place) LastWords(bytes int) string {
	text, err := os.ReadFile(p.Log)
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-bytes):])
}

// Form lets `raftsman local` bring a cluster about in the places of dir, members with flags, and returns once it has
// ended again. It ends early with ctx.
func (p *Ports) Form(ctx context.Context, binary, dir string, flags ...string) error {
	args := append([]string{"local", "--members", fmt.Sprint(Size), "--data-dir", dir, "--base-port", fmt.Sprint(p.base), "--"}, flags...)
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return fmt.Errorf("form a cluster: %w", err)
	}
	ready := false
	lines := bufio.NewScanner(out)
	for !ready && lines.Scan() {
		ready = strings.HasPrefix(lines.Text(), "ready:")
	}
	err = cmd.Process.Signal(os.Interrupt)
	_, _ = io.Copy(io.Discard, out) // until it has ended
	if err = errors.Join(err, cmd.Wait()); err != nil || !ready {
		return fmt.Errorf("form a cluster: ready=%v: %w", ready, err)
	}
	return nil
}

// Poll asks until the answer is nil, each time for a bounded while; at the end of ctx it returns the last answer. Each
// of zero bounds a question by ctx only.
func Poll(ctx context.Context, each time.Duration, is func(context.Context) error) error {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		err := ask(ctx, each, is)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-tick.C:
		}
	}
}

func ask(ctx context.Context, each time.Duration, is func(context.Context) error) error {
	if each > 0 {
		var cancel func()
		ctx, cancel = context.WithTimeout(ctx, each)
		defer cancel()
	}
	return is(ctx)
}
