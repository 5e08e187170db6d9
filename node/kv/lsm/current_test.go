package lsm

import (
	"bytes"
	"encoding/hex"
	"errors"
	"testing"

	"raftsman.dev/node/kv/engine"
)

// TestGoldenCurrent pins the bytes of the file that names the generation in force. Version 1 is frozen.
func TestGoldenCurrent(t *testing.T) {
	const want = "67656e2d303030303030303030303030303130322037386237626164630a"
	if got := hex.EncodeToString(encodeCurrent(258)); got != want {
		t.Errorf("the format has changed (version 1 is frozen): %s, want %s", got, want)
	}
}

// FuzzDecodeCurrent: what is taken is what would be written, and all else is damage.
func FuzzDecodeCurrent(f *testing.F) {
	f.Add(encodeCurrent(9))
	f.Add([]byte("gen-"))
	f.Fuzz(func(t *testing.T, b []byte) {
		n, err := decodeCurrent(b)
		if err == nil && !bytes.Equal(encodeCurrent(n), b) {
			t.Fatalf("%q names generation %d", b, n)
		}
		if err != nil && !errors.Is(err, engine.ErrCorrupt) {
			t.Fatalf("%q: %v", b, err)
		}
	})
}
