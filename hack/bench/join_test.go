package main

import (
	"bytes"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestCutter cuts the first snapshot connection, and no other.
func TestCutter(t *testing.T) {
	target, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer target.Close()
	got := make(chan int, 3)
	go func() {
		for {
			c, err := target.Accept()
			if err != nil {
				return
			}
			b, _ := io.ReadAll(c)
			got <- len(b)
			c.Close()
		}
	}()
	wire, err := newCutter("127.0.0.1:0", target.Addr().String(), 1000)
	if err != nil {
		t.Fatal(err)
	}
	defer wire.close()
	send := func(kind byte) int {
		c, err := net.Dial("tcp", wire.listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		_, _ = c.Write(append([]byte("RAFTPEER"), kind)) // what is cut is seen at the other end
		_, _ = c.Write(bytes.Repeat([]byte("x"), 5000))
		c.(*net.TCPConn).CloseWrite()
		n := <-got
		c.Close()
		return n
	}
	if n := send(1); n != 5009 || !wire.cutAt().IsZero() {
		t.Errorf("%d bytes of messages have passed", n)
	}
	if n := send(snapshotKind); n != 1009 || wire.cutAt().IsZero() {
		t.Errorf("%d bytes of the first snapshot have passed", n)
	}
	if n := send(snapshotKind); n != 5009 {
		t.Errorf("%d bytes of the second snapshot have passed", n)
	}
}

// TestJoinVerdict: what is not met is said, and is an error.
func TestJoinVerdict(t *testing.T) {
	ms := func(all ...int) (took []time.Duration) {
		for _, n := range all {
			took = append(took, time.Duration(n)*time.Millisecond)
		}
		return took
	}
	good := joinFigures{capacity: 10, rate: 3, took: time.Minute, before: ms(1, 2), during: ms(1, 4), sent: 102, received: 101, installed: 100, resumed: 1, state: 70}
	for what, spoil := range map[string]func(*joinFigures){
		"":                       func(*joinFigures) {},
		"longer than 10 minutes": func(f *joinFigures) { f.took = 11 * time.Minute },
		"began anew":             func(f *joinFigures) { f.resumed = 0 },
		"1.500 of it were sent":  func(f *joinFigures) { f.sent, f.received = 150, 149 },
		"at most twice":          func(f *joinFigures) { f.during = ms(5) },
		"puts failed":            func(f *joinFigures) { f.failed = 1 },
	} {
		f := good
		spoil(&f)
		var said strings.Builder
		o := joinOptions{share: 0.3, progress: func(format string, _ ...any) { said.WriteString(format) }}
		err := f.print(o)
		if (err == nil) != (what == "") || err != nil && !strings.Contains(err.Error(), what) {
			t.Errorf("%q: %v", what, err)
		}
		if met := strings.Contains(said.String(), "met:"); met != (what == "") {
			t.Errorf("%q: said to be met: %v", what, met)
		}
	}
}

func TestBetween(t *testing.T) {
	at := time.Unix(100, 0)
	all := []sample{{at, 5}, {at.Add(1), 3}, {at.Add(2), 4}, {at.Add(3), 9}}
	if got := between(all, at.Add(1), at.Add(3)); len(got) != 2 || got[0] != 3 || got[1] != 4 {
		t.Errorf("%v", got)
	}
}

func TestInParts(t *testing.T) {
	zero := time.Unix(100, 0)
	at := func(ms int) time.Time { return zero.Add(time.Duration(ms) * time.Millisecond) }
	all := []sample{{at(-1500), 1}, {at(-900), 2}, {at(-100), 3}, {at(0), 4}, {at(999), 5}, {at(2000), 6}, {at(2400), 7}, {at(2500), 8}}
	want := []part{{-time.Second, 2, 3, 3}, {0, 4, 5, 5}, {2 * time.Second, 6, 7, 7}}
	if got := inParts(all, at(-1400), zero, at(2500), time.Second); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}
