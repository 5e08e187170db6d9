package life

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr/funcr"
	"k8s.io/client-go/rest"

	"raftsman.dev/controllers"
)

// account is the operator's own, as config/rbac binds it: the tests' operators may do what it may do.
const account = "system:serviceaccount:raftsman-system:raftsman-operator"

// image is what the operator gives to members.
const image = "raftsman.dev/raftsman:0.1.0"

// fuse lets an operator have so many effects and then kills it: just before the next effect, or just after it with
// the answer lost. What an operator has in flight while it dies has no effect any more.
type fuse struct {
	mu   sync.Mutex
	left int // effects that are left; negative: it lives for ever
	late bool
	dead bool
	// last is the effect at which it died.
	last string
	blow context.CancelFunc
	// hold, if set, is asked before each effect and may keep it waiting.
	hold func(label string)
	// chosen, if set, may choose this effect as the one to die at.
	chosen func(label string) (die, late bool)
}

// effect decides over one effect: refused has not happened, lost has happened without an answer.
func (f *fuse) effect(label string) (refused, lost bool) {
	f.mu.Lock()
	hold := f.hold
	f.mu.Unlock()
	if hold != nil {
		hold(label)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.dead {
		return true, false
	}
	if f.chosen != nil {
		if die, late := f.chosen(label); die {
			f.left, f.late = 0, late
		}
	}
	switch {
	case f.left < 0:
		return false, false
	case f.left > 0:
		f.left--
		return false, false
	}
	f.dead, f.last = true, label
	f.blow()
	return !f.late, f.late
}

// cut is the operator's way to the API server with its fuse in it.
type cut struct {
	fuse *fuse
	used *usage
	next http.RoundTripper
}

// errDead is what a dead operator's requests come to.
var errDead = errors.New("this operator is dead")

func (c cut) RoundTrip(r *http.Request) (*http.Response, error) {
	call := parse(r)
	c.used.add(call)
	if !call.mutates() || r.URL.Query().Get("dryRun") != "" || call.resource == "leases" || call.resource == "events" {
		return c.next.RoundTrip(r)
	}
	refused, lost := c.fuse.effect(call.String())
	if refused {
		return nil, errDead
	}
	answer, err := c.next.RoundTrip(r)
	if err == nil && lost {
		answer.Body.Close()
		return nil, errDead
	}
	return answer, err
}

// call is one request to the API server in the words of a role.
type call struct{ verb, group, resource string }

func (c call) mutates() bool  { return c.verb != "get" && c.verb != "list" && c.verb != "watch" }
func (c call) String() string { return c.verb + " " + c.resource }

// parse reads a request like the API server's authorizer does.
func parse(r *http.Request) call {
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	c := call{}
	switch {
	case len(parts) > 2 && parts[0] == "api":
		parts = parts[2:]
	case len(parts) > 3 && parts[0] == "apis":
		c.group, parts = parts[1], parts[3:]
	default:
		return call{verb: "get", resource: r.URL.Path}
	}
	if parts[0] == "namespaces" && len(parts) > 2 {
		parts = parts[2:]
	}
	c.resource = parts[0]
	if len(parts) > 2 {
		c.resource += "/" + parts[2]
	}
	switch r.Method {
	case http.MethodGet:
		c.verb = "get"
		if len(parts) == 1 {
			c.verb = "list"
		}
		if r.URL.Query().Get("watch") != "" {
			c.verb = "watch"
		}
	case http.MethodPost:
		c.verb = "create"
	case http.MethodPut:
		c.verb = "update"
	default:
		c.verb = strings.ToLower(r.Method)
	}
	return c
}

// usage is what operators have asked of the API server.
type usage struct {
	mu    sync.Mutex
	calls map[call]int
}

func (u *usage) add(c call) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.calls == nil {
		u.calls = map[call]int{}
	}
	u.calls[c]++
}

// operator is one running operator.
type operator struct {
	fuse   *fuse
	cancel context.CancelFunc
	done   chan error
	log    *journal
}

// journal keeps the newest log lines.
type journal struct {
	mu    sync.Mutex
	lines []string
}

func (j *journal) add(line string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, time.Now().Format("04:05.000 ")+line)
	if len(j.lines) > 4000 {
		j.lines = j.lines[2000:]
	}
}

func (j *journal) tail(n int) string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return strings.Join(j.lines[max(0, len(j.lines)-n):], "\n")
}

// operate starts an operator for one namespace with the operator's own rights. It is not stopped by itself.
func (s *suite) operate(namespace string, f *fuse, j *journal, change ...func(*controllers.Options)) (*operator, error) {
	config := rest.CopyConfig(s.plane.admin)
	config.Impersonate = rest.ImpersonationConfig{UserName: account}
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { return cut{fuse: f, used: &s.used, next: next} })
	log := funcr.New(func(prefix, args string) { j.add(prefix + " " + args) }, funcr.Options{Verbosity: 1})
	o := controllers.Options{
		MemberImage: image, LeaseName: "raftsman-operator", Namespace: "raftsman-system", HealthAddress: "0", MetricsAddress: "0",
		WatchNamespaces: []string{namespace}, Concurrency: 1, Poll: time.Second, Log: log,
	}
	for _, c := range change {
		c(&o)
	}
	m, err := controllers.NewManager(config, o)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	f.mu.Lock()
	f.blow = cancel
	f.mu.Unlock()
	op := &operator{fuse: f, cancel: cancel, done: make(chan error, 1), log: j}
	s.world.mu.Lock()
	s.world.fuses[namespace] = f
	s.world.mu.Unlock()
	go func() { op.done <- m.Start(ctx) }()
	return op, nil
}

// kill ends an operator at once: what it still tries has no effect.
func (o *operator) kill() error {
	o.fuse.mu.Lock()
	o.fuse.dead = true
	o.fuse.mu.Unlock()
	return o.end()
}

// end stops an operator the way Kubernetes does.
func (o *operator) end() error {
	o.cancel()
	select {
	case <-o.done:
		return nil
	case <-time.After(time.Minute):
		return fmt.Errorf("the operator has not ended a minute after it was told to")
	}
}

// operated runs an operator for the namespace until the test is over.
func (c *cluster) operated(t *testing.T, change ...func(*controllers.Options)) *operator {
	t.Helper()
	op, err := c.suite.operate(c.namespace, &fuse{left: -1}, c.journal, change...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := op.kill(); err != nil {
			t.Error(err)
		}
	})
	return op
}
