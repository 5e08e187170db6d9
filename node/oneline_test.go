package node

import (
	"errors"
	"io"
	"strings"
	"testing"

	"raftsman.dev/node/kv"
)

// TestLastWordsAreOneLine: what a member that fails says last is one line, and still matches what it was made of.
func TestLastWordsAreOneLine(t *testing.T) {
	m := &Member{failure: make(chan error, 1), failed: make(chan struct{})}
	m.fail(errors.Join(io.ErrUnexpectedEOF, kv.ErrCorrupt))
	err := <-m.Failed()
	if strings.Contains(err.Error(), "\n") {
		t.Errorf("more than one line: %q", err)
	}
	if !errors.Is(err, io.ErrUnexpectedEOF) || !errors.Is(err, kv.ErrCorrupt) {
		t.Errorf("%v has lost what it was made of", err)
	}
	if inOneLine(nil) != nil {
		t.Error("no error became one")
	}
}
