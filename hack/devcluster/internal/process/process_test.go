package process

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func store(t *testing.T) Store {
	t.Helper()
	s := Store{Records: filepath.Join(t.TempDir(), "records"), Logs: t.TempDir()}
	if all, err := s.All(); err != nil || len(all) != 0 {
		t.Fatalf("a store that is not there holds %v, %v", all, err)
	}
	if err := os.Mkdir(s.Records, 0o755); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestLifeOfAProcess(t *testing.T) {
	s := store(t)
	p, err := s.Start("sleeper", []string{"/bin/sh", "-c", `echo "$WORD from $PPID in $PWD"; exec sleep 600`}, []string{"WORD=hello"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Signal(syscall.SIGKILL) })
	if session, _, errno := syscall.Syscall(syscall.SYS_GETSID, uintptr(p.PID), 0, 0); errno != 0 || int(session) != p.PID {
		t.Errorf("it is in session %d (%v), want its own, %d", session, errno, p.PID)
	}
	again, err := s.Get("sleeper")
	if err != nil || again != p.Record || !again.Alive() {
		t.Fatalf("the record is %+v, %v; want %+v, alive", again, err, p.Record)
	}
	for what, other := range map[string]Record{
		"a process of another start": {Name: "x", PID: p.PID, Start: p.Start + 1, Boot: p.Boot},
		"a process of another boot":  {Name: "x", PID: p.PID, Start: p.Start, Boot: "other"},
	} {
		if other.Alive() {
			t.Errorf("%s with the same PID is taken for ours", what)
		}
		if err := other.Signal(syscall.SIGKILL); err == nil {
			t.Fatalf("%s with the same PID was killed", what)
		}
	}
	awaitLog(t, s.Log("sleeper"), "hello")
	if err := p.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	<-p.Done()
	if err := AwaitEnd(t.Context(), []Record{p.Record}); err != nil || p.Alive() {
		t.Errorf("after its end: %v, alive %v", err, p.Alive())
	}
	failure := p.Failure().Error()
	for _, want := range []string{"sleeper", "signal: terminated", "hello from", "in /", s.Log("sleeper")} {
		if !strings.Contains(failure, want) {
			t.Errorf("the failure does not tell %q: %s", want, failure)
		}
	}
	if err := s.Forget("sleeper"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get("sleeper"); err == nil {
		t.Error("a forgotten process is remembered")
	}
}

// awaitLog waits until a log file holds a word.
func awaitLog(t *testing.T, file, word string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for {
		data, err := os.ReadFile(file)
		if err == nil && strings.Contains(string(data), word) {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s does not come to hold %q: %v: %s", file, word, err, data)
		case <-again.C:
		}
	}
}

func TestStartOfNothing(t *testing.T) {
	s := store(t)
	if _, err := s.Start("none", []string{"/no/such/program"}, nil); err == nil || !strings.Contains(err.Error(), "none") {
		t.Errorf("starting nothing gives %v", err)
	}
	if all, err := s.All(); err != nil || len(all) != 0 {
		t.Errorf("it is recorded as %v, %v", all, err)
	}
}

// TestDamagedRecord leaves one record cut short, as a power loss does, beside a good one.
func TestDamagedRecord(t *testing.T) {
	s := store(t)
	self, err := Look("self", os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if err := s.save(self); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"cut.json": `{"name":"cut","pi`, "empty.json": "", "zero.json": "{}"} {
		if err := os.WriteFile(filepath.Join(s.Records, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if all, err := s.All(); err != nil || len(all) != 1 || all[0] != self {
		t.Errorf("the records are %v, %v; want only %v", all, err, self)
	}
}

func TestTail(t *testing.T) {
	file := filepath.Join(t.TempDir(), "log")
	if err := os.WriteFile(file, []byte(strings.Repeat("x", 40<<10)+"\n"+strings.Repeat("line\n", 100)+"the end\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	tail := Tail(file)
	if n := strings.Count(tail, "\n"); n != 15 || !strings.HasSuffix(tail, "the end") || !strings.Contains(tail, file) {
		t.Errorf("the tail has %d lines: %s", n, tail)
	}
	if got := Tail(filepath.Join(t.TempDir(), "none")); !strings.Contains(got, "cannot be read") {
		t.Errorf("the tail of nothing is %q", got)
	}
}
