package cluster

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"raftsman.dev/hack/devcluster/internal/programs"
	"raftsman.dev/hack/devcluster/internal/space"
)

func TestPlanCheck(t *testing.T) {
	for _, p := range []struct {
		plan Plan
		says string
	}{
		{Plan{Nodes: 1, Store: StoreEtcd}, ""},
		{Plan{Nodes: 9, Store: StoreRaftsman}, ""},
		{Plan{Nodes: 0, Store: StoreEtcd}, "nodes"},
		{Plan{Nodes: 1}, "choose etcd or raftsman"},
		{Plan{Nodes: 1, Store: "sqlite"}, "choose etcd or raftsman"},
	} {
		err := p.plan.Check()
		if (err == nil) != (p.says == "") || err != nil && !strings.Contains(err.Error(), p.says) {
			t.Errorf("%+v: %v, want %q", p.plan, err, p.says)
		}
	}
}

// TestStoreOfState: the state says which processes must run and where the API server finds its store, also a
// state that was written before there was a choice.
func TestStoreOfState(t *testing.T) {
	for text, want := range map[string]string{
		`{"nodes": 1}`:                                            "etcd at http://127.0.0.1:2379",
		`{"nodes": 1, "store": "etcd"}`:                           "etcd at http://127.0.0.1:2379",
		`{"nodes":1, "store": "raftsman"}`:                        "raftsman-0 raftsman-1 raftsman-2 at http://127.0.0.1:2379,http://127.0.0.1:2389,http://127.0.0.1:2399",
		`{"nodes":1, "store": "raftsman", "membersStopped": [1]}`: "raftsman-0 raftsman-2 at http://127.0.0.1:2379,http://127.0.0.1:2389,http://127.0.0.1:2399",
	} {
		c, _ := on(t, t.TempDir(), "a")
		if err := os.MkdirAll(c.Dir(), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(c.stateFile(), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		var err error
		if c.State, err = readState(c.stateFile()); err != nil {
			t.Fatal(err)
		}
		got := strings.Join(c.storeProcesses(), " ") + " at " + c.storeURLs()
		if got != want {
			t.Errorf("%s gives %s, want %s", text, got, want)
		}
		if !slices.Contains(c.expected(), c.storeProcesses()[0]) {
			t.Errorf("%s: the store's processes are not expected: %v", text, c.expected())
		}
	}
}

// TestMemberArgs: every member is told the others' addresses, and no two addresses are the same.
func TestMemberArgs(t *testing.T) {
	c, _ := on(t, t.TempDir(), "a")
	taken := map[string]bool{}
	for m := range members {
		for _, arg := range c.memberArgs(m) {
			if strings.HasPrefix(arg, "--listen-") {
				_, address, _ := strings.Cut(arg, "=")
				if taken[address] {
					t.Errorf("member %d: %s is taken", m, address)
				}
				taken[address] = true
			}
			if strings.HasPrefix(arg, "--peers=") && arg != "--peers=127.0.0.1:2380,127.0.0.1:2390,127.0.0.1:2400" {
				t.Errorf("member %d: %s", m, arg)
			}
		}
	}
	if len(taken) != 4*members {
		t.Errorf("%d addresses, want %d", len(taken), 4*members)
	}
}

func TestCheckMember(t *testing.T) {
	c, _ := on(t, t.TempDir(), "a")
	c.State.Store = StoreEtcd
	if err := c.checkMember(0); err == nil || !strings.Contains(err.Error(), "--store raftsman") {
		t.Errorf("a member of etcd: %v", err)
	}
	c.State.Store = StoreRaftsman
	for m, ok := range map[int]bool{-1: false, 0: true, 2: true, 3: false} {
		if err := c.checkMember(m); (err == nil) != ok {
			t.Errorf("member %d: %v", m, err)
		}
	}
}

func TestDiffers(t *testing.T) {
	c, _ := on(t, t.TempDir(), "a")
	c.State = State{Nodes: 2, Store: StoreRaftsman, APIServerFlags: []string{"--v=4"}}
	for _, p := range []struct {
		plan Plan
		says string
	}{
		{Plan{Nodes: 2, Store: StoreRaftsman, APIServerFlags: []string{"--v=4"}}, ""},
		{Plan{Nodes: 1, Store: StoreRaftsman, APIServerFlags: []string{"--v=4"}}, "2 nodes, not 1"},
		{Plan{Nodes: 2, Store: StoreEtcd, APIServerFlags: []string{"--v=4"}}, "in raftsman, not in etcd"},
		{Plan{Nodes: 2, Store: StoreRaftsman}, "flags"},
	} {
		err := c.differs(p.plan)
		if (err == nil) != (p.says == "") || err != nil && !strings.Contains(err.Error(), p.says) {
			t.Errorf("%+v: %v, want %q", p.plan, err, p.says)
		}
	}
}

// TestProvideRaftsman copies a binary that is named, and says what helps where there is none and no source.
func TestProvideRaftsman(t *testing.T) {
	c, _ := on(t, t.TempDir(), "a")
	if err := os.MkdirAll(c.Path("bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	named := filepath.Join(t.TempDir(), "built")
	if err := os.WriteFile(named, []byte("binary"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := c.provideRaftsman(t.Context(), named); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(c.raftsman()); err != nil || string(text) != "binary" {
		t.Errorf("the copy is %q, %v", text, err)
	}
	c.Shelf = programs.Shelf{Source: filepath.Join(t.TempDir(), "a", "b", "c")}
	if err := c.provideRaftsman(t.Context(), ""); err == nil || !strings.Contains(err.Error(), "--raftsman") {
		t.Errorf("without a source: %v", err)
	}
}

// TestDialInside reaches a server through the namespace of a process, here this one's own.
func TestDialInside(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("NOT TESTED: a network namespace is entered by root only")
	}
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "here") })}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close() })
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, address string) (net.Conn, error) {
		return space.Dial(ctx, os.Getpid(), address)
	}}}
	response, err := client.Get("http://" + l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	if _, err := space.Dial(t.Context(), 1<<30, l.Addr().String()); err == nil {
		t.Error("the namespace of nobody can be entered")
	}
}
