package forward

import (
	"context"
	"io"
	"net"
	"testing"
	"time"
)

// TestServe sends through a forwarder to a server that answers only when it has heard the end of the
// question: so the end must be passed on too.
func TestServe(t *testing.T) {
	target, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer target.Close()
	go func() {
		conn, err := target.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		question, _ := io.ReadAll(conn)
		_, _ = conn.Write(append([]byte("you said "), question...))
	}()

	entry, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	file, err := entry.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	address := entry.Addr().String()
	if err := entry.Close(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- Serve(ctx, file, target.Addr().String()) }()

	conn, err := net.Dial("tcp4", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if answer, err := io.ReadAll(conn); err != nil || string(answer) != "you said hello" {
		t.Errorf("the answer is %q, %v", answer, err)
	}
	cancel()
	if err := <-served; err != nil {
		t.Errorf("the forwarder ends with %v", err)
	}
}

// TestNobodyThere forwards to a port where nobody listens: the caller must hear the end, not wait.
func TestNobodyThere(t *testing.T) {
	gone, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	target := gone.Addr().String()
	if err := gone.Close(); err != nil {
		t.Fatal(err)
	}
	entry, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer entry.Close()
	file, err := entry.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() { _ = Serve(ctx, file, target) }()
	conn, err := net.Dial("tcp4", entry.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if n, err := conn.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Errorf("%d bytes came, %v", n, err)
	} else if timeout, ok := err.(net.Error); ok && timeout.Timeout() {
		t.Error("the caller is left waiting")
	}
}
