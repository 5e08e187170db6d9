package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// members is the size of the Raftsman group.
const members = 3

// The bounds of a store's life.
const (
	startPatience = 60 * time.Second
	pollEvery     = 20 * time.Millisecond
	maxAnswer     = 256 << 20 // bytes of one response
)

// program is how to start a store with its data in dir and its ports from base on.
type program struct {
	name    string
	members int
	// ports are those that it listens at, counted from base.
	ports   []int
	command func(dir string, base int) *exec.Cmd
	// end is the signal that ends all of it before the program itself ends.
	end syscall.Signal
}

// etcdProgram is one etcd member. Durability is not compared, so it need not wait for the disk.
func etcdProgram(binary string) program {
	return program{name: "etcd", members: 1, ports: []int{0, 1}, end: syscall.SIGKILL, command: func(dir string, base int) *exec.Cmd {
		client, peer := "http://"+address(base, 0), fmt.Sprintf("http://127.0.0.1:%d", base+1)
		return exec.Command(binary, "--name", "m0", "--data-dir", filepath.Join(dir, "m0"),
			"--listen-client-urls", client, "--advertise-client-urls", client,
			"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", "m0="+peer,
			"--unsafe-no-fsync", "--log-level", "error", "--quota-backend-bytes", "8589934592")
	}}
}

// raftsmanProgram is a group of three members, processes of their own that their parent ends if it is asked to. They take
// little free space for enough: their data is small.
func raftsmanProgram(binary string) program {
	var ports []int
	for i := range members {
		for use := range portsOfMember {
			ports = append(ports, betweenMembers*i+use)
		}
	}
	return program{name: "raftsman", members: members, ports: ports, end: syscall.SIGTERM, command: func(dir string, base int) *exec.Cmd {
		return exec.Command(binary, "local", "--members", fmt.Sprint(members), "--data-dir", filepath.Join(dir, "group"),
			"--base-port", fmt.Sprint(base), "--", "--log-level", "error",
			"--low-space-bytes", "1048576", "--out-of-space-bytes", "1048576")
	}}
}

// portsOfMember are a member's ports, and betweenMembers is how far those of two members are apart.
const (
	portsOfMember  = 4
	betweenMembers = 10
)

// address is host:port of member i's clients.
func address(base, i int) string { return fmt.Sprintf("127.0.0.1:%d", base+betweenMembers*i) }

// store is a running program with empty data at its start.
type store struct {
	program
	dir   string
	cmd   *exec.Cmd
	ended chan error
	conns []*grpc.ClientConn
}

// startStore runs a program in a fresh directory below root and waits until each member answers.
func startStore(ctx context.Context, p program, root string, from *ports) (*store, error) {
	base, err := from.take(p.ports)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(root, "diff-"+p.name+"-")
	if err != nil {
		return nil, err
	}
	s := &store{program: p, dir: dir, ended: make(chan error, 1)}
	if err := s.launch(base); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	for i := range p.members {
		conn, err := grpc.NewClient(address(base, i), grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxAnswer), grpc.MaxCallSendMsgSize(maxAnswer)))
		if err != nil {
			return nil, errors.Join(err, s.stop())
		}
		s.conns = append(s.conns, conn)
	}
	if err := s.awaitReady(ctx); err != nil {
		return nil, errors.Join(err, s.lastWords(), s.stop())
	}
	return s, nil
}

func (s *store) launch(base int) error {
	log, err := os.Create(filepath.Join(s.dir, "output.log"))
	if err != nil {
		return err
	}
	defer log.Close()
	s.cmd = s.command(s.dir, base)
	s.cmd.Stdout, s.cmd.Stderr = log, log
	s.cmd.SysProcAttr = attributes(s.end)
	if err := s.cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", s.name, err)
	}
	go func() { s.ended <- s.cmd.Wait() }()
	return nil
}

func (s *store) awaitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		err := s.probe(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s did not become ready: %w", s.name, err)
		case end := <-s.ended:
			s.ended <- end
			return fmt.Errorf("%s ended before it was ready: %w", s.name, errors.Join(err, end))
		case <-tick.C:
		}
	}
}

// probe asks every member for a membership that is complete, and for a linearizable read.
func (s *store) probe(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	for i, conn := range s.conns {
		list, err := pb.NewClusterClient(conn).MemberList(ctx, &pb.MemberListRequest{Linearizable: true})
		if err != nil {
			return fmt.Errorf("member %d: %w", i, err)
		}
		voters := 0
		for _, m := range list.GetMembers() {
			if !m.GetIsLearner() {
				voters++
			}
		}
		if voters != s.members {
			return fmt.Errorf("member %d: %d voters, not %d", i, voters, s.members)
		}
		if _, err := pb.NewKVClient(conn).Range(ctx, &pb.RangeRequest{Key: []byte("ready")}); err != nil {
			return fmt.Errorf("member %d: %w", i, err)
		}
	}
	return nil
}

// lastWords is the end of what the program wrote, as an error to be joined to another.
func (s *store) lastWords() error {
	var errs []error
	names, _ := filepath.Glob(filepath.Join(s.dir, "*.log"))
	more, _ := filepath.Glob(filepath.Join(s.dir, "*", "*.log"))
	for _, name := range append(names, more...) {
		if text, err := os.ReadFile(name); err == nil && len(text) > 0 {
			errs = append(errs, fmt.Errorf("%s of %s ends with:\n%s", filepath.Base(name), s.name, text[max(0, len(text)-2000):]))
		}
	}
	return errors.Join(errs...)
}

// alive reports whether the program still runs.
func (s *store) alive() bool {
	select {
	case end := <-s.ended:
		s.ended <- end
		return false
	default:
		return true
	}
}

// stop ends the program, with all that it started, and removes its data.
func (s *store) stop() error {
	for _, conn := range s.conns {
		_ = conn.Close() // the data goes as well: nothing is lost
	}
	if err := s.cmd.Process.Signal(s.end); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	patience := time.NewTimer(endPatience)
	defer patience.Stop()
	select {
	case <-s.ended:
		return os.RemoveAll(s.dir)
	case <-patience.C:
		err := s.cmd.Process.Kill()
		<-s.ended
		return errors.Join(fmt.Errorf("%s did not end within %v; its data is left in %s", s.name, endPatience, s.dir), err)
	}
}

// endPatience is how long a program may take to end.
const endPatience = 30 * time.Second
