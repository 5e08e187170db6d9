package node

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"raftsman.dev/node/kv"
)

// lies reports whether a store lies aside in a member's data directory.
func (b *bench) lies(name string) bool {
	_, err := os.Stat(filepath.Join(b.configs[name].DataDir, "aside-store"))
	return err == nil
}

// readyz asks a member whether it is ready, as Kubernetes does.
func (b *bench) readyz(name string) (int, string) {
	b.t.Helper()
	resp, err := http.Get("http://" + b.configs[name].ListenMetrics + "/readyz")
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

// rebuilt waits until members have a store again, and the damaged one is gone.
func (b *bench) rebuilt(names ...string) {
	b.t.Helper()
	for _, name := range names {
		b.wait("a new store of "+name, func() error {
			if s := b.status(name); s.Rebuilding || !s.Ready || b.lies(name) {
				return fmt.Errorf("rebuilding %v, ready %v, applied %d of %d, aside %v", s.Rebuilding, s.Ready, s.Applied, s.Commit, b.lies(name))
			}
			return nil
		})
	}
	b.equal()
}

// TestStoresAreRebuilt: two of three members find their stores damaged. They set them aside, are not ready, and without
// a leader get their state from the third.
func TestStoresAreRebuilt(t *testing.T) {
	b := newBench(t)
	b.group(func(c *Config) { c.KeepEntries = 10 }, "a", "b", "c")
	client := pb.NewKVClient(b.dial("a"))
	for i := range 120 {
		put(t, client, fmt.Sprint("k", i), "v")
	}
	for _, name := range []string{"b", "c"} {
		b.wait("a cut of the log of "+name, func() error {
			if s := b.status(name); s.First == 1 {
				return fmt.Errorf("its log is whole from 1 to %d", s.Last)
			}
			return nil
		})
	}
	for _, name := range []string{"a", "b", "c"} {
		b.stop(name)
	}
	for _, name := range []string{"b", "c"} {
		current := filepath.Join(b.configs[name].DataDir, "store", "current")
		if err := os.WriteFile(current, []byte("gen-0000000000000001 00000000\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		b.start(b.configs[name])
	}
	for _, name := range []string{"b", "c"} {
		s := b.status(name)
		if !s.Rebuilding || s.Ready || s.Applied != 0 || !b.lies(name) {
			t.Errorf("%s: rebuilding %v, ready %v, applied %d, aside %v; want it to wait for a snapshot", name, s.Rebuilding, s.Ready, s.Applied, b.lies(name))
		}
		if code, text := b.readyz(name); code != http.StatusServiceUnavailable || !strings.Contains(text, "rebuilt") {
			t.Errorf("%s says that it is ready: %d, %s", name, code, text)
		}
	}
	b.start(b.configs["a"])
	b.rebuilt("b", "c")
	for _, name := range []string{"b", "c"} {
		if s := b.status(name); s.Snapshots == 0 {
			t.Errorf("%s has a store again without a snapshot", name)
		}
	}
	if got := get(t, pb.NewKVClient(b.dial("b")), "k7"); got != "v" {
		t.Errorf("k7 is %q on a member whose store was rebuilt", got)
	}
}

// TestDamageFoundWhileRunning: the member marks its store, stops with the reason, and its next start makes the store
// again, here from its own log.
func TestDamageFoundWhileRunning(t *testing.T) {
	b := newBench(t)
	b.group(nil, "a", "b", "c")
	put(t, pb.NewKVClient(b.dial("a")), "k", "v")
	m := b.members["b"]
	m.storeFailed(fmt.Errorf("table 7: %w", kv.ErrCorrupt))
	select {
	case err := <-m.Failed():
		if !strings.Contains(err.Error(), "table 7") || !strings.Contains(err.Error(), "next start") {
			t.Errorf("the reason does not say what is damaged and what happens now: %v", err)
		}
	case <-time.After(patience):
		t.Fatal("the member goes on with a damaged store")
	}
	b.stop("b")
	b.start(b.configs["b"])
	b.rebuilt("b")
	if got := get(t, pb.NewKVClient(b.dial("b")), "k"); got != "v" {
		t.Errorf("k is %q on a member whose store was made again", got)
	}
}

// spoil flips a bit in every entry of a stopped member's log that holds the text.
func (b *bench) spoil(name, text string) {
	b.t.Helper()
	files, err := filepath.Glob(filepath.Join(b.configs[name].DataDir, "log", "*.log"))
	if err != nil || len(files) == 0 {
		b.t.Fatalf("no segments: %v", err)
	}
	found := 0
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			b.t.Fatal(err)
		}
		for at := bytes.Index(content, []byte(text)); at >= 0; at = bytes.Index(content, []byte(text)) {
			content[at] ^= 1
			found++
		}
		if err := os.WriteFile(file, content, 0o600); err != nil {
			b.t.Fatal(err)
		}
	}
	if found == 0 {
		b.t.Fatalf("the log of %s does not hold %q", name, text)
	}
}

// stopTogether stops members such that all their logs end alike: the leader last, so that nobody is elected meanwhile.
// Otherwise one whose log begins behind its damage may come to lead others that lack what is before.
func (b *bench) stopTogether(names ...string) {
	b.t.Helper()
	leader := b.leader()
	for _, name := range names {
		if name != leader {
			b.stop(name)
		}
	}
	b.stop(leader)
}

// TestLostEntriesAreRepaired: two of three members have lost different entries of their logs, and their stores do not
// hold them. Each is brought back from another's log. A damaged entry that the store holds is no loss.
func TestLostEntriesAreRepaired(t *testing.T) {
	b := newBench(t)
	b.group(nil, "a", "b", "c")
	client := pb.NewKVClient(b.dial("a"))
	for i := range 60 {
		put(t, client, fmt.Sprintf("key-%03d", i), "v")
	}
	b.equal()
	b.stopTogether("a", "b", "c")
	for name, key := range map[string]string{"a": "key-010", "b": "key-020", "c": "key-030"} {
		b.spoil(name, key)
		if name == "c" {
			continue
		}
		if err := os.RemoveAll(filepath.Join(b.configs[name].DataDir, "store")); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"a", "b", "c"} {
		b.start(b.configs[name])
	}
	b.rebuilt("a", "b", "c")
	for name, some := range map[string]bool{"a": true, "b": true, "c": false} {
		s := b.status(name)
		if s.Repaired > 0 != some || s.Lost != 0 || s.Snapshots != 0 { // what came in one append is lost together
			t.Errorf("%s: %d entries repaired, %d lost, %d snapshots; want some repaired: %v", name, s.Repaired, s.Lost, s.Snapshots, some)
		}
		resp, err := http.Get("http://" + b.configs[name].ListenMetrics + "/metrics")
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(resp.Body)
		if resp.Body.Close(); err != nil {
			t.Fatal(err)
		}
		if line := fmt.Sprintf("\nraftsman_repaired_entries_total %d\n", s.Repaired); !strings.Contains(string(text), line) {
			t.Errorf("%s: the metrics do not say %q", name, line)
		}
	}
	for _, key := range []string{"key-010", "key-020", "key-030"} {
		if got := get(t, pb.NewKVClient(b.dial("b")), key); got != "v" {
			t.Errorf("%s is %q after the repair", key, got)
		}
	}
}
