package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	api "raftsman.dev/api/v1alpha1"
	"raftsman.dev/hack/e2e/history"
	"raftsman.dev/hack/e2e/kube"
	"raftsman.dev/hack/e2e/load"
)

const (
	atLeast  = 100             // acknowledged writes a second that a recorded load must have reached
	maxGap   = 3 * time.Second // between two acknowledgements, where writes must go on
	opLimit  = time.Second     // of one attempt at a client operation
	insist   = 3 * time.Second // for as long a client tries an operation again
	redial   = time.Second / 2 // at most between two attempts of a client to reach a member
	judgment = time.Minute     // for the verdict on a history
)

// condition is the condition of a type; an empty one when it is absent.
func condition(c *api.RaftCluster, kind string) metav1.Condition {
	for _, cond := range c.Status.Conditions {
		if cond.Type == kind {
			return cond
		}
	}
	return metav1.Condition{}
}

// clientPod is where the clients run.
func clientPod() kube.Pod { return kube.Pod{Namespace: elsewhere, Name: "client"} }

const clientManifest = `apiVersion: v1
kind: Namespace
metadata:
  name: elsewhere
  labels: {pod-security.kubernetes.io/enforce: restricted}
---
apiVersion: v1
kind: Pod
metadata: {name: client, namespace: elsewhere}
spec:
  nodeSelector: {kubernetes.io/hostname: node-0} # the node that is never taken away
  automountServiceAccountToken: false
  securityContext: {runAsNonRoot: true, runAsUser: 65532, seccompProfile: {type: RuntimeDefault}}
  terminationGracePeriodSeconds: 1
  containers:
  - name: client
    image: ` + clientTag + `
    imagePullPolicy: Never
    securityContext: {allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}
    readinessProbe: {httpGet: {path: /ready, port: 8080}, periodSeconds: 1}
`

// client makes sure that the clients' Pod is there.
func (s *suite) client(t *testing.T) {
	t.Helper()
	s.apply(t, clientManifest)
	s.kubectl(t, "wait", "-n", elsewhere, "--for=condition=Ready", "pod/client", "--timeout=120s")
}

// order asks the clients' Pod for something.
func (s *suite) order(ctx context.Context, method, path string, body any) ([]byte, error) {
	text, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(ctx, method, s.k.URL(clientPod(), orderPort)+path, bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	answer, err := s.k.HTTP().Do(request)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	got, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode/100 != 2 {
		err = fmt.Errorf("%s %s: %s: %s", method, path, answer.Status, got)
	}
	return got, err
}

// one performs one operation from the clients' Pod with the Go client.
func (s *suite) one(t *testing.T, o load.One) load.Answer {
	t.Helper()
	o.Timeout = 10 * time.Second
	var answer load.Answer
	text, err := s.order(t.Context(), http.MethodPost, "/one", o)
	if err == nil {
		err = json.Unmarshal(text, &answer)
	}
	if err != nil {
		t.Fatal(err)
	}
	return answer
}

// running is a recorded load that is on.
type running struct {
	s     *suite
	t     *testing.T
	spans *[]span // the operations that the table tells of
}

// load starts a recorded load on a cluster's client Service, at 200 writes and as many reads a second.
func (c cluster) load(t *testing.T) running {
	t.Helper()
	c.client(t)
	c.runs++
	p := load.Plan{
		Endpoints: []string{c.service()}, Prefix: fmt.Sprintf("run-%d-%d", time.Now().Unix(), c.runs), Writers: 20, Readers: 6,
		WritesPerSecond: 200, Timeout: opLimit, Patience: insist, Redial: redial, Registers: 8, Seed: uint64(time.Now().UnixNano()),
	}
	t.Logf("load: seed=%d prefix=%s", p.Seed, p.Prefix)
	if _, err := c.order(t.Context(), http.MethodPost, "/start", p); err != nil {
		t.Fatal(err)
	}
	r := running{c.suite, t, &[]span{}}
	r.more(200)
	return r
}

// stats is how the load is doing.
func (r running) stats(ctx context.Context) (load.Stats, error) {
	var stats load.Stats
	text, err := r.s.order(ctx, http.MethodGet, "/stats", nil)
	if err == nil {
		err = json.Unmarshal(text, &stats)
	}
	return stats, err
}

// more waits until so many more writes have been acknowledged.
func (r running) more(n int) {
	r.t.Helper()
	want := -1
	r.s.until(r.t, fmt.Sprintf("%d more writes are acknowledged", n), func(ctx context.Context) error {
		stats, err := r.stats(ctx)
		switch {
		case err != nil:
			return err
		case want < 0:
			want = stats.Acks + n
		}
		if stats.Acks < want {
			return fmt.Errorf("%d of %d; the last at %v of %v", stats.Acks, want, stats.LastAck.Round(time.Millisecond), stats.Now.Round(time.Millisecond))
		}
		return nil
	})
}

// stop ends the load and judges its history: linearizable, and nothing acknowledged is lost.
func (r running) stop() history.Figures {
	r.t.Helper()
	packed, err := r.s.order(r.t.Context(), http.MethodPost, "/stop", nil)
	if err != nil {
		r.t.Fatal(err)
	}
	result, err := load.Unpack(bytes.NewReader(packed))
	if err != nil {
		r.t.Fatal(err)
	}
	figures := result.History.Figures(result.Length)
	figures.Gap = result.History.Window(0, result.Length, result.Length, result.Stalls).Gap
	r.rows(result)
	r.s.say("  %v in %v", figures, result.Length.Round(time.Millisecond))
	r.t.Logf("%v in %v", figures, result.Length.Round(time.Millisecond))
	if err := errors.Join(result.History.CheckLinearizable(judgment), result.History.CheckKept(result.Final)); err != nil {
		file := filepath.Join(r.s.dir, fmt.Sprintf("history-%d.json.gz", time.Now().Unix()))
		r.t.Errorf("%v\nthe whole history is in %s (%v)", err, file, os.WriteFile(file, packed, 0o644))
	}
	return figures
}

// steady demands what is promised where writes go on: enough of them, and no long gap.
func (r running) steady(f history.Figures) {
	r.t.Helper()
	if f.PerSecond < atLeast {
		r.t.Errorf("%.0f writes a second were acknowledged, at least %d are needed for a verdict", f.PerSecond, atLeast)
	}
	if f.Gap.Length() >= maxGap {
		r.t.Errorf("no write was acknowledged for %v: it must be less than %v", f.Gap, maxGap)
	}
}
