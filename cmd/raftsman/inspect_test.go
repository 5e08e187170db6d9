package main

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"

	"raftsman.dev/node/kv"
	"raftsman.dev/node/raft"
	"raftsman.dev/node/vfs"
	"raftsman.dev/node/wal"
)

// TestInspect: the output names places and indexes, and a directory that is not there is not made.
func TestInspect(t *testing.T) {
	dir := t.TempDir()
	log, _, err := wal.Open(vfs.OS(), filepath.Join(dir, "log"), wal.Options{Create: true, SegmentBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	e := raft.Entry{Index: 1, Term: 1, Kind: raft.EntryCommand, Payload: []byte("x")}
	e.Seal()
	if err := log.Append([]raft.Batch{{Entries: []raft.Entry{e}}}); err != nil {
		t.Fatal(err)
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	store, err := kv.Open(filepath.Join(dir, "store"), kv.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	for args, says := range map[string]string{
		"log " + filepath.Join(dir, "log"):     `"kind":"entries","write":2,"first":1,"last":1}`,
		"store " + filepath.Join(dir, "store"): `{"durable":0,"revision":1}`,
	} {
		if out, err := inspect(t, args); err != nil || !strings.Contains(out, says) {
			t.Errorf("inspect %s: %v: %s, want %s", args, err, out, says)
		}
	}
	for _, part := range []string{"log", "store"} {
		if _, err := inspect(t, part+" "+filepath.Join(dir, "none")); err == nil {
			t.Errorf("inspect %s reads what is not there", part)
		}
	}
}

func inspect(t *testing.T, args string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	cmd := newInspectCommand()
	cmd.SilenceUsage, cmd.SilenceErrors = true, true
	cmd.SetArgs(strings.Fields(args))
	cmd.SetOut(&out)
	err := cmd.ExecuteContext(t.Context())
	return out.String(), err
}
