package main

import (
	"os"
	"os/exec"
	"slices"
	"testing"
	"time"
)

func TestParseStat(t *testing.T) {
	s, err := parseStat([]byte("42 (a ) b) S 7 42 42 0 -1 4194304 1 2 3 4 150 50 9 9 20 0 1 0 100 0 0"))
	if err != nil || s.parent != 7 || s.cpu != 2*time.Second {
		t.Errorf("got %+v, %v; want parent 7 and 2 s", s, err)
	}
	for _, bad := range []string{"", "42 (a) S 7", "42 (a) S x 1 1 1 1 1 1 1 1 1 1 1 1"} {
		if s, err := parseStat([]byte(bad)); err == nil {
			t.Errorf("%q was read as %+v", bad, s)
		}
	}
}

func TestParseMemory(t *testing.T) {
	text := []byte("Name:\tx\nVmHWM:\t  2048 kB\nRssAnon:\t 512 kB\n")
	sizes, err := parseMemory(text, "VmHWM", "RssAnon")
	if err != nil || sizes["VmHWM"] != 2<<20 || sizes["RssAnon"] != 512<<10 {
		t.Errorf("got %v, %v", sizes, err)
	}
	if _, err := parseMemory(text, "VmSwap"); err == nil {
		t.Error("a missing size was not missed")
	}
}

func TestOwnProcess(t *testing.T) {
	child := exec.Command("cat") // waits for its standard input to end
	in, err := child.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	pids, err := children(os.Getpid())
	if err != nil || !slices.Contains(pids, child.Process.Pid) {
		t.Errorf("children are %v (%v), want %d among them", pids, err, child.Process.Pid)
	}
	if _, err := cpuOf([]int{os.Getpid()}); err != nil {
		t.Error(err)
	}
	if peak, anonymous, err := memoryOf([]int{os.Getpid()}); err != nil || peak < anonymous || anonymous <= 0 {
		t.Errorf("memory is %d at its peak, %d anonymous, %v", peak, anonymous, err)
	}
	if err := in.Close(); err != nil {
		t.Fatal(err)
	}
	if err := child.Wait(); err != nil {
		t.Fatal(err)
	}
}
