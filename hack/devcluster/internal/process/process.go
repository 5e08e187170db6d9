// Package process starts the programs of a dev cluster and finds them again later. Each runs in a session
// of its own with a log file of its own, and is recorded by its PID together with its start time and the
// machine's boot: a PID alone may belong to somebody else by the time it is used.
package process

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Record says which process a program became.
type Record struct {
	Name  string `json:"name"`
	PID   int    `json:"pid"`
	Start uint64 `json:"start"` // clock ticks after boot, as in /proc/PID/stat
	Boot  string `json:"boot"`
}

// Store is a directory of records and one of logs.
type Store struct {
	Records string
	Logs    string
}

// Process is a program that this process has started.
type Process struct {
	Record
	Log  string
	done chan struct{}
	err  error
}

// Log is the log file of the program name.
func (s Store) Log(name string) string { return filepath.Join(s.Logs, name+".log") }

// Start starts argv as the program name. env is added to the machine's PATH and HOME and is all it gets;
// files become its descriptors 3 and up.
func (s Store) Start(name string, argv, env []string, files ...*os.File) (*Process, error) {
	return s.StartAs(&syscall.SysProcAttr{Setsid: true}, name, argv, env, files...)
}

// StartAs is Start with attributes of the process's own, which must ask for a session.
func (s Store) StartAs(attr *syscall.SysProcAttr, name string, argv, env []string, files ...*os.File) (*Process, error) {
	log, err := os.OpenFile(s.Log(name), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	defer log.Close()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=/root"}, env...)
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = log, log
	cmd.ExtraFiles = files
	cmd.SysProcAttr = attr
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	p := &Process{Log: log.Name(), done: make(chan struct{})}
	p.Record, err = Look(name, cmd.Process.Pid)
	if err == nil {
		err = s.save(p.Record)
	}
	if err != nil {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		return nil, fmt.Errorf("record %s: %w", name, err)
	}
	go func() {
		p.err = cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Failure describes a process that ended though it should run: how, and the end of its log.
func (p *Process) Failure() error {
	how := "with success"
	if p.err != nil {
		how = "with " + p.err.Error()
	}
	return fmt.Errorf("%s ended %s; %s", p.Name, how, Tail(p.Log))
}

// Tail names a log file and gives its last lines.
func Tail(path string) string {
	const lines, size = 15, 16 << 10
	data, err := os.ReadFile(path)
	if err != nil {
		return fmt.Sprintf("its log cannot be read: %v", err)
	}
	data = bytes.TrimSpace(data[max(0, len(data)-size):])
	rows := strings.Split(string(data), "\n")
	rows = rows[max(0, len(rows)-lines):]
	return fmt.Sprintf("the end of its log %s:\n    %s", path, strings.Join(rows, "\n    "))
}

// Boot identifies the machine's present boot.
func Boot() (string, error) {
	data, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(data)), err
}

// Look records the running process pid under name.
func Look(name string, pid int) (Record, error) {
	boot, err := Boot()
	if err != nil {
		return Record{}, err
	}
	start, _, err := stat(pid)
	return Record{Name: name, PID: pid, Start: start, Boot: boot}, err
}

// stat reads a process's start time and its state letter.
func stat(pid int) (start uint64, state string, err error) {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, "", err
	}
	// The second field is the program's name in parentheses, and may hold anything, even parentheses.
	fields := strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:]))
	const stateField, startField = 0, 19 // the fields 3 and 22 of proc_pid_stat(5)
	if len(fields) <= startField {
		return 0, "", fmt.Errorf("/proc/%d/stat has only %d fields", pid, len(fields))
	}
	start, err = strconv.ParseUint(fields[startField], 10, 64)
	return start, fields[stateField], err
}

// Alive says whether the very process that was recorded still runs. One that has ended and waits to be
// reaped does not.
func (r Record) Alive() bool {
	boot, err := Boot()
	if err != nil || boot != r.Boot {
		return false
	}
	start, state, err := stat(r.PID)
	return err == nil && start == r.Start && state != "Z" && state != "X"
}

// Signal sends a signal to the recorded process, and nothing to another that got its PID.
func (r Record) Signal(sig syscall.Signal) error {
	if !r.Alive() {
		return os.ErrProcessDone
	}
	return syscall.Kill(r.PID, sig)
}

// present says whether the process is still listed, if only because nobody has reaped it.
func (r Record) present() bool {
	start, _, err := stat(r.PID)
	return err == nil && start == r.Start
}

// AwaitEnd waits until all recorded processes have ended, and a little more for the machine's first process
// to reap those that nobody else does, so that not even their names are left.
func AwaitEnd(ctx context.Context, records []Record) error {
	const poll, patience = 20 * time.Millisecond, 10 * time.Second
	again := time.NewTicker(poll)
	defer again.Stop()
	enough := time.After(patience)
	for _, r := range records {
		for r.Alive() || r.present() {
			select {
			case <-again.C:
			case <-enough:
				if r.Alive() {
					return fmt.Errorf("%s (process %d) does not end", r.Name, r.PID)
				}
				return nil
			case <-ctx.Done():
				return fmt.Errorf("%s (process %d) does not end: %w", r.Name, r.PID, ctx.Err())
			}
		}
	}
	return nil
}

func (s Store) save(r Record) error {
	data, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(s.Records, r.Name+".json"), data, 0o644)
}

// All reads every record. A directory that does not exist has none; a record cut short by a power loss is
// left out, because that loss ended its process too.
func (s Store) All() ([]Record, error) {
	entries, err := os.ReadDir(s.Records)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var all []Record
	for _, e := range entries {
		data, err := os.ReadFile(filepath.Join(s.Records, e.Name()))
		if err != nil {
			return nil, err
		}
		var r Record
		if json.Unmarshal(data, &r) == nil && r.PID > 0 {
			all = append(all, r)
		}
	}
	return all, nil
}

// Get reads one record.
func (s Store) Get(name string) (Record, error) {
	var r Record
	data, err := os.ReadFile(filepath.Join(s.Records, name+".json"))
	if err != nil {
		return r, fmt.Errorf("no process %s is recorded: %w", name, err)
	}
	return r, json.Unmarshal(data, &r)
}

// Forget removes a record.
func (s Store) Forget(name string) error {
	return os.Remove(filepath.Join(s.Records, name+".json"))
}
